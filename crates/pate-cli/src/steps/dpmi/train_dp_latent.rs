//! `train-dp-latent`: a private model of latents, by one Gaussian release or by DP-SGD.
//!
//! Reads: a public extractor, private latents, a ledger. Writes: `latent_model.pt`,
//! `training_report.json`, a ledger. Privacy: (epsilon, delta) for one record; with --epsilon inf,
//! none.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{Access, FileRecord, Input, Report, WorkId, layout};
use clap::{Parser, ValueEnum};
use dp_accounting::Adjacency;
use dp_accounting::ledger::Charge;
use pate_core::base::rng::{Purpose, Stream};
use pate_core::dp::{PrivateTask, Unprotected};
use pate_core::dpmi::gaussian::{self, Cells, GaussianPlan};
use pate_core::dpmi::latents::{self, Bounds, Latents};
use pate_core::dpmi::model::{self, About, Kind};
use pate_core::dpmi::rows::{self, Classes, PrivateRows};
use pate_core::dpmi::vae::{LatentVae, PrivateVae, VaeShape};
use pate_core::dpmi::wgan::{GanShape, LatentGan, PrivateGan, TurnsPlan};
use pate_core::models::{self, Between, Extractor, Standard};
use pate_core::nn::{self, Module};
use serde::Serialize;
use serde_json::json;

use super::extractors;
use crate::args::{BudgetArgs, DpSgdArgs, not_negative, parse_path, positive};
use crate::files::ledger::{self, Room};
use crate::resume::charged::{self, Charged, NO_NOISE, SENSITIVITY, Training, covered, refuse_other_state};
use crate::resume::checkpoint::{self, Checkpoint};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings::{self, Asked, PrivacyTarget, PrivateDefaults};

/// Train a private model of latents, whose samples the public decoder draws
///
/// Latents are standardised by public statistics and shortened to a norm. --model gaussian releases
/// counts, means and second moments of each class once, with exact discrete Gaussian noise, and
/// needs no training; vae and wgan are trained with DP-SGD. (epsilon, delta)-differential privacy
/// for adding or removing one record.
#[derive(Parser)]
#[command(
    name = "train-dp-latent",
    version,
    after_help = "\
Examples:
  train-dp-latent --extractor extractor/extractor.pt --latents private/private_latents.pt \\
    --epsilon 1 --output-dir latent_model
  train-dp-latent --extractor extractor/extractor.pt --latents private/private_latents.pt \\
    --ledger dp_teacher/privacy_ledger.jsonl --output-dir latent_model
  train-dp-latent --extractor extractor/extractor.pt --latents private/private_latents.pt \\
    --model vae --classes each --epsilon 10 --output-dir latent_model

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct TrainDpLatent {
    /// The public extractor that the latents are of
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Latents")]
    extractor: PathBuf,
    /// Private latents, from extract-latents
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Latents")]
    latents: PathBuf,
    /// Latents are shortened to this many times the root of their number, in units of their public
    /// deviations
    #[arg(long, value_name = "FACTOR", default_value_t = 1.3, value_parser = positive, help_heading = "Latents")]
    radius: f64,
    /// For a control: give each record a class at random, from its own content
    #[arg(long, help_heading = "Latents")]
    random_labels: bool,
    /// gaussian: in closed form, one release; vae: a small variational autoencoder (VaeGM); wgan: a
    /// generator, whose critic alone sees private latents
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Model::Gaussian, hide_possible_values = true, help_heading = "Model")]
    model: Model,
    /// How classes come in: conditional, each (a model for each class, one clipping norm for all),
    /// unconditional [default: conditional; of gaussian each]
    #[arg(long, value_name = "KIND", value_enum, hide_possible_values = true, help_heading = "Model")]
    classes: Option<ClassesArg>,
    /// gaussian: Gaussians of each class, around centres of public latents
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=256), help_heading = "Model")]
    components: i64,
    /// gaussian, with --components above 1: latents of public images [default: public_latents.pt
    /// beside --extractor]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Model")]
    public_latents: Option<PathBuf>,
    /// gaussian: weights of count, mean and second moments in the release; what has less weight
    /// has more noise
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "0.25,0.5,1",
        value_parser = positive,
        num_args = 1,
        help_heading = "Model"
    )]
    weights: Vec<f64>,
    /// gaussian: least eigenvalue of a covariance, in units of public variances
    #[arg(long, value_name = "V", default_value_t = 0.02, value_parser = positive, help_heading = "Model")]
    floor: f64,
    /// vae, wgan: values of the hidden layer
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(i64).range(1..=4096), help_heading = "Model")]
    hidden: i64,
    /// vae: values of the code; wgan: values of the generator's noise [default: 32 of vae, 64 of
    /// wgan]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(1..=4096), help_heading = "Model")]
    code: Option<i64>,
    /// vae, wgan: what stands between layers, leaky-relu or tanh
    #[arg(long, value_name = "KIND", value_enum, default_value_t = Activation::LeakyRelu, hide_possible_values = true, help_heading = "Model")]
    activation: Activation,
    /// vae: weight of the KL divergence beside the mean squared error of a latent; the original has
    /// 1, near which the code says nothing
    #[arg(long, value_name = "BETA", default_value_t = 0.05, value_parser = not_negative, help_heading = "Model")]
    kl_weight: f64,
    /// wgan: private steps of the critic before each of the generator
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000), help_heading = "Model")]
    critic_steps: u64,
    /// wgan: the critic's weights are clipped to this on both sides
    #[arg(long, value_name = "C", default_value_t = 0.1, value_parser = positive, help_heading = "Model")]
    weight_clip: f64,
    /// wgan: latents that the generator makes in a step
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(i64).range(2..=100_000), help_heading = "Model")]
    generator_batch: i64,
    /// wgan: learning rate of the generator's Adam
    #[arg(long, value_name = "RATE", default_value_t = 1e-3, value_parser = positive, help_heading = "Model")]
    generator_learning_rate: f64,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    dp_sgd: DpSgdArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "latent_model", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// Models on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Model {
    Gaussian,
    Vae,
    Wgan,
}

