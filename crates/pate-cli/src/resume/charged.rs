//! Private training whose steps are charged to a ledger: how much noise it needs, what a stopped
//! run goes on from, and the run itself.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{FINGERPRINT, Guarantee, Report, WorkId, layout};
use dp_accounting::Adjacency;
use dp_accounting::ledger::Charge;
use dp_accounting::spend::Spending;
use pate_core::dp::{self, Diagnostics, PrivatePlan, PrivateTask, StepFigures, Trained, Unprotected};

use super::checkpoint::{Checkpoint, Found};
use crate::args::BudgetArgs;
use crate::files::ledger;
use crate::run::Context;
use crate::settings::{self, Asked, Beside, Costs, PrivacyTarget};

/// Why a control has no guarantee.
pub const NO_NOISE: &str = "trained on private records without noise (--epsilon inf)";
/// Why a measurement has none.
const FLOAT_NOISE: &str = "trained with floating-point noise and without a ledger (--float-noise)";
/// What one record moves a step of DP-SGD by.
pub const SENSITIVITY: &str = "the clipping norm of a record's gradient (the mean over its copies or draws), in L2, with what rounding to the lattice and float32 sums add";
/// Why diagnostics have none.
const DIAGNOSTICS: &str = "losses, gradient norms and sample sizes of private records, without noise";

/// A private training and what pays for it.
pub struct Charged<'a> {
    /// What it may cost.
    pub budget: &'a BudgetArgs,
    /// Where its results go; its ledger, where no other is named.
    pub output_dir: &'a Path,
    /// The public name of the private data set.
    pub dataset: String,
    /// What else is to run on the data set inside the same budget, where this run begins the
    /// ledger.
    pub beside: Option<Beside>,
    /// Without it, steps are taken as they are measured and compared: no ledger, no guarantee.
    pub protects: bool,
}

/// What is trained, and how.
pub struct Training<'a> {
    /// The records and the network.
    pub task: &'a dyn PrivateTask,
    /// With its noise multiplier.
    pub plan: &'a PrivatePlan,
    /// Weights that are trained.
    pub dimension: u64,
    /// What it may cost.
    pub target: PrivacyTarget,
    /// What for, in the ledger.
    pub purpose: &'a str,
    /// Its state.
    pub checkpoint: &'a Checkpoint,
    /// Where private figures of the steps go, if anywhere.
    pub diagnostics: Option<&'a Path>,
}

impl Charged<'_> {
    /// The ledger that is charged.
    pub fn ledger_path(&self) -> PathBuf {
        self.budget.ledger.clone().unwrap_or_else(|| self.output_dir.join(layout::LEDGER))
    }

    /// The target, and the plan's noise multiplier for it: the ledger's, where there is one, so
    /// that what was planned is what goes on.
    ///
    /// # Errors
    /// A target that cannot be met, a ledger that does not allow the run.
    pub fn solve(&self, plan: &mut PrivatePlan, asked: Asked, dimension: u64) -> Result<PrivacyTarget> {
        let delta = self.budget.delta;
        let costs = Costs { plan, dimension, beside: self.beside };
        let target = match asked {
            Asked::Epsilon(epsilon) => PrivacyTarget { epsilon, delta },
            Asked::NoiseMultiplier(sigma) => {
                costs.of_noise(sigma, delta).context("cannot use --noise-multiplier")?
            }
        };
        if target.epsilon.is_infinite() {
            return Ok(target);
        }
        let path = self.ledger_path();
        let mut sigma = None;
        if let Some(account) = if self.protects { ledger::look(&path)? } else { None } {
            ledger::check(&path, &account.header, &costs.ledger_header(&self.dataset, target))?;
            sigma = settings::of_ledger(&account.header, plan).with_context(|| {
                format!(
                    "{} does not allow this run; nothing was spent; name another with --ledger",
                    path.display()
                )
            })?;
        }
        plan.noise_multiplier = match (sigma, asked) {
            (Some(sigma), _) | (None, Asked::NoiseMultiplier(sigma)) => sigma,
            _ => costs.noise_multiplier(target).context("the budget cannot be met")?,
        };
        Ok(target)
    }

    /// Takes the steps, charged to the ledger where they protect, and puts the label of what was
    /// released into `report`.
    ///
    /// # Errors
    /// A ledger that is gone, damaged, in use or used up; those of training; a stop.
    pub fn train(&self, training: &Training<'_>, report: &mut Report, ctx: &Context) -> Result<Trained> {
        let Training { task, plan, dimension, target, purpose, checkpoint, .. } = *training;
        let charge = Charge::new(plan.mechanism(), Adjacency::AddOrRemoveOne, ctx.program(), purpose);
        let watch = Figures::default();
        let diagnostics = training.diagnostics.map(|_| &watch as &dyn Diagnostics);
        let run = |spending: &mut dyn Spending| -> Result<Trained> {
            let progress = ctx.progress();
            progress.start("step", plan.steps);
            let trained = dp::train(task, plan, &charge, spending, checkpoint, diagnostics, progress);
            // Of a run that was stopped as well.
            if let Some(path) = training.diagnostics {
                watch.write(path, ctx)?;
            }
            let trained = trained?;
            progress.finish();
            Ok(trained)
        };
        if !self.protects {
            let mut none = if target.epsilon.is_finite() {
                Unprotected::with_float_noise(ctx.seed, plan.noise_multiplier * plan.clipping_norm)
            } else {
                Unprotected::without_noise(ctx.seed)
            };
            return run(&mut none);
        }
        let path = self.ledger_path();
        if checkpoint.load().is_some() && !path.exists() {
            bail!(
                "{} has steps that were charged to {}, which is not there; nothing was spent: bring the ledger back, since \
                 a new one would know nothing of them",
                checkpoint.path().display(),
                path.display()
            );
        }
        let header = Costs { plan, dimension, beside: self.beside }.ledger_header(&self.dataset, target);
        let begun = ledger::look(&path)?.map(|account| account.label());
        covered(report.guarantee(), begun, &path)?;
        let mut ledger = ledger::open(&path, &header, ctx)?;
        let trained = run(&mut ledger)?;
        if trained.steps == 0 {
            bail!(
                "the budget in {} is used up, so not one step could be taken; what a finished or a stopped run has charged \
                 stays spent",
                path.display()
            );
        }
        report.released(ledger.label());
        report.field("ledger_path", &path)?;
        Ok(trained)
    }
}

