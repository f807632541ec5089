//! Which privacy guarantee an artefact carries, and how labels join.

use serde_json::{Value, json};

use crate::Access;

/// A formal guarantee that a mechanism gave.
#[derive(Clone, Debug, PartialEq)]
pub struct DpGuarantee {
    /// Differential privacy's epsilon, above 0.
    pub epsilon: f64,
    /// Its delta, in `[0, 1)`.
    pub delta: f64,
    /// What is protected, e.g. "all records of one shard".
    pub unit: String,
    /// Which data sets are neighbours, e.g. "adding or removing one record".
    pub adjacency: String,
    /// The mechanisms and their parameters, in words.
    pub mechanism: String,
    /// What computed epsilon, and its version.
    pub accountant: String,
    /// Identity of the private data set (a hash or a name of the ledger's).
    pub dataset: String,
    /// The ledger that was charged; nothing where there is none.
    pub ledger: Option<LedgerMark>,
}

/// A place in a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerMark {
    /// SHA-256 of its first line: data set, adjacency, budget, and a number of its own.
    pub id: String,
    /// Entries when the label was made.
    pub entries: u64,
    /// SHA-256 of its last line then: a ledger that does not hold that line at that place is
    /// another, or was turned back.
    pub head: String,
}

impl DpGuarantee {
    /// Whether both are releases of one ledger: its budget covers them together. Two ends at one
    /// place are two ledgers that began as one.
    fn shares_budget(&self, other: &Self) -> bool {
        let (Some(mark), Some(others)) = (&self.ledger, &other.ledger) else { return false };
        mark.id == others.id
            && (mark.entries != others.entries || mark.head == others.head)
            && self.dataset == other.dataset
            && self.epsilon.total_cmp(&other.epsilon).is_eq()
            && self.delta.total_cmp(&other.delta).is_eq()
    }

    /// The label that was made later.
    fn later(self, other: Self) -> Self {
        let entries = |label: &Self| label.ledger.as_ref().map_or(0, |mark| mark.entries);
        if entries(&other) > entries(&self) { other } else { self }
    }
}

/// The privacy label of an artefact, ordered `Public < Dp < None < Void`.
///
/// The label of an output is the [join](Guarantee::join) of its inputs' labels; a step that reads
/// private data outside a charged mechanism adds [`Guarantee::None`].
#[derive(Clone, Debug, PartialEq)]
pub enum Guarantee {
    /// No private data was read, neither here nor in any input.
    Public,
    /// Every access to private data went through a charged mechanism.
    Dp(DpGuarantee),
    /// A function of private data without a formal guarantee.
    None {
        /// What read the private data.
        reason: String,
    },
    /// Code for a private mechanism ran, but with test noise or with a failed invariant: no claim
    /// of any sort.
    Void {
        /// What went wrong.
        reason: String,
    },
}

impl Guarantee {
    /// No formal guarantee, because of `reason`.
    pub fn none(reason: impl Into<String>) -> Self {
        Self::None { reason: reason.into() }
    }

    /// The label of something made from both. Two `Dp` labels compose through the ledger that both
    /// were charged to: its budget is for everything that it let through. Otherwise the sum of
    /// their costs is not known to be complete, so the join is `None` with that reason (unless they
    /// are the same release).
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Void { reason }, Self::Void { reason: more }) => {
                Self::Void { reason: both(reason, &more) }
            }
            (void @ Self::Void { .. }, _) | (_, void @ Self::Void { .. }) => void,
            (Self::None { reason }, Self::None { reason: more }) => {
                Self::None { reason: both(reason, &more) }
            }
            (none @ Self::None { .. }, _) | (_, none @ Self::None { .. }) => none,
            (Self::Dp(a), Self::Dp(b)) if a == b => Self::Dp(a),
            (Self::Dp(a), Self::Dp(b)) if a.shares_budget(&b) => Self::Dp(a.later(b)),
            (Self::Dp(_), Self::Dp(_)) => Self::none("two private releases were joined without a ledger"),
            (dp @ Self::Dp(_), Self::Public) | (Self::Public, dp @ Self::Dp(_)) => dp,
            (Self::Public, Self::Public) => Self::Public,
        }
    }

    /// The value of a report's `formal_guarantee`: null, `"public"`, or the (epsilon, delta)
    /// object.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Public => json!("public"),
            Self::Dp(dp) => json!({
                "epsilon": dp.epsilon,
                "delta": dp.delta,
                "unit": dp.unit,
                "adjacency": dp.adjacency,
                "mechanism": dp.mechanism,
                "accountant": dp.accountant,
                "dataset": dp.dataset,
                "ledger": dp.ledger.as_ref().map(|mark| json!({"id": mark.id, "entries": mark.entries, "head": mark.head})),
            }),
            Self::None { .. } | Self::Void { .. } => Value::Null,
        }
    }

    /// The label that a report holds, from its `formal_guarantee` and `formal_guarantee_reason`.
    /// What is not understood is no guarantee.
    pub fn from_json(value: &Value, reason: Option<&str>) -> Self {
        let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        let mark = || match value.get("ledger")? {
            Value::Null => Some(None),
            mark => {
                let id = mark.get("id")?.as_str()?.to_owned();
                let head = mark.get("head")?.as_str()?.to_owned();
                Some(Some(LedgerMark { id, entries: mark.get("entries")?.as_u64()?, head }))
            }
        };
        let dp = || {
            let number = |name: &str| value.get(name)?.as_f64();
            Some(DpGuarantee {
                epsilon: number("epsilon").filter(|epsilon| *epsilon > 0.0 && epsilon.is_finite())?,
                delta: number("delta").filter(|delta| (0.0..1.0).contains(delta))?,
                unit: text("unit")?,
                adjacency: text("adjacency")?,
                mechanism: text("mechanism")?,
                accountant: text("accountant")?,
                dataset: text("dataset")?,
                ledger: mark()?,
            })
        };
        match (value, reason) {
            (Value::String(public), None) if public == "public" => Self::Public,
            (Value::Object(_), None) => dp().map_or_else(|| Self::none(NOT_UNDERSTOOD), Self::Dp),
            (Value::Null, Some(reason)) => match reason.strip_prefix("void: ") {
                Some(reason) => Self::Void { reason: reason.to_owned() },
                None => Self::none(reason),
            },
            _ => Self::none(NOT_UNDERSTOOD),
        }
    }

    /// The users that may read files with this label.
    pub fn access(&self) -> Access {
        match self {
            Self::Public | Self::Dp(_) => Access::Public,
            Self::None { .. } | Self::Void { .. } => Access::Private,
        }
    }

    /// Why there is no formal guarantee; `None` where there is one or none is needed.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Public | Self::Dp(_) => Option::None,
            Self::None { reason } => Some(reason.clone()),
            Self::Void { reason } => Some(format!("void: {reason}")),
        }
    }

    /// One sentence for a person.
    pub fn sentence(&self) -> String {
        match self {
            Self::Public => "Public data only: nothing private was read.".to_owned(),
            Self::Dp(dp) => format!(
                "Formal guarantee: ({}, {})-differential privacy for {}, by {}.",
                dp.epsilon, dp.delta, dp.unit, dp.mechanism
            ),
            Self::None { reason } => format!("No formal privacy guarantee: {reason}."),
            Self::Void { reason } => format!("Void, no privacy claim of any kind: {reason}."),
        }
    }
}

