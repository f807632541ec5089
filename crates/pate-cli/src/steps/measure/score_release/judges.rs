//! The classifiers that learn a data set and are tested.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::{FINGERPRINT, FileRecord, Guarantee, Report, WorkId, layout};
use pate_core::base::progress::Progress;
use pate_core::config::{NetworkKind, Word as _};
use pate_core::data::{Normalisation, Records};
use pate_core::evaluate;
use pate_core::models::{self, Classifier, SmallCnn};
use pate_core::train::recipes::{self, Lesson, Recipe};
use pate_core::train::{CheckpointStore, NoCheckpoint};
use serde::{Serialize, Serializer};
use serde_json::json;
use tch::Tensor;

use super::ScoreRelease;
use crate::resume::checkpoint::{Checkpoint, Sparing};
use crate::run::Context;

/// What all classifiers of a run share.
pub(super) struct Judges<'a> {
    pub(super) args: &'a ScoreRelease,
    pub(super) normalisation: &'a Normalisation,
    pub(super) test: &'a Records,
    pub(super) ctx: &'a Context,
}

/// A classifier's results.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Judged {
    /// Which one.
    #[serde(serialize_with = "as_word")]
    pub(super) classifier: NetworkKind,
    /// Its recipe, with the first seed.
    pub(super) recipe: Recipe,
    /// Mean accuracy over the runs, in per cent.
    pub(super) mean: f64,
    /// Standard deviation over the runs, with one less than their number as the divisor; null for
    /// one run.
    pub(super) std: Option<f64>,
    /// The worst run.
    pub(super) min: f64,
    /// The best run.
    pub(super) max: f64,
    /// Each run.
    pub(super) runs: Vec<Run>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn as_word<S: Serializer>(network: &NetworkKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(network.word())
}

/// One training and its test.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Run {
    /// Seed of weights and order.
    pub(super) seed: u64,
    /// Per cent of the test images.
    pub(super) accuracy: f64,
    /// 95% Wilson interval of it.
    pub(super) accuracy_interval_95: [f64; 2],
    /// Mean negative log-likelihood of the test images' classes.
    pub(super) loss: f64,
    /// Its weights.
    #[serde(skip)]
    pub(super) weights: FileRecord,
}

/// Probabilities of all classes in the labels' place.
pub(super) struct Soft {
    /// `[n, classes]`.
    pub(super) rows: Tensor,
    /// Temperature at which they were softened.
    pub(super) temperature: f64,
    /// Where they came from.
    pub(super) file: FileRecord,
}

/// What is learnt.
struct Subject<'a> {
    origin: &'static str,
    records: &'a Records,
    /// SHA-256 of its images.
    images: String,
    soft: Option<&'a Soft>,
    label: &'a Guarantee,
}

/// Where a classifier is kept, in the output folder.
pub(super) fn folder(origin: &str, network: NetworkKind, seed: u64) -> PathBuf {
    Path::new("classifiers").join(format!("{origin}_{}_{seed}", network.word()))
}

/// What learns the test images for its features, where there is no control: the perceptron where
/// images are too small for the other.
pub(super) const OF_TEST: [NetworkKind; 2] = [NetworkKind::SmallCnn, NetworkKind::Mlp];

/// Images tested at once.
const BATCH: usize = 64;

