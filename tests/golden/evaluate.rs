//! What generated images are measured by: Frechet distance, nearest neighbours, inception score.

use libtest_mimic::Failed;
use pate_core::base::progress::Silent;
use pate_core::evaluate::{frechet_distance, inception_score, neighbours};
use tch::{Kind, Tensor};
use testing::golden::{Case, fill};

use super::{Report, tensor};

/// Checks a case in a kind of numbers.
pub(super) fn check(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    match case.id() {
        "precision_recall" => nearest(case, kind),
        "inception_score" => score(case, kind),
        _ => distance(case, kind),
    }
}

fn number(case: &Case<'_>, pointer: &str) -> f64 {
    case.at(pointer).as_f64().unwrap_or(f64::NAN)
}

/// Features are widened before anything is computed, so that both kinds are as exact.
fn distance(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let mut report = Report::default();
    let (a, b) = (tensor(case, "/inputs/a", kind), tensor(case, "/inputs/b", kind));
    let found = frechet_distance(&a, &b, &Silent)?;
    report.within("the distance", (found - number(case, "/expected/fid")).abs(), 1e-9);
    let back = frechet_distance(&b, &a, &Silent)?;
    report.within("the distance the other way", (back - found).abs(), 1e-9);
    report.end()
}

fn nearest(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let (real, generated) = (tensor(case, "/inputs/real", kind), tensor(case, "/inputs/fake", kind));
    let mut report = Report::default();
    for k in [3, 4, 5] {
        let found = neighbours(&real, &generated, k, &Silent)?;
        for (name, value) in [
            ("precision", found.precision),
            ("recall", found.recall),
            ("density", found.density),
            ("coverage", found.coverage),
        ] {
            let expected = number(case, &format!("/expected/k={k}/{name}"));
            report.within(&format!("{name} of {k} neighbours"), (value - expected).abs(), 1e-12);
        }
    }
    report.end()
}

fn score(case: &Case<'_>, kind: Kind) -> Result<(), Failed> {
    let logits = Tensor::from_slice(&fill(1_070_000, &[60, 10], -4.0, 4.0)).view([60, 10]);
    let p = logits.to_kind(Kind::Double).softmax(-1, Kind::Double);
    let classes = Tensor::arange(60, (Kind::Int64, tch::Device::Cpu)).remainder(10);
    let without = p.copy();
    let _ = without.select(1, 0).fill_(0.0);
    let without = &without / without.sum_dim_intlist([1i64].as_slice(), true, Kind::Double);
    let allowed = if kind == Kind::Double { 1e-10 } else { 1e-5 };
    let mut report = Report::default();
    let mut close = |what: &str, p: &Tensor, splits: i64, pointer: &str| -> Result<f64, Failed> {
        let found = inception_score(&p.to_kind(kind), splits)?;
        report.within(what, (found.mean - number(case, pointer)).abs(), allowed);
        Ok(found.std)
    };
    close("one part", &p, 1, "/expected/splits_1")?;
    let std = close("five parts", &p, 5, "/expected/splits_5/mean")?;
    close("one class each", &classes.one_hot(10), 1, "/expected/one_hot")?;
    close(
        "no knowledge",
        &Tensor::full([60, 10], 0.1, (Kind::Double, tch::Device::Cpu)),
        1,
        "/expected/uniform",
    )?;
    close("a class that is not there", &without, 1, "/expected/zero_column")?;
    report.within("their spread", (std - number(case, "/expected/splits_5/std")).abs(), allowed);
    report.end()
}