const NOT_UNDERSTOOD: &str = "the report's formal_guarantee is not understood";

fn both(reason: String, more: &str) -> String {
    if reason.split("; ").any(|part| part == more) { reason } else { format!("{reason}; {more}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dp(epsilon: f64) -> Guarantee {
        Guarantee::Dp(DpGuarantee {
            epsilon,
            delta: 1e-5,
            unit: "all records of one shard".into(),
            adjacency: "replacing all records of one shard".into(),
            mechanism: "GNMax".into(),
            accountant: "caps".into(),
            dataset: "d".into(),
            ledger: Option::None,
        })
    }

    fn charged(id: &str, entries: u64) -> Guarantee {
        let Guarantee::Dp(dp) = dp(2.0) else { unreachable!() };
        let mark = LedgerMark { id: id.into(), entries, head: format!("line {entries}") };
        Guarantee::Dp(DpGuarantee { ledger: Some(mark), ..dp })
    }

    #[test]
    fn releases_of_one_ledger_keep_its_budget() {
        for (early, late) in [(3, 5), (5, 3)] {
            assert_eq!(charged("a", early).join(charged("a", late)), charged("a", 5));
        }
        assert!(charged("a", 3).join(charged("b", 3)).to_json().is_null());
        assert!(charged("a", 3).join(dp(2.0)).to_json().is_null());
        let Guarantee::Dp(mut fork) = charged("a", 3) else { unreachable!() };
        fork.ledger = Some(LedgerMark { id: "a".into(), entries: 3, head: "another line 3".into() });
        assert!(charged("a", 3).join(Guarantee::Dp(fork.clone())).to_json().is_null());
        fork.epsilon = 3.0;
        assert!(charged("a", 4).join(Guarantee::Dp(fork)).to_json().is_null());
    }

    #[test]
    fn the_worse_label_wins_either_way_round() {
        let void = Guarantee::Void { reason: "test noise".into() };
        let ladder = [Guarantee::Public, dp(1.0), Guarantee::none("teachers"), void];
        for (i, low) in ladder.iter().enumerate() {
            for high in &ladder[i..] {
                assert_eq!(low.clone().join(high.clone()), *high);
                assert_eq!(high.clone().join(low.clone()), *high);
            }
        }
    }

    #[test]
    fn labels_come_back_from_reports_and_nothing_becomes_better() {
        let void = Guarantee::Void { reason: "test noise".into() };
        for label in [Guarantee::Public, dp(1.0), charged("a", 7), Guarantee::none("teachers"), void] {
            assert_eq!(Guarantee::from_json(&label.to_json(), label.reason().as_deref()), label);
        }
        for (epsilon, delta) in [(-1.0, 1e-5), (0.0, 1e-5), (1.0, 1.0), (1.0, -1e-9), (1.0, 7.0)] {
            let mut value = dp(1.0).to_json();
            (value["epsilon"], value["delta"]) = (json!(epsilon), json!(delta));
            assert_eq!(Guarantee::from_json(&value, None), Guarantee::none(NOT_UNDERSTOOD));
        }
        for value in [json!("Public"), json!({"epsilon": 1.0}), json!(true), Value::Null] {
            assert_eq!(Guarantee::from_json(&value, None), Guarantee::none(NOT_UNDERSTOOD));
        }
        assert_eq!(Guarantee::from_json(&json!("public"), Some("but")), Guarantee::none(NOT_UNDERSTOOD));
    }

    #[test]
    fn two_releases_without_a_ledger_lose_their_claim() {
        assert!(dp(1.0).join(dp(2.0)).to_json().is_null());
        assert_eq!(dp(1.0).join(dp(1.0)), dp(1.0));
    }

    #[test]
    fn reasons_add_up_once() {
        let joined = Guarantee::none("a").join(Guarantee::none("b")).join(Guarantee::none("a"));
        assert_eq!(joined.reason().unwrap(), "a; b");
    }
}
