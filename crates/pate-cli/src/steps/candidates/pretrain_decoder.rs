//! `pretrain-decoder`: a VAE on public images; its decoder makes the candidates.
//!
//! Reads: a public data set. Writes: `decoder.pth`, `pretrain_report.json`, `training_curves.png`,
//! `samples.png`. Privacy: public data only, so the decoder is public.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use artifact::{Report, layout};
use clap::Parser;
use pate_core::base::progress::Silent;
use pate_core::models;
use pate_core::pate::generate::{self, LatentBank};
use pate_core::train::vae;
use serde_json::json;

use crate::args::{ConfigArgs, PublicDataArgs, ResumeArgs, VaeArgs, parse_path};
use crate::files::{data_sets, pictures};
use crate::resume::checkpoint;
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Train a VAE on public images; its decoder makes the candidates
///
/// Adam on binary cross-entropy plus an annealed KL term, on randomly rotated, shifted and noisy
/// images.
#[derive(Parser)]
#[command(
    name = "pretrain-decoder",
    version,
    after_help = "\
Examples:
  pretrain-decoder --dataset digits --epochs 150 --out-dir pretrained_decoder
  pretrain-decoder --data-root datasets --latent-dim 32 --epochs 50 --seed 42 \\
    --out-dir pretrained_decoder

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct PretrainDecoder {
    #[command(flatten)]
    data: PublicDataArgs,
    #[command(flatten)]
    training: VaeArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "pretrained_decoder", help_heading = "Output")]
    out_dir: PathBuf,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for PretrainDecoder {
    const KEYS: &[(&str, &str)] = &[
        ("latent_dim", "decoder.latent_dim"),
        ("epochs", "decoder.pretrain_epochs"),
        ("batch_size", "decoder.batch_size"),
        ("lr", "decoder.learning_rate"),
        ("weight_decay", "decoder.weight_decay"),
        ("kl_annealing_epochs", "decoder.kl_annealing_epochs"),
        ("kl_weight", "decoder.kl_weight"),
        ("augmentation", "decoder.augmentation"),
    ];

    const PUBLIC_WHERE_ITS_REPORT_IS: bool = true;

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let plan = settings::decoder_plan(&self.training, &loaded.config, ctx.seed)?;
        let _lock = ctx.lock("--out-dir", &self.out_dir, &OUTPUTS)?;
        let records = self.data.load_images()?;
        models::Vae::check_images(records.source(), records.shape())?;
        let mut report = Report::new();
        // Before training: the checkpoint, too, may be read by all only where the images are
        // public.
        data_sets::describe(&mut report, &records)?;
        let access = report.access();
        let work = json!({ "plan": plan, "data": records.name, "listing": records.listing, "scale": self.data.scale().scale });
        let checkpoint = self.resume.checkpoint(&self.out_dir, &work, &records.files, access, ctx)?;
        let progress = ctx.progress();
        progress.start("epoch", plan.epochs as u64);
        let start = Instant::now();
        let trained = vae::train(&records.images, &plan, ctx.device, progress, &checkpoint)?;
        progress.finish();
        // Here, so that pictures and posteriors do not count as training.
        let seconds = checkpoint.seconds_since(start);

        let decoder_path = self.out_dir.join(layout::DECODER);
        let decoder = models::save(&trained.network.decoder, &decoder_path, access)?;
        let curves = pictures::vae_curves(
            "Pretraining of the decoder",
            &trained.history,
            &self.out_dir.join(layout::TRAINING_CURVES),
            access,
        )?;
        let samples = generate::samples(&trained.network.decoder, 64, ctx.seed, &Silent)?;
        let bank = LatentBank::encode(
            &trained.network.encoder,
            &records.images,
            BANK_COPIES.min(BANK_ROWS.div_ceil(records.len())),
            plan.augmentation.as_ref(),
            &plan.normalisation,
            ctx.seed,
            ctx.device,
        )?;
        let bank = bank.save(&self.out_dir.join(layout::LATENTS), access)?;
        let samples = pictures::grid(&samples, &self.out_dir.join(layout::SAMPLES_PICTURE), access)?;

        settings::describe_vae_plan(&mut report, &plan)?;
        report
            .field("kl_weight", plan.kl_weight)?
            .field("seed", ctx.seed)?
            .field("dataset", &records.name)?
            .field("dataset_size", records.len())?;
        settings::describe_vae_losses(&mut report, &trained.history)?;
        report
            .field("decoder_path", &decoder_path)?
            .field("decoder_hash", &decoder.sha256)?
            .field("training_history", &trained.history)?
            .field("training_seconds", seconds)?
            .field("training_threads", pate_core::base::parallel::workers(ctx.device))?
            .field("use_augmentation", plan.augmentation.is_some())?
            .field("augmentation", plan.augmentation)?;
        if let Some(basis) = self.data.basis(&records) {
            report.field("formal_guarantee_basis", basis)?;
        }
        loaded.describe(&mut report)?;
        report.output(decoder).output(bank).output(curves).output(samples);
        ctx.write_report(&report, &self.out_dir.join(layout::PRETRAIN_REPORT))?;
        checkpoint.remove();
        ctx.say(&format!("decoder: {}", decoder_path.display()));
        Ok(Outcome::Done)
    }
}

/// Times that every image is encoded for latents.pt, each time changed anew.
const BANK_COPIES: usize = 20;
/// Rows of latents.pt at most, to the next multiple of the images: 26 MB with 32 latents.
const BANK_ROWS: usize = 100_000;

const OUTPUTS: [&str; 6] = [
    layout::DECODER,
    layout::LATENTS,
    layout::TRAINING_CURVES,
    layout::SAMPLES_PICTURE,
    layout::PRETRAIN_REPORT,
    checkpoint::FILE,
];
