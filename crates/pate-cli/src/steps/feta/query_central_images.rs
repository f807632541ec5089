//! `query-central-images`: what the private images of each class have in common, with noise.
//!
//! Reads: private images, the ledger. Writes: `central_images.npz`, a picture, a report; the
//! ledger. Privacy: a few Poisson-subsampled Gaussian releases for one record, in a ledger that
//! keeps room for the fine-tuning; without noise, none.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{FileRecord, Report, layout};
use clap::Parser;
use dp_accounting::Adjacency;
use dp_accounting::filter::{Budget, Cap};
use dp_accounting::ledger::{Account, Charge};
use dp_accounting::spend::Spending;
use pate_core::config::CentralKind;
use pate_core::data::{Images, RangeRule, Records, Split};
use pate_core::dp::Unprotected;
use pate_core::feta::central::{self, CentralPlan};
use pate_core::feta::finish;
use serde_json::json;

use crate::args::{BudgetArgs, LengthArgs, PrivateDataArgs, parse_path, positive, word};
use crate::files::{data_sets, exports, ledger, pictures};
use crate::resume::charged::{self, Charged};
use crate::run::{Context, Outcome, RunArgs, Step};
use crate::settings::{Beside, Costs, Length, MOST_WEIGHTS, PrivacyTarget, PrivateDefaults};

/// Ask for noisy central images of the classes of private images
///
/// In each of a few rounds a Poisson sample of the records gives one image for each class: the
/// mean, or the most frequent brightness of each pixel, at half the height and width, with exact
/// discrete Gaussian noise on sums that are divided by public constants. The ledger that it begins
/// keeps room for the steps of finetune-diffusion: the noise of both is solved for one budget.
/// (epsilon, delta)-differential privacy for adding or removing one record, of both together.
#[derive(Parser)]
#[command(
    name = "query-central-images",
    version,
    after_help = "\
Examples:
  query-central-images --data-dir datasets --epsilon 10 --output-dir central
  query-central-images --data-dir datasets --epsilon 1 --query mode --expected-batch 512 \\
    --steps 300 --output-dir central

Exit codes: 0 done, 2 arguments, 3 files, 130 stopped."
)]
pub struct QueryCentralImages {
    /// Folder of the private images: MNIST's or Fashion-MNIST's (torchvision's layout, or the IDX
    /// files straight in it), or of --dataset folders
    #[arg(long, value_name = "DIR", value_parser = parse_path, help_heading = "Private data")]
    data_dir: PathBuf,
    #[command(flatten)]
    data: PrivateDataArgs,
    /// What is asked of the images of a class
    #[arg(long, value_name = "KIND", value_parser = word::<CentralKind>(), default_value = "mean", help_heading = "Query")]
    query: CentralKind,
    /// Rounds, each of which gives an image for each class
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=10_000), help_heading = "Query")]
    rounds: u64,
    /// Probability with which a record takes part in a round
    #[arg(long, value_name = "Q", default_value_t = 0.1, value_parser = rate, help_heading = "Query")]
    query_rate: f64,
    /// Standard deviation of the query's noise, in sensitivities
    #[arg(long, value_name = "SIGMA", default_value_t = 5.0, value_parser = positive, help_heading = "Query")]
    query_noise: f64,
    /// Largest L2 norm of an image of half the height and width, of the mean [default: half of what
    /// a white one has, 7 for 28x28 pixels]
    #[arg(long, value_name = "R", value_parser = positive, help_heading = "Query")]
    image_norm: Option<f64>,
    /// Brightnesses that the mode tells apart
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(i64).range(2..=256), help_heading = "Query")]
    bins: i64,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    length: LengthArgs,
    /// Folder for the results
    #[arg(long, value_name = "DIR", value_parser = parse_path, default_value = "central", help_heading = "Output")]
    output_dir: PathBuf,
    #[command(flatten)]
    run: RunArgs,
}

