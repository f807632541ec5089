//! `train-dp-classifier`: a classifier of private images by DP-SGD.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use artifact::{Access, Input, Report, WorkId, layout};
use clap::Parser;
use pate_core::config::{NetworkKind, Word as _};
use pate_core::data::{Normalisation, Records, Split};
use pate_core::dp::{self, PrivateFeatures, PrivateImages, PrivatePlan, PrivateTask};
use pate_core::models::{self, Classifier, ScatterLinear};
use pate_core::nn;
use serde_json::json;

use super::public_features::PublicFeatureArgs;
use crate::args::{BudgetArgs, ConfigArgs, DpSgdArgs, PrivateDataArgs, ViewsArgs, parse_path, word_among};
use crate::files::data_sets;
use crate::resume::charged::{self, Charged, SENSITIVITY, Training, refuse_other_state};
use crate::resume::checkpoint::{self, Checkpoint};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings::{self, Beside, PrivacyTarget, PrivateDefaults};

/// Train a classifier of private images with DP-SGD
///
/// Each step draws a Poisson sample, clips every record's gradient, and releases their sum with
/// discrete Gaussian noise of a fresh key. The noise is solved for the budget and the number of
/// steps; a ledger is charged before each block of steps, durably, so that a stopped run goes on
/// and never costs less than was drawn. (epsilon, delta)-differential privacy for adding or
/// removing one record.
#[derive(Parser)]
#[command(
    name = "train-dp-classifier",
    version,
    after_help = "\
Examples:
  train-dp-classifier --data-dir datasets --network scatter-linear --public digits \\
    --start public --epsilon 1 --output-dir dp_classifier
  train-dp-classifier --data-dir datasets --network small-cnn --epsilon 3 \\
    --output-dir dp_cnn
  train-dp-classifier --data-dir datasets --network small-cnn --epsilon inf --clip-only \\
    --output-dir dp_cnn_control

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainDpClassifier {
    /// Folder of the private images: MNIST's or Fashion-MNIST's (torchvision's layout, or the IDX
    /// files straight in it), or of --dataset folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    pub(super) data_dir: PathBuf,
    #[command(flatten)]
    pub(super) data: PrivateDataArgs,
    /// Architecture
    #[arg(long, value_name = "NAME", value_parser = word_among(&NetworkKind::OF_RECORDS), default_value = "small-cnn", help_heading = "Network")]
    pub(super) network: NetworkKind,
    /// Channels of the residual network's first layer, even
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(i64).range(2..=512), help_heading = "Network")]
    pub(super) width: i64,
    #[command(flatten)]
    pub(super) budget: BudgetArgs,
    #[command(flatten)]
    pub(super) dp_sgd: DpSgdArgs,
    #[command(flatten)]
    pub(super) views: ViewsArgs,
    #[command(flatten)]
    pub(super) public: PublicFeatureArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "dp_classifier", help_heading = "Output")]
    pub(super) output_dir: PathBuf,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) run: RunArgs,
    /// What of the budget is kept for a release beside the training.
    #[arg(skip)]
    pub(super) beside: Option<Beside>,
}

const OUTPUTS: [&str; 4] = [layout::MODEL, layout::PUBLIC_CONTROL, layout::TRAINING_REPORT, checkpoint::FILE];

