//! What a run measures. Both sides read the same file, so that they do the same work.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::private::Row;

/// `settings.json` of the folder of inputs; `cargo xtask bench` writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Settings {
    /// Candidates in the pool.
    pub(crate) pool_size: usize,
    /// Seed of the pool, of training and of steering.
    pub(crate) seed: u64,
    /// Images labelled at once, as the programs' default has it.
    pub(crate) batch_size: usize,
    /// Samples that the diversity filter gets.
    pub(crate) survivors: usize,
    /// Maximum number of them of one class.
    pub(crate) max_per_class: usize,
    /// Minimum distance of the diversity filter.
    pub(crate) min_distance: f64,
    /// Share of a batch of latents that is mixed.
    pub(crate) mixing_ratio: f64,
    /// Noise on latents.
    pub(crate) noise_scale: f64,
    /// Latent steering.
    pub(crate) steering: Steering,
    /// Training of a teacher.
    pub(crate) teacher: Classifier,
    /// Training of a student.
    pub(crate) student: Classifier,
    /// Training of the decoder.
    pub(crate) decoder: Vae,
    /// Training of several teachers' VAEs.
    pub(crate) teacher_vaes: TeacherVaes,
    /// What private training costs.
    pub(crate) accounting: Accounting,
    /// Networks and batches of private steps, by part.
    pub(crate) private: BTreeMap<String, Row>,
}

/// DP-SGD with Poisson batches.
#[derive(Debug, Deserialize)]
pub(crate) struct Accounting {
    pub(crate) q: f64,
    pub(crate) delta: f64,
    /// One cost: noise and number of steps.
    pub(crate) sigma: f64,
    pub(crate) steps: u64,
    /// One calibration: the noise for this target after a number of steps.
    pub(crate) epsilon: f64,
    pub(crate) calibration_steps: u64,
    pub(crate) tolerance: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Steering {
    pub(crate) samples: u64,
    pub(crate) class: i64,
    pub(crate) steps: usize,
    pub(crate) learning_rate: f64,
    pub(crate) noise_scale: f64,
    /// Latents of the comparison without noise.
    pub(crate) exact_samples: i64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Classifier {
    /// Samples; the shard's own number for a teacher.
    pub(crate) samples: usize,
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) learning_rate: f64,
    pub(crate) momentum: f64,
    pub(crate) weight_decay: f64,
    /// Share of the samples that trains; 1: all of them, without validation.
    pub(crate) train_split: f64,
}

#[derive(Debug, Deserialize)]
pub(crate) struct TeacherVaes {
    pub(crate) networks: u64,
    #[serde(flatten)]
    pub(crate) vae: Vae,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Vae {
    pub(crate) latent_dim: i64,
    pub(crate) epochs: usize,
    pub(crate) batch_size: usize,
    pub(crate) learning_rate: f64,
    pub(crate) weight_decay: f64,
}

impl Settings {
    pub(crate) fn load(inputs: &Path) -> Result<Self> {
        let path = inputs.join("settings.json");
        let hint = || format!("cannot read {}; let `cargo xtask bench` make the inputs", path.display());
        let file = File::open(&path).with_context(hint)?;
        serde_json::from_reader(BufReader::new(file)).with_context(hint)
    }
}
