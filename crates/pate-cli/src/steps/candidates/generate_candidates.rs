//! `generate-candidates`: pools of images decoded from random latents.
//!
//! Reads: a decoder. Writes: a pool `.pt`, a `.json` beside it, and with `--save-grid` a `.png`.
//! Privacy: that of the decoder; a public decoder's pools are public, a teacher's own decoder's
//! have no formal guarantee.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{check_space, free_bytes, layout, min_growth};
use clap::Parser;
use pate_core::data::ImageSize;
use pate_core::models::Decoder;
use pate_core::pate::generate::{self, LatentDraw};

use crate::args::{
    ConfigArgs, DecoderOrigin, LatentArgs, LoadedConfig, check_ending, for_teacher, has_id, parse_path,
};
use crate::files::pictures;
use crate::files::pool::{self, PoolOrigin};
use crate::run::{Context, Outcome, RunArgs, Step};

/// Make pools of candidate images from random latents
///
/// The effective seed is --seed plus the teacher's id, and nothing else carries the id:
/// --teacher-id 5 --seed 123 gives the pool of --seed 128, byte for byte.
#[derive(Parser)]
#[command(
    name = "generate-candidates",
    version,
    after_help = "\
Examples:
  generate-candidates --decoder-path pretrained_decoder/decoder.pth \\
    --pool-size 20000 --seed 123 --save-grid --out candidates/candidates_run1.pt
  generate-candidates --decoder-path teacher_vaes/teacher_{id}/decoder.pth \\
    --start-id 0 --num-teachers 250 --out candidates/candidates_teacher_{id}.pt

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct GenerateCandidates {
    /// The decoder's weights; with {id}, one decoder per teacher
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Decoder")]
    decoder_path: PathBuf,
    /// Size of the images, one number of pixels or HEIGHTxWIDTH [default: the square that the
    /// weights are for]
    #[arg(long, value_name = "SIZE", help_heading = "Decoder")]
    image_size: Option<ImageSize>,
    #[command(flatten)]
    origin: DecoderOrigin,
    #[command(flatten)]
    latents: LatentArgs,
    /// Teacher whose own decoder this is; its id is added to the seed
    #[arg(long, value_name = "ID", conflicts_with_all = ["start_id", "num_teachers"], help_heading = "Teachers")]
    teacher_id: Option<u64>,
    /// Id of the first teacher of many pools (with {id} in --out) [default: 0, with --num-teachers]
    #[arg(long, value_name = "ID", help_heading = "Teachers")]
    start_id: Option<u64>,
    /// Number of pools, one per teacher (with {id} in --out) [default: 1, with --start-id]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Teachers")]
    num_teachers: Option<u64>,
    /// The pool; with {id}, one pool per teacher
    #[arg(long, value_name = "FILE", value_parser = parse_path, default_value = "candidates/candidates_run1.pt", help_heading = "Output")]
    out: PathBuf,
    /// Name of the run, for the report
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    run_id: Option<String>,
    /// Also draw the first 64 candidates, as --out with .png
    #[arg(long, help_heading = "Output")]
    save_grid: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

impl Step for GenerateCandidates {
    const DEFAULT_SEED: u64 = 123;
    const DEFAULTS: &[(&str, &str)] = &[("run_id", "run1, or teacher_<id>")];

    const PUBLIC_WHERE_ITS_REPORT_IS: bool = true;

    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        check_ending("--out", &self.out, if self.save_grid { &["json", "png"] } else { &["json"] }, ".pt")?;
        let many = self.start_id.is_some() || self.num_teachers.is_some();
        let named = has_id(&self.out) || has_id(&self.decoder_path);
        if many && !has_id(&self.out) {
            bail!(
                "--start-id and --num-teachers make many pools; put {{id}} into --out so that each has its own file"
            );
        }
        if named && !many && self.teacher_id.is_none() {
            bail!("{{id}} stands for a teacher; give --teacher-id, or --start-id and --num-teachers");
        }
        let start = self.start_id.unwrap_or(0);
        let ids = if many {
            start..start.saturating_add(self.num_teachers.unwrap_or(1))
        } else {
            let id = self.teacher_id.unwrap_or(0);
            id..id.saturating_add(1)
        };
        let pool_size = self.latents.pool_size(&loaded.config.generation) as u64;
        let shape = Decoder::shape_of(&for_teacher(&self.decoder_path, ids.start), self.image_size)
            .context("cannot use the decoder")?;
        let pool_bytes = pool_size.saturating_mul(4 * shape.numel() as u64);
        // The peak of the first pools is a lower bound of that of all.
        let files = ids.clone().take(10_000).map(|id| (for_teacher(&self.out, id), pool_bytes));
        let dir = self.out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let hint = "give a smaller --pool-size, or --out on another disk";
        check_space(dir, min_growth(files), free_bytes(dir), hint)?;
        // Named before the first pool is written, or a pool might take the place of a decoder that
        // is read later.
        for id in ids.clone().take(10_000).filter(|_| has_id(&self.decoder_path)) {
            artifact::name_input("--decoder-path", &for_teacher(&self.decoder_path, id));
        }
        if !many {
            make(self, &loaded, self.teacher_id, ctx)?;
            return Ok(Outcome::Done);
        }
        for teacher_id in ids {
            make(self, &loaded, Some(teacher_id), ctx)?;
        }
        Ok(Outcome::Done)
    }
}

