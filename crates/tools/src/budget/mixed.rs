//! Cases of any mechanisms together: `parts` of a case, and ledgers' entries as they stand.

use anyhow::{Context as _, bail, ensure};
use dp_accounting::ledger::{Account, Charge};
use dp_accounting::pld::Composition;
use dp_accounting::prv::Prv;
use dp_accounting::rdp::{Orders, RdpCurve};
use dp_accounting::{Adjacency, Mechanism, gdp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::case::{IMPROVED, Part, Sampled, exact, interval, losses, of_order};

/// What the parts of a case are.
pub(crate) enum Parts {
    /// Steps of DP-SGD alone, in their own short form.
    Sampled(Sampled),
    /// Anything.
    Mixed(Mixed),
}

/// Mechanisms and how often they ran, under one relation.
pub(crate) struct Mixed {
    adjacency: Adjacency,
    parts: Vec<(Mechanism, u64)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    parts: Vec<Value>,
    adjacency: Option<String>,
    sensitivity_l2: Option<f64>,
}

/// A part by name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    mechanism: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    count: Option<u64>,
    adjacency: Option<Adjacency>,
    converted_from: Option<Adjacency>,
}

/// A charge as a ledger has it; what it was for may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Charged {
    mechanism: Mechanism,
    count: u64,
    adjacency: Option<Adjacency>,
    #[serde(default)]
    run: String,
    #[serde(default)]
    purpose: String,
    converted_from: Option<Adjacency>,
}

/// A part, before it is known under which relation all are counted.
enum Stated {
    Steps(Part),
    Charge(Charged),
    /// A ledger's line that costs nothing: a header, a result, a stamp.
    Nothing,
}

/// Whether a case is a ledger's entry: a whole line, an intent, or a charge.
pub(crate) fn is_entry(fields: &Map<String, Value>) -> bool {
    ["what", "header", "intent"].iter().any(|name| fields.contains_key(*name))
        || fields.get("mechanism").is_some_and(Value::is_object)
}

/// The parts of a case.
pub(crate) fn parts(parameters: &Value) -> anyhow::Result<Parts> {
    let form = "its parameters are not those of a composition: `parts`, and where they apply `adjacency` and `sensitivity_l2`";
    let parameters = Parameters::deserialize(parameters).context(form)?;
    let stated = |(i, part): (usize, &Value)| stated(part).with_context(|| format!("part {}", i + 1));
    let stated = parameters.parts.iter().enumerate().map(stated).collect::<anyhow::Result<Vec<_>>>()?;
    let steps = |part: &Stated| if let Stated::Steps(part) = part { Some(*part) } else { None };
    if let Some(parts) = stated.iter().map(steps).collect::<Option<Vec<Part>>>() {
        let Parameters { adjacency, sensitivity_l2, .. } = parameters;
        return Ok(Parts::Sampled(Sampled { parts, adjacency, sensitivity_l2 }));
    }
    ensure!(
        parameters.sensitivity_l2.is_none_or(|value| (value - 1.0).abs() <= 0.0),
        "its sensitivity_l2 is for parts of {{q, sigma, steps}} alone; state the sensitivity of each part"
    );
    let adjacency: Option<Adjacency> = parameters
        .adjacency
        .map(|name| Adjacency::deserialize(json!(name)).with_context(|| format!("its adjacency `{name}`")))
        .transpose()?;
    Ok(Parts::Mixed(Mixed::of(stated, adjacency)?))
}

fn stated(part: &Value) -> anyhow::Result<Stated> {
    let Some(fields) = part.as_object() else {
        bail!(
            "it is no object; give {{mechanism, parameters, count}}, {{q, sigma, steps}}, or a ledger's entry"
        )
    };
    if fields.contains_key("header") {
        return Ok(Stated::Nothing);
    }
    if let Some(what) = fields.get("what") {
        let known = ["previous", "entry", "what"];
        if let Some(name) = fields.keys().find(|name| !known.contains(&name.as_str())) {
            bail!("`{name}` is no field of a ledger's line; it has `previous`, `entry` and `what`");
        }
        return stated(what);
    }
    if let Some(charge) = fields.get("intent") {
        ensure!(fields.len() == 1, "an intent stands alone; put its count and adjacency into it");
        return charged(charge);
    }
    if fields.len() == 1 && (fields.contains_key("result") || fields.contains_key("stamp")) {
        return Ok(Stated::Nothing);
    }
    match fields.get("mechanism") {
        Some(Value::Object(_)) => charged(part),
        Some(_) => named(part),
        None => Ok(Stated::Steps(Part::deserialize(part).context(
            "it has no `mechanism`, and is no step of DP-SGD; give {mechanism, parameters, count} or {q, sigma, steps}",
        )?)),
    }
}

