//! The picture: a sample of some teachers, and the nearest image of its shard.

use anyhow::{Result, bail};
use pate_core::data::Images;
use pate_core::evaluate;
use picture::Sample;

/// A sample of some teachers each, and the nearest image of its shard.
#[derive(Default)]
pub(super) struct Shown {
    samples: Vec<Images>,
    nearest: Vec<Images>,
    captions: Vec<(String, String)>,
}

impl Shown {
    /// Adds a teacher's sample.
    pub(super) fn add(&mut self, images: &Images, row: i64, teacher_id: u64, shard: &Images) -> Result<()> {
        let sample = images.select(&[row])?;
        let (nearest, distance) = evaluate::nearest_image(&sample.flat(), shard)?;
        self.samples.push(sample);
        self.nearest.push(shard.select(&[nearest])?);
        self.captions.push((format!("t{teacher_id}"), format!("{distance:.2}")));
        Ok(())
    }
}

/// A named row of a picture.
pub(super) type Row = (String, Vec<Sample>);

/// The images of all approaches, and two rows of them for each: samples, and what they are nearest
/// to.
///
/// # Errors
/// No sample anywhere.
pub(super) fn sheet(all: &[(&str, Shown)]) -> Result<(Images, Vec<Row>)> {
    let mut images = Vec::new();
    let mut rows = Vec::new();
    let mut next = 0;
    for (name, shown) in all {
        let mut row = |of: &[Images], captions: Vec<String>| -> Result<Vec<Sample>> {
            let mut samples = Vec::new();
            for (image, caption) in of.iter().zip(captions) {
                images.push(image.select(&[0])?);
                samples.push(Sample { image_idx: next, caption });
                next += 1;
            }
            Ok(samples)
        };
        let samples = row(&shown.samples, shown.captions.iter().map(|c| c.0.clone()).collect())?;
        let nearest = row(&shown.nearest, shown.captions.iter().map(|c| c.1.clone()).collect())?;
        if !samples.is_empty() {
            rows.push(((*name).to_owned(), samples));
            rows.push(("nearest in own shard".to_owned(), nearest));
        }
    }
    if images.is_empty() {
        bail!("no approach has a sample of these teachers; there is nothing to compare");
    }
    Ok((Images::concat(&images)?, rows))
}