impl Step for TrainDpClassifier {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        let asked = self.budget.asked()?;
        let protects = self.dp_sgd.protects(asked)?;
        self.views.check(self.network)?;
        let defaults = PrivateDefaults::of_classifier(self.network);
        let mut plan = self.dp_sgd.plan(&defaults, self.data.dataset.known_records())?;
        let public = if self.network == NetworkKind::ScatterLinear { self.public.load()? } else { None };
        let records = self.data.load(&self.data_dir, Split::Train).context("cannot use the private data")?;
        let mut network = Network::fresh(self, &records, ctx)?;
        // Solved before anything is written: what cannot be met is refused for nothing.
        let dimension = network.trained().iter().map(|p| p.value().numel() as u64).sum();
        let charged = self.charged(protects);
        let target = charged.solve(&mut plan, asked, dimension)?;
        self.dp_sgd.set_free(asked, &mut plan);
        if let Some(path) = &self.dp_sgd.diagnostics {
            Context::claim_file("--diagnostics", path)?;
        }
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let mut report = self.report(&plan, target, public.as_ref(), &records, protects)?;
        let (checkpoint, work) =
            self.checkpoint(&plan, public.as_ref(), &records, &normalisation, report.access(), ctx)?;
        if self.is_finished(&work, ctx) {
            return Ok(Outcome::Done);
        }
        refuse_other_state(&checkpoint)?;
        if let Some(public) = &public {
            network = network.whitened(self, public, &normalisation, ctx)?;
        }
        let control = network.control(self, &self.output_dir)?;
        let views = self.views.views(ctx.seed, records.shape().width);
        let task = network.task(&records, &normalisation, views, ctx)?;
        let training = Training {
            task: &*task,
            plan: &plan,
            dimension,
            target,
            purpose: &format!("steps of DP-SGD for {}", self.network.word()),
            checkpoint: &checkpoint,
            diagnostics: self.dp_sgd.diagnostics.as_deref(),
        };
        let trained = charged.train(&training, &mut report, ctx)?;
        drop(task);
        if let Some(average) = &trained.average {
            network.put(average)?;
        }
        let access = report.access();
        let model_path = self.output_dir.join(layout::MODEL);
        let model = models::save(network.classifier(), &model_path, access)?;
        report.field("model_path", &model_path)?;
        charged::describe_steps(&mut report, &plan, trained.steps, &work)?;
        loaded.describe(&mut report)?;
        report.output(model);
        if let Some(control) = control {
            report.output(control);
        }
        ctx.write_report(&report, &self.output_dir.join(layout::TRAINING_REPORT))?;
        // After the report: a run that ends before it goes on from the checkpoint.
        checkpoint.remove();
        charged::tell(ctx, &plan, trained.steps, &model_path, &report);
        Ok(Outcome::Done)
    }
}

impl TrainDpClassifier {
    /// What pays for it.
    fn charged(&self, protects: bool) -> Charged<'_> {
        Charged {
            budget: &self.budget,
            output_dir: &self.output_dir,
            dataset: self.dataset_name(),
            beside: self.beside,
            protects,
        }
    }

    /// The public name of the private data set.
    fn dataset_name(&self) -> String {
        self.data.name(self.budget.dataset_name.as_ref(), &self.data_dir)
    }

    /// A report that says so far what is public, and has the label that the run can have.
    fn report(
        &self,
        plan: &PrivatePlan,
        target: PrivacyTarget,
        public: Option<&Records>,
        records: &Records,
        protects: bool,
    ) -> Result<Report> {
        let mut report = Report::new();
        report
            .field("network", self.network.word())?
            .field("width", (self.network == NetworkKind::ResNet).then_some(self.width))?
            .field(
                "records_publicly_known",
                self.dp_sgd.length.records.or(self.data.dataset.known_records()),
            )?
            .field("plan", plan)?
            .field("kept_for", self.beside.map(|beside| beside.cap))?
            .field("views", self.views.views(0, records.shape().width).map(|views| views.count))?
            .field(
                "public_data",
                (self.network == NetworkKind::ScatterLinear).then(|| self.public.settings()),
            )?;
        data_sets::describe_kind(&mut report, records)?;
        charged::describe(&mut report, &self.dataset_name(), target, SENSITIVITY)?;
        for record in PublicFeatureArgs::files(public)? {
            report.input(Input::public(record));
        }
        if !protects {
            charged::describe_unprotected(&mut report, target);
            data_sets::describe(&mut report, records)?;
        }
        Ok(report)
    }

    /// The checkpoint of exactly this training. Nothing of the private data decides its name: the
    /// ledger says whose it is.
    fn checkpoint(
        &self,
        plan: &PrivatePlan,
        public: Option<&Records>,
        records: &Records,
        normalisation: &Normalisation,
        access: Access,
        ctx: &Context,
    ) -> Result<(Checkpoint, WorkId)> {
        let settings = json!({
            "plan": plan, "network": self.network, "width": self.width, "data": self.dataset_name(),
            "public": self.public.settings(), "views": self.views.views(ctx.seed, records.shape().width), "normalisation": normalisation,
            "seed": ctx.seed, "epsilon": self.budget.epsilon.map(|epsilon| epsilon.to_string()), "mu": self.budget.mu,
            "sigma": self.budget.noise_multiplier, "beside": self.beside.map(|beside| beside.cap),
            "delta": self.budget.delta, "float_noise": self.dp_sgd.float_noise, "ledger": self.budget.ledger, "scale": self.data.scale.scale,
            "shape": &records.images.tensor().size()[1..],
        });
        let files = PublicFeatureArgs::files(public)?;
        let work = WorkId::new(&settings, files.iter().map(|file| file.sha256.as_str()))?;
        Ok((Checkpoint::new(self.output_dir.join(checkpoint::FILE), work.clone(), access), work))
    }

    /// Whether this very training is done, with all that it made.
    fn is_finished(&self, work: &WorkId, ctx: &Context) -> bool {
        let path = self.output_dir.join(layout::TRAINING_REPORT);
        let finished = work.finished(&path).is_some();
        if finished {
            ctx.say(&format!("this training is done already: {}", path.display()));
        }
        finished
    }
}

