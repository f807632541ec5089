//! `cost`: what mechanisms of a file cost, under the names of the figures that the field's tools
//! print.

use std::f64::consts::SQRT_2;

use anyhow::{Context as _, bail, ensure};
use dp_accounting::filter::{Cap, epsilon_of_caps};
use dp_accounting::pate::{self, ConfidentGnmax, Gnmax, Noise, Screen, Votes, dependent, independent};
use dp_accounting::pld::{Composition, Directions, PrivacyLoss, STEP, on_finest_grid};
use dp_accounting::prv::{Interval, Prv};
use dp_accounting::rdp::{self, Found, Orders, RdpCurve};
use dp_accounting::{Error, Mechanism, gdp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::mixed::{self, Parts};
use super::plan::or_reason;

/// A finer grid than [`STEP`], to show how little the grid costs.
const FINE_STEP: f64 = 1e-5;

const NOT_RELEASABLE: &str =
    "a function of private votes: internal, not releasable; a certificate takes the data-independent figure";

/// What stands in a file of cases: the object of a golden file, or the array alone.
#[derive(Deserialize)]
struct File {
    cases: Vec<Map<String, Value>>,
    #[serde(default)]
    vote_sets: Map<String, Value>,
}

/// A mechanism to be costed. Other keys, such as expected figures, are passed over.
#[derive(Deserialize)]
struct Case {
    id: String,
    mechanism: String,
    parameters: Value,
    delta: f64,
}

impl Case {
    /// Case `number` of a file: with `parameters`, with `parts` beside the id, or a ledger's entry
    /// as it stands. `delta` is for those that have none.
    fn of(mut fields: Map<String, Value>, number: usize, delta: Option<f64>) -> anyhow::Result<Self> {
        let id = fields.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let (None, Some(delta)) = (fields.get("delta"), delta) {
            fields.insert("delta".to_owned(), json!(delta));
        }
        if mixed::is_entry(&fields) {
            let id = fields.remove("id").unwrap_or_else(|| json!(format!("entry {number}")));
            let delta = fields.remove("delta");
            let delta = delta.with_context(|| format!("case {id} has no delta; add one, or give --delta"))?;
            fields = Map::from_iter([
                ("id".to_owned(), id),
                ("delta".to_owned(), delta),
                ("parts".to_owned(), json!([fields])),
            ]);
        }
        if let Some(parts) = fields.remove("parts") {
            ensure!(
                !fields.contains_key("parameters"),
                "case {id} has both `parts` and `parameters`; put the parts under one of them"
            );
            let mut parameters = Map::from_iter([("parts".to_owned(), parts)]);
            if let Some(adjacency) = fields.remove("adjacency") {
                parameters.insert("adjacency".to_owned(), adjacency);
            }
            fields.insert("parameters".to_owned(), Value::Object(parameters));
            fields.entry("mechanism").or_insert_with(|| json!("composition"));
        }
        serde_json::from_value(Value::Object(fields)).context(FORM)
    }
}

/// Steps of one kind, of DP-SGD.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    pub(crate) q: f64,
    pub(crate) sigma: f64,
    pub(crate) steps: u64,
}

