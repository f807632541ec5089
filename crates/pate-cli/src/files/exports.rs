//! The combined samples in the containers of other programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use artifact::{Access, AtomicDir, AtomicFile, FileRecord};
use pate_core::data::Images;
use tensorfile::View;

use crate::args::Format;

/// The smallest grey PNG: its signature and four chunks of 12 bytes and their least content.
const MIN_PNG_BYTES: u64 = 67;

/// A list of a folder's images, in it.
const LIST: &str = "metadata.csv";

impl Format {
    /// Where it goes, under `dir` and the data set's name.
    pub fn path(self, dir: &Path, name: &str) -> PathBuf {
        dir.join(match self {
            Self::Pt => format!("{name}_samples.pt"),
            Self::Npz => format!("{name}.npz"),
            Self::Folders => format!("{name}_folders"),
            Self::Safetensors => format!("{name}.safetensors"),
        })
    }

    /// Bytes of `n` images of `values` each, at least.
    pub fn min_bytes(self, n: usize, values: usize) -> u64 {
        match self {
            Self::Pt | Self::Npz | Self::Safetensors => 4 * n as u64 * values as u64,
            Self::Folders => MIN_PNG_BYTES * n as u64,
        }
    }
}

/// Writes images and their classes as NumPy reads them: `x` `[n, c, h, w]`, float32 in `[0, 1]`,
/// and `y` `[n]`.
///
/// # Errors
/// Where the file cannot be written; nothing is left under its name then.
pub fn npz(path: &Path, access: Access, images: &Images, labels: &[i64]) -> pate_core::Result<FileRecord> {
    let (pixels, shape) = (images.to_vec()?, pate_core::base::tensor::shape_of(images.tensor()));
    let n = [labels.len()];
    let mut file = AtomicFile::create(path, access)?;
    let arrays = [("x", View::f32(&shape, &pixels)?), ("y", View::i64(&n, labels)?)];
    tensorfile::npz::write(&mut file, &arrays)?;
    Ok(file.commit()?)
}

/// What is exported.
pub struct Export<'a> {
    /// The samples.
    pub images: &'a Images,
    /// A class for each.
    pub labels: &'a [i64],
    /// Whose teacher's each is.
    pub teacher_ids: &'a [u64],
    /// The folder for all files.
    pub dir: &'a Path,
    /// First part of file names.
    pub name: &'a str,
    /// The users that may read them.
    pub access: Access,
    /// Texts for formats that carry some.
    pub metadata: &'a [(String, String)],
}

impl Export<'_> {
    /// Writes the samples in `format`. For [`Format::Folders`] the record is that of the list with
    /// each image's hash.
    ///
    /// # Errors
    /// Where a file cannot be written; nothing is left under its name then.
    pub fn write(&self, format: Format) -> Result<FileRecord> {
        let path = format.path(self.dir, self.name);
        let pixels = self.images.to_vec()?;
        let shape = pate_core::base::tensor::shape_of(self.images.tensor());
        let n = [self.labels.len()];
        match format {
            Format::Pt => Ok(self.images.save(&path, self.access)?),
            Format::Npz => Ok(npz(&path, self.access, self.images, self.labels)?),
            Format::Safetensors => {
                let mut file = AtomicFile::create(&path, self.access)?;
                let ids: Vec<i64> = self.teacher_ids.iter().map(|&id| id as i64).collect();
                let arrays = [
                    ("images", View::f32(&shape, &pixels)?),
                    ("labels", View::i64(&n, self.labels)?),
                    ("teacher_ids", View::i64(&n, &ids)?),
                ];
                tensorfile::safetensors::write(&mut file, &arrays, self.metadata)?;
                Ok(file.commit()?)
            }
            Format::Folders => self.folders(&path, &pixels),
        }
    }

    fn folders(&self, path: &Path, pixels: &[f32]) -> Result<FileRecord> {
        let shape = self.images.shape();
        let (channels, height, width) =
            (shape.channels as usize, shape.height as usize, shape.width as usize);
        let mut dir = AtomicDir::create(path, self.access, is_own)?;
        let mut list = "file_name,index,label,teacher_id,sha256\r\n".to_owned();
        let rows = pixels.chunks_exact(channels * height * width).zip(self.labels).zip(self.teacher_ids);
        for (index, ((pixels, label), teacher_id)) in rows.enumerate() {
            let png = picture::grid(&picture::Images { channels, height, width, pixels }, 1, 0)?;
            let inner = format!("{label}/{index:06}.png");
            let record = dir.write(Path::new(&inner), &png)?;
            let _ = write!(list, "{inner},{index},{label},{teacher_id},{}\r\n", record.sha256);
        }
        let record = dir.write(Path::new(LIST), list.as_bytes())?;
        dir.commit()?;
        Ok(record)
    }
}

/// Whether a file of an older folder is one that [`Export::write`] makes.
fn is_own(inner: &Path) -> bool {
    let number = |text: Option<&str>| {
        text.is_some_and(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let parts: Vec<Option<&str>> = inner.iter().map(|part| part.to_str()).collect();
    match parts[..] {
        [Some(LIST)] => true,
        [class, Some(file)] => number(class) && number(file.strip_suffix(".png")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbered_images_of_numbered_folders_are_own() {
        for own in ["metadata.csv", "0/000001.png", "12/1234567.png"] {
            assert!(is_own(Path::new(own)), "{own}");
        }
        for other in
            ["notes.txt", "0/metadata.csv", "0/a.png", "cats/000001.png", "0/1/000001.png", "0/.png", ""]
        {
            assert!(!is_own(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn figures_are_lower_bounds() {
        assert_eq!(Format::Pt.min_bytes(9_000, 784), 28_224_000);
        let black =
            picture::grid(&picture::Images { channels: 1, height: 1, width: 1, pixels: &[0.0] }, 1, 0);
        assert!(black.unwrap().len() as u64 >= MIN_PNG_BYTES);
    }
}
