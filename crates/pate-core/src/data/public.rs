//! The public data sets that steps know, and how each is read.

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use tch::Tensor;
use tensorfile::{Array, DType};

use super::{Images, Labels, Privacy, RangeRule, Records, Scale, digits, folders};
use crate::{Error, Result};

/// A public data set that a step can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dataset {
    /// EMNIST Balanced: 47 classes of handwritten characters.
    Emnist,
    /// Kuzushiji-MNIST: ten classes of cursive Japanese.
    Kmnist,
    /// Fashion-MNIST: ten classes of clothes.
    FashionMnist,
    /// MNIST itself; private data in this pipeline's setting, so nothing made from it is called
    /// public.
    Mnist,
    /// The optical digits inside the program; needs no files.
    Digits,
    /// Public images of the user's own, in files named as MNIST's; ten classes.
    Idx,
    /// A folder of images per class; see [`folders`].
    Folders,
}

impl Dataset {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Emnist, Self::Kmnist, Self::FashionMnist, Self::Mnist, Self::Digits, Self::Idx, Self::Folders];

    /// The name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Emnist => "emnist",
            Self::Kmnist => "kmnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Mnist => "mnist",
            Self::Digits => "digits",
            Self::Idx => "idx",
            Self::Folders => "folders",
        }
    }

    /// Its folder in torchvision's layout.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Emnist => "EMNIST",
            Self::Kmnist => "KMNIST",
            Self::FashionMnist => "FashionMNIST",
            Self::Mnist | Self::Digits | Self::Idx | Self::Folders => "MNIST",
        }
    }

    fn classes(self) -> i64 {
        if self == Self::Emnist { 47 } else { 10 }
    }

    fn file_name(self, split: Split, what: &str) -> String {
        match (self, split) {
            (Self::Emnist, Split::Train) => format!("emnist-balanced-train-{what}-ubyte"),
            (Self::Emnist, Split::Test) => format!("emnist-balanced-test-{what}-ubyte"),
            (_, Split::Train) => format!("train-{what}-ubyte"),
            (_, Split::Test) => format!("t10k-{what}-ubyte"),
        }
    }

    fn xtask_name(self) -> &'static str {
        if self == Self::FashionMnist { "fashion" } else { self.name() }
    }

    /// Reads one split from `root`: torchvision's layout (`<root>/<NAME>/raw/`) or the IDX files
    /// straight in it, gzipped or not; for EMNIST also torchvision's `gzip.zip`. `scale` is the one
    /// that the user declared.
    ///
    /// # Errors
    /// A missing folder (with the command that fetches the data and the embedded alternative),
    /// counts or sizes that do not fit.
    pub fn load(
        self,
        root: &Path,
        split: Split,
        orientation: Orientation,
        scale: Option<Scale>,
        wanted: Wanted,
    ) -> Result<Records> {
        if self == Self::Digits {
            return digits();
        }
        if self == Self::Folders {
            return folders(root, split, None, Privacy::Public);
        }
        // Images first: a step that needs no labels must not fail where they are missing.
        let (images, images_path) = self.array(root, split, "images-idx3")?;
        let images = Images::from_array(&images_path, images, RangeRule::of_user("--scale", scale))?;
        if images.is_empty() {
            return Err(Error::content(
                &images_path,
                "there are no images in it",
                "fetch the data set again",
            ));
        }
        let mut files = vec![images_path];
        let labels = if wanted == Wanted::Labelled {
            let (labels, labels_path) = self.array(root, split, "labels-idx1")?;
            let labels = Labels::from_array(&labels_path, &classes_of_qmnist(labels)?, self.classes())?;
            if images.len() != labels.len() {
                return Err(Error::content(
                    &labels_path,
                    format!("{} labels for {} images", labels.len(), images.len()),
                    "the two files belong to different data sets; fetch them again",
                ));
            }
            files.push(labels_path);
            labels
        } else {
            Labels::new(root, vec![0; images.len()], 1)?
        };
        let images = if self == Self::Emnist && orientation == Orientation::Upright {
            Images::trusted(upright(images.tensor()))
        } else {
            images
        };
        Ok(Records {
            labels,
            images,
            name: self.name().to_owned(),
            // MNIST plays the private data here, so nothing that is made from it is public.
            privacy: if self == Self::Mnist { Privacy::Private } else { Privacy::Public },
            class_names: Vec::new(),
            files,
            listing: None,
        })
    }

    fn array(self, root: &Path, split: Split, what: &str) -> Result<(Array, PathBuf)> {
        let name = self.file_name(split, what);
        // As Kaggle and some mirrors spell it.
        let dotted = name.replace("-idx", ".idx");
        let folders = [
            root.to_path_buf(),
            root.join(self.folder()).join("raw"),
            root.join("raw"),
            root.join(self.folder().to_lowercase()).join("raw"),
        ];
        for folder in &folders {
            for name in [&name, &dotted] {
                // Unpacking an archive of one file often makes a folder of the file's name.
                for path in
                    [folder.join(name), folder.join(format!("{name}.gz")), folder.join(name).join(name)]
                {
                    if path.is_file() {
                        return Ok((tensorfile::read(&path)?.into_array()?, path));
                    }
                }
            }
        }
        if self == Self::Emnist {
            for zip in folders.iter().map(|f| f.join("gzip.zip")).chain([root.join("EMNIST/gzip.zip")]) {
                if zip.is_file() {
                    return Ok((from_gzip_zip(&zip, &name)?, zip));
                }
            }
        }
        let problem = if root.exists() {
            format!("there is no {name}[.gz] in it, nor in {}/raw below it", self.folder())
        } else {
            "there is no such folder".to_owned()
        };
        if self == Self::Idx {
            return Err(Error::content(root, problem, "name the folder of your IDX files with --data-root"));
        }
        let embedded = match self {
            Self::Mnist => "use the subset in the repository: data/mnist-subset",
            _ => "use the digits inside the program: --dataset digits",
        };
        Err(Error::content(
            root,
            problem,
            format!("fetch it with `cargo xtask data {}` into datasets/, or {embedded}", self.xtask_name()),
        ))
    }
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dataset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|d| d.name() == text)
            .ok_or_else(|| format!("one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Training or test records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// The training records.
    Train,
    /// The test records.
    Test,
}

/// What of a data set a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Images and their labels.
    Labelled,
    /// Images alone: labels need not be there and are not read, and every image has the class 0 of
    /// one.
    Images,
}