/// How classes come in, on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClassesArg {
    Unconditional,
    Conditional,
    Each,
}

impl From<ClassesArg> for Classes {
    fn from(arg: ClassesArg) -> Self {
        match arg {
            ClassesArg::Unconditional => Self::Unconditional,
            ClassesArg::Conditional => Self::Conditional,
            ClassesArg::Each => Self::Each,
        }
    }
}

/// Activations on command lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Activation {
    LeakyRelu,
    Tanh,
}

const OUTPUTS: [&str; 3] = [layout::LATENT_MODEL, layout::TRAINING_REPORT, checkpoint::FILE];

/// The statistics of public latents, where latents are: on the host.
fn standard(extractor: &Extractor) -> Result<Standard> {
    let Standard { mean, deviation } =
        extractor.standard().context("the extractor has no statistics of public latents; train it again")?;
    let host = |x: tch::Tensor| x.to_device(tch::Device::Cpu);
    Ok(Standard { mean: host(mean), deviation: host(deviation) })
}

/// Private latents, as a model sees them.
struct Data {
    about: latents::About,
    bounds: Bounds,
    rows: tch::Tensor,
    labels: Vec<i64>,
}

impl Step for TrainDpLatent {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let (extractor, input) = extractors::open(&self.extractor, ctx)?;
        let data = self.data(&extractor, &input, ctx)?;
        match self.model {
            Model::Gaussian => self.gaussian(&extractor, input, &data, ctx),
            Model::Vae | Model::Wgan => self.trained(&extractor, input, &data, ctx),
        }
    }
}

impl TrainDpLatent {
    /// The latents, in public units, no longer than the radius.
    fn data(&self, extractor: &Extractor, input: &Input, ctx: &Context) -> Result<Data> {
        let Latents { about, rows, labels } =
            Latents::load(&self.latents).context("cannot use the latents")?;
        if about.extractor != input.record.sha256 {
            bail!(
                "{} are latents of another extractor (SHA-256 {}), and {} is {}; give the one that they are of",
                self.latents.display(),
                about.extractor,
                self.extractor.display(),
                input.record.sha256
            );
        }
        let bounds = Bounds::of(self.radius, extractor.latent_dim());
        let labels = if self.random_labels {
            rows::random_labels(&rows, labels.values(), about.classes, ctx.seed)?
        } else {
            labels.values().to_vec()
        };
        let rows = bounds.apply(&rows, &standard(extractor)?)?;
        Ok(Data { about, bounds, rows, labels })
    }