fn make(
    args: &GenerateCandidates,
    loaded: &LoadedConfig,
    teacher_id: Option<u64>,
    ctx: &Context,
) -> Result<()> {
    let id = teacher_id.unwrap_or(0);
    let (decoder_path, out) = (for_teacher(&args.decoder_path, id), for_teacher(&args.out, id));
    let config = &loaded.config.generation;
    let plan = args.latents.plan(config)?;
    let bank = args.latents.bank()?;
    let decoder = Decoder::shape_of(&decoder_path, args.image_size)
        .and_then(|shape| Decoder::load(&decoder_path, shape, ctx.device))
        .context("cannot use the decoder")?;
    args.latents.check_latent_dim(config.latent_dim, decoder.latent_dim())?;
    let picture = args.save_grid.then(|| pictures::beside(&out));
    let beside: Vec<String> = std::iter::once(pool::report_of(&out)).chain(picture).collect();
    let _lock = ctx.lock_file("--out", &out, &beside)?;
    let seed = ctx.seed.wrapping_add(id);
    let pool_size = args.latents.pool_size(config);
    let latent_dim = decoder.latent_dim();
    let progress = ctx.progress();
    progress.start("candidates", pool_size as u64);
    let draw = LatentDraw { plan, rng: args.latents.rng(), bank: bank.as_ref() };
    let pool = generate::candidates(&decoder, pool_size, seed, &draw, 0, progress)?;
    progress.finish();

    // Many pools of one decoder are not the teachers' own: the id is in the seed alone.
    let own = teacher_id.filter(|_| args.teacher_id.is_some() || has_id(&args.decoder_path));
    let run_id = args.run_id.clone().unwrap_or_else(|| match teacher_id {
        Some(id) => layout::teacher(id),
        None => "run1".to_owned(),
    });
    let rng = args.latents.rng();
    let latents_path = args.latents.bank_path();
    let origin = PoolOrigin {
        decoder_path: &decoder_path,
        latents_path,
        latent_dim,
        plan,
        rng,
        seed,
        run_id,
        own,
        rounds: 1,
        declared: args.origin.guarantee(own),
        private_reason: None,
    };
    pool::save(&pool, &out, &origin, args.save_grid, loaded, ctx)?;
    ctx.say(&format!("{pool_size} candidates: {}", Path::display(&out)));
    Ok(())
}
