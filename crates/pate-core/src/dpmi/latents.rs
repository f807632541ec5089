//! Latents of private images, and how they are bounded before a mechanism sees them.

use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use serde::{Deserialize, Serialize};
use tch::Tensor;
use tensorfile::View;

use crate::base::tensor;
use crate::data::Labels;
use crate::models::{Described, Standard, project};
use crate::{Error, Result};

/// What is public about a file of latents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// SHA-256 of the extractor's file.
    pub extractor: String,
    /// The private data set's public name.
    pub dataset: String,
    /// Number of classes; labels are `0..classes`.
    pub classes: i64,
    /// Classes that were left in; empty where all were.
    pub only_classes: Vec<i64>,
    /// How many records the data set is publicly known to have, where its name tells; never a count
    /// of the rows.
    pub records: Option<u64>,
    /// How latents were found, and with which settings.
    pub method: serde_json::Value,
}

/// Latents of private images with their classes.
///
/// # Privacy
/// Private, as the images are. Each row must be a function of one image and of public things alone:
/// [`super::inversion`] makes such.
pub struct Latents {
    /// What is public about them.
    pub about: About,
    /// `[n, d]`.
    pub rows: Tensor,
    /// One class per row.
    pub labels: Labels,
}

impl Latents {
    /// Writes them where only their owner may read.
    ///
    /// # Errors
    /// Where the file cannot be written; nothing is left under its name then.
    pub fn save(&self, path: &Path) -> Result<FileRecord> {
        let (size, rows) = (tensor::shape_of(&self.rows), tensor::to_f32(&self.rows)?);
        let n = [self.labels.len()];
        let views = [("latents", View::f32(&size, &rows)?), ("labels", View::i64(&n, self.labels.values())?)];
        Described::write(&self.about, &views, path, Access::Private)
    }

    /// Reads what [`Latents::save`] wrote.
    ///
    /// # Errors
    /// Names the file and what is wrong with it.
    pub fn load(path: &Path) -> Result<Self> {
        const STEP: &str = "extract-latents";
        let bad = |found: String| Error::content(path, found, format!("give latents of {STEP}"));
        let (about, mut named) = Described::<About>::load(path, "latents", STEP)?.into_parts();
        let mut take = |name: &str| {
            let at = named.iter().position(|(found, _)| found == name);
            at.map(|at| named.swap_remove(at).1).ok_or_else(|| bad(format!("there is no `{name}` in it")))
        };
        let (rows, labels) = (take("latents")?, take("labels")?);
        let (size, values) = (rows.shape().to_vec(), rows.into_f32());
        let [n, d] = size[..] else { return Err(bad(format!("its latents have shape {size:?}"))) };
        if n != labels.len() || d == 0 || !(1..=10_000).contains(&about.classes) {
            return Err(bad(format!("it has {n} rows of {d} latents and {} labels", labels.len())));
        }
        if let Some(value) = values.iter().find(|x| !x.is_finite()) {
            return Err(bad(format!("it holds {value}")));
        }
        let labels = labels.to_i64().map_err(|e| bad(e.to_string()))?;
        Ok(Self {
            rows: tensor::from_f32(&values, &[n as i64, d as i64])?,
            labels: Labels::new(path, labels, about.classes)?,
            about,
        })
    }
}

/// Writes latents of public images, `[n, d]`.
///
/// # Errors
/// Where the file cannot be written; nothing is left under its name then.
pub fn save_public(rows: &Tensor, path: &Path) -> Result<FileRecord> {
    let (size, values) = (tensor::shape_of(rows), tensor::to_f32(rows)?);
    let mut file = AtomicFile::create(path, Access::Public)?;
    tensorfile::pt::write_array(&mut file, View::f32(&size, &values)?)?;
    Ok(file.commit()?)
}

/// Reads what [`save_public`] wrote, of `latent_dim` latents.
///
/// # Errors
/// Names the file and what is wrong with it.
pub fn load_public(path: &Path, latent_dim: i64) -> Result<Tensor> {
    let bad = |found: String| {
        Error::content(path, found, "give the public latents that were written beside the extractor")
    };
    let array = tensorfile::read(path)?.into_array()?;
    let (size, values) = (array.shape().to_vec(), array.into_f32());
    let [n, d] = size[..] else { return Err(bad(format!("its shape is {size:?}"))) };
    if d as i64 != latent_dim || n == 0 {
        return Err(bad(format!("its shape is {size:?}, and the extractor has {latent_dim} latents")));
    }
    if let Some(value) = values.iter().find(|x| !x.is_finite()) {
        return Err(bad(format!("it holds {value}")));
    }
    tensor::from_f32(&values, &[n as i64, d as i64])
}

/// How latents are bounded: in units of their public deviations, and no longer than a radius.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Largest L2 norm.
    pub radius: f64,
}

impl Bounds {
    /// `factor` times the norm that standard normal latents have on average, about.
    pub fn of(factor: f64, latent_dim: i64) -> Self {
        Self { radius: factor * (latent_dim as f64).sqrt() }
    }

    /// Rows in units of `standard`, shortened where they are too long; each is computed alone, so
    /// that its bytes do not depend on its place.
    ///
    /// # Errors
    /// No rows, other shapes, a radius that is not above 0.
    pub fn apply(&self, rows: &Tensor, standard: &Standard) -> Result<Tensor> {
        if !(self.radius > 0.0 && self.radius.is_finite()) {
            return Err(Error::invalid(format!("the radius is {}; it is a number above 0", self.radius)));
        }
        let _guard = tch::no_grad_guard();
        let radius = Tensor::from(self.radius).f_to_kind(rows.kind())?;
        let alone = |row| project(&standard.apply(&rows.f_narrow(0, row, 1)?), &radius);
        let bounded = (0..rows.size()[0]).map(alone).collect::<Result<Vec<_>>>()?;
        Ok(Tensor::f_cat(&bounded, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latents_come_back_and_stay_with_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("latents.pt");
        let about = About {
            extractor: "ab".into(),
            dataset: "mnist".into(),
            classes: 3,
            only_classes: vec![0, 2],
            records: None,
            method: serde_json::json!({ "method": "encoder" }),
        };
        let latents = Latents {
            about: about.clone(),
            rows: tensor::from_f32(&[1.0, -2.0, 3.0, 0.5], &[2, 2]).unwrap(),
            labels: Labels::new(&path, vec![0, 2], 3).unwrap(),
        };
        latents.save(&path).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
        }
        let back = Latents::load(&path).unwrap();
        assert_eq!((back.about, back.labels.values()), (about, &[0, 2][..]));
        assert!(back.rows.equal(&latents.rows));
    }

    #[test]
    fn bounded_rows_are_no_longer_than_the_radius() {
        let rows = tensor::from_f32(&[3.0, 4.0, 0.3, 0.4, 0.0, 0.0], &[3, 2]).unwrap();
        let standard = Standard {
            mean: tensor::from_f32(&[0.0, 0.0], &[2]).unwrap(),
            deviation: tensor::from_f32(&[1.0, 1.0], &[2]).unwrap(),
        };
        let bounded = Bounds { radius: 1.0 }.apply(&rows, &standard).unwrap();
        let bounded = tensor::to_f32(&bounded).unwrap();
        for (found, expected) in bounded.iter().zip([0.6, 0.8, 0.3, 0.4, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{bounded:?}");
        }
        assert!(Bounds { radius: 0.0 }.apply(&rows, &standard).is_err());
        assert!((Bounds::of(1.3, 32).radius - 7.353_91).abs() < 1e-4);
    }
}