    fn classes(&self) -> Result<Classes> {
        let of_model = match self.model {
            Model::Gaussian => ClassesArg::Each,
            _ => ClassesArg::Conditional,
        };
        let classes: Classes = self.classes.unwrap_or(of_model).into();
        if self.model == Model::Gaussian && classes == Classes::Conditional {
            bail!(
                "--classes conditional goes with --model vae and wgan; Gaussians are of each class, or unconditional"
            );
        }
        Ok(classes)
    }

    /// The public name of the private data set.
    fn dataset_name(&self, data: &Data) -> String {
        self.budget.dataset_name.clone().unwrap_or_else(|| data.about.dataset.clone())
    }

    fn about(&self, kind: Kind, data: &Data) -> About {
        About {
            kind,
            bounds: data.bounds,
            extractor: data.about.extractor.clone(),
            dataset: self.dataset_name(data),
        }
    }

    /// What is public about the run.
    fn describe(&self, report: &mut Report, data: &Data, target: PrivacyTarget, moves: &str) -> Result<()> {
        report
            .field("model", self.model)?
            .field("classes_come_in", self.classes()?)?
            .field("only_classes", &data.about.only_classes)?
            .field("classes", data.about.classes)?
            .field("latents_found_by", &data.about.method)?
            .field("bounds", data.bounds)?
            .field("random_labels", self.random_labels)?;
        charged::describe(report, &self.dataset_name(data), target, moves)
    }

