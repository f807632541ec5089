//! The names of all files and folders that steps leave for each other: each is written here once.

use std::path::{Path, PathBuf};

/// A teacher's weights.
pub const MODEL: &str = "model.pth";
/// A shard's images.
pub const SHARD: &str = "shard.pt";
/// A shard's labels.
pub const SHARD_LABELS: &str = "shard_labels.pt";
/// A shard's class counts.
pub const METADATA: &str = "metadata.json";
/// Which rows of the training set belong to which teacher.
pub const SHARD_INDICES: &str = "shard_indices.json";
/// Report of `prepare-shards`.
pub const SHARDS_REPORT: &str = "shards_report.json";
/// A decoder's weights.
pub const DECODER: &str = "decoder.pth";
/// A whole VAE's weights.
pub const VAE: &str = "vae_full.pth";
/// Posteriors of a decoder's training images.
pub const LATENTS: &str = "latents.pt";
/// Report of `pretrain-decoder`.
pub const PRETRAIN_REPORT: &str = "pretrain_report.json";
/// Report of a training: of a teacher, of all teachers, of a VAE, of a student.
pub const TRAINING_REPORT: &str = "training_report.json";
/// Curves of a training.
pub const TRAINING_CURVES: &str = "training_curves.png";
/// State of an unfinished training.
pub const CHECKPOINT: &str = "checkpoint.safetensors";
/// One teacher's samples.
pub const SAMPLES: &str = "synthetic_samples.pt";
/// Their labels; the end of the name for combined samples.
pub const LABELS: &str = "labels.csv";
/// Probabilities of all classes; the end of the name for combined samples.
pub const SOFT_LABELS: &str = "soft_labels.pt";
/// Report of one teacher's selection.
pub const SELECTION_REPORT: &str = "selection_report.json";
/// The selected samples by class, for a look.
pub const SELECTION_PICTURE: &str = "selected_samples.png";
/// Report of a batch over teachers.
pub const BATCH_REPORT: &str = "batch_report.json";
/// The ledger of a private data set, where its place is not given.
pub const LEDGER: &str = "privacy_ledger.jsonl";
/// Statistics of what a private classifier's layers see.
pub const DP_STATISTICS: &str = "dp_statistics.pt";
/// Report of a synthesis.
pub const SYNTHESIS_REPORT: &str = "synthesis_report.json";
/// Public images, what became of them, and what the classifier says.
pub const SYNTHESIS_PICTURE: &str = "synthesis.png";
/// Central images of a private data set, with their classes.
pub const CENTRAL_IMAGES: &str = "central_images.npz";
/// The same, for a look.
pub const CENTRAL_PICTURE: &str = "central_images.png";
/// Report of their query.
pub const CENTRAL_REPORT: &str = "central_report.json";
/// A diffusion model's weights, with its sizes.
pub const DIFFUSION: &str = "diffusion.safetensors";
/// Their average over the steps, which images are made with.
pub const DIFFUSION_EMA: &str = "diffusion_ema.safetensors";
/// A diffusion model's images with their classes, named as DPImageBench reads them.
pub const GENERATED: &str = "gen.npz";
/// Report of their sampling.
pub const SAMPLING_REPORT: &str = "sampling_report.json";
/// A control's weights: what public data alone give.
pub const PUBLIC_CONTROL: &str = "public_control.pth";
/// Report of an evaluation.
pub const EVALUATION_REPORT: &str = "evaluation_report.json";
/// An extractor of latents with its decoder, of `train-autoencoder` and `train-gan`.
pub const EXTRACTOR: &str = "extractor.pt";
/// Latents of public images, beside their extractor.
pub const PUBLIC_LATENTS: &str = "public_latents.pt";
/// Public images and what an extractor makes of them.
pub const RECONSTRUCTIONS: &str = "reconstructions.png";
/// Latents of private images.
pub const PRIVATE_LATENTS: &str = "private_latents.pt";
/// A released model of latents.
pub const LATENT_MODEL: &str = "latent_model.pt";
/// A picture of samples.
pub const SAMPLES_PICTURE: &str = "samples.png";
/// Report of labels that a classifier gave.
pub const RELABEL_REPORT: &str = "relabel_report.json";
/// Report of a scored data set.
pub const SCORE_REPORT: &str = "score_report.json";
/// A student's weights of the epoch that was best in validation.
pub const STUDENT_BEST: &str = "student_model_best.pth";
/// A student's weights of the last epoch.
pub const STUDENT_FINAL: &str = "student_model_final.pth";

/// Where the report of most files lies, so that a folder of many is seldom searched.
pub(crate) const REPORTS: [&str; 6] =
    [SELECTION_REPORT, PRETRAIN_REPORT, TRAINING_REPORT, EVALUATION_REPORT, SHARDS_REPORT, BATCH_REPORT];

/// The folder of images after k steps.
pub fn steps_taken(k: u32) -> String {
    format!("k{k}")
}

/// What the folders of teachers start with.
pub const TEACHER: &str = "teacher_";

/// Name of a teacher's folder of shards, samples or VAEs. (`train-teachers` names its folders by
/// the number alone, as the original does.)
pub fn teacher(id: u64) -> String {
    format!("{TEACHER}{id}")
}

/// A teacher's folder in `base`.
pub fn teacher_dir(base: &Path, id: u64) -> PathBuf {
    base.join(teacher(id))
}

/// Name of the pool that is made for a teacher.
pub fn teacher_pool(id: u64) -> String {
    format!("candidates_teacher_{id}.pt")
}

/// Name of the report of a batch over the teachers `first..=last`.
pub fn batch_report(first: u64, last: u64) -> String {
    format!("batch_report_{first}-{last}.json")
}
