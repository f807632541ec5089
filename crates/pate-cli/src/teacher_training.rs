//! One teacher of `train-teachers`: trained, or kept where it is there already.

use std::path::Path;

use anyhow::{Context as _, Result};
use artifact::{Access, FileRecord, write_bytes};
use pate_core::data::Records;
use pate_core::evaluate::{self, ClassifierScore};
use pate_core::models::{self, UcStub};
use pate_core::progress::{Progress, Silent};
use pate_core::train::NoCheckpoint;
use pate_core::train::classifier::{self, ClassifierData, ClassifierPlan};
use tch::Device;

/// A teacher to train.
pub struct TeacherJob<'a> {
    /// `<output-dir>/<id>/model.pth`.
    pub path: &'a Path,
    /// Its rows of the training set.
    pub rows: &'a [i64],
    /// Settings, with its own seed.
    pub plan: &'a ClassifierPlan,
    /// Train again what is there?
    pub force: bool,
}

/// What the file beside a teacher may take.
const LONGEST_MARK: u64 = 1000;

/// Images tested at once.
const TEST_BATCH: usize = 64;

impl TeacherJob<'_> {
    /// Trains the teacher, and tests it where there is a test set; the flag says whether an earlier run's file was kept.
    ///
    /// # Errors
    /// Where training fails or a file cannot be written.
    pub fn run(
        &self,
        train: &Records,
        test_set: Option<&Records>,
        device: Device,
        watch: &dyn Progress,
    ) -> Result<(Option<ClassifierScore>, bool)> {
        let normalisation = &self.plan.normalisation;
        let shard = train.select(self.rows)?;
        let mark = self.mark(&shard)?;
        let mark_path = self.path.with_extension("fingerprint");
        let kept = !self.force && self.path.is_file() && self.is_marked(&mark_path, &mark);
        let network = if kept {
            let _own = input_file::own();
            UcStub::load(self.path, shard.spec(), device)?
        } else {
            let network = UcStub::new(shard.spec(), self.plan.seed, device)?;
            let trained = classifier::train(
                network,
                &ClassifierData::new(&shard),
                self.plan,
                device,
                watch,
                &NoCheckpoint,
            )
            .with_context(|| format!("cannot train {}", self.path.display()))?;
            let record = models::save(&trained.network, self.path, Access::Private)?;
            write_bytes(&mark_path, Access::Private, format!("{mark}\n{}\n", record.sha256).as_bytes())?;
            trained.network
        };
        let test = |test| evaluate::classifier(&network, normalisation, test, device, TEST_BATCH, &Silent);
        let score = test_set.map(test).transpose()?;
        Ok((score, kept))
    }

    /// Identity of everything that decides the weights.
    fn mark(&self, shard: &Records) -> Result<String> {
        let mut bytes = format!("{} {:?}", env!("CARGO_PKG_VERSION"), self.plan).into_bytes();
        for value in shard.images.to_vec()? {
            bytes.extend(value.to_le_bytes());
        }
        for label in shard.labels.values() {
            bytes.extend(label.to_le_bytes());
        }
        Ok(artifact::sha256_bytes(&bytes))
    }

    fn is_marked(&self, mark_path: &Path, mark: &str) -> bool {
        let _own = input_file::own();
        let Ok(text) = input_file::read_text(mark_path, LONGEST_MARK) else { return false };
        let mut lines = text.lines();
        let same = lines.next() == Some(mark);
        same && FileRecord::of(self.path).is_ok_and(|record| lines.next() == Some(&record.sha256))
    }
}
