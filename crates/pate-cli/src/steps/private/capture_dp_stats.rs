//! `capture-dp-stats`: what the layers of a private classifier see, released once.
//!
//! Reads: the classifier, its ledger, the private images. Writes: `dp_statistics.pt` and its
//! report. Privacy: one Gaussian mechanism in that ledger, for one record; without noise, none.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{Input, Report, layout};
use clap::Parser;
use dp_accounting::Adjacency;
use dp_accounting::ledger::Charge;
use pate_core::data::{Records, Split};
use pate_core::dp::Unprotected;
use pate_core::imgsyn::statistics::{self, Seen, StatisticsPlan};
use pate_core::models;
use serde_json::json;

use crate::args::{ConfigArgs, PrivateDataArgs, parse_path, positive};
use crate::files::ledger::{self, Room};
use crate::files::pool;
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings;

/// Release what the layers of a private classifier see of private images
///
/// Each record's means and means of squares at the inputs of the normalisations, by channel, are
/// clipped to a norm and summed; the sum is released once, with exact discrete Gaussian noise, and
/// charged to the ledger in which train-dp-teacher kept room for it. Adding or removing one record
/// moves the sum by the norm at most.
#[derive(Parser)]
#[command(
    name = "capture-dp-stats",
    version,
    after_help = "\
Examples:
  capture-dp-stats --model dp_teacher/model.pth --data-dir datasets
  capture-dp-stats --model dp_teacher/model.pth --data-dir private --dataset folders \\
    --records 50000 --config c.json

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct CaptureDpStats {
    /// The classifier's weights, from train-dp-teacher
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Classifier")]
    model: PathBuf,
    /// Folder of the private images that it was trained on
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    data_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// Number of records that the data set is publicly known to have, which sums are divided by: a
    /// constant, never a count of the files [default: 60000 for mnist and fashion-mnist, none for
    /// folders]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Private data")]
    records: Option<u64>,
    /// Ledger that train-dp-teacher began [default: privacy_ledger.jsonl beside --model]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Privacy budget")]
    ledger: Option<PathBuf>,
    /// Name of the private data set in the ledger [default: that of --dataset; of folders, that of
    /// the folder]
    #[arg(long, value_name = "NAME", help_heading = "Privacy budget")]
    dataset_name: Option<String>,
    /// Add no noise and charge no ledger, for a control: the statistics have no guarantee
    #[arg(long, conflicts_with = "ledger", help_heading = "Privacy budget")]
    without_noise: bool,
    /// Largest L2 norm of a record's statistics (S)
    #[arg(long, visible_alias = "max-norm", value_name = "S", default_value_t = 6.0, value_parser = positive, help_heading = "Statistics")]
    clipping_norm: f64,
    /// Means are clamped to this on both sides, means of squares to its square
    #[arg(long, value_name = "B", default_value_t = 1.5, value_parser = positive, help_heading = "Statistics")]
    bound: f64,
    /// Least variance: noise can leave less than 0
    #[arg(long, value_name = "V", default_value_t = 1e-3, value_parser = positive, help_heading = "Statistics")]
    variance_floor: f64,
    /// The statistics; their report goes beside them [default: dp_statistics.pt beside --model]
    #[arg(long, value_name = "FILE", value_parser = parse_path, help_heading = "Output")]
    out: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Why a control has no guarantee.
const NO_NOISE: &str = "statistics of private records without noise (--without-noise)";

impl Step for CaptureDpStats {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let loaded = self.config.load(ctx)?;
        let normalisation = settings::normalisation(&loaded.config.preprocessing)?;
        let model = Input::open(&self.model)?;
        let beside = self.model.parent().unwrap_or(Path::new(""));
        let ledger_path = self.ledger.clone().unwrap_or_else(|| beside.join(layout::LEDGER));
        let out = self.out.clone().unwrap_or_else(|| beside.join(layout::DP_STATISTICS));
        let report_name = pool::report_of(&out);
        let noise = if self.without_noise { Some(0.0) } else { self.room(&ledger_path, &out)? };
        let Some(noise) = noise else {
            ctx.say(&format!("these statistics were released already: {}", out.display()));
            return Ok(Outcome::Done);
        };
        let plan = self.plan(noise)?;
        let records = self.data.load(&self.data_dir, Split::Train).context("cannot use the private data")?;
        let network = models::load_classifier(&self.model, records.shape(), ctx.device)
            .context("cannot use the classifier")?;
        let _lock = ctx.lock_file("--out", &out, std::slice::from_ref(&report_name))?;
        let mut report = report(&plan, &records)?;
        let mut none = Unprotected::without_noise(ctx.seed);
        let mut ledger = if self.without_noise { None } else { Some(ledger::reopen(&ledger_path)?) };
        // Before anything is spent: a classifier that this ledger did not pay for would leave the
        // statistics without a guarantee.
        let both = ledger.as_ref().map(|ledger| model.guarantee.clone().join(ledger.label()));
        if let Some(reason) = both.and_then(|both| both.reason()) {
            bail!(
                "{} and {} together have no guarantee ({reason}); nothing was spent: give the ledger that the classifier \
                 was charged to",
                self.model.display(),
                ledger_path.display()
            );
        }
        report.input(model);
        if self.without_noise {
            report.reads_private(NO_NOISE);
        }
        let charge = Charge::new(
            plan.mechanism(),
            Adjacency::AddOrRemoveOne,
            ctx.program(),
            "statistics of what the layers of a classifier see",
        );
        let progress = ctx.progress();
        // Not how many there are, which is private.
        progress.start("record", plan.records as u64);
        let access = report.access();
        let mut written = None;
        let released = statistics::release(
            Seen { network: &*network, normalisation: &normalisation, images: &records.images },
            &plan,
            charge,
            ledger::spending(ledger.as_mut(), &mut none),
            progress,
            &mut |statistics| {
                // Before the charge is closed: what the ledger remembers is what the file holds.
                let record = statistics.save(&out, access)?;
                let remembered = json!({ ledger::STATISTICS: record.sha256 });
                written = Some(record);
                Ok(remembered)
            },
        );
        let released = released.context("cannot release the statistics")?;
        progress.finish();
        if let Some(ledger) = &ledger {
            report.released(ledger.label());
            report.field("ledger_path", &ledger_path)?;
        }
        report.field("channels", &released.channels)?.field("variances_at_the_floor", released.floored)?;
        loaded.describe(&mut report)?;
        if let Some(written) = written {
            report.output(written);
        }
        ctx.write_report(&report, &out.with_file_name(&report_name))?;
        ctx.say(&format!(
            "{} layers, {} of {} variances at the floor: {}\n{}",
            released.channels.len(),
            released.floored,
            released.channels.iter().sum::<i64>(),
            out.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}

impl CaptureDpStats {
    /// The noise for which the ledger has room; none where the file at `out` is what it was used
    /// for.
    fn room(&self, path: &Path, out: &Path) -> Result<Option<f64>> {
        let Some(account) = ledger::look(path)? else {
            bail!(
                "{} is not there; nothing was spent: give the ledger of train-dp-teacher with --ledger",
                path.display()
            );
        };
        let name = self.data.name(self.dataset_name.as_ref(), &self.data_dir);
        let room = ledger::room(
            path,
            &account,
            &name,
            (out, ledger::STATISTICS),
            "for statistics",
            "train the classifier with train-dp-teacher --statistics-noise",
        )?;
        Ok(match room {
            Room::Noise(noise) => Some(noise),
            Room::Released => None,
        })
    }

    fn plan(&self, noise_multiplier: f64) -> Result<StatisticsPlan> {
        let Some(records) = self.records.or(self.data.dataset.known_records()) else {
            bail!(
                "--records is missing: sums are divided by a number of records that is publicly known, and counting the \
                 files would tell it to whoever sees the result"
            );
        };
        Ok(StatisticsPlan {
            noise_multiplier,
            clipping_norm: self.clipping_norm,
            bound: self.bound,
            records: records as f64,
            variance_floor: self.variance_floor,
        })
    }
}

fn report(plan: &StatisticsPlan, records: &Records) -> Result<Report> {
    let mut report = Report::new();
    report
        .field("plan", plan)?
        .field("adjacency", Adjacency::AddOrRemoveOne.words())?
        .field("sensitivity", "S, in L2: each record's vector is clipped to it, rounding included")?
        .field("image_shape", records.images.tensor().size()[1..].to_vec())?;
    Ok(report)
}
