//! What no replay can see: whether the noise is what it is said to be, whether two draws have
//! anything to do with each other, and who takes part. Each check has a stated chance of a false
//! alarm, and catches the faults that are planted here.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use std::path::Path;

use dp_accounting::draws::Lattice;
use dp_accounting::filter::Cap;
use dp_accounting::ledger::{Charge, Header, Ledger};
use dp_accounting::{Adjacency, Mechanism};
use dp_noise::{NoiseSource, SystemNoise};
use dp_noise_testing::TestNoise;

const SIGMA: f64 = 3.0;
const STEP: Mechanism = Mechanism::PoissonSubsampledGaussian { q: 0.25, sigma: SIGMA };
const RECORDS: usize = 400;
const DIMENSION: usize = 4000;
const STEPS: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The variance where the deviation belongs.
    SigmaSquared,
    /// Half of the noise.
    HalfTheNoise,
    /// The lattice is that of another clipping norm.
    OtherLattice,
    /// The same noise in every step.
    NoiseOfAStepReused,
    /// A stopped run goes on with the key that it had.
    NoiseReusedAfterResume,
    /// The same records in every step.
    SampleReused,
    /// Batches of a fixed size.
    FixedSize,
    /// Each record takes part twice as often.
    RateDoubled,
    /// Even records only.
    HalfOfTheRecords,
}

const FAULTS: [Fault; 9] = [
    Fault::SigmaSquared,
    Fault::HalfTheNoise,
    Fault::OtherLattice,
    Fault::NoiseOfAStepReused,
    Fault::NoiseReusedAfterResume,
    Fault::SampleReused,
    Fault::FixedSize,
    Fault::RateDoubled,
    Fault::HalfOfTheRecords,
];

/// What a run of two parts, with a stop between them, released on sums of zero, and who took part.
#[derive(Default)]
struct Observed {
    /// In deviations of what is charged.
    noise: Vec<Vec<f64>>,
    samples: Vec<Vec<usize>>,
}

fn part<S: NoiseSource + Send>(path: &Path, noise: S, fault: Option<Fault>, seen: &mut Observed) {
    let caps = vec![Cap { mechanism: STEP, count: STEPS as u64 }];
    let header = Header::of_caps("statistics", "one record", Adjacency::AddOrRemoveOne, (50.0, 1e-5), caps);
    let mut ledger = if path.exists() {
        Ledger::open(path, noise).unwrap()
    } else {
        Ledger::create(path, &header, noise).unwrap()
    };
    let honest = Lattice::of_clipped_sum(1.0, SIGMA, DIMENSION, 0.0).unwrap();
    let charge = Charge { count: STEPS as u64 / 2, ..Charge::new(STEP, Adjacency::AddOrRemoveOne, "r", "p") };
    let factor = match fault {
        Some(Fault::SigmaSquared) => SIGMA,
        Some(Fault::HalfTheNoise) => 0.5,
        _ => 1.0,
    };
    let lattice = match fault {
        Some(Fault::OtherLattice) => Lattice::of_clipped_sum(0.9, SIGMA, DIMENSION, 0.0).unwrap(),
        _ => honest,
    };
    let one_step = |draws: &mut dp_accounting::draws::Draws<'_, S>, seen: &mut Observed| {
        let mut sample = Vec::new();
        let noisy = draws.sampled_sum(RECORDS, lattice, |taken| {
            sample = taken.rows().to_vec();
            Ok(vec![0; DIMENSION])
        })?;
        let deviation = SIGMA * honest.sensitivity();
        let mut noise: Vec<f64> = noisy.iter().map(|x| factor * x / deviation).collect();
        match fault {
            Some(Fault::NoiseOfAStepReused) if !seen.noise.is_empty() => noise.clone_from(&seen.noise[0]),
            Some(Fault::SampleReused) if !seen.samples.is_empty() => sample.clone_from(&seen.samples[0]),
            Some(Fault::FixedSize) => sample = (0..RECORDS).step_by(4).collect(),
            Some(Fault::RateDoubled) => {
                sample = (0..RECORDS).filter(|i| sample.contains(i) || i % 4 == 0).collect();
            }
            Some(Fault::HalfOfTheRecords) => sample = sample.iter().map(|i| i / 2 * 2).collect(),
            _ => {}
        }
        seen.noise.push(noise);
        seen.samples.push(sample);
        Ok::<(), dp_accounting::Error>(())
    };
    ledger
        .run(charge, |draws| {
            for _ in 0..STEPS / 2 {
                one_step(draws, seen)?;
            }
            Ok(0)
        })
        .unwrap();
}

