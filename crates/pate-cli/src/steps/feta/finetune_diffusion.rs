//! `finetune-diffusion`: a diffusion model learns private images by DP-SGD.
//!
//! Reads: private images, a pretrained model, the ledger. Writes: `diffusion.safetensors`,
//! `diffusion_ema.safetensors`, `training_report.json`; the ledger. Privacy: (epsilon, delta) for
//! one record, of its steps and of what else the ledger lists.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use artifact::{Input, Report, WorkId, layout};
use clap::Parser;
use pate_core::data::{Records, Split};
use pate_core::dp::PrivatePlan;
use pate_core::feta::{NoisePlan, PrivateDiffusion};
use pate_core::models::UNet;
use pate_core::nn;
use serde_json::json;

use crate::args::{BudgetArgs, DpSgdArgs, NoiseArgs, PrivateDataArgs, UNetArgs, parse_path};
use crate::files::{data_sets, ledger};
use crate::resume::charged::{self, Charged, SENSITIVITY, Training, refuse_other_state};
use crate::resume::checkpoint::{self, Checkpoint};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings::{Asked, MOST_WEIGHTS, PrivacyTarget, PrivateDefaults};

/// Train a diffusion model on private images with DP-SGD
///
/// From the weights that learnt central images, or from fresh ones. Each step draws a Poisson
/// sample; a record's gradient is the mean over its draws of noise and is then clipped; the sum is
/// released with exact discrete Gaussian noise. The noise is solved for the budget, together with
/// the query that the ledger was begun with; the ledger is charged before each block of steps,
/// durably. (epsilon, delta)-differential privacy for adding or removing one record.
#[derive(Parser)]
#[command(
    name = "finetune-diffusion",
    version,
    after_help = "\
Examples:
  finetune-diffusion --data-dir datasets --init pretrained/diffusion.safetensors \\
    --ledger central/privacy_ledger.jsonl --output-dir diffusion
  finetune-diffusion --data-dir datasets --nf 8 --num-res-blocks 1 --epsilon 10 \\
    --expected-batch 512 --steps 300 --noise-draws 2 --output-dir without_central_images

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct FinetuneDiffusion {
    /// Folder of the private images: MNIST's or Fashion-MNIST's (torchvision's layout, or the IDX
    /// files straight in it), or of --dataset folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    data_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// Weights to start from, from pretrain-diffusion; the network is theirs [default: fresh ones]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Network")]
    init: Option<PathBuf>,
    #[command(flatten)]
    network: UNetArgs,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    dp_sgd: DpSgdArgs,
    #[command(flatten)]
    noise: NoiseArgs,
    /// Folder for the results
    #[arg(long, visible_alias = "workdir", value_name = "DIR", value_parser = parse_path, default_value = "diffusion", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

const OUTPUTS: [&str; 4] =
    [layout::DIFFUSION, layout::DIFFUSION_EMA, layout::TRAINING_REPORT, checkpoint::FILE];

/// The original's draws of noise.
const DRAWS: u32 = 32;

impl Step for FinetuneDiffusion {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let asked = self.asked()?;
        let protects = self.dp_sgd.protects(asked)?;
        let mut plan = self.dp_sgd.plan(&PrivateDefaults::DIFFUSION, self.data.dataset.known_records())?;
        let noise = self.noise.plan(DRAWS, ctx.seed)?;
        let records = self.data.load(&self.data_dir, Split::Train).context("cannot use the private data")?;
        let network = self.start(&records, ctx)?;
        let dimension = nn::parameters(&network).iter().map(|p| p.value().numel() as u64).sum();
        if protects && dimension > MOST_WEIGHTS {
            bail!(
                "the network has {dimension} weights, and budgets are solved for {MOST_WEIGHTS} at most; take a smaller --nf"
            );
        }
        let charged = Charged {
            budget: &self.budget,
            output_dir: &self.output_dir,
            dataset: self.dataset_name(),
            beside: None,
            protects,
        };
        let target = charged.solve(&mut plan, asked, dimension)?;
        self.dp_sgd.set_free(asked, &mut plan);
        if let Some(path) = &self.dp_sgd.diagnostics {
            Context::claim_file("--diagnostics", path)?;
        }
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let mut report = self.report(&plan, &noise, target, &network, &records, protects)?;
        let work = self.work(&plan, &noise, &network, &report, &records, ctx)?;
        let report_path = self.output_dir.join(layout::TRAINING_REPORT);
        if work.finished(&report_path).is_some() {
            ctx.say(&format!("this training is done already: {}", report_path.display()));
            return Ok(Outcome::Done);
        }
        let checkpoint =
            Checkpoint::new(self.output_dir.join(checkpoint::FILE), work.clone(), report.access());
        refuse_other_state(&checkpoint)?;
        let task = PrivateDiffusion::new(&network, &records, noise).context("cannot use the private data")?;
        let training = Training {
            task: &task,
            plan: &plan,
            dimension,
            target,
            purpose: "steps of DP-SGD for a diffusion model",
            checkpoint: &checkpoint,
            diagnostics: self.dp_sgd.diagnostics.as_deref(),
        };
        let trained = charged.train(&training, &mut report, ctx)?;
        drop(task);
        let access = report.access();
        let last = network.save(&self.output_dir.join(layout::DIFFUSION), access)?;
        if let Some(average) = &trained.average {
            nn::restore(&network, average)?;
        }
        let average_path = self.output_dir.join(layout::DIFFUSION_EMA);
        let average = network.save(&average_path, access)?;
        charged::describe_steps(&mut report, &plan, trained.steps, &work)?;
        report.output(last).output(average);
        ctx.write_report(&report, &report_path)?;
        // After the report: a run that ends before it goes on from the checkpoint.
        checkpoint.remove();
        charged::tell(ctx, &plan, trained.steps, &average_path, &report);
        Ok(Outcome::Done)
    }
}

