//! What can go wrong with figures and ledgers.

use std::path::PathBuf;

/// Why a cost could not be computed, or a mechanism may not run. Every message names the value,
/// what is allowed, and the hint.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A parameter is outside of its range.
    #[error("{name} is {value:?}; it must be {}{allowed}", finite(*value, allowed))]
    Parameter {
        /// The parameter, as the function's documentation calls it.
        name: &'static str,
        /// What was given.
        value: f64,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A list is empty or has the wrong length.
    #[error("{name} has {found} entries; it must have {allowed}")]
    Length {
        /// The list.
        name: &'static str,
        /// How many entries it has.
        found: usize,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// A distribution would need more grid points than are allowed.
    #[error("the privacy loss distribution needs {need} grid points, and {limit} are allowed; {hint}")]
    TooLarge {
        /// Points needed.
        need: f64,
        /// Points allowed.
        limit: usize,
        /// What to change.
        hint: &'static str,
    },
    /// No parameter in the searched range reaches the target.
    #[error("no {name} up to {limit} gives epsilon {target}; {hint}")]
    Unreachable {
        /// What was searched.
        name: &'static str,
        /// The end of the range.
        limit: f64,
        /// The epsilon that was asked for.
        target: f64,
        /// What to change.
        hint: &'static str,
    },
    /// Every parameter reaches the target, down to the end of the range.
    #[error(
        "every {name} from {limit} on gives epsilon {target} or less, so there is no smallest one to name: {hint}"
    )]
    Reached {
        /// What was searched.
        name: &'static str,
        /// The end of the range.
        limit: f64,
        /// The epsilon that was asked for.
        target: f64,
        /// Why, and what to change.
        hint: &'static str,
    },
    /// An accountant cannot account for a mechanism.
    #[error("{mechanism} cannot be charged to {accountant}: {reason}")]
    Unsupported {
        /// The mechanism.
        mechanism: String,
        /// The accountant.
        accountant: &'static str,
        /// Why, and what to use.
        reason: &'static str,
    },
    /// A charge would overspend.
    #[error(
        "refused, the privacy budget does not allow it: {mechanism} would bring {measure} to {after}, and the budget is {budget} (spent so far: {before})"
    )]
    Overspent {
        /// What should have run.
        mechanism: String,
        /// In which measure: mu^2, RDP at an order, or a count.
        measure: String,
        /// Spent before.
        before: f64,
        /// What it would be after.
        after: f64,
        /// What is allowed.
        budget: f64,
    },
    /// Two adjacencies meet that are not the same.
    #[error(
        "the ledger counts under {ledger} and {mechanism} is stated under {found}; convert it first, explicitly (`Adjacency` says how)"
    )]
    Adjacency {
        /// The ledger's.
        ledger: String,
        /// The mechanism.
        mechanism: String,
        /// The mechanism's.
        found: String,
    },
    /// A vector has too many coordinates for noise of a sigma on a lattice.
    #[error(
        "noise of sigma {sigma} on {dimension} coordinates: sigma sqrt(dimension) is {product}, and rounding to the lattice takes at most 524288 of it (2^19); choose a smaller sigma, or fewer coordinates"
    )]
    Dimension {
        /// The noise, in sensitivities.
        sigma: f64,
        /// How many coordinates there are.
        dimension: usize,
        /// sigma sqrt(dimension).
        product: f64,
    },
    /// A ledger's line is not what was written.
    #[error("{} is damaged at line {line}: {reason}; restore it from a copy, and treat the data set's budget as spent until then", path.display())]
    Damaged {
        /// The ledger.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A ledger that is already there, or an option that contradicts it.
    #[error("{}: {reason}", path.display())]
    Ledger {
        /// The ledger.
        path: PathBuf,
        /// What is wrong, and the hint.
        reason: String,
    },
    /// A draw that was not charged for.
    #[error("the charge is for {mechanism}: {reason}")]
    Draw {
        /// What was charged.
        mechanism: String,
        /// What was asked for, and the hint.
        reason: String,
    },
    /// The caller could not compute what it wanted to release.
    #[error("the statistic could not be computed: {0}")]
    Statistic(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There is no noise.
    #[error(transparent)]
    Noise(#[from] dp_noise::Error),
    /// A file could not be read, written or locked.
    #[error(transparent)]
    File(#[from] artifact::Error),
    /// A ledger could not be written durably: its state on the disk is not known.
    #[error("{} could not be written durably ({source}); nothing more is charged here. Open it again: what reached the disk counts as spent", path.display())]
    Durability {
        /// The ledger.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
}

/// What the range of a parameter leaves unsaid where the value is no finite number: "inf; it must
/// be above 0" would be a riddle.
fn finite(value: f64, allowed: &str) -> &'static str {
    match value {
        _ if value.is_finite() || allowed.contains("finite") => "",
        _ if value.is_nan() => "a number, ",
        _ => "finite, and ",
    }
}

/// This crate's results.
pub type Result<T> = std::result::Result<T, Error>;

/// `value`, if it is finite and `holds`.
pub(crate) fn check(
    name: &'static str,
    value: f64,
    holds: impl Fn(f64) -> bool,
    allowed: &'static str,
) -> Result<f64> {
    if value.is_finite() && holds(value) { Ok(value) } else { Err(Error::Parameter { name, value, allowed }) }
}

/// A noise scale: zero is allowed where a caller gives infinity for it.
pub(crate) fn check_scale(name: &'static str, value: f64) -> Result<f64> {
    check(name, value, |value| value >= 0.0, "a finite number, 0 (no noise: infinite cost) or above")
}

pub(crate) fn check_delta(delta: f64) -> Result<f64> {
    check("delta", delta, |delta| 0.0 < delta && delta < 1.0, "above 0 and below 1")
}

pub(crate) fn check_sensitivity(value: f64) -> Result<f64> {
    check("the sensitivity", value, |value| value >= 0.0, "a finite number, 0 or above")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Field cases, row 13: "epsilon is inf; it must be above 0".
    #[test]
    fn infinities_and_what_is_no_number_are_told_what_is_wrong() {
        let text = |value: f64, allowed| Error::Parameter { name: "epsilon", value, allowed }.to_string();
        assert_eq!(text(f64::INFINITY, "above 0"), "epsilon is inf; it must be finite, and above 0");
        assert_eq!(text(f64::NEG_INFINITY, "above 0"), "epsilon is -inf; it must be finite, and above 0");
        assert_eq!(
            text(f64::NAN, "above 0 and below 1"),
            "epsilon is NaN; it must be a number, above 0 and below 1"
        );
        assert_eq!(text(-1.0, "above 0"), "epsilon is -1.0; it must be above 0");
        assert_eq!(
            text(f64::NAN, "a finite number, 0 or above"),
            "epsilon is NaN; it must be a finite number, 0 or above"
        );
    }
}
