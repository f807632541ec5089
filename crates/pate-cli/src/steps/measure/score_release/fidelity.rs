//! How the images lie beside real ones in a feature space.

use anyhow::{Context as _, Result};
use artifact::FileRecord;
use pate_core::base::progress::Progress;
use pate_core::config::{FeatureKind, NetworkKind, Word as _};
use pate_core::data::{Images, Records};
use pate_core::evaluate::{self, Copies, InceptionScore, Resemblance, some_rows};
use pate_core::models::{Classifier, Declared, FeatureProgram};
use pate_core::train::classifier::answers;
use serde::Serialize;
use tch::{Device, Tensor};

use super::judges::{Judged, Judges};
use crate::args::InceptionArgs;

/// Images of a side at most.
const ROWS: usize = Resemblance::ROWS;
/// Parts of the inception score (the value of its paper).
const SPLITS: i64 = 10;
/// A set with fewer images has no such figures.
const LEAST: usize = 2 * SPLITS as usize;

/// Where images are compared, in words and, of a program, as its file.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SpaceName {
    /// What the Frechet distance is called in it.
    pub(super) measure: &'static str,
    /// Which network's features they are, and what it was trained on.
    pub(super) feature_space: String,
    /// The program's file.
    pub(super) program: Option<FileRecord>,
    /// What was declared of it.
    pub(super) declared: Option<Declared>,
}

/// The data set beside test images.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Fidelity {
    /// Where they are compared.
    #[serde(flatten)]
    pub(super) space: SpaceName,
    /// Beside the test images.
    pub(super) beside_test: Resemblance,
    /// One half of the test images beside the other: what real images reach.
    pub(super) test_halves: Resemblance,
    /// By the same network's probabilities; null where it gives none.
    pub(super) inception_score: Option<InceptionScore>,
}

/// The data set beside private images: no figure of it has a guarantee.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Private {
    /// In words, for readers of this part alone.
    pub(super) formal_guarantee: &'static str,
    /// Beside the private images; null for few of either.
    pub(super) resemblance: Option<Resemblance>,
    /// Near-copies of them.
    pub(super) copies: Copies,
}

enum Network {
    Own(Box<dyn Classifier>),
    Program(FeatureProgram),
}

/// The data set in a feature space.
pub(super) struct Beside<'a> {
    network: Network,
    name: SpaceName,
    judges: &'a Judges<'a>,
    /// Features of some of its images.
    features: Tensor,
    inception_score: Option<InceptionScore>,
}

impl<'a> Beside<'a> {
    /// Takes the features of the data set: those of `program`, else of the control's network, else
    /// of one that learnt the test images. Nothing for a set that is too small, or without
    /// images to compare with.
    ///
    /// # Errors
    /// A program that fails, a stop.
    pub(super) fn new(
        judges: &'a Judges<'a>,
        release: &Records,
        controlled: &[Judged],
        program: Option<(FeatureProgram, SpaceName)>,
    ) -> Result<Option<Self>> {
        let compared = judges.test.len() >= 2 * LEAST || judges.args.private_dir.is_some();
        if release.len() < LEAST || !compared {
            return Ok(None);
        }
        let (network, name) = match program {
            Some((program, name)) => (Network::Program(program), name),
            None => proxy(judges, controlled)?,
        };
        let images = some(&release.images, judges, 5)?;
        let progress = judges.ctx.progress();
        let (features, probabilities) = match &network {
            Network::Program(program) => {
                progress.start("image through the program", images.len() as u64);
                let answers = program.answers(&images, progress).context("cannot use --inception")?;
                (answers.features, answers.probabilities)
            }
            Network::Own(network) => {
                progress.start("image of the features", 2 * images.len() as u64);
                let features = features(&**network, judges, &images, progress)?;
                let said = answers(&**network, judges.normalisation, &images, 1.0, progress)?;
                (features, Some(said.soft.tensor()?))
            }
        };
        progress.finish();
        let inception_score = probabilities.map(|all| evaluate::inception_score(&all, SPLITS)).transpose()?;
        Ok(Some(Self { network, name, judges, features, inception_score }))
    }

    /// Features of real images.
    fn of(&self, images: &Images) -> Result<Tensor> {
        let progress = self.judges.ctx.progress();
        progress.start("real image of the features", images.len() as u64);
        let features = match &self.network {
            Network::Own(network) => features(&**network, self.judges, images, progress)?,
            Network::Program(program) => program.answers(images, progress)?.features,
        };
        progress.finish();
        Ok(features)
    }

