//! Data sets that a step reads, public or private, and what its report says of them.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{Input, Report};
use pate_core::data::{
    Dataset, ImageSize, Orientation, Privacy, Records, Scale, ShardIndices, Split, Wanted, folders,
    has_splits,
};

use crate::args::{OrientationArg, PrivateDataArgs, PrivateDataset, PublicDataArgs, ScaleArgs};

impl PublicDataArgs {
    /// Which one.
    pub fn dataset(&self) -> Dataset {
        if self.use_kmnist { Dataset::Kmnist } else { self.dataset }
    }

    /// Why records are called public, where nobody but the caller can know.
    pub fn basis(&self, records: &Records) -> Option<&'static str> {
        let taken = self.dataset() == Dataset::Folders && records.privacy == Privacy::Public;
        taken.then_some("the folders are taken to hold public images (--private-data says otherwise)")
    }

    /// On which scale its files are.
    pub fn scale(&self) -> ScaleArgs {
        self.scale
    }

    /// Reads its training records.
    ///
    /// # Errors
    /// A missing folder, damaged files.
    pub fn load(&self) -> Result<Records> {
        self.read(Wanted::Labelled)
    }

    /// Reads its training images; labels need not be there, and are not read.
    ///
    /// # Errors
    /// As [`PublicDataArgs::load`].
    pub fn load_images(&self) -> Result<Records> {
        self.read(Wanted::Images)
    }

    fn read(&self, wanted: Wanted) -> Result<Records> {
        let dataset = self.dataset();
        if dataset == Dataset::Digits && self.data_root.is_some() {
            bail!(
                "--data-root does not go with --dataset digits, which is inside the program; leave one out"
            );
        }
        // A flag that would change nothing is refused: who gave it expects an effect.
        let size = self.image_size;
        if dataset != Dataset::Folders {
            refuse_size(size)?;
        }
        if matches!(dataset, Dataset::Folders | Dataset::Digits) {
            refuse_scale(self.scale)?;
        }
        let orientation = match self.orientation {
            OrientationArg::Upright => Orientation::Upright,
            OrientationArg::Raw => Orientation::Raw,
        };
        let mut records = if dataset == Dataset::Folders {
            let Some(root) = &self.data_root else {
                bail!(
                    "--dataset folders needs --data-root, the folder with a folder of PNG images per class"
                );
            };
            folders(root, Split::Train, size, Privacy::Public)?
        } else {
            let default = format!("wp3_d3.2_saferlearn/src/input-data/{}", dataset.folder());
            let root = self.data_root.clone().unwrap_or_else(|| PathBuf::from(default));
            dataset.load(&root, Split::Train, orientation, self.scale.scale, wanted)?
        };
        // One way only: no flag makes private data public.
        if self.private_data {
            records.privacy = Privacy::Private;
        }
        Ok(noted(records))
    }
}

/// Refuses MNIST as a public data set, which counts as private in these programs, unless the user
/// says that none of it is; `flag` names the data set.
///
/// # Errors
/// Names the flag that says so.
pub fn require_public(
    flag: &str,
    dataset: Dataset,
    records: &mut Records,
    mnist_is_public: bool,
) -> Result<()> {
    if dataset == Dataset::Mnist {
        if !mnist_is_public {
            bail!(
                "{flag} mnist: MNIST counts as private in these programs; where nothing of it is private, say so with \
                 --mnist-is-public"
            );
        }
        records.privacy = Privacy::Public;
    }
    Ok(())
}

/// PNG files say what white is; the embedded digits are ours.
fn refuse_scale(scale: ScaleArgs) -> Result<()> {
    match scale.scale {
        Some(scale) => bail!(
            "--scale {scale} goes with IDX files, whose values have no scale of their own; leave it out"
        ),
        None => Ok(()),
    }
}

fn refuse_size(size: Option<ImageSize>) -> Result<()> {
    match size {
        Some(size) => bail!("--image-size {size} goes with --dataset folders; leave it out"),
        None => Ok(()),
    }
}

impl PrivateDataset {
    /// The number of training records that a data set is publicly known to have, where its name
    /// tells.
    pub fn known_records(self) -> Option<u64> {
        (self != Self::Folders).then_some(60_000)
    }
}

impl PrivateDataArgs {
    /// The public name of the data set in `root`, for ledgers.
    fn public_name(&self, root: &Path) -> String {
        match self.dataset {
            PrivateDataset::Mnist => "mnist".to_owned(),
            PrivateDataset::FashionMnist => "fashion-mnist".to_owned(),
            PrivateDataset::Folders => {
                root.file_name().map_or("folders".into(), |name| name.to_string_lossy()).into_owned()
            }
        }
    }

