//! `calibrate`, `table` and `plot`: before anything runs.

use anyhow::{Context as _, ensure};
use dp_accounting::calibrate::{Accountant, DpSgd};
use dp_accounting::filter::{Cap, epsilon_of_caps};
use dp_accounting::{Error, Mechanism, gdp};
use picture::{AxisScale, Chart, Line, Panel};
use serde_json::{Value, json};

use super::args::{Calibrate, PlotArgs, TableArgs};

/// What cannot be computed leaves its place empty, with the reason; a parameter out of range is an
/// error of the whole command.
pub(crate) fn or_reason<T>(found: dp_accounting::Result<T>) -> anyhow::Result<Result<T, String>> {
    match found {
        Ok(found) => Ok(Ok(found)),
        Err(
            error @ (Error::TooLarge { .. }
            | Error::Unreachable { .. }
            | Error::Reached { .. }
            | Error::Unsupported { .. }),
        ) => Ok(Err(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// The smallest noise for a target: of DP-SGD, or of votes.
pub(crate) fn calibrate(args: &Calibrate) -> anyhow::Result<Value> {
    if let Some(answers) = args.answers {
        return votes(args, answers);
    }
    let (q, steps) = (args.q.unwrap_or(1.0), args.steps.unwrap_or(1));
    let run = DpSgd { q, steps, delta: args.delta };
    let found = run.sigma(args.epsilon, args.accountant.into(), args.tolerance)?;
    let mut value = json!({
        "mechanism": "poisson_subsampled_gaussian",
        "sigma": found.sigma,
        "epsilon": found.epsilon,
        "target_epsilon": args.epsilon,
        "delta": args.delta,
        "q": q,
        "steps": steps,
        "accountant": args.accountant.name(),
        "tolerance": args.tolerance,
        "adjacency": "add_or_remove_one",
        "unit": "one record",
    });
    if q >= 1.0 {
        value["sigma_exact"] = json!(gdp::sigma(args.epsilon, args.delta, steps, 1.0)?);
    }
    Ok(value)
}

/// Where no grid has room for the losses of votes, they cost more than this.
const LARGEST_VOTES: f64 = 1e5;

fn votes(args: &Calibrate, answers: u64) -> anyhow::Result<Value> {
    let target = args.epsilon;
    ensure!(target.is_finite() && target > 0.0, "epsilon is {target:?}; it must be finite, and above 0");
    ensure!(answers > 0, "--answers is 0; it must be 1 or more");
    if let Some(sigma) = args.sigma1 {
        Mechanism::GnmaxScreen { sigma }.check_drawable().context("--sigma1")?;
    }
    let caps = |sigma: f64| {
        let mut caps = vec![Cap { mechanism: Mechanism::GnmaxAnswer { sigma }, count: answers }];
        if let (Some(screens), Some(sigma)) = (args.screens, args.sigma1) {
            caps.push(Cap { mechanism: Mechanism::GnmaxScreen { sigma }, count: screens });
        }
        caps
    };
    let cost = |sigma: u64| match epsilon_of_caps(&caps(sigma as f64), args.delta) {
        // Too large for any grid: too large for the target, unless that is, too.
        Err(Error::TooLarge { .. }) if target < LARGEST_VOTES => Ok(f64::INFINITY),
        other => other,
    };
    // sigma is an integer, as the noise needs it.
    let largest = 1 << 17;
    if cost(100_000)? > args.epsilon {
        let hint =
            "take fewer answers or screens, more noise on the screens, a larger epsilon, or a larger delta";
        return Err(Error::Unreachable { name: "integer sigma", limit: 1e5, target, hint }.into());
    }
    let (mut low, mut high) = (0, 1);
    while high < largest && cost(high.min(100_000))? > args.epsilon {
        (low, high) = (high, high * 2);
    }
    high = high.min(100_000);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if cost(middle)? <= args.epsilon { high = middle } else { low = middle }
    }
    let mut value = json!({
        "mechanism": if args.screens.is_some() { "confident_gnmax" } else { "gnmax" },
        "sigma2": high,
        "epsilon": cost(high)?,
        "target_epsilon": args.epsilon,
        "delta": args.delta,
        "answers": answers,
        "screens": args.screens,
        "sigma1": args.sigma1,
        "accountant": "caps (exact integer noise)",
        "adjacency": "replace_one_shard",
        "unit": "all records of one shard",
    });
    if args.screens.is_none() {
        let continuous = gdp::sigma(args.epsilon, args.delta, answers, std::f64::consts::SQRT_2)?;
        value["sigma2_exact"] = json!(continuous);
    }
    Ok(value)
}

/// A grid of costs: a row for each sigma, a column for each number of steps; for votes, sigma for
/// each epsilon and number of answers.
pub(crate) fn table(args: &TableArgs) -> anyhow::Result<Value> {
    let mut rows = Vec::new();
    if args.answers.is_empty() {
        ensure!(
            !args.sigma.is_empty() && !args.steps.is_empty(),
            "a table of DP-SGD needs --sigma and --steps; one of votes --answers and --epsilon"
        );
        for &sigma in &args.sigma {
            for &steps in &args.steps {
                let run = DpSgd { q: args.q, steps, delta: args.delta };
                rows.push(match or_reason(run.epsilon(sigma, args.accountant.into()))? {
                    Ok(epsilon) => json!({"sigma": sigma, "steps": steps, "epsilon": epsilon}),
                    Err(reason) => {
                        let renyi = run.epsilon(sigma, Accountant::Rdp)?;
                        json!({"sigma": sigma, "steps": steps, "epsilon": null, "epsilon_rdp": renyi, "error": reason})
                    }
                });
            }
        }
        return Ok(json!({"mechanism": "poisson_subsampled_gaussian", "q": args.q, "delta": args.delta,
            "accountant": args.accountant.name(), "adjacency": "add_or_remove_one", "rows": rows}));
    }
    ensure!(!args.epsilon.is_empty(), "a table of votes needs --epsilon beside --answers");
    for &epsilon in &args.epsilon {
        for &answers in &args.answers {
            let wanted =
                Calibrate { epsilon, delta: args.delta, answers: Some(answers), ..Calibrate::default() };
            let cell = match votes(&wanted, answers) {
                Ok(found) => {
                    json!({"target_epsilon": epsilon, "answers": answers, "sigma2": found["sigma2"], "epsilon": found["epsilon"]})
                }
                Err(error) => {
                    let reason = or_reason::<()>(Err(error.downcast::<Error>()?))?.err();
                    json!({"target_epsilon": epsilon, "answers": answers, "sigma2": null, "epsilon": null, "error": reason})
                }
            };
            rows.push(cell);
        }
    }
    Ok(json!({"mechanism": "gnmax", "delta": args.delta, "accountant": "caps (exact integer noise)",
        "adjacency": "replace_one_shard", "rows": rows}))
}

/// epsilon against steps for several sigmas; or, with epsilons given, sigma against steps.
pub(crate) fn plot(args: &PlotArgs) -> anyhow::Result<Value> {
    ensure!(args.steps >= 2, "--steps is {}; a plot needs 2 or more", args.steps);
    let accountant: Accountant = args.accountant.into();
    // Evenly spread on a logarithmic scale, without repetitions.
    let mut steps: Vec<u64> = (0..=args.points)
        .map(|i| (args.steps as f64).powf(i as f64 / args.points as f64).round() as u64)
        .collect();
    steps.dedup();
    let of_sigma = args.epsilon.is_empty();
    let curves = if of_sigma { &args.sigma } else { &args.epsilon };
    ensure!(!curves.is_empty(), "give --sigma for curves of epsilon, or --epsilon for curves of sigma");
    let mut lines = Vec::new();
    let mut errors = Vec::new();
    for &value in curves {
        let mut points = Vec::new();
        for &steps in &steps {
            let run = DpSgd { q: args.q, steps, delta: args.delta };
            let found = if of_sigma {
                run.epsilon(value, accountant)
            } else {
                run.sigma(value, accountant, 1e-4).map(|found| found.sigma)
            };
            let y = or_reason(found)?.unwrap_or_else(|reason| {
                errors.push(json!({"curve": value, "steps": steps, "error": reason}));
                f64::NAN
            });
            // A cost of 0 has no place on a logarithmic axis.
            points.push((steps as f64, if y > 0.0 { y } else { f64::NAN }));
        }
        let name = if of_sigma { format!("sigma = {value}") } else { format!("epsilon = {value}") };
        lines.push(Line { name, points });
    }
    ensure!(
        lines.iter().any(|line| line.points.iter().any(|(_, y)| y.is_finite())),
        "there is no point to draw: {}",
        errors.first().map_or("every cost is 0 or infinite".to_owned(), |first| first["error"].to_string())
    );
    let values =
        json!(lines.iter().map(|line| json!({"name": line.name, "points": line.points})).collect::<Vec<_>>());
    let what = if of_sigma { "epsilon" } else { "sigma" };
    let panel = Panel {
        x_label: "steps".to_owned(),
        y_label: what.to_owned(),
        x_scale: AxisScale::Log,
        y_scale: AxisScale::Log,
        lines,
        ..Panel::default()
    };
    let title = format!("DP-SGD: {what} by number of steps (q = {}, delta = {})", args.q, args.delta);
    let chart = Chart { title, panels: vec![panel] };
    let is =
        |extension: &str| args.out.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    let bytes = if is("svg") {
        chart.svg()?.into_bytes()
    } else if is("png") {
        chart.png()?
    } else {
        anyhow::bail!("--out is {}; its name must end in .png or .svg", args.out.display());
    };
    let record = artifact::write_bytes(&args.out, artifact::Access::Public, &bytes)
        .with_context(|| format!("cannot write the plot {}", args.out.display()))?;
    Ok(json!({"mechanism": "poisson_subsampled_gaussian", "q": args.q, "delta": args.delta,
        "accountant": args.accountant.name(), "picture": record, "curves": values, "errors": errors}))
}
