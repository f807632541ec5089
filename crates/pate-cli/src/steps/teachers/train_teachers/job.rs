//! One teacher of `train-teachers`: trained, or kept where it is there already.

use std::path::Path;

use anyhow::{Context as _, Result};
use artifact::{FINGERPRINT, Report, WorkId, layout};
use pate_core::base::progress::{Progress, Silent};
use pate_core::data::Records;
use pate_core::evaluate;
use pate_core::models::{self, UcStub};
use pate_core::train::NoCheckpoint;
use pate_core::train::classifier::{self, ClassifierData, ClassifierPlan};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tch::Device;

use crate::resume::{Details, Status, cell};

/// A teacher to train.
pub(super) struct TeacherJob<'a> {
    /// Its number.
    pub teacher_id: u64,
    /// `<output-dir>/<id>/model.pth`.
    pub path: &'a Path,
    /// Its rows of the training set.
    pub rows: &'a [i64],
    /// Settings, with its own seed.
    pub plan: &'a ClassifierPlan,
    /// Train again what is there?
    pub force: bool,
    /// The run's part of its report.
    pub envelope: &'a Map<String, Value>,
}

/// What the report says of a teacher.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Trained {
    /// Records of its shard.
    pub shard_size: usize,
    /// Per cent of the test images, where it was tested.
    pub test_accuracy: Option<f64>,
    /// Mean loss on them.
    pub test_loss: Option<f64>,
}

impl Details for Trained {
    const COLUMNS: &[&str] = &["records", "accuracy", "loss"];

    fn cells(&self) -> Vec<String> {
        let number = |value| cell(value, |v: f64| format!("{v:.2}"));
        vec![self.shard_size.to_string(), number(self.test_accuracy), number(self.test_loss)]
    }

    fn note(&self) -> String {
        match self.test_accuracy {
            Some(accuracy) => format!("{accuracy:.2}% of the test images"),
            None => "not tested".to_owned(),
        }
    }
}

/// The report beside a teacher's weights.
pub(super) const REPORT: &str = layout::TRAINING_REPORT;

/// Images tested at once.
const TEST_BATCH: usize = 64;

impl TeacherJob<'_> {
    /// Trains the teacher, or keeps what an earlier run left, and tests it where there is a test
    /// set.
    ///
    /// # Errors
    /// Where training fails or a file cannot be written.
    pub(super) fn run(
        &self,
        train: &Records,
        test_set: Option<&Records>,
        device: Device,
        watch: &dyn Progress,
    ) -> Result<(Status, Trained)> {
        let normalisation = &self.plan.normalisation;
        let shard = train.select(self.rows)?;
        let work = self.work(&shard)?;
        let report_path = self.path.with_file_name(REPORT);
        // The report beside the weights decides, and it is written after them.
        let kept = !self.force && work.finished(&report_path).is_some();
        let network = if kept {
            // What an earlier run wrote is no input, or it could not be written again.
            let _own = input_file::own();
            UcStub::load(self.path, shard.shape(), device)?
        } else {
            let network = UcStub::new(shard.shape(), shard.classes(), self.plan.seed, device)?;
            let trained = classifier::train(
                network,
                &ClassifierData::new(&shard),
                self.plan,
                device,
                watch,
                &NoCheckpoint,
            )
            .with_context(|| format!("cannot train {}", self.path.display()))?;
            let mut report = Report::new();
            report.reads_private(REASON);
            report.output(models::save(&trained.network, self.path, report.access())?);
            report
                .field("teacher_id", self.teacher_id)?
                .field("shard_size", shard.len())?
                .field("plan", self.plan)?
                .field("training_history", &trained.history)?
                .field(FINGERPRINT, &work)?;
            report.write(&report_path, self.envelope)?;
            trained.network
        };
        let test = |test| evaluate::classifier(&network, normalisation, test, device, TEST_BATCH, &Silent);
        // Kept teachers are tested, too: their report was written before any test.
        let score = test_set.map(test).transpose()?;
        let trained = Trained {
            shard_size: self.rows.len(),
            test_accuracy: score.as_ref().map(|score| score.overall_accuracy),
            test_loss: score.as_ref().map(|score| score.average_loss),
        };
        Ok((if kept { Status::Skipped } else { Status::Done }, trained))
    }

    /// What decides the weights.
    fn work(&self, shard: &Records) -> Result<WorkId> {
        let settings = json!({ "plan": self.plan, "images": shard.images.tensor().size(), "labels": shard.labels.values() });
        Ok(WorkId::new(&settings, [shard.images.sha256()?.as_str()])?)
    }
}

/// Why teachers have no guarantee.
pub(super) const REASON: &str = "teachers are trained on private shards without a privacy mechanism";