impl Judges<'_> {
    /// All classifiers on `records`, kept under the name of `origin`, with the label of what they
    /// learnt.
    ///
    /// # Errors
    /// Images that are too small for one of them, a file that cannot be written, a stop.
    pub(super) fn judge(
        &self,
        origin: &'static str,
        records: &Records,
        soft: Option<&Soft>,
        label: &Guarantee,
    ) -> Result<Vec<Judged>> {
        let subject = Subject { origin, records, images: records.images.sha256()?, soft, label };
        let mut all = Vec::new();
        for &network in &self.args.classifiers {
            let mut runs = Vec::new();
            let n = self.args.seeds_of(network);
            for at in 0..n {
                let seed = self.ctx.seed.wrapping_add(at);
                let what = format!("{origin}: {}, {} of {n}", network.word(), at + 1);
                runs.push(
                    self.one(&subject, network, seed).with_context(|| format!("cannot judge by {what}"))?,
                );
            }
            let accuracies: Vec<f64> = runs.iter().map(|run| run.accuracy).collect();
            let mean = accuracies.iter().sum::<f64>() / n as f64;
            let squares: f64 = accuracies.iter().map(|accuracy| (accuracy - mean).powi(2)).sum();
            all.push(Judged {
                classifier: network,
                recipe: self.recipe(network, records, self.ctx.seed)?,
                mean,
                std: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
                min: accuracies.iter().copied().fold(f64::INFINITY, f64::min),
                max: accuracies.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                runs,
            });
        }
        Ok(all)
    }

    fn recipe(&self, network: NetworkKind, records: &Records, seed: u64) -> Result<Recipe> {
        Ok(Recipe::of(network, records.len(), self.normalisation.clone(), seed)?)
    }

    fn folder(&self, origin: &str, network: NetworkKind, seed: u64) -> PathBuf {
        self.args.output_dir.join(folder(origin, network, seed))
    }

    /// A trained classifier of this run.
    ///
    /// # Errors
    /// Where its file cannot be read.
    pub(super) fn trained(&self, origin: &str, judged: &Judged) -> Result<Box<dyn Classifier>> {
        let path = self.folder(origin, judged.classifier, self.ctx.seed).join(layout::MODEL);
        let _own = input_file::own();
        Ok(models::load_classifier(&path, self.test.shape(), self.ctx.device)?)
    }

    /// A classifier that learnt the test images themselves, for its features alone, and which.
    ///
    /// # Errors
    /// As [`Judges::judge`].
    pub(super) fn of_test(&self) -> Result<(Box<dyn Classifier>, NetworkKind)> {
        let (shape, seed) = (self.test.shape(), self.ctx.seed);
        let [small_cnn, mlp] = OF_TEST;
        let network = if shape.height.min(shape.width) < SmallCnn::LEAST_SIDE { mlp } else { small_cnn };
        let label = &Guarantee::none("it learnt the test images, for its features");
        let (records, images) = (self.test, self.test.images.sha256()?);
        self.one(&Subject { origin: "test", records, images, soft: None, label }, network, seed)?;
        let path = self.folder("test", network, seed).join(layout::MODEL);
        let _own = input_file::own();
        Ok((models::load_classifier(&path, shape, self.ctx.device)?, network))
    }

    fn one(&self, subject: &Subject<'_>, network: NetworkKind, seed: u64) -> Result<Run> {
        let Subject { origin, records, images, soft, label } = subject;
        let recipe = self.recipe(network, records, seed)?;
        let settings = json!({
            "network": network.word(),
            "recipe": recipe,
            "normalisation": self.normalisation,
            "labels": records.labels.values(),
            "soft_labels": soft.map(|soft| (&soft.file.sha256, soft.temperature)),
            "classes": records.classes(),
            "label": label.to_json(),
        });
        let work = WorkId::new(&settings, [images.as_str()])?;
        let folder = self.folder(origin, network, seed);
        let path = folder.join(layout::MODEL);
        let report_path = folder.join(layout::TRAINING_REPORT);
        let (progress, device) = (self.ctx.progress(), self.ctx.device);
        let trained: Box<dyn Classifier> = if work.finished(&report_path).is_some() {
            let _own = input_file::own();
            models::load_classifier(&path, records.shape(), device)?
        } else {
            let mut report = Report::new();
            report.released((*label).clone());
            let (unit, extent) = recipe.extent();
            progress.start(&format!("{origin}, {}, seed {seed}: {unit}", network.word()), extent);
            let lesson = Lesson {
                records,
                soft_labels: soft.map(|soft| &soft.rows),
                temperature: soft.map_or(1.0, |soft| soft.temperature),
                normalisation: self.normalisation,
            };
            let watch = self.ctx.watch();
            let both: (&dyn Progress, &dyn Progress) = (progress, &watch);
            let kept = recipe
                .is_long()
                .then(|| {
                    let (access, file) = (report.access(), folder.join(layout::CHECKPOINT));
                    Checkpoint::of_training(file, &work, [], access, self.ctx)
                })
                .transpose()?;
            if let Some(kept) = &kept {
                kept.announce(self.ctx);
            }
            let sparing = kept.as_ref().map(Sparing::new);
            let store: &dyn CheckpointStore = match &sparing {
                Some(sparing) => sparing,
                None => &NoCheckpoint,
            };
            let trained = recipes::train(network, &recipe, &lesson, device, both, store)?;
            progress.finish();
            report.output(models::save(&*trained, &path, report.access())?);
            report.field("network", network.word())?.field("recipe", &recipe)?.field(FINGERPRINT, &work)?;
            report.write(&report_path, &self.ctx.envelope_of(report.guarantee()))?;
            // After the report: a run that ends before it goes on from the checkpoint.
            if let Some(kept) = &kept {
                kept.remove();
            }
            trained
        };
        let watch = self.ctx.watch();
        let normalisation = recipe.normalisation(self.normalisation);
        let score = evaluate::classifier(&*trained, normalisation, self.test, device, BATCH, &watch)?;
        Ok(Run {
            seed,
            accuracy: score.overall_accuracy,
            accuracy_interval_95: score.accuracy_interval_95,
            loss: score.average_loss,
            weights: FileRecord::of_output(&path)?,
        })
    }
}
