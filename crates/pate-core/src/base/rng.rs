//! Where random numbers come from.
//!
//! Every use has its own ChaCha20 stream, named by (effective seed, purpose, index): a batch of
//! latents or the shuffle of an epoch can be made again alone, in any order. The effective seed of
//! teacher `t` is the seed plus `t`. libtorch's generator is one for the whole process; callers
//! that need it (dropout, pixel noise, the replay of the original program's latents) seed it and
//! hold it through [`TorchGenerator`].
//!
//! These streams are for reproducible work. They are no source of privacy noise.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution as _, StandardNormal, StandardUniform};
use tch::Tensor;

use crate::Result;
use crate::base::tensor;

/// What a stream is for. The name is part of the stream's key: renaming one changes results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Initial weights of a network.
    Weights,
    /// Latents of candidates; the index is the batch.
    Latents,
    /// Start points of latent steering; the index is the class.
    SteeringStart,
    /// Noise between steering steps; the index is the class.
    SteeringNoise,
    /// Order of the records; the index is the epoch.
    Shuffle,
    /// Division into training and validation records.
    Split,
    /// Geometry of augmentation; the index is the epoch.
    Augmentation,
    /// Changes to decoded candidates; the index is the batch.
    CandidateAugmentation,
    /// Changes to public images whose posteriors are kept; the index is the copy.
    LatentBank,
    /// Dropout and pixel noise, through libtorch's generator; the index is the epoch.
    Torch,
    /// Records to shards.
    Assignment,
    /// Rows of a combined data set.
    Combine,
    /// Rows that stand for a data set where data sets are compared; the index is the set's.
    Comparison,
    /// Images that tell what a program gives.
    Probe,
    /// Changes to public images that features are whitened by; the index is the chunk.
    PublicFeatures,
    /// Directions that whitening starts its search from.
    Whitening,
    /// Made-up records that private training tries its network on.
    Trial,
    /// Which public images candidates are made of; the index is the turn through all of them.
    Candidates,
    /// Rolls and mirrorings of images that are moved; the index is the batch.
    Synthesis,
    /// Samples and noise of trainings without protection; the index is the step.
    Unprotected,
    /// Samples and noise of a GAN's training; the index is the generator's step.
    Gan,
    /// Where the search for an image's latents starts; the index is the record's own number.
    Inversion,
    /// What a private record's loss draws; the index is the step.
    LatentNoise,
    /// Latents of samples that leave; the index is the batch.
    Sampling,
    /// Noise and its levels that a diffusion model learns from; the index is the step.
    DiffusionNoise,
    /// Noise that images are made of; the index is the batch.
    DiffusionSamples,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Latents => "latents",
            Self::SteeringStart => "steering-start",
            Self::SteeringNoise => "steering-noise",
            Self::Shuffle => "shuffle",
            Self::Split => "split",
            Self::Augmentation => "augmentation",
            Self::CandidateAugmentation => "candidate-augmentation",
            Self::LatentBank => "latent-bank",
            Self::Torch => "torch",
            Self::Assignment => "assignment",
            Self::Combine => "combine",
            Self::Comparison => "comparison",
            Self::Probe => "probe",
            Self::PublicFeatures => "public-features",
            Self::Whitening => "whitening",
            Self::Trial => "trial",
            Self::Candidates => "candidates",
            Self::Synthesis => "synthesis",
            Self::Unprotected => "unprotected",
            Self::Gan => "gan",
            Self::Inversion => "inversion",
            Self::LatentNoise => "latent-noise",
            Self::Sampling => "sampling",
            Self::DiffusionNoise => "diffusion-noise",
            Self::DiffusionSamples => "diffusion-samples",
        }
    }
}

/// One stream of random numbers.
pub struct Stream(ChaCha20Rng);