    /// Beside the test images; nothing where they are few.
    ///
    /// # Errors
    /// A stop.
    pub(super) fn fidelity(&self) -> Result<Option<Fidelity>> {
        let (judges, ctx) = (self.judges, self.judges.ctx);
        if judges.test.len() < 2 * LEAST {
            return Ok(None);
        }
        let test = self.of(&some(&judges.test.images, judges, 6)?)?;
        let (progress, watch) = (ctx.progress(), ctx.watch());
        progress.start("comparison", 2);
        let beside_test = Resemblance::of(&test, &self.features, ROWS, &watch)?;
        progress.advance(1, "");
        let test_halves = Resemblance::of_halves(&test, (ctx.seed, 7), ROWS, &watch)?;
        progress.finish();
        let (space, inception_score) = (self.name.clone(), self.inception_score);
        Ok(Some(Fidelity { space, beside_test, test_halves, inception_score }))
    }
}

impl Private {
    /// Measures it.
    ///
    /// # Guarantee
    /// None: every figure is a function of private images.
    ///
    /// # Errors
    /// A stop.
    pub(super) fn measure(
        judges: &Judges<'_>,
        release: &Records,
        private: &Records,
        beside: Option<&Beside<'_>>,
    ) -> Result<Self> {
        let ctx = judges.ctx;
        let resemblance = match beside {
            Some(beside) if private.len() >= LEAST => {
                let real = beside.of(&some(&private.images, judges, 8)?)?;
                Some(Resemblance::of(&real, &beside.features, ROWS, &ctx.watch())?)
            }
            _ => None,
        };
        let progress = ctx.progress();
        progress.start("image beside private ones", release.len().min(ROWS) as u64);
        let (near, seed) = (judges.args.near, ctx.seed);
        let copies = evaluate::copies_of(&release.images, &private.images, near, seed, progress)?;
        progress.finish();
        Ok(Self {
            formal_guarantee: "none: every figure of this part is a function of private images",
            resemblance,
            copies,
        })
    }
}

/// The control's network, else one that learnt the test images.
fn proxy(judges: &Judges<'_>, controlled: &[Judged]) -> Result<(Network, SpaceName)> {
    let wanted = [NetworkKind::UcStub, NetworkKind::SmallCnn, NetworkKind::Mlp];
    let there = wanted.iter().find_map(|kind| controlled.iter().find(|judged| judged.classifier == *kind));
    let (network, what, kind) = if let Some(judged) = there {
        (judges.trained("control", judged)?, "the public control", judged.classifier)
    } else {
        let (network, kind) = judges.of_test()?;
        (network, "the test images", kind)
    };
    let name = SpaceName {
        measure: "FID-proxy",
        feature_space: format!("the last hidden layer of {} trained on {what}", kind.word()),
        program: None,
        declared: None,
    };
    Ok((Network::Own(network), name))
}

/// The program of `--inception`, and what it is called.
///
/// # Errors
/// No program of features.
pub(super) fn program(args: &InceptionArgs, device: Device) -> Result<Option<(FeatureProgram, SpaceName)>> {
    let Some((path, declared)) = args.given() else { return Ok(None) };
    let program = FeatureProgram::load(path, declared, device).context("cannot use --inception")?;
    let record = FileRecord::of(path)?;
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let gives = match declared.gives {
        FeatureKind::Features => "features",
        FeatureKind::FeaturesAndLogits => "features and logits",
    };
    let name = SpaceName {
        measure: "Frechet distance",
        feature_space: format!(
            "what the program {file} (SHA-256 {}) gives: {gives}, {} values; images are enlarged bilinearly to 299x299, in three channels",
            record.sha256,
            program.width()
        ),
        program: Some(record),
        declared: Some(declared),
    };
    Ok(Some((program, name)))
}

fn features(
    network: &dyn Classifier,
    judges: &Judges<'_>,
    images: &Images,
    progress: &dyn Progress,
) -> Result<Tensor> {
    Ok(evaluate::features(network, judges.normalisation, images, judges.ctx.device, progress)?)
}

/// Some images, drawn by the seed.
fn some(images: &Images, judges: &Judges<'_>, index: u64) -> Result<Images> {
    Ok(images.select(&some_rows(images.len(), ROWS, judges.ctx.seed, index))?)
}