    /// The name that the user gave the data set in `root`, or its public one.
    pub fn name(&self, given: Option<&String>, root: &Path) -> String {
        given.cloned().unwrap_or_else(|| self.public_name(root))
    }

    /// Whether the data are folders of images.
    pub fn is_folders(&self) -> bool {
        self.dataset == PrivateDataset::Folders
    }

    /// Reads one split from `root`.
    ///
    /// # Errors
    /// A missing folder, damaged files.
    pub fn load(&self, root: &Path, split: Split) -> Result<Records> {
        if self.is_folders() {
            refuse_scale(self.scale)?;
            return Ok(noted(folders(root, split, self.image_size, Privacy::Private)?));
        }
        refuse_size(self.image_size)?;
        let dataset = match self.dataset {
            PrivateDataset::FashionMnist => Dataset::FashionMnist,
            _ => Dataset::Mnist,
        };
        let orientation = Orientation::Raw;
        let mut records = dataset.load(root, split, orientation, self.scale.scale, Wanted::Labelled)?;
        records.privacy = Privacy::Private;
        Ok(noted(records))
    }

    /// Reads training and test records from `root`.
    ///
    /// # Errors
    /// As [`PrivateDataArgs::load`]; also folders without splits, where the two would be the same
    /// images, and splits of different shapes.
    pub fn load_both(&self, root: &Path) -> Result<(Records, Records)> {
        if self.is_folders() && root.is_dir() && !has_splits(root) {
            return Err(pate_core::Error::content(
                root,
                "there are no folders train and test in it, and training images are no test",
                "put the images into train/<class>/*.png and test/<class>/*.png",
            )
            .into());
        }
        let (train, test) = (self.load(root, Split::Train)?, self.load(root, Split::Test)?);
        test.images.expect_shape(test.source(), train.shape())?;
        Ok((train, test))
    }
}

/// Puts the kind of private records into a report: what is public about them.
///
/// # Errors
/// Where a value cannot be written.
pub fn describe_kind(report: &mut Report, records: &Records) -> Result<()> {
    report
        .field("classes", records.classes())?
        .field("class_names", &records.class_names)?
        .field("image_shape", records.images.tensor().size()[1..].to_vec())?;
    Ok(())
}

/// Why nothing that follows from private records has a guarantee.
pub const READ: &str = "private records were read without a privacy mechanism";

/// Puts what records were read from, and the names of their classes, into a report; private ones
/// leave it without a guarantee.
///
/// # Errors
/// A file that is not there any more.
pub fn describe(report: &mut Report, records: &Records) -> Result<()> {
    if !records.class_names.is_empty() {
        report.field("class_names", &records.class_names)?;
    }
    for record in records.inputs()? {
        report.input(match records.privacy {
            Privacy::Public => Input::public(record),
            Privacy::Private => Input::private(record, READ),
        });
    }
    Ok(())
}

/// The records of some classes, which keep their numbers; all where none are named.
///
/// # Errors
/// A class that the data set has not, or has no record of.
pub fn only_classes(records: Records, classes: &[i64]) -> Result<Records> {
    if classes.is_empty() {
        return Ok(records);
    }
    let n = records.classes();
    if let Some(class) = classes.iter().find(|class| !(0..n).contains(*class)) {
        bail!("--only-classes {class}: {} has classes 0 to {}", records.name, n - 1);
    }
    let rows: Vec<i64> = (0i64..)
        .zip(records.labels.values())
        .filter(|(_, label)| classes.contains(label))
        .map(|(row, _)| row)
        .collect();
    if rows.is_empty() {
        bail!("{} has no record of the classes that --only-classes names; name others", records.name);
    }
    Ok(records.select(&rows)?)
}

/// Shard indices, all of whose rows are among `n_records` records.
///
/// # Errors
/// Names the file: what [`ShardIndices::load`] gives, or a row that does not exist.
pub fn shard_indices(path: &Path, n_records: usize) -> Result<ShardIndices> {
    let indices = ShardIndices::load(path).context("cannot use the shard indices")?;
    for (teacher_id, rows) in &indices.by_teacher {
        if let Some(row) = rows.iter().find(|&&row| row >= n_records as i64) {
            return Err(pate_core::Error::content(
                path,
                format!("teacher {teacher_id} has row {row}, but the training set has {n_records} records"),
                "give the indices that belong to this data set, or let them be made",
            )
            .into());
        }
    }
    Ok(indices)
}

/// One split of MNIST.
///
/// # Errors
/// A missing folder, damaged files.
pub fn mnist(root: &Path, split: Split, scale: Option<Scale>) -> Result<Records> {
    Ok(noted(pate_core::data::mnist(root, split, scale)?))
}

/// Remembers the files of a data set as inputs, so that no output takes their place.
fn noted(records: Records) -> Records {
    records.files.iter().for_each(|path| input_file::note(path));
    records
}