/// What is trained: all of a network, or the linear map behind features.
enum Network {
    Whole(Box<dyn Classifier>),
    Features(Box<ScatterLinear>),
}

impl Network {
    fn fresh(args: &TrainDpClassifier, records: &Records, ctx: &Context) -> Result<Self> {
        let (shape, classes) = (records.shape(), records.classes());
        Ok(if args.network == NetworkKind::ScatterLinear {
            Self::Features(Box::new(ScatterLinear::new(shape, classes, ctx.device)?))
        } else {
            Self::Whole(models::fresh(args.network, args.width, shape, classes, ctx.seed, ctx.device)?)
        })
    }

    fn whitened(
        self,
        args: &TrainDpClassifier,
        public: &Records,
        normalisation: &Normalisation,
        ctx: &Context,
    ) -> Result<Self> {
        Ok(match self {
            Self::Features(network) => {
                Self::Features(Box::new(args.public.prepare(*network, public, normalisation, ctx)?))
            }
            whole @ Self::Whole(_) => whole,
        })
    }

    fn classifier(&self) -> &dyn Classifier {
        match self {
            Self::Whole(network) => &**network,
            Self::Features(network) => &**network,
        }
    }

    /// The parameters that private steps change.
    fn trained(&self) -> Vec<&nn::Parameter> {
        match self {
            Self::Whole(network) => nn::parameters(&**network),
            Self::Features(network) => nn::parameters(network.head()),
        }
    }

    fn put(&self, values: &[tch::Tensor]) -> Result<()> {
        match self {
            Self::Whole(network) => nn::restore(&**network, values)?,
            Self::Features(network) => nn::restore(network.head(), values)?,
        }
        Ok(())
    }

    /// Writes the public start as a control, where there is one.
    fn control(&self, args: &TrainDpClassifier, dir: &Path) -> Result<Option<artifact::FileRecord>> {
        if matches!(self, Self::Whole(_)) || !args.public.starts_from_labels() {
            return Ok(None);
        }
        Ok(Some(models::save(self.classifier(), &dir.join(layout::PUBLIC_CONTROL), Access::Public)?))
    }

    fn task<'a>(
        &'a self,
        records: &Records,
        normalisation: &Normalisation,
        views: Option<dp::Views>,
        ctx: &Context,
    ) -> Result<Box<dyn PrivateTask + 'a>> {
        Ok(match self {
            Self::Whole(network) => {
                Box::new(PrivateImages::new(&**network, records, normalisation.clone(), views)?)
            }
            Self::Features(network) => {
                normalisation.check_channels(records.shape().channels)?;
                // Without a bar, which would show how many there are.
                ctx.say("scattering features of the private images are computed");
                let images = normalisation.apply(records.images.tensor());
                let features = network.features_of(&images, &ctx.watch())?;
                Box::new(PrivateFeatures::new(network.head(), &features, &records.labels.tensor())?)
            }
        })
    }
}