fn charged(charge: &Value) -> anyhow::Result<Stated> {
    Ok(Stated::Charge(Charged::deserialize(charge).context("it is no charge of a ledger")?))
}

fn named(part: &Value) -> anyhow::Result<Stated> {
    let Named { mechanism: name, parameters: mut fields, count, adjacency, converted_from } =
        Named::deserialize(part).context("it is no {mechanism, parameters, count}")?;
    ensure!(!fields.contains_key("mechanism"), "its parameters name a mechanism again; leave that out");
    fields.insert("mechanism".to_owned(), json!(name));
    let mechanism = Mechanism::deserialize(Value::Object(fields))
        .with_context(|| format!("its mechanism `{name}` and its parameters do not fit"))?;
    let (run, purpose) = (String::new(), String::new());
    let count = count.unwrap_or(1);
    Ok(Stated::Charge(Charged { mechanism, count, adjacency, run, purpose, converted_from }))
}

fn is_vote(mechanism: &Mechanism) -> bool {
    !mechanism.is_stated_under(Adjacency::AddOrRemoveOne)
        && mechanism.is_stated_under(Adjacency::ReplaceOneShard)
}

fn name(adjacency: Adjacency) -> String {
    json!(adjacency).as_str().unwrap_or_default().to_owned()
}

impl Mixed {
    fn of(stated: Vec<Stated>, adjacency: Option<Adjacency>) -> anyhow::Result<Self> {
        let mut charges = Vec::new();
        for part in stated {
            match part {
                Stated::Nothing => {}
                Stated::Charge(charge) => charges.push(charge),
                Stated::Steps(Part { q, sigma, steps }) => charges.push(Charged {
                    mechanism: Mechanism::PoissonSubsampledGaussian { q, sigma },
                    count: steps,
                    adjacency: None,
                    run: String::new(),
                    purpose: String::new(),
                    converted_from: None,
                }),
            }
        }
        // The case's own word, then the parts', then what the mechanisms leave.
        let said = || charges.iter().find_map(|charge| charge.adjacency);
        let any = |holds: fn(&Charged) -> bool, adjacency| charges.iter().any(holds).then_some(adjacency);
        let sampled = || {
            let is =
                |charge: &Charged| matches!(charge.mechanism, Mechanism::PoissonSubsampledGaussian { .. });
            any(is, Adjacency::AddOrRemoveOne)
        };
        let votes = || {
            let is = |charge: &Charged| charge.converted_from.is_none() && is_vote(&charge.mechanism);
            any(is, Adjacency::ReplaceOneShard)
        };
        let adjacency =
            adjacency.or_else(said).or_else(sampled).or_else(votes).unwrap_or(Adjacency::AddOrRemoveOne);
        let mut parts: Vec<(Mechanism, u64)> = Vec::new();
        for Charged { mechanism, count, adjacency: stated, run, purpose, converted_from } in charges {
            let charge = Charge {
                mechanism,
                count,
                adjacency: stated.unwrap_or(adjacency),
                run,
                purpose,
                converted_from,
            };
            if !charge.is_stated_under(adjacency) {
                let hint = if is_vote(&mechanism) {
                    "a vote hides a whole shard, and so a record of it: add \"converted_from\": \"replace_one_shard\" to the part, \
                     and leave out or fix its adjacency, where that is meant"
                } else {
                    "count the parts of each relation as a case of their own"
                };
                let found = stated.filter(|stated| *stated != adjacency);
                bail!(
                    "{mechanism} is not stated under {}, as which the case counts{}; {hint}",
                    name(adjacency),
                    found.map(|found| format!(" (its part says {})", name(found))).unwrap_or_default()
                );
            }
            match parts.iter_mut().find(|(known, _)| *known == mechanism) {
                Some((_, sum)) => {
                    *sum = sum.checked_add(count).context("its counts add up to more than 2^64")?;
                }
                None => parts.push((mechanism, count)),
            }
        }
        Ok(Self { adjacency, parts })
    }