/// Why a control has no guarantee.
const NO_NOISE: &str = "central images of private records without noise (--epsilon inf)";
/// Images of a class in the picture.
const SHOWN: usize = 10;

fn rate(text: &str) -> Result<f64, String> {
    let found = positive(text).ok().filter(|q| *q <= 1.0);
    found.ok_or_else(|| "give a probability above 0, at most 1".to_owned())
}

impl Step for QueryCentralImages {
    fn run_args(&self) -> &RunArgs {
        &self.run
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let asked = self.budget.asked()?;
        let protects = !asked.is_free();
        let length = self.length.resolve(&PrivateDefaults::DIFFUSION, self.data.dataset.known_records())?;
        let records = self.data.load(&self.data_dir, Split::Train).context("cannot use the private data")?;
        // Before anything is solved or written.
        let pixels: i64 =
            central::halved(records.images.tensor()).context("cannot use the private data")?.size()[1..]
                .iter()
                .product();
        let plan = self.plan(length, pixels, protects);
        let beside = Beside {
            cap: Cap { mechanism: plan.mechanism(), count: plan.rounds },
            dimension: plan.dimension(records.classes(), pixels),
        };
        let charged = Charged {
            budget: &self.budget,
            output_dir: &self.output_dir,
            dataset: self.dataset_name(),
            beside: Some(beside),
            protects,
        };
        let mut steps = PrivateDefaults::DIFFUSION.plan(length);
        let target = charged.solve(&mut steps, asked, MOST_WEIGHTS)?;
        let images_path = self.output_dir.join(layout::CENTRAL_IMAGES);
        let ledger_path = charged.ledger_path();
        let account = if protects { ledger::look(&ledger_path)? } else { None };
        let released = match &account {
            Some(account) => self.is_released(account, &plan, &ledger_path)?,
            None => false,
        };
        let _lock = ctx.lock("--output-dir", &self.output_dir, &OUTPUTS)?;
        let mut report = self.report(&plan, length, target, steps.noise_multiplier, &records)?;
        if !protects {
            report.reads_private(NO_NOISE);
            data_sets::describe(&mut report, &records)?;
        }
        let written = if let Some(account) = account.filter(|_| released) {
            ctx.say(&format!("these central images were released already: {}", images_path.display()));
            report.released(account.label());
            FileRecord::of_output(&images_path)?
        } else {
            let header = Costs { plan: &steps, dimension: MOST_WEIGHTS, beside: Some(beside) }
                .ledger_header(&self.dataset_name(), target);
            let mut none = Unprotected::without_noise(ctx.seed);
            let mut ledger = if protects { Some(ledger::open(&ledger_path, &header, ctx)?) } else { None };
            let spending = ledger::spending(ledger.as_mut(), &mut none);
            let written = self.release(&records, &plan, spending, &report, ctx)?;
            if let Some(ledger) = &ledger {
                report.released(ledger.label());
            }
            written
        };
        if protects {
            report.field("ledger_path", &ledger_path)?;
        }
        let access = report.access();
        // What an earlier run, or this one, wrote is no input.
        let (images, labels) = {
            let _own = input_file::own();
            let found = Images::load_with_labels(&images_path, RangeRule::AsIs, records.classes())?;
            (found.0, found.1.context("there are no classes in the central images")?)
        };
        let picture = pictures::class_sheet(
            "Central images",
            &images,
            labels.values(),
            None,
            SHOWN,
            &self.output_dir.join(layout::CENTRAL_PICTURE),
            access,
        )?;
        report.output(written).output(picture);
        ctx.write_report(&report, &self.output_dir.join(layout::CENTRAL_REPORT))?;
        ctx.say(&format!(
            "{} central images: {}\n{}",
            images.len(),
            images_path.display(),
            report.guarantee().sentence()
        ));
        Ok(Outcome::Done)
    }
}

const OUTPUTS: [&str; 3] = [layout::CENTRAL_IMAGES, layout::CENTRAL_PICTURE, layout::CENTRAL_REPORT];

