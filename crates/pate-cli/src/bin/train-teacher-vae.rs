//! `train-teacher-vae`: a VAE on one teacher's private shard.
//!
//! Reads: a shard, or shard indices and MNIST. Writes: `teacher_<id>/decoder.pth`, `vae_full.pth`, `training_report.json`.
//! Privacy: no formal guarantee; the VAE is a function of the shard and may have memorised it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use artifact::{FileRecord, Guarantee, Report};
use clap::Parser;
use pate_cli::args::{ConfigArgs, RunArgs, VaeArgs, parse_path};
use pate_cli::checkpoint::ResumeArgs;
use pate_cli::public_data::{MNIST_DIR, SHARD_INDICES, mnist, shard_indices};
use pate_cli::{Context, Outcome, Step, pictures, training};
use pate_core::data::{Images, Shard, Split};
use pate_core::models;
use pate_core::train::vae;
use serde_json::json;

/// Train a VAE on one teacher's private shard
///
/// The decoder then makes candidates for that teacher alone. About 240 images are few for a VAE: expect blurred samples,
/// and near-copies of private images among them.
#[derive(Parser)]
#[command(
    name = env!("CARGO_BIN_NAME"),
    version,
    after_help = "\
Examples:
  train-teacher-vae --teacher-id 0 --shard-path teachers/teacher_0/shard.pt
  train-teacher-vae --teacher-id 0 --shard-indices shard_indices.json \\
    --mnist-data-dir datasets --epochs 100 --out-dir teacher_vaes

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
struct Args {
    /// Which teacher
    #[arg(long, value_name = "ID", help_heading = "Private data")]
    teacher_id: u64,
    /// The shard, made by prepare-shards; beats --shard-indices
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Private data")]
    shard_path: Option<PathBuf>,
    /// Rows of MNIST's training set by teacher, JSON
    #[arg(long, value_name = "FILE", value_parser = parse_path, default_value = SHARD_INDICES, help_heading = "Private data")]
    shard_indices: PathBuf,
    /// Folder of MNIST, for --shard-indices
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = MNIST_DIR, help_heading = "Private data")]
    mnist_data_dir: PathBuf,
    #[command(flatten)]
    training: VaeArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "teacher_vaes", help_heading = "Output")]
    out_dir: PathBuf,
    #[command(flatten)]
    resume: ResumeArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for Args {
    const DEFAULTS: &[(&str, &str)] = &[
        ("latent_dim", "32, or teacher_vae.latent_dim"),
        ("epochs", "100, or teacher_vae.epochs"),
        ("batch_size", "32 or the whole shard, or teacher_vae.batch_size"),
        ("lr", "0.001, or teacher_vae.lr"),
        ("weight_decay", "0.00001, or teacher_vae.weight_decay"),
        ("kl_annealing_epochs", "20, or teacher_vae.kl_annealing_epochs"),
        ("kl_weight", "1"),
        ("augmentation", "basic"),
    ];

    fn run_args(&self) -> &RunArgs {
        &self.run
    }
}

fn main() -> ExitCode {
    pate_cli::run::<Args>(command)
}

/// The shard's images, and the files that they came from; the first one is what the report calls their source.
fn shard(args: &Args) -> Result<(Images, Vec<PathBuf>)> {
    if let Some(path) = &args.shard_path {
        return Ok((Shard::load(path).context("cannot use the shard")?.images, vec![path.clone()]));
    }
    let records = mnist(&args.mnist_data_dir, Split::Train)?;
    let indices = shard_indices(&args.shard_indices, records.len())?;
    let rows = indices.rows(&args.shard_indices, args.teacher_id)?;
    let files = std::iter::once(args.shard_indices.clone()).chain(records.files.iter().cloned()).collect();
    Ok((records.select(rows)?.images, files))
}

fn command(args: &Args, ctx: &Context) -> Result<Outcome> {
    let loaded = args.config.load(ctx)?;
    let dir = args.out_dir.join(format!("teacher_{}", args.teacher_id));
    let _lock = ctx.lock(&dir)?;
    let (images, files) = shard(args)?;
    let source = files.first().unwrap_or(&args.shard_indices);
    models::Vae::check_images(source, images.spec(1))?;
    let plan = training::teacher_vae_plan(&args.training, &loaded.config, ctx.seed, images.len());
    let asked = args.training.batch_size.map_or(loaded.config.teacher_vae.batch_size, |n| n as usize);
    if plan.batch_size < asked {
        ctx.say(&format!(
            "the shard has {} images: batches of {asked} become {}",
            images.len(),
            plan.batch_size
        ));
    }
    let guarantee = Guarantee::none("the VAE was trained on a private shard without a privacy mechanism");
    let access = Context::access(&guarantee);
    let work = json!({ "plan": format!("{plan:?}"), "teacher_id": args.teacher_id });
    let checkpoint = args.resume.checkpoint(&dir, &work, &files, access, ctx)?;
    let progress = ctx.progress();
    progress.start("epoch", plan.epochs as u64);
    let trained = vae::train_kept(&images, &plan, ctx.device, progress, &checkpoint)?;
    progress.finish();

    let (decoder_path, full_path) = (dir.join("decoder.pth"), dir.join("vae_full.pth"));
    let decoder = models::save(&trained.network.decoder, &decoder_path, access)?;
    let full = models::save(&trained.network, &full_path, access)?;
    let title = format!("VAE of teacher {}", args.teacher_id);
    let curves = pictures::vae_curves(&title, &trained.history, &dir.join("training_curves.png"), access)?;
    let last = trained.history.last();
    let mut report = Report::new(guarantee);
    report
        .field("teacher_id", args.teacher_id)?
        .field("latent_dim", plan.latent_dim)?
        .field("epochs", plan.epochs)?
        .field("batch_size", plan.batch_size)?
        .field("learning_rate", plan.learning_rate)?
        .field("weight_decay", plan.weight_decay)?
        .field("kl_annealing_epochs", plan.kl_annealing_epochs)?
        .field("seed", ctx.seed)?
        .field("shard_size", images.len())?
        .field("shard_source", files.first())?
        .field("use_augmentation", plan.augmentation.is_some())?
        .field("final_loss", last.map(|e| e.loss))?
        .field("final_recon_loss", last.map(|e| e.recon_loss))?
        .field("final_kl_loss", last.map(|e| e.kl_loss))?
        .field("decoder_path", &decoder_path)?
        .field("full_vae_path", &full_path)?
        .field("decoder_hash", &decoder.sha256)?
        .field("training_history", &trained.history)?;
    loaded.describe(&mut report)?;
    for path in &files {
        report.input(FileRecord::of(path)?);
    }
    report.output(decoder).output(full).output(curves);
    ctx.write_report(&report, &dir.join("training_report.json"))?;
    checkpoint.remove();
    ctx.say(&format!("decoder: {}", decoder_path.display()));
    Ok(Outcome::Done)
}