    /// The model out of one release.
    fn gaussian(&self, extractor: &Extractor, input: Input, data: &Data, ctx: &Context) -> Result<Outcome> {
        self.refuse_training_flags()?;
        let classes = self.classes()?;
        let d = extractor.latent_dim();
        let n_classes = if classes == Classes::Unconditional { 1 } else { data.about.classes };
        let public = (self.components > 1).then(|| {
            self.public_latents
                .clone()
                .unwrap_or_else(|| self.extractor.with_file_name(layout::PUBLIC_LATENTS))
        });
        let cells = match &public {
            None => Cells::plain(n_classes, d)?,
            Some(path) => {
                let rows = latents::load_public(path, d).context("cannot use the public latents")?;
                let rows = data.bounds.apply(&rows, &standard(extractor)?)?;
                let mut stream = Stream::new(ctx.seed, Purpose::Latents, 1);
                Cells::of_public(&rows, n_classes, self.components, &mut stream)?
            }
        };
        let &[count, mean, second] = self.weights.as_slice() else {
            bail!("--weights are three numbers, such as 0.25,0.5,1, and these are {}", self.weights.len())
        };
        let out = self.output_dir.join(layout::LATENT_MODEL);
        let ledger_path = self.budget.ledger.clone().unwrap_or_else(|| self.output_dir.join(layout::LEDGER));
        let dimension = (n_classes * self.components * (1 + d + d * (d + 1) / 2)) as u64;
        let name = self.dataset_name(data);
        let Some(Budgeted { noise_multiplier, target, header }) =
            self.budgeted(&ledger_path, &name, dimension, &out)?
        else {
            ctx.say(&format!("this model was released already: {}", out.display()));
            return Ok(Outcome::Done);
        };
        let protects = target.epsilon.is_finite();
        let plan = GaussianPlan {
            noise_multiplier,
            radius: data.bounds.radius,
            weights: [count, mean, second],
            floor: self.floor,
        };
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        extractors::require_public(&self.extractor, &input)?;
        let mut report = Report::new();
        let moves = "1, in L2: a record's weighted moments are one vector of that norm";
        self.describe(&mut report, data, target, moves)?;
        report.field("plan", plan)?.field("components", self.components)?;
        report.input(input);
        if let Some(path) = &public {
            report.input(Input::open(path)?);
        }
        if !protects {
            report.reads_private(NO_NOISE);
        }
        let mut none = Unprotected::without_noise(ctx.seed);
        if protects {
            let begun = ledger::look(&ledger_path)?.map(|account| account.label());
            covered(report.guarantee(), begun, &ledger_path)?;
        }
        let mut ledger = match (&header, protects) {
            (_, false) => None,
            (Some(header), _) => Some(ledger::open(&ledger_path, header, ctx)?),
            (None, _) => Some(ledger::reopen(&ledger_path)?),
        };
        let access = report.access();
        let about = self.about(Kind::Gaussian { size: [n_classes, self.components, d] }, data);
        let labels = match classes {
            Classes::Unconditional => vec![0; data.labels.len()],
            _ => data.labels.clone(),
        };
        let labels = pate_core::base::tensor::from_i64(&labels);
        let charge = Charge::new(
            plan.mechanism(),
            Adjacency::AddOrRemoveOne,
            ctx.program(),
            "counts, means and second moments of latents",
        );
        let progress = ctx.progress();
        // Not how many there are, which is private.
        progress.start("record", data.about.records.unwrap_or(0));
        let mut written = None;
        let released = gaussian::release(
            (&data.rows, &labels),
            &cells,
            &plan,
            charge,
            ledger::spending(ledger.as_mut(), &mut none),
            progress,
            &mut |network| {
                // Before the charge is closed: what the ledger remembers is what the file holds.
                let record = model::save(&about, network, &out, access)?;
                let remembered = json!({ ledger::LATENT_MODEL: record.sha256 });
                written = Some(record);
                Ok(remembered)
            },
        );
        let (network, hidden) = released.context("cannot release the moments")?;
        progress.finish();
        if let Some(ledger) = &ledger {
            report.released(ledger.label());
            report.field("ledger_path", &ledger_path)?;
        }
        report.field("hidden_by_noise", hidden)?.field("class_shares", network.class_shares()?)?;
        if let Some(written) = written {
            report.output(written);
        }
        ctx.write_report(&report, &self.output_dir.join(layout::TRAINING_REPORT))?;
        ctx.say(&format!(
            "{} Gaussians of {d} latents, {} hidden by noise: {}\n{}",
            n_classes * self.components,
            hidden.cells,
            out.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }

    /// A flag that would change nothing is refused: who gave it expects an effect.
    fn refuse_training_flags(&self) -> Result<()> {
        let length = &self.dp_sgd.length;
        let given = [
            ("--records", length.records.is_some()),
            ("--epochs", length.epochs.is_some()),
            ("--steps", length.steps.is_some()),
            ("--expected-batch", length.expected_batch.is_some()),
            ("--clipping-norm", self.dp_sgd.clipping_norm.is_some()),
            ("--learning-rate", self.dp_sgd.learning_rate.is_some()),
            ("--optimizer", self.dp_sgd.optimizer.is_some()),
            ("--clip-only", self.dp_sgd.clip_only),
            ("--float-noise", self.dp_sgd.float_noise),
            ("--diagnostics", self.dp_sgd.diagnostics.is_some()),
            ("--code", self.code.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => bail!(
                "{flag} does not go with --model gaussian, which is one release and no training; leave it out"
            ),
            None => Ok(()),
        }
    }

    /// What the release may cost: the room that an existing ledger keeps, or a budget of its own;
    /// none where the model at `out` is what the room was used for.
    fn budgeted(&self, path: &Path, name: &str, dimension: u64, out: &Path) -> Result<Option<Budgeted>> {
        let delta = self.budget.delta;
        if let Some(account) = ledger::look(path)? {
            let (epsilon, ledger_delta) = account.header.budget.epsilon_delta();
            let begun = PrivacyTarget { epsilon, delta: ledger_delta };
            if self.budget.was_asked() {
                let asked = self.asked(delta, dimension)?;
                if asked.0.epsilon.total_cmp(&epsilon).is_ne() || delta.total_cmp(&ledger_delta).is_ne() {
                    bail!(
                        "{} has a budget of epsilon {epsilon} at delta {ledger_delta}, which was fixed when it was begun, \
                         and this run asks for {} at {delta}; nothing was spent: leave --epsilon out to use its room, or \
                         name another ledger with --ledger",
                        path.display(),
                        asked.0.epsilon
                    );
                }
            }
            let room = ledger::room(
                path,
                &account,
                name,
                (out, ledger::LATENT_MODEL),
                "for one release",
                "begin it with train-dp-teacher --statistics-noise, or give another --ledger",
            )?;
            return Ok(match room {
                Room::Noise(noise_multiplier) => {
                    Some(Budgeted { noise_multiplier, target: begun, header: None })
                }
                Room::Released => None,
            });
        }
        let (target, noise_multiplier) = self.asked(delta, dimension)?;
        let header =
            target.epsilon.is_finite().then(|| settings::release_header(name, target, noise_multiplier));
        Ok(Some(Budgeted { noise_multiplier, target, header }))
    }

    /// The budget that was asked for, and the noise of one release for it.
    fn asked(&self, delta: f64, dimension: u64) -> Result<(PrivacyTarget, f64)> {
        Ok(match self.budget.asked()? {
            Asked::Epsilon(epsilon) if epsilon.is_infinite() => (PrivacyTarget { epsilon, delta }, 0.0),
            Asked::Epsilon(epsilon) => {
                let target = PrivacyTarget { epsilon, delta };
                (target, settings::one_release(target, dimension).context("the budget cannot be met")?)
            }
            Asked::NoiseMultiplier(sigma) => (settings::of_one_release(sigma, delta, dimension)?, sigma),
        })
    }

    /// The model by DP-SGD.
    fn trained(&self, extractor: &Extractor, input: Input, data: &Data, ctx: &Context) -> Result<Outcome> {
        let asked = self.budget.asked()?;
        let protects = self.dp_sgd.protects(asked)?;
        if self.model == Model::Wgan && self.dp_sgd.ema_decay.is_some() {
            bail!(
                "--ema-decay averages what private steps change, which is the critic and is not kept; leave it out"
            );
        }
        if self.components > 1 || self.public_latents.is_some() {
            bail!("--components and --public-latents go with --model gaussian; leave them out");
        }
        let mut plan = self.dp_sgd.plan(&PrivateDefaults::LATENT_MODEL, data.about.records)?;
        let classes = self.classes()?;
        let network = Network::fresh(self, classes, extractor.latent_dim(), data.about.classes, ctx)?;
        let dimension = network.trained().iter().map(|p| p.value().numel() as u64).sum();
        let name = self.dataset_name(data);
        let charged = Charged {
            budget: &self.budget,
            output_dir: &self.output_dir,
            dataset: name.clone(),
            beside: None,
            protects,
        };
        let target = charged.solve(&mut plan, asked, dimension)?;
        self.dp_sgd.set_free(asked, &mut plan);
        if let Some(path) = &self.dp_sgd.diagnostics {
            Context::claim_file("--diagnostics", path)?;
        }
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        extractors::require_public(&self.extractor, &input)?;
        let mut report = Report::new();
        self.describe(&mut report, data, target, SENSITIVITY)?;
        report
            .field("plan", &plan)?
            .field("kl_weight", (self.model == Model::Vae).then_some(self.kl_weight))?
            .field("turns", (self.model == Model::Wgan).then(|| self.turns(ctx.seed)))?
            .field("architecture", network.kind())?
            .field("records_publicly_known", self.dp_sgd.length.records.or(data.about.records))?;
        let extractor_sha256 = input.record.sha256.clone();
        report.input(input);
        if !protects {
            charged::describe_unprotected(&mut report, target);
        }
        let settings = json!({
            "plan": plan, "architecture": network.kind(), "data": name, "about": data.about, "bounds": data.bounds,
            "kl_weight": self.kl_weight, "turns": self.turns(ctx.seed), "random_labels": self.random_labels,
            "seed": ctx.seed, "epsilon": self.budget.epsilon.map(|epsilon| epsilon.to_string()), "mu": self.budget.mu,
            "sigma": self.budget.noise_multiplier, "delta": self.budget.delta, "float_noise": self.dp_sgd.float_noise,
            "ledger": self.budget.ledger,
        });
        let work = WorkId::new(&settings, [extractor_sha256.as_str()])?;
        let report_path = self.output_dir.join(layout::TRAINING_REPORT);
        if work.finished(&report_path).is_some() {
            ctx.say(&format!("this training is done already: {}", report_path.display()));
            return Ok(Outcome::Done);
        }
        let access = report.access();
        let checkpoint = Checkpoint::new(self.output_dir.join(checkpoint::FILE), work.clone(), access);
        refuse_other_state(&checkpoint)?;
        let private = PrivateRows::new(&data.rows, &data.labels, data.about.classes, ctx.seed, ctx.device)?;
        let task = network.task(private, self, ctx.seed)?;
        let training = Training {
            task: &*task,
            plan: &plan,
            dimension,
            target,
            purpose: "steps of DP-SGD for a model of latents",
            checkpoint: &checkpoint,
            diagnostics: self.dp_sgd.diagnostics.as_deref(),
        };
        let trained = charged.train(&training, &mut report, ctx)?;
        drop(task);
        if let (Some(average), Network::Vae(vae)) = (&trained.average, &network) {
            nn::restore(vae, average)?;
        }
        let out = self.output_dir.join(layout::LATENT_MODEL);
        let written = network.save(&self.about(network.kind(), data), &out, report.access())?;
        report.field("model_path", &out)?.output(written);
        charged::describe_steps(&mut report, &plan, trained.steps, &work)?;
        ctx.write_report(&report, &report_path)?;
        // After the report: a run that ends before it goes on from the checkpoint.
        checkpoint.remove();
        charged::tell(ctx, &plan, trained.steps, &out, &report);
        Ok(Outcome::Done)
    }

    fn between(&self) -> Between {
        match self.activation {
            Activation::LeakyRelu => Between::LeakyRelu,
            Activation::Tanh => Between::Tanh,
        }
    }

    fn turns(&self, seed: u64) -> TurnsPlan {
        TurnsPlan {
            critic_steps: self.critic_steps,
            weight_clip: self.weight_clip,
            batch: self.generator_batch,
            learning_rate: self.generator_learning_rate,
            betas: (0.5, 0.999),
            seed,
        }
    }
}

/// What one release may cost.
struct Budgeted {
    noise_multiplier: f64,
    target: PrivacyTarget,
    /// Of a ledger that is to be begun.
    header: Option<dp_accounting::ledger::Header>,
}

/// A model that is trained.
enum Network {
    Vae(LatentVae),
    Wgan(LatentGan, models::Sequential),
}

impl Network {
    fn fresh(
        args: &TrainDpLatent,
        conditioning: Classes,
        latents: i64,
        classes: i64,
        ctx: &Context,
    ) -> Result<Self> {
        if args.model == Model::Vae {
            let size = (args.hidden, args.code.unwrap_or(32));
            let shape = VaeShape::new(latents, classes, conditioning, size, args.between());
            return Ok(Self::Vae(LatentVae::new(&shape, ctx.seed, ctx.device)?));
        }
        let noise = args.code.unwrap_or(64);
        let beside = conditioning.beside(classes);
        let shape = GanShape {
            latents,
            classes,
            conditioning,
            noise,
            generator: models::latent_generator(noise + beside, &[args.hidden], latents, false),
            critic: models::critic(latents + beside, &[args.hidden], args.between()),
        };
        let (generator, critic) = LatentGan::new(&shape, ctx.seed, ctx.device)?;
        Ok(Self::Wgan(generator, critic))
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Vae(network) => Kind::Vae(network.shape().clone()),
            Self::Wgan(network, _) => Kind::Wgan(network.shape().clone()),
        }
    }

    /// The parameters that private steps change.
    fn trained(&self) -> Vec<&nn::Parameter> {
        match self {
            Self::Vae(network) => nn::learnt(network),
            Self::Wgan(_, critic) => nn::learnt(critic),
        }
    }

    fn task(&self, data: PrivateRows, args: &TrainDpLatent, seed: u64) -> Result<Box<dyn PrivateTask + '_>> {
        Ok(match self {
            Self::Vae(network) => Box::new(PrivateVae::new(network, data, args.kl_weight)),
            Self::Wgan(network, critic) => {
                Box::new(PrivateGan::new(network, critic.clone(), data, args.turns(seed))?)
            }
        })
    }

    fn save(&self, about: &About, path: &Path, access: Access) -> Result<FileRecord> {
        let network: &dyn Module = match self {
            Self::Vae(network) => network,
            Self::Wgan(network, _) => network,
        };
        Ok(model::save(about, network, path, access)?)
    }
}