impl QueryCentralImages {
    fn plan(&self, length: Length, pixels: i64, protects: bool) -> CentralPlan {
        CentralPlan {
            kind: self.query,
            rounds: self.rounds,
            sampling_rate: self.query_rate,
            noise_multiplier: if protects { self.query_noise } else { 0.0 },
            clipping_norm: self.image_norm.unwrap_or(0.5 * (pixels as f64).sqrt()),
            bins: self.bins,
            records: length.records as f64,
        }
    }

    fn dataset_name(&self) -> String {
        self.data.name(self.budget.dataset_name.as_ref(), &self.data_dir)
    }

    fn report(
        &self,
        plan: &CentralPlan,
        length: Length,
        target: PrivacyTarget,
        noise_multiplier: f64,
        records: &Records,
    ) -> Result<Report> {
        let mut report = Report::new();
        report
            .field("plan", plan)?
            .field("records_publicly_known", length.records)?
            .field("sums_are_divided_by", plan.divisor(records.classes()))?
            .field(
                "kept_for_fine_tuning",
                json!({
                    "steps": length.steps,
                    "expected_batch": length.expected_batch,
                    "noise_multiplier": target.epsilon.is_finite().then_some(noise_multiplier),
                }),
            )?;
        data_sets::describe_kind(&mut report, records)?;
        let sensitivity = match plan.kind {
            CentralKind::Mean => "R, in L2, with what rounding to the lattice adds",
            CentralKind::Mode => "the square root of the number of pixels, in L2: one bin for each",
        };
        charged::describe(&mut report, &self.dataset_name(), target, sensitivity)?;
        Ok(report)
    }

    /// Whether the ledger remembers the release of the file that is there.
    fn is_released(&self, account: &Account, plan: &CentralPlan, path: &Path) -> Result<bool> {
        let listed = match &account.header.budget {
            Budget::Caps { caps, .. } => {
                caps.iter().any(|cap| cap.mechanism == plan.mechanism() && cap.count == plan.rounds)
            }
            _ => false,
        };
        if !listed {
            bail!(
                "the list of {} has no {} rounds of {}; nothing was spent: give the settings that it was begun with, or \
                 another --ledger",
                path.display(),
                plan.rounds,
                plan.mechanism()
            );
        }
        let used = account.totals().into_iter().any(|(mechanism, _)| mechanism == plan.mechanism());
        if !used {
            return Ok(false);
        }
        let out = self.output_dir.join(layout::CENTRAL_IMAGES);
        // What an earlier run wrote is no input.
        let _own = input_file::own();
        if out.is_file() && ledger::remembers(account, ledger::STATISTICS, &FileRecord::of(&out)?.sha256) {
            return Ok(true);
        }
        bail!(
            "the central images of {} were charged already, and its budget has room for them once; nothing was spent: use \
             what was released, or a file of it from a copy",
            path.display()
        );
    }

    /// Asks, and writes the images before the charge is closed: what the ledger remembers is what
    /// the file holds.
    fn release(
        &self,
        records: &Records,
        plan: &CentralPlan,
        spending: &mut dyn Spending,
        report: &Report,
        ctx: &Context,
    ) -> Result<FileRecord> {
        let purpose = "central images of the classes";
        let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, ctx.program(), purpose);
        let charge = Charge { count: plan.rounds, ..charge };
        let (path, access) = (self.output_dir.join(layout::CENTRAL_IMAGES), report.access());
        let mut written = None;
        let progress = ctx.progress();
        progress.start("round", plan.rounds);
        let released = central::release(records, plan, charge, spending, progress, &mut |central| {
            let images = finish(&central.images)?.images();
            let record = exports::npz(&path, access, &images, &central.labels)?;
            let remembered = json!({ ledger::STATISTICS: record.sha256 });
            written = Some(record);
            Ok(remembered)
        });
        released.context("cannot ask for the central images")?;
        progress.finish();
        written.context("no central images were written")
    }
}
