use serde_json::{Value, json};

/// A formal guarantee that a mechanism gave.
#[derive(Clone, Debug, PartialEq)]
pub struct DpGuarantee {
    /// Differential privacy's epsilon, above 0.
    pub epsilon: f64,
    /// Its delta, in `[0, 1)`.
    pub delta: f64,
    /// What changes between neighbouring data sets, e.g. "all records of one shard".
    pub unit: String,
    /// The mechanism and its parameters, in words.
    pub mechanism: String,
    /// Identity of the private data set (a hash or a name of the ledger's).
    pub dataset: String,
}

/// The privacy label of an artefact, ordered `Public < Dp < None < Void`.
///
/// The label of an output is the [join](Guarantee::join) of its inputs' labels; a step that reads private data outside a charged
/// mechanism adds [`Guarantee::None`].
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
    /// Code for a private mechanism ran, but with test noise or with a failed invariant: no claim of any sort.
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

    /// The label of something made from both. Two `Dp` labels do not compose here: without a ledger the sum of
    /// their costs is not known to be complete, so the join is `None` with that reason (unless they are the same release).
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
            (Self::Dp(_), Self::Dp(_)) => Self::none("two private releases were joined without a ledger"),
            (dp @ Self::Dp(_), Self::Public) | (Self::Public, dp @ Self::Dp(_)) => dp,
            (Self::Public, Self::Public) => Self::Public,
        }
    }

    /// The value of a report's `formal_guarantee`: null, `"public"`, or the (epsilon, delta) object.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Public => json!("public"),
            Self::Dp(dp) => json!({
                "epsilon": dp.epsilon,
                "delta": dp.delta,
                "unit": dp.unit,
                "mechanism": dp.mechanism,
                "dataset": dp.dataset,
            }),
            Self::None { .. } | Self::Void { .. } => Value::Null,
        }
    }

    /// The label that a report holds, from its `formal_guarantee` and `formal_guarantee_reason`. What is not understood
    /// is no guarantee.
    pub fn from_json(value: &Value, reason: Option<&str>) -> Self {
        let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
        let dp = || {
            Some(DpGuarantee {
                epsilon: value.get("epsilon")?.as_f64()?,
                delta: value.get("delta")?.as_f64()?,
                unit: text("unit")?,
                mechanism: text("mechanism")?,
                dataset: text("dataset")?,
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
            mechanism: "GNMax".into(),
            dataset: "d".into(),
        })
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
        for label in [Guarantee::Public, dp(1.0), Guarantee::none("teachers"), void] {
            assert_eq!(Guarantee::from_json(&label.to_json(), label.reason().as_deref()), label);
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