impl FinetuneDiffusion {
    /// What the run may cost: what the flags say, or what the ledger that they name was begun for.
    fn asked(&self) -> Result<Asked> {
        let BudgetArgs { epsilon, mu, noise_multiplier, .. } = &self.budget;
        if let (None, None, None, Some(path)) = (epsilon, mu, noise_multiplier, &self.budget.ledger) {
            let Some(account) = ledger::look(path)? else {
                bail!(
                    "{} is not there; give the ledger that query-central-images began, or --epsilon to begin one",
                    path.display()
                );
            };
            return Ok(Asked::Epsilon(account.header.budget.epsilon_delta().0));
        }
        self.budget.asked()
    }

    fn dataset_name(&self) -> String {
        self.data.name(self.budget.dataset_name.as_ref(), &self.data_dir)
    }

    /// The network that the training starts from.
    fn start(&self, records: &Records, ctx: &Context) -> Result<UNet> {
        let Some(path) = &self.init else {
            let shape = self.network.shape(records.shape(), records.classes())?;
            return Ok(UNet::new(&shape, ctx.seed, ctx.device)?);
        };
        if self.network.given() {
            bail!("--init has its own sizes; leave --nf and the other flags of the network out");
        }
        UNet::load(path, ctx.device).context("cannot use the pretrained model")
    }

    /// A report that says so far what is public, and has the label that the run can have.
    fn report(
        &self,
        plan: &PrivatePlan,
        noise: &NoisePlan,
        target: PrivacyTarget,
        network: &UNet,
        records: &Records,
        protects: bool,
    ) -> Result<Report> {
        let mut report = Report::new();
        if let Some(path) = &self.init {
            report.input(Input::open(path)?);
        }
        report
            .field("network", network.shape())?
            .field("weights", nn::parameters(network).iter().map(|p| p.value().numel()).sum::<usize>())?
            .field(
                "records_publicly_known",
                self.dp_sgd.length.records.or(self.data.dataset.known_records()),
            )?
            .field("plan", plan)?
            .field("noise", noise)?;
        data_sets::describe_kind(&mut report, records)?;
        charged::describe(&mut report, &self.dataset_name(), target, SENSITIVITY)?;
        if !protects {
            charged::describe_unprotected(&mut report, target);
            data_sets::describe(&mut report, records)?;
        }
        Ok(report)
    }

    /// What this very training is. Nothing of the private data decides it: the ledger says whose it
    /// is.
    fn work(
        &self,
        plan: &PrivatePlan,
        noise: &NoisePlan,
        network: &UNet,
        report: &Report,
        records: &Records,
        ctx: &Context,
    ) -> Result<WorkId> {
        let settings = json!({
            "plan": plan, "noise": noise, "network": network.shape(), "data": self.dataset_name(), "seed": ctx.seed,
            "epsilon": self.budget.epsilon.map(|epsilon| epsilon.to_string()), "mu": self.budget.mu,
            "sigma": self.budget.noise_multiplier, "delta": self.budget.delta, "float_noise": self.dp_sgd.float_noise,
            "ledger": self.budget.ledger, "scale": self.data.scale.scale, "shape": &records.images.tensor().size()[1..],
        });
        let init = report.inputs().iter().filter(|input| Some(&input.path) == self.init.as_ref());
        Ok(WorkId::new(&settings, init.map(|input| input.sha256.as_str()))?)
    }
}