/// Puts into `report` what a private step of the data set `dataset` promises.
///
/// # Errors
/// Where a value cannot be written.
pub fn describe(report: &mut Report, dataset: &str, target: PrivacyTarget, sensitivity: &str) -> Result<()> {
    report
        .field("private_dataset", dataset)?
        .field("epsilon", target.epsilon.is_finite().then_some(target.epsilon))?
        .field("delta", target.delta)?
        .field("adjacency", Adjacency::AddOrRemoveOne.words())?
        .field("sensitivity", sensitivity)?
        .field(
            "hyper_parameters_chosen_on",
            "not recorded: what was chosen on the private data is not accounted for",
        )?;
    Ok(())
}

/// Takes the guarantee away from a training that does not protect.
pub fn describe_unprotected(report: &mut Report, target: PrivacyTarget) {
    report.reads_private(if target.epsilon.is_finite() { FLOAT_NOISE } else { NO_NOISE });
}

/// Puts into `report` how many steps a training took, and what it was.
///
/// # Errors
/// Where a value cannot be written.
pub fn describe_steps(report: &mut Report, plan: &PrivatePlan, taken: u64, work: &WorkId) -> Result<()> {
    report.field("steps_taken", taken)?.field("steps_lost", plan.steps - taken)?.field(FINGERPRINT, work)?;
    Ok(())
}

/// Tells the user what a training ended with, in the file at `path`.
pub fn tell(ctx: &Context, plan: &PrivatePlan, taken: u64, path: &Path, report: &Report) {
    ctx.say(&format!(
        "{taken} of {} steps: {}\n{}",
        plan.steps,
        path.display(),
        report.guarantee().sentence()
    ));
}

/// Refuses what would have no guarantee whatever is spent: inputs that another ledger paid for than
/// the one that is there, or is to be begun.
///
/// # Errors
/// Exactly then.
pub fn covered(inputs: &Guarantee, ledger: Option<Guarantee>, path: &Path) -> Result<()> {
    let reason = match ledger {
        None if inputs == &Guarantee::Public => return Ok(()),
        None => "it is to be begun, and the inputs were charged to another".to_owned(),
        Some(ledger) => match inputs.clone().join(ledger).reason() {
            None => return Ok(()),
            Some(reason) => reason,
        },
    };
    bail!(
        "the inputs and {} together have no guarantee ({reason}); nothing was spent: give the ledger that the inputs \
         were charged to with --ledger, or --epsilon inf for a control",
        path.display()
    )
}

/// A state that cannot be gone on from has cost what it has cost: it is never written over in
/// silence.
///
/// # Errors
/// Such a state.
pub fn refuse_other_state(checkpoint: &Checkpoint) -> Result<()> {
    let path = checkpoint.path().display();
    match checkpoint.look() {
        Found::OtherWork => bail!(
            "{path} is that of a training with other settings, whose steps are charged; nothing was spent: give the \
             settings that it was begun with, or another --output-dir and --ledger"
        ),
        Found::Damaged => bail!(
            "{path} is damaged, and its steps are charged; nothing was spent: bring it back from a copy, or remove it \
             to start anew with what is left of the budget"
        ),
        Found::State(_) | Found::Nothing => Ok(()),
    }
}

#[derive(Default)]
struct Figures(RefCell<Vec<StepFigures>>);

impl Figures {
    fn write(&self, path: &Path, ctx: &Context) -> Result<()> {
        let mut report = Report::new();
        report.reads_private(DIAGNOSTICS).field("steps", &*self.0.borrow())?;
        ctx.write_report(&report, path)?;
        Ok(())
    }
}

impl Diagnostics for Figures {
    fn step(&self, figures_private: &StepFigures) {
        self.0.borrow_mut().push(*figures_private);
    }
}