/// Parts of one kind, with what they share.
pub(crate) struct Sampled {
    pub(crate) parts: Vec<Part>,
    pub(crate) adjacency: Option<String>,
    pub(crate) sensitivity_l2: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Laplace {
    scale: f64,
    sensitivity_l1: f64,
    count: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Votings {
    threshold: Option<Screens>,
    argmax: Answers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Screens {
    #[serde(rename = "T")]
    _threshold: Option<f64>,
    sigma1: f64,
    queries: u64,
    sensitivity_l2: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answers {
    sigma2: f64,
    #[serde(rename = "answers")]
    count: u64,
    sensitivity_l2: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lnmax {
    lambda: f64,
    #[serde(rename = "pure_eps_per_query")]
    _pure: Option<f64>,
    answers: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnVotes {
    vote_set: String,
    sigma: f64,
    answers: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfidentOnVotes {
    vote_set: String,
    #[serde(rename = "T")]
    threshold: f64,
    sigma1: f64,
    sigma2: f64,
    queries: usize,
    answered_mask: Vec<u8>,
}

#[derive(Deserialize)]
struct VoteSet {
    counts: Vec<Vec<u32>>,
}

/// What every case of a file costs, in the file's order.
pub(crate) fn costs(text: &str, delta: Option<f64>, quick: bool) -> anyhow::Result<Vec<Value>> {
    ensure!(
        !text.starts_with("{\"previous\":"),
        "it is a ledger and no list of cases; give it with --ledger, or its entries as the parts of a case"
    );
    let value = artifact::json::parse(text).context("it is no JSON")?;
    let file: File = if value.is_array() {
        File { cases: serde_json::from_value(value).context(FORM)?, vote_sets: Map::new() }
    } else {
        serde_json::from_value(value).context(FORM)?
    };
    let cost = |(i, fields): (usize, Map<String, Value>)| {
        let case = &Case::of(fields, i + 1, delta)?;
        let figures = figures(case, &file.vote_sets, quick).with_context(|| format!("case {}", case.id))?;
        let mut all = Map::new();
        all.insert("id".to_owned(), json!(case.id));
        all.insert("mechanism".to_owned(), json!(case.mechanism));
        all.insert("delta".to_owned(), json!(case.delta));
        all.extend(figures);
        Ok(Value::Object(all))
    };
    file.cases.into_iter().enumerate().map(cost).collect()
}

const FORM: &str = "it is no list of cases: an array of {id, mechanism, parameters, delta}, or an object with that array \
                    under `cases` and vote counts under `vote_sets`";

/// Puts a figure in its place, or the reason why there is none.
pub(crate) fn put(
    all: &mut Map<String, Value>,
    name: &str,
    found: dp_accounting::Result<(f64, f64)>,
) -> anyhow::Result<()> {
    let figure = match or_reason(found)? {
        Ok((value, step)) => json!({"value": value, "discretization": step}),
        Err(reason) => missing(&reason),
    };
    all.insert(name.to_owned(), figure);
    Ok(())
}

fn missing(reason: &str) -> Value {
    json!({"value": null, "error": reason})
}

/// The usual grid's figure for both directions, and the fine grid's where it has room: `compose`
/// gives them for a step.
pub(crate) fn losses(
    all: &mut Map<String, Value>,
    quick: bool,
    by_direction: bool,
    compose: impl Fn(f64) -> dp_accounting::Result<Directions>,
) -> anyhow::Result<()> {
    match or_reason(on_finest_grid(STEP, &compose))? {
        Ok((directions, step)) => {
            all.insert("epsilon_pld".to_owned(), json!({"value": directions.max(), "discretization": step}));
            if by_direction {
                let by = json!({"remove": directions.remove, "add": directions.add});
                all.insert("epsilon_pld_by_direction".to_owned(), by);
            }
        }
        Err(reason) => {
            all.insert("epsilon_pld".to_owned(), missing(&reason));
        }
    }
    if !quick {
        match compose(FINE_STEP) {
            Ok(directions) => {
                let figure = json!({"value": directions.max(), "discretization": FINE_STEP});
                all.insert("epsilon_pld_fine".to_owned(), figure);
            }
            // Left out where there is no room for it.
            Err(Error::TooLarge { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn parameters<T: for<'de> Deserialize<'de>>(case: &Case) -> anyhow::Result<T> {
    T::deserialize(&case.parameters)
        .with_context(|| format!("its parameters are not those of {}", case.mechanism))
}

fn figures(case: &Case, vote_sets: &Map<String, Value>, quick: bool) -> anyhow::Result<Map<String, Value>> {
    match case.mechanism.as_str() {
        "poisson_subsampled_gaussian" | "composition" => match mixed::parts(&case.parameters)? {
            Parts::Sampled(parts) => sampled(&parts, case.delta, quick),
            Parts::Mixed(mixed) => mixed.figures(case.delta, quick),
        },
        "laplace" => laplace(&parameters(case)?, case.delta, quick),
        "gnmax_data_independent" | "confident_gnmax_data_independent" => {
            voting(&parameters(case)?, case.delta)
        }
        "lnmax_data_independent" => lnmax(&parameters(case)?, case.delta, quick),
        "gnmax_data_dependent" => on_votes(&parameters(case)?, case.delta, vote_sets),
        "confident_gnmax_data_dependent" => confident_on_votes(&parameters(case)?, case.delta, vote_sets),
        other => bail!(
            "its mechanism `{other}` is not known; known are poisson_subsampled_gaussian, composition, laplace, \
             gnmax_data_independent, confident_gnmax_data_independent, lnmax_data_independent, gnmax_data_dependent, \
             confident_gnmax_data_dependent"
        ),
    }
}

pub(crate) fn of_order(found: Found, orders: &str, conversion: &str) -> Value {
    json!({"value": found.epsilon, "order": found.order, "orders": orders, "conversion": conversion})
}

pub(crate) const IMPROVED: &str = "CKS20 Prop 12";
const BASIC: &str = "Mironov17 Prop 3";

fn sampled(case: &Sampled, delta: f64, quick: bool) -> anyhow::Result<Map<String, Value>> {
    let adjacency = case.adjacency.as_deref().unwrap_or("add_or_remove_one");
    ensure!(
        adjacency == "add_or_remove_one",
        "its adjacency is `{adjacency}`, and sampled mechanisms are accounted under add_or_remove_one alone"
    );
    let sensitivity = case.sensitivity_l2.unwrap_or(1.0);
    ensure!(
        sensitivity.is_finite() && sensitivity > 0.0,
        "its sensitivity_l2 is {sensitivity}; it must be finite, and above 0"
    );
    let mut all = Map::new();
    let rdp = |orders: &Orders| {
        let mut curve = RdpCurve::zero(orders);
        for part in &case.parts {
            curve.add(&RdpCurve::sampled_gaussian(orders, part.q, part.sigma / sensitivity)?, part.steps)?;
        }
        curve.epsilon(delta)
    };
    let found = of_order(rdp(&Orders::default())?, "dp_accounting_default", IMPROVED);
    all.insert("epsilon_rdp".to_owned(), found.clone());
    all.insert("epsilon_rdp_exact".to_owned(), found);
    all.insert(
        "epsilon_rdp_opacus".to_owned(),
        of_order(rdp(&Orders::opacus())?, "opacus_default", IMPROVED),
    );
    losses(&mut all, quick, true, |step: f64| {
        let mut all = Composition::new();
        for part in &case.parts {
            all =
                all.with(&PrivacyLoss::sampled_gaussian(part.q, part.sigma / sensitivity, step)?, part.steps);
        }
        all.epsilon_by_direction(delta)
    })?;
    if !quick {
        let parts = case.parts.iter().filter(|part| part.q > 0.0);
        let parts = parts.map(|part| (Prv::sampled_gaussian(part.q, part.sigma / sensitivity), part.steps));
        interval(&mut all, parts, delta);
    }
    if case.parts.iter().all(|part| part.q >= 1.0) {
        let releases = case.parts.iter().map(|part| (part.steps, sensitivity, part.sigma));
        all.insert("epsilon_exact".to_owned(), exact(gdp::total_mu(releases)?, delta)?);
    }
    Ok(all)
}

/// The check of `epsilon_pld`, with the errors that its users take. It is left out where it has
/// nothing to say: no noise, no sensitivity, too many runs for its rounding.
pub(crate) fn interval(
    all: &mut Map<String, Value>,
    parts: impl IntoIterator<Item = (dp_accounting::Result<Prv>, u64)>,
    delta: f64,
) {
    let parts =
        parts.into_iter().map(|(prv, count)| Ok((prv?, count))).collect::<dp_accounting::Result<Vec<_>>>();
    let found = parts.and_then(|parts| Interval::of(&parts, delta, 0.01, delta / 1000.0));
    let Ok(found) = found else { return };
    let figures = json!({
        "lower": found.lower,
        "estimate": found.estimate,
        "upper": found.upper,
        "eps_error": found.eps_error,
        "delta_error": found.delta_error,
    });
    all.insert("epsilon_prv".to_owned(), figures);
}

pub(crate) fn exact(mu: f64, delta: f64) -> anyhow::Result<Value> {
    Ok(json!({"value": gdp::epsilon(mu, delta)?, "mu": mu, "method": "Gaussian DP"}))
}

fn laplace(case: &Laplace, delta: f64, quick: bool) -> anyhow::Result<Map<String, Value>> {
    let mut all = Map::new();
    let orders = Orders::default();
    let mut curve = RdpCurve::zero(&orders);
    curve.add(&RdpCurve::laplace(&orders, case.scale, case.sensitivity_l1)?, case.count)?;
    all.insert("epsilon_rdp".to_owned(), of_order(curve.epsilon(delta)?, "dp_accounting_default", IMPROVED));
    losses(&mut all, quick, false, |step: f64| {
        let loss = PrivacyLoss::laplace(case.scale, case.sensitivity_l1, step)?;
        Composition::new().with(&loss, case.count).epsilon_by_direction(delta)
    })?;
    if !quick {
        interval(&mut all, [(Prv::laplace(case.scale, case.sensitivity_l1), case.count)], delta);
    }
    let pure =
        if case.sensitivity_l1 > 0.0 { case.sensitivity_l1 / case.scale * case.count as f64 } else { 0.0 };
    all.insert("epsilon_pure".to_owned(), json!(pure));
    Ok(all)
}

/// The golden files state the sensitivities that votes have; another one is another mechanism.
fn ensure_sensitivity(stated: Option<f64>, right: f64, of: &str) -> anyhow::Result<()> {
    let stated = stated.unwrap_or(right);
    ensure!(
        (stated - right).abs() < 1e-9,
        "its sensitivity_l2 of the {of} is {stated}, and a moved vote has {right}"
    );
    Ok(())
}

fn voting(case: &Votings, delta: f64) -> anyhow::Result<Map<String, Value>> {
    let answers = &case.argmax;
    ensure_sensitivity(answers.sensitivity_l2, SQRT_2, "argmax")?;
    let (queries, sigma1) =
        case.threshold.as_ref().map_or((0, 1.0), |screen| (screen.queries, screen.sigma1));
    if let Some(screen) = &case.threshold {
        ensure_sensitivity(screen.sensitivity_l2, 1.0, "threshold")?;
    }
    let mut all = Map::new();
    let mu = gdp::total_mu([(queries, 1.0, sigma1), (answers.count, SQRT_2, answers.sigma2)])?;
    let slope = 0.5 * mu * mu;
    all.insert("rdp_slope_per_alpha".to_owned(), json!(slope));
    let orders = Orders::pate2018();
    let curve = RdpCurve::new(&orders, orders.as_slice().iter().map(|order| slope * order).collect())?;
    all.insert("epsilon_rdp_basic".to_owned(), of_order(curve.epsilon_basic(delta)?, "pate2018", BASIC));
    let real = rdp::epsilon_of_linear(slope, delta)?;
    all.insert("epsilon_rdp".to_owned(), of_order(real, "all real orders", IMPROVED));
    all.insert("epsilon_exact".to_owned(), exact(mu, delta)?);
    // Gaussian releases together are one Gaussian release.
    let cost = |step: f64| Composition::new().with(&PrivacyLoss::gaussian_dp(mu, step)?, 1).epsilon(delta);
    put(&mut all, "epsilon_pld", on_finest_grid(STEP, cost))?;
    let caps = [
        Cap { mechanism: Mechanism::GnmaxScreen { sigma: sigma1 }, count: queries },
        Cap { mechanism: Mechanism::GnmaxAnswer { sigma: answers.sigma2 }, count: answers.count },
    ];
    let caps: Vec<Cap> = caps.into_iter().filter(|cap| cap.count > 0).collect();
    let figure = match epsilon_of_caps(&caps, delta) {
        Ok(value) => json!({"value": value, "discretization": STEP}),
        // Its noise may be out of the range of exact lattices; the continuous noise's figures
        // stand.
        Err(error) => missing(&error.to_string()),
    };
    all.insert("epsilon_discrete".to_owned(), figure);
    Ok(all)
}

fn lnmax(case: &Lnmax, delta: f64, quick: bool) -> anyhow::Result<Map<String, Value>> {
    let mut all = Map::new();
    let orders = Orders::pate2018();
    let one = independent::lnmax_rdp(case.lambda, orders.as_slice())?;
    let mut curve = RdpCurve::zero(&orders);
    curve.add(&RdpCurve::new(&orders, one)?, case.answers)?;
    all.insert("epsilon_rdp_basic".to_owned(), of_order(curve.epsilon_basic(delta)?, "pate2018", BASIC));
    all.insert("epsilon_rdp".to_owned(), of_order(curve.epsilon(delta)?, "pate2018", IMPROVED));
    let cost = |step: f64| {
        let losses = Mechanism::LnmaxAnswer { lambda: case.lambda }.losses(step)?;
        Composition::new().with(&losses, case.answers).epsilon(delta)
    };
    put(&mut all, "epsilon_pld", on_finest_grid(STEP, cost))?;
    if !quick {
        interval(&mut all, [(Prv::pure(2.0 / case.lambda), case.answers)], delta);
    }
    all.insert("epsilon_pure".to_owned(), json!(2.0 / case.lambda * case.answers as f64));
    Ok(all)
}

fn votes(name: &str, count: usize, vote_sets: &Map<String, Value>) -> anyhow::Result<Votes> {
    let Some(set) = vote_sets.get(name) else {
        let names: Vec<&str> = vote_sets.keys().map(String::as_str).collect();
        let known = if names.is_empty() { "none is there".to_owned() } else { names.join(", ") };
        bail!("its vote set `{name}` is not in the file's vote_sets ({known})");
    };
    let set = VoteSet::deserialize(set)
        .with_context(|| format!("vote set {name}: it needs `counts`, a list of rows"))?;
    let Some(rows) = set.counts.get(..count) else {
        bail!("vote set {name} has {} queries, and the case has {count}", set.counts.len());
    };
    Ok(Votes::from_rows(rows)?)
}

fn both(
    all: &mut Map<String, Value>,
    rdp: Vec<f64>,
    delta: f64,
    basic: &str,
    improved: &str,
) -> anyhow::Result<()> {
    let curve = RdpCurve::new(&Orders::pate2018(), rdp)?;
    all.insert(basic.to_owned(), of_order(curve.epsilon_basic(delta)?, "pate2018", BASIC));
    if !improved.is_empty() {
        all.insert(improved.to_owned(), of_order(curve.epsilon(delta)?, "pate2018", IMPROVED));
    }
    Ok(())
}

fn on_votes(
    case: &OnVotes,
    delta: f64,
    vote_sets: &Map<String, Value>,
) -> anyhow::Result<Map<String, Value>> {
    let votes_private = votes(&case.vote_set, case.answers, vote_sets)?;
    let gnmax = Gnmax { sigma: case.sigma, noise: Noise::Gaussian };
    let total = dependent::gnmax_total_rdp(gnmax, &votes_private, Orders::pate2018().as_slice())?;
    let mut all = Map::new();
    both(&mut all, total.into_internal(), delta, "epsilon_rdp_basic", "epsilon_rdp")?;
    let mu = gdp::total_mu([(case.answers as u64, SQRT_2, case.sigma)])?;
    all.insert("epsilon_data_independent_exact".to_owned(), json!(gdp::epsilon(mu, delta)?));
    all.insert("not_releasable".to_owned(), json!(NOT_RELEASABLE));
    Ok(all)
}

fn confident_on_votes(
    case: &ConfidentOnVotes,
    delta: f64,
    vote_sets: &Map<String, Value>,
) -> anyhow::Result<Map<String, Value>> {
    let votes_private = votes(&case.vote_set, case.queries, vote_sets)?;
    let mechanism = ConfidentGnmax {
        screen: Screen { threshold: case.threshold, sigma: case.sigma1, noise: Noise::Gaussian },
        argmax: Gnmax { sigma: case.sigma2, noise: Noise::Gaussian },
    };
    let orders = Orders::pate2018();
    let expected: pate::NotReleasable<_> =
        dependent::confident_expected(mechanism, &votes_private, orders.as_slice())?;
    let expected = expected.into_internal();
    let answered: Vec<bool> = case.answered_mask.iter().map(|answered| *answered != 0).collect();
    let charged = dependent::confident_charged_rdp(mechanism, &votes_private, &answered, orders.as_slice())?;
    let mut all = Map::new();
    all.insert("expected_answers".to_owned(), json!(expected.answers));
    both(&mut all, expected.rdp, delta, "epsilon_rdp_basic_expected_cost", "")?;
    both(&mut all, charged.into_internal(), delta, "epsilon_rdp_basic_charged", "epsilon_rdp_charged")?;
    let answers = answered.iter().filter(|answered| **answered).count();
    let mu = gdp::total_mu([(case.queries as u64, 1.0, case.sigma1), (answers as u64, SQRT_2, case.sigma2)])?;
    let independent = json!({"value": gdp::epsilon(mu, delta)?, "mu": mu, "answers": answers});
    all.insert("epsilon_data_independent_exact".to_owned(), independent);
    all.insert("not_releasable".to_owned(), json!(NOT_RELEASABLE));
    Ok(all)
}