    /// What was charged to a ledger.
    pub(crate) fn of_ledger(account: &Account) -> Self {
        Self { adjacency: account.header.adjacency, parts: account.totals() }
    }

    /// Under every accountant that applies to all parts.
    pub(crate) fn figures(&self, delta: f64, quick: bool) -> anyhow::Result<Map<String, Value>> {
        let mut all = Map::new();
        let words = |(mechanism, count): &(Mechanism, u64)| json!({"count": count, "mechanism": mechanism, "words": mechanism.to_string()});
        all.insert("adjacency".to_owned(), json!(self.adjacency));
        all.insert("parts".to_owned(), self.parts.iter().map(words).collect());
        let orders = Orders::default();
        let mut curve = RdpCurve::zero(&orders);
        for (mechanism, count) in &self.parts {
            curve.add(&mechanism.rdp(&orders)?, *count)?;
        }
        let found = of_order(curve.epsilon(delta)?, "dp_accounting_default", IMPROVED);
        all.insert("epsilon_rdp".to_owned(), found);
        losses(&mut all, quick, true, |step: f64| {
            let mut all = Composition::new();
            for (mechanism, count) in &self.parts {
                all = all.with(&mechanism.losses(step)?, *count);
            }
            all.epsilon_by_direction(delta)
        })?;
        if !quick && let Some(prvs) = self.parts.iter().map(prv).collect::<Option<Vec<_>>>() {
            interval(&mut all, prvs, delta);
        }
        // (how many, sensitivity, sigma) of noise that is Gaussian and continuous.
        let gaussian = |(mechanism, count): &(Mechanism, u64)| match *mechanism {
            Mechanism::Gaussian { sigma, sensitivity_l2 } => Some((*count, sensitivity_l2, sigma)),
            Mechanism::PoissonSubsampledGaussian { q: 1.0, sigma } => Some((*count, 1.0, sigma)),
            _ => None,
        };
        if let Some(releases) = self.parts.iter().map(gaussian).collect::<Option<Vec<_>>>() {
            all.insert("epsilon_exact".to_owned(), exact(gdp::total_mu(releases)?, delta)?);
        }
        let pure = |(mechanism, count): &(Mechanism, u64)| {
            // None of infinite cost costs nothing.
            mechanism.pure().map(|epsilon| if *count == 0 { 0.0 } else { epsilon * *count as f64 })
        };
        if let Some(parts) = self.parts.iter().map(pure).collect::<Option<Vec<f64>>>() {
            let sum: f64 = parts.iter().sum();
            all.insert(
                "epsilon_pure".to_owned(),
                json!(sum * (1.0 + 4.0 * f64::EPSILON * parts.len() as f64)),
            );
        }
        Ok(all)
    }
}

/// The part for the check of the losses, where there is one for it.
fn prv((mechanism, count): &(Mechanism, u64)) -> Option<(dp_accounting::Result<Prv>, u64)> {
    let prv = match *mechanism {
        Mechanism::PoissonSubsampledGaussian { q, sigma } => Prv::sampled_gaussian(q, sigma),
        Mechanism::Gaussian { sigma, sensitivity_l2 } => Prv::sampled_gaussian(1.0, sigma / sensitivity_l2),
        Mechanism::Laplace { scale, sensitivity_l1 } => Prv::laplace(scale, sensitivity_l1),
        Mechanism::LnmaxAnswer { lambda } => Prv::pure(2.0 / lambda),
        Mechanism::Pure { epsilon } => Prv::pure(epsilon),
        Mechanism::DiscreteGaussian { .. }
        | Mechanism::GnmaxScreen { .. }
        | Mechanism::GnmaxAnswer { .. } => {
            return None;
        }
    };
    Some((prv, *count))
}
