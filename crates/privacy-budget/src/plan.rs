//! `calibrate`, `table` and `plot`: before anything runs.

use anyhow::{Context as _, ensure};
use dp_accounting::calibrate::{Accountant, DpSgd};
use dp_accounting::filter::{Cap, epsilon_of_caps};
use dp_accounting::{Error, Mechanism, gdp};
use picture::{AxisScale, Line, Plot};
use serde_json::{Value, json};

use crate::args::{Calibrate, PlotArgs, TableArgs};

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

fn votes(args: &Calibrate, answers: u64) -> anyhow::Result<Value> {
    let target = args.epsilon;
    ensure!(target.is_finite() && target > 0.0, "epsilon is {target:?}; it must be finite and above 0");
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
    let cost = |sigma: u64| epsilon_of_caps(&caps(sigma as f64), args.delta);
    // sigma is an integer, as the noise needs it.
    let largest = 1 << 17;
    if cost(100_000)? > args.epsilon {
        let cure = "take fewer answers or screens, more noise on the screens, or a larger epsilon";
        return Err(Error::Unreachable { name: "integer sigma", limit: 1e5, target, cure }.into());
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

/// A grid of costs: a row for each sigma, a column for each number of steps; for votes, sigma for each epsilon and number of answers.
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
                let epsilon = run.epsilon(sigma, args.accountant.into())?;
                rows.push(json!({"sigma": sigma, "steps": steps, "epsilon": epsilon}));
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
            let found = votes(&wanted, answers)?;
            rows.push(json!({"target_epsilon": epsilon, "answers": answers, "sigma2": found["sigma2"], "epsilon": found["epsilon"]}));
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
    for &value in curves {
        let mut points = Vec::new();
        for &steps in &steps {
            let run = DpSgd { q: args.q, steps, delta: args.delta };
            let y = if of_sigma {
                run.epsilon(value, accountant)?
            } else {
                run.sigma(value, accountant, 1e-4)?.sigma
            };
            // A cost of 0 has no place on a logarithmic axis.
            points.push((steps as f64, if y > 0.0 { y } else { f64::NAN }));
        }
        let name = if of_sigma { format!("sigma = {value}") } else { format!("epsilon = {value}") };
        lines.push(Line { name, points });
    }
    let values =
        json!(lines.iter().map(|line| json!({"name": line.name, "points": line.points})).collect::<Vec<_>>());
    let what = if of_sigma { "epsilon" } else { "sigma" };
    let plot = Plot {
        title: format!("DP-SGD: {what} after so many steps (q = {}, delta = {})", args.q, args.delta),
        x_label: "steps".to_owned(),
        y_label: what.to_owned(),
        x_scale: AxisScale::Log,
        y_scale: AxisScale::Log,
        lines,
        reference: None,
    };
    let is =
        |extension: &str| args.out.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension));
    let bytes = if is("svg") {
        plot.svg()?.into_bytes()
    } else if is("png") {
        plot.png()?
    } else {
        anyhow::bail!("--out is {}; its name must end in .png or .svg", args.out.display());
    };
    let record = artifact::write_bytes(&args.out, artifact::Access::Public, &bytes)
        .with_context(|| format!("cannot write the plot {}", args.out.display()))?;
    Ok(json!({"mechanism": "poisson_subsampled_gaussian", "q": args.q, "delta": args.delta,
        "accountant": args.accountant.name(), "picture": record, "curves": values}))
}