impl Stream {
    /// The stream of (effective seed, purpose, index).
    pub fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let name = format!("pate-synth/1\n{seed}\n{}\n{index}", purpose.name());
        let mut key = [0; 32];
        key.copy_from_slice(&artifact::sha256_raw(name.as_bytes()));
        Self(ChaCha20Rng::from_seed(key))
    }

    /// Standard normal values.
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| StandardNormal.sample(&mut self.0)).collect()
    }

    /// Standard normal tensor of `shape`, float32.
    ///
    /// # Errors
    /// Where libtorch cannot hold it.
    pub fn normal_tensor(&mut self, shape: &[i64]) -> Result<Tensor> {
        let n = shape.iter().product::<i64>() as usize;
        tensor::from_f32(&self.normal(n), shape)
    }

    /// Uniform values in `[low, high)`.
    pub fn uniform(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n)
            .map(|_| {
                let u: f32 = StandardUniform.sample(&mut self.0);
                low + (high - low) * u
            })
            .collect()
    }

    /// Uniform integer in `0..n`, without bias (rejection). `n` must be above 0.
    pub fn below(&mut self, n: u64) -> u64 {
        let reject_from = u64::MAX - u64::MAX % n;
        loop {
            let x = self.0.next_u64();
            if x < reject_from {
                return x % n;
            }
        }
    }

    /// A uniformly random order of `0..n` (Fisher-Yates).
    pub fn permutation(&mut self, n: usize) -> Vec<i64> {
        let mut order: Vec<i64> = (0..n as i64).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i as u64 + 1) as usize);
        }
        order
    }

    fn next_i64(&mut self) -> i64 {
        (self.0.next_u64() >> 1) as i64
    }
}

static TORCH: Mutex<()> = Mutex::new(());

/// Holds libtorch's process-wide generator; nobody else can seed it meanwhile.
pub struct TorchGenerator {
    _held: MutexGuard<'static, ()>,
}

impl TorchGenerator {
    /// Takes the generator. Seed it before drawing.
    pub fn hold() -> Self {
        Self { _held: TORCH.lock().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Seeds it from a named stream.
    pub fn seed_stream(&mut self, seed: u64, index: u64) {
        self.seed_raw(Stream::new(seed, Purpose::Torch, index).next_i64());
    }

    /// Seeds it with `torch.manual_seed(seed)`'s meaning.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that seeds libtorch's generator, under its lock"
    )]
    pub fn seed_raw(&mut self, seed: i64) {
        tch::manual_seed(seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_stream_and_other_names_are_others() {
        let draw = |seed, purpose, index| Stream::new(seed, purpose, index).normal(4);
        let base = draw(42, Purpose::Latents, 0);
        assert_eq!(base, draw(42, Purpose::Latents, 0));
        for other in
            [draw(43, Purpose::Latents, 0), draw(42, Purpose::Shuffle, 0), draw(42, Purpose::Latents, 1)]
        {
            assert_ne!(base, other);
        }
    }

    // Written by this crate at its first version. It guards "same seed, same bytes" across versions
    // of the random number crates; a change here changes every artefact of every user.
    #[test]
    fn the_stream_is_frozen() {
        let mut stream = Stream::new(42, Purpose::Latents, 0);
        let bits: Vec<u32> = stream.normal(3).iter().map(|x| x.to_bits()).collect();
        assert_eq!(bits, FROZEN_NORMAL);
        assert_eq!(stream.below(1000), FROZEN_BELOW);
    }
    const FROZEN_NORMAL: [u32; 3] = [3_217_918_220, 3_214_347_059, 1_057_797_274];
    const FROZEN_BELOW: u64 = 915;

    #[test]
    fn normal_moments() {
        let n = 200_000;
        let values = Stream::new(1, Purpose::Latents, 0).normal(n);
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n as f64;
        let var = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64 - mean * mean;
        // Five standard errors: 5/sqrt(n) and 5 sqrt(2/n).
        assert!(mean.abs() < 0.0112, "{mean}");
        assert!((var - 1.0).abs() < 0.0159, "{var}");
    }

    #[test]
    fn a_permutation_holds_everyone_once() {
        let mut order = Stream::new(7, Purpose::Shuffle, 3).permutation(1000);
        assert_ne!(order[..5], [0, 1, 2, 3, 4]);
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &x)| i as i64 == x));
    }
}