fn observe(fault: Option<Fault>) -> Observed {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let mut seen = Observed::default();
    for _ in 0..2 {
        match fault {
            Some(Fault::NoiseReusedAfterResume) => part(&path, TestNoise::new(5), fault, &mut seen),
            _ => part(&path, SystemNoise::new().unwrap(), fault, &mut seen),
        }
    }
    seen
}

/// The first thing that is not as it is said to be. False alarms, for a fresh key: below 1e-6 in
/// all.
fn complaint(seen: &Observed) -> Option<String> {
    let n = (STEPS * DIMENSION) as f64;
    let mean = seen.noise.iter().flatten().sum::<f64>() / n;
    // 7 standard errors: 3e-12.
    if mean.abs() > 7.0 / n.sqrt() {
        return Some(format!("the noise has a mean of {mean} deviations"));
    }
    let variance = seen.noise.iter().flatten().map(|x| x * x).sum::<f64>() / n;
    // A standard error is sqrt(2 / n), 0.35%; the lattice adds less than a tenth of that.
    if (variance - 1.0).abs() > 7.0 * (2.0 / n).sqrt() {
        return Some(format!("the noise's variance is {variance} of what is charged"));
    }
    // Correlations of all pairs of steps: 780 of them, each with a standard error of 1 / sqrt(d);
    // beyond 8 of these once in 1e12 pairs.
    for (i, a) in seen.noise.iter().enumerate() {
        for (j, b) in seen.noise.iter().enumerate().skip(i + 1) {
            let correlation = a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / DIMENSION as f64;
            if correlation.abs() > 8.0 / (DIMENSION as f64).sqrt() {
                return Some(format!("the noise of steps {i} and {j} is correlated by {correlation}"));
            }
        }
    }
    // Sizes: Binomial(400, 1/4), of variance 75. Their mean over 40 steps within 7 standard errors,
    // and their variance, chi-square with 40 degrees of freedom, within its 1e-9 tails.
    let sizes: Vec<f64> = seen.samples.iter().map(|sample| sample.len() as f64).collect();
    let mean = sizes.iter().sum::<f64>() / STEPS as f64;
    if (mean - 100.0).abs() > 7.0 * (75.0 / STEPS as f64).sqrt() {
        return Some(format!("samples have {mean} records on average"));
    }
    let chi = sizes.iter().map(|size| (size - 100.0).powi(2) / 75.0).sum::<f64>();
    // chi2.ppf(1e-9, 40) is 6.8, chi2.isf(1e-9, 40) is 117.
    if !(6.8..117.0).contains(&chi) {
        return Some(format!("the sizes of samples vary by {chi}, and by 40 on average"));
    }
    // Each record in 10 of 40 steps on average: beyond 33 of 40 with probability 1e-14, in none
    // with 1e-5; more than 4 of 400 in none with 1e-12.
    let times = |i: usize| seen.samples.iter().filter(|sample| sample.contains(&i)).count();
    let all: Vec<usize> = (0..RECORDS).map(times).collect();
    if all.iter().any(|times| *times > 33) || all.iter().filter(|times| **times == 0).count() > 4 {
        return Some("some records take part too often, or never".to_owned());
    }
    None
}

#[test]
fn noise_and_samples_are_what_is_charged() {
    for _ in 0..3 {
        assert_eq!(complaint(&observe(None)), None);
    }
}

#[test]
fn every_planted_fault_of_noise_and_samples_is_caught() {
    for fault in FAULTS {
        let found = complaint(&observe(Some(fault)));
        println!("{fault:?}: {found:?}");
        assert!(found.is_some(), "{fault:?} was not caught");
    }
}
