//! Teachers' shards, from folders or from row numbers.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::FileRecord;
use pate_core::data::{Images, Records, Shard, ShardIndices, Split};
use pate_core::models::Vae;

use super::data_sets::{mnist, shard_indices};
use crate::args::{IndexArgs, ShardScaleArgs};

/// Shards by row numbers in MNIST's training set. A clone has the same images in memory.
#[derive(Clone)]
pub struct IndexedShards {
    records: Records,
    indices: ShardIndices,
    path: PathBuf,
    files: Vec<FileRecord>,
}

impl IndexArgs {
    /// On which scale shards are.
    pub fn scale(&self) -> ShardScaleArgs {
        self.scale
    }

    /// Reads MNIST and the indices.
    ///
    /// # Errors
    /// A missing or damaged file, rows that do not exist.
    pub fn load(&self) -> Result<IndexedShards> {
        let records = mnist(&self.mnist_data_dir, Split::Train, self.scale.shard_scale)?;
        let indices = shard_indices(&self.shard_indices, records.len())?;
        let mut files = vec![FileRecord::of(&self.shard_indices)?];
        files.extend(records.inputs()?);
        Ok(IndexedShards { records, indices, path: self.shard_indices.clone(), files })
    }
}

impl IndexedShards {
    /// One teacher's shard.
    ///
    /// # Errors
    /// A teacher that has none.
    pub fn shard(&self, teacher_id: u64) -> Result<TeacherShard> {
        let images = self.records.select(self.indices.rows(&self.path, teacher_id)?)?.images;
        Ok(TeacherShard { images, files: self.files.clone() })
    }
}

/// A teacher's private images.
pub struct TeacherShard {
    /// `[n, channels, height, width]`.
    pub images: Images,
    /// The files that they came from; the first one is what the report calls their source.
    pub files: Vec<FileRecord>,
}

impl TeacherShard {
    /// Reads `shard.pt`.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn load(path: &Path, scale: ShardScaleArgs) -> Result<Self> {
        let images = Shard::load(path, scale.rule()).context("cannot use the shard")?.images;
        Ok(Self { images, files: vec![FileRecord::of(path)?] })
    }

    /// Checks that a VAE can take the images.
    ///
    /// # Errors
    /// Names the file, and what fits.
    pub fn check(&self) -> Result<()> {
        let source = self.files.first().map_or(Path::new("the shard"), |file| &file.path);
        Ok(Vae::check_images(source, self.images.shape())?)
    }
}