/// Which way up EMNIST's images are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orientation {
    /// As people write; the files hold them transposed, so they are turned back.
    Upright,
    /// As they stand in the files.
    Raw,
}

/// MNIST from `root`; see [`Dataset::load`].
///
/// # Errors
/// As [`Dataset::load`].
pub fn mnist(root: &Path, split: Split, scale: Option<Scale>) -> Result<Records> {
    Dataset::Mnist.load(root, split, Orientation::Raw, scale, Wanted::Labelled)
}

/// QMNIST's labels are `[n, 8]`, int32: the class, then the writer of the character, and where it
/// came from. Others stay as they are.
fn classes_of_qmnist(labels: Array) -> Result<Array> {
    if !(matches!(labels.shape(), [_, 8]) && labels.dtype() == DType::I32) {
        return Ok(labels);
    }
    let classes: Vec<i64> = labels.to_i64()?.into_iter().step_by(8).collect();
    Ok(Array::from_i64(vec![classes.len()], classes)?)
}

fn upright(images: &Tensor) -> Tensor {
    images.transpose(2, 3).contiguous()
}

/// One IDX file out of torchvision's `gzip.zip` (the archive that NIST gives out, with
/// `gzip/<name>.gz` in it).
fn from_gzip_zip(path: &Path, name: &str) -> Result<Array> {
    /// The largest member of the official archive is 117 MB unpacked; its gzip far smaller.
    const LIMIT: u64 = 1 << 30;
    let damaged = |reason: String| {
        Error::content(
            path,
            format!("{reason} in the archive"),
            "fetch it again with `cargo xtask data emnist`",
        )
    };
    let (file, _) = input_file::open(path)
        .map_err(|source| artifact::Error::Read { path: path.to_path_buf(), source })?;
    let mut archive = zip::ZipArchive::new(file).map_err(|e| damaged(e.to_string()))?;
    let member = format!("gzip/{name}.gz");
    let entry = archive.by_name(&member).map_err(|e| damaged(format!("{member}: {e}")))?;
    let mut bytes = Vec::new();
    entry.take(LIMIT).read_to_end(&mut bytes).map_err(|e| damaged(format!("{member}: {e}")))?;
    Ok(tensorfile::read_bytes(path, &bytes)?.into_array()?)
}
