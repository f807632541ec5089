//! How long a draw takes, in nanoseconds: the least of a few rounds, which a busy machine disturbs
//! least, and their median.
//!
//! `cargo run --release -p dp-noise --example draws`

#![expect(clippy::print_stdout, reason = "a program for one's own terminal")]

use std::num::NonZero;
use std::time::Instant;

use dp_noise::{DiscreteGaussian, Error, LatticeGaussian, NoiseSource as _, SystemNoise};

/// So few that the least of the rounds comes between two interruptions by other programs.
const FEW: usize = 1 << 14;
const MANY: usize = 1 << 20;
const ROUNDS: usize = 25;

fn main() -> Result<(), Error> {
    let mut source = SystemNoise::new()?;
    let mut values = vec![0; MANY];
    let mut bytes = vec![0; 1 << 12];
    let exact = DiscreteGaussian::new(LatticeGaussian::SIGMA)?;

    let start = Instant::now();
    LatticeGaussian::sample(&mut source);
    println!(
        "{:>8.2} ms                 the first draw, with its table",
        1e3 * start.elapsed().as_secs_f64()
    );
    report("two words of random bits", FEW, || {
        (0..FEW / 256).for_each(|_| source.fill(&mut bytes));
        Ok(())
    })?;
    report("DiscreteGaussian::sample, sigma 2^20", FEW, || {
        values[..FEW].iter_mut().for_each(|value| *value += exact.sample(&mut source));
        Ok(())
    })?;
    report("LatticeGaussian::sample", FEW, || {
        values[..FEW].iter_mut().for_each(|value| *value += LatticeGaussian::sample(&mut source));
        Ok(())
    })?;
    report("LatticeGaussian::add_to", FEW, || {
        LatticeGaussian::add_to(&mut values[..FEW], &mut source);
        Ok(())
    })?;
    let all = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    for threads in [NonZero::<usize>::MIN, all] {
        report(&format!("LatticeGaussian::add_to_parallel, a million, threads: {threads}"), MANY, || {
            LatticeGaussian::add_to_parallel(&mut values, &mut source, threads)
        })?;
    }
    Ok(())
}

fn report(what: &str, values: usize, mut work: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        work()?;
        times.push(1e9 * start.elapsed().as_secs_f64() / values as f64);
    }
    times.sort_by(f64::total_cmp);
    println!("{:>8.2} ns, {:>8.2} ns    {what}", times[0], times[ROUNDS / 2]);
    Ok(())
}
