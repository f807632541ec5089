//! Record and replay: a private program runs on a data set and on neighbours of it, and must not
//! betray which.
//!
//! [`Recording::of`] runs the program with test noise and keeps, for every mechanism, the charge,
//! the parameters, what it was given and what it released. [`Recording::replay`] runs it again on a
//! neighbour, gives the same releases whatever the mechanisms are given, and reports every
//! [`Violation`]: another sequence of mechanisms or other parameters, inputs further apart than the
//! declared sensitivity, and any difference in what the program prints or writes under a label that
//! claims privacy. Since the releases are the same, a program that keeps its promises does the same
//! in both runs (dp-recorder, PETS 2026, arXiv 2602.17454).
//!
//! What it cannot see: noise that is not what it is said to be (statistics test that), and a
//! violation on data sets that nobody tried.

use std::fmt;
use std::io;
use std::path::Path;

use dp_accounting::draws::{Draws, Lattice};
use dp_accounting::ledger::{Charge, Ledger, Store};
use dp_accounting::spend::{Mechanisms, Spending, SumOf};
use dp_accounting::{Mechanism, Result};
use dp_noise::Sample;
use serde_json::Value;

use crate::TestNoise;

/// What a program said under a label that claims privacy, `dp` or `public`: a name, and the bytes.
pub type Outputs = Vec<(String, Vec<u8>)>;

/// What one mechanism was given and gave.
#[derive(Clone, Debug)]
struct Call {
    charge: Charge,
    given: Given,
    released: Released,
}

/// What a mechanism was given: public parameters, and the private input.
#[derive(Clone, Debug)]
enum Given {
    Screen { threshold: i64, votes: Vec<u32> },
    Answer { votes: Vec<u32> },
    Integers(Vec<i64>),
    Vector { lattice: Lattice, sum: Vec<i64> },
    Sampled { lattice: Lattice, sample: Sample, sum: Vec<i64> },
}

#[derive(Clone, Debug)]
enum Released {
    Bit(bool),
    Index(usize),
    Integers(Vec<i64>),
    Reals(Vec<f64>),
}

/// How a neighbour was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This record is missing; those after it move up.
    Removed(usize),
    /// It has one record more, at the end.
    Added,
    /// This record is another one: as far as one removed and one added.
    Replaced(usize),
}

impl Change {
    /// How many neighbours of the relation "add or remove one" lie between the two.
    fn distance(self) -> f64 {
        match self {
            Self::Removed(_) | Self::Added => 1.0,
            Self::Replaced(_) => 2.0,
        }
    }

    /// Who takes part in a step, of the neighbour's records: everybody else as before, and the
    /// record in question where it can.
    fn sample(self, before: &Sample, records: usize) -> Sample {
        let members = before.rows().iter().copied().zip(before.places().iter().copied());
        match self {
            Self::Removed(gone) => {
                let others = members.filter(|(row, _)| *row != gone);
                Sample::new(others.map(|(row, place)| (row - usize::from(row > gone), place)))
            }
            // Among others, where there are any.
            Self::Added => {
                let place = before.places().last().copied().unwrap_or(0);
                Sample::new(members.chain(records.checked_sub(1).map(|row| (row, place))))
            }
            Self::Replaced(_) => before.clone(),
        }
    }
}

/// A way in which a program betrays its data.
#[derive(Clone, Debug, PartialEq)]
pub enum Violation {
    /// Call number so-and-so is of another mechanism, or has other parameters.
    Mechanism {
        /// Counted from 1.
        call: usize,
        /// In words.
        what: String,
    },
    /// The inputs are further apart than the sensitivity says.
    Sensitivity {
        /// Counted from 1.
        call: usize,
        /// The distance between the inputs.
        measured: f64,
        /// The distance that is declared.
        declared: f64,
    },
    /// More or fewer mechanisms ran.
    Calls {
        /// On the data set.
        before: usize,
        /// On the neighbour.
        after: usize,
    },
    /// Something that claims to be private differs.
    Output {
        /// Its name.
        name: String,
    },
    /// The program failed on one of the two.
    Failed {
        /// Its message.
        message: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mechanism { call, what } => write!(f, "call {call}: {what}"),
            Self::Sensitivity { call, measured, declared } => {
                write!(f, "call {call}: inputs are {measured} apart, and {declared} is declared")
            }
            Self::Calls { before, after } => write!(f, "{before} mechanisms ran, then {after}"),
            Self::Output { name } => write!(f, "{name} differs"),
            Self::Failed { message } => write!(f, "one of the two runs failed: {message}"),
        }
    }
}

/// A run on a data set, to be replayed on its neighbours.
#[derive(Debug)]
pub struct Recording {
    calls: Vec<Call>,
    outputs: std::result::Result<Outputs, String>,
}

/// A disk in memory.
#[derive(Default)]
struct Memory(Vec<u8>);

impl Store for Memory {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.truncate(length as usize);
        Ok(())
    }
}

impl Recording {
    /// Runs `program` with a ledger of this header, in memory, and test noise of this seed.
    ///
    /// # Panics
    /// Where the header is no ledger's: a mistake in the test.
    #[must_use]
    pub fn of<E: fmt::Display>(
        header: &dp_accounting::ledger::Header,
        seed: u64,
        program: impl FnOnce(&mut dyn Spending) -> std::result::Result<Outputs, E>,
    ) -> Self {
        let store = Memory(Ledger::<TestNoise, Memory>::start(header).expect("a ledger's header"));
        let ledger = Ledger::with_store(Path::new("memory"), store, TestNoise::new(seed)).expect("a ledger");
        let mut recorder = Recorder { ledger, calls: Vec::new() };
        let outputs = program(&mut recorder).map_err(|error| error.to_string());
        Self { calls: recorder.calls, outputs }
    }

    /// What the program said.
    pub fn outputs(&self) -> std::result::Result<&Outputs, &String> {
        self.outputs.as_ref()
    }

    /// How many mechanisms ran.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Runs `program` on a neighbour that was made by `change`, with the releases of this
    /// recording.
    #[must_use]
    pub fn replay<E: fmt::Display>(
        &self,
        change: Change,
        program: impl FnOnce(&mut dyn Spending) -> std::result::Result<Outputs, E>,
    ) -> Vec<Violation> {
        let mut replayer = Replayer { recording: self, change, next: 0, violations: Vec::new() };
        let outputs = program(&mut replayer).map_err(|error| error.to_string());
        let Replayer { next, mut violations, .. } = replayer;
        if next != self.calls.len() {
            violations.push(Violation::Calls { before: self.calls.len(), after: next });
        }
        match (&self.outputs, &outputs) {
            (Ok(before), Ok(after)) => violations.extend(differences(before, after)),
            (Err(before), Err(after)) if before == after => {}
            (Err(message), _) | (_, Err(message)) => {
                violations.push(Violation::Failed { message: message.clone() });
            }
        }
        violations
    }
}

fn differences(before: &Outputs, after: &Outputs) -> Vec<Violation> {
    let names = before.iter().chain(after).map(|(name, _)| name);
    let mut found: Vec<Violation> = Vec::new();
    for name in names {
        let of = |outputs: &Outputs| -> Vec<Vec<u8>> {
            outputs.iter().filter(|(other, _)| other == name).map(|(_, bytes)| bytes.clone()).collect()
        };
        let violation = Violation::Output { name: name.clone() };
        if of(before) != of(after) && !found.contains(&violation) {
            found.push(violation);
        }
    }
    found
}

struct Recorder {
    ledger: Ledger<TestNoise, Memory>,
    calls: Vec<Call>,
}

impl Spending for Recorder {
    fn spend(
        &mut self,
        charge: Charge,
        draw: &mut dyn FnMut(&mut dyn Mechanisms) -> Result<Value>,
    ) -> Result<Value> {
        let calls = &mut self.calls;
        let of = charge.clone();
        self.ledger.run(charge, |draws| draw(&mut Listening { draws, calls, charge: &of }))
    }

    fn affordable(&self, charge: &Charge) -> Result<u64> {
        self.ledger.affordable(charge)
    }

    fn fraction_spent(&self, of: &Mechanism) -> f64 {
        self.ledger.fraction_spent(of)
    }
}

struct Listening<'a, 'd> {
    draws: &'a mut Draws<'d, TestNoise>,
    calls: &'a mut Vec<Call>,
    charge: &'a Charge,
}

impl Listening<'_, '_> {
    fn keep(&mut self, given: Given, released: Released) {
        self.calls.push(Call { charge: self.charge.clone(), given, released });
    }
}

impl Mechanisms for Listening<'_, '_> {
    fn screen(&mut self, votes_private: &[u32], threshold: i64) -> Result<bool> {
        let bit = self.draws.screen(votes_private, threshold)?;
        self.keep(Given::Screen { threshold, votes: votes_private.to_vec() }, Released::Bit(bit));
        Ok(bit)
    }

    fn answer(&mut self, votes_private: &[u32]) -> Result<usize> {
        let index = self.draws.answer(votes_private)?;
        self.keep(Given::Answer { votes: votes_private.to_vec() }, Released::Index(index));
        Ok(index)
    }

    fn integers(&mut self, values_private: &[i64]) -> Result<Vec<i64>> {
        let noisy = self.draws.integers(values_private)?;
        self.keep(Given::Integers(values_private.to_vec()), Released::Integers(noisy.clone()));
        Ok(noisy)
    }

    fn vector(&mut self, sum_private: &[i64], lattice: Lattice) -> Result<Vec<f64>> {
        let noisy = self.draws.vector(sum_private, lattice)?;
        let given = Given::Vector { lattice, sum: sum_private.to_vec() };
        self.keep(given, Released::Reals(noisy.clone()));
        Ok(noisy)
    }

    fn sampled_sum(&mut self, records: usize, lattice: Lattice, sum_private: SumOf<'_>) -> Result<Vec<f64>> {
        let (mut sample, mut sum) = (Sample::default(), Vec::new());
        let noisy = self.draws.sampled_sum(records, lattice, |rows| {
            sample = rows.clone();
            sum = sum_private(rows)?;
            Ok(sum.clone())
        })?;
        self.keep(Given::Sampled { lattice, sample, sum }, Released::Reals(noisy.clone()));
        Ok(noisy)
    }
}

struct Replayer<'a> {
    recording: &'a Recording,
    change: Change,
    next: usize,
    violations: Vec<Violation>,
}

impl Spending for Replayer<'_> {
    fn spend(
        &mut self,
        charge: Charge,
        draw: &mut dyn FnMut(&mut dyn Mechanisms) -> Result<Value>,
    ) -> Result<Value> {
        draw(&mut Answering { replayer: self, charge: &charge })
    }

    /// What the recorded run could afford, this one can: budgets do not depend on data.
    fn affordable(&self, charge: &Charge) -> Result<u64> {
        Ok(self.recording.calls.get(self.next).map_or(0, |call| call.charge.count.min(charge.count)))
    }

    fn fraction_spent(&self, _: &Mechanism) -> f64 {
        0.0
    }
}

struct Answering<'a, 'r> {
    replayer: &'a mut Replayer<'r>,
    charge: &'a Charge,
}

impl Answering<'_, '_> {
    /// The recorded call that this one has to be like; none where there were no more.
    fn recorded(&mut self) -> Option<(usize, Call)> {
        let at = self.replayer.next;
        self.replayer.next += 1;
        let call = self.replayer.recording.calls.get(at)?.clone();
        if call.charge != *self.charge {
            self.differs(at, format!("charged {:?}, then {:?}", call.charge, self.charge));
        }
        Some((at, call))
    }

    fn differs(&mut self, at: usize, what: String) {
        self.replayer.violations.push(Violation::Mechanism { call: at + 1, what });
    }

    fn apart(&mut self, at: usize, measured: f64, declared: f64) {
        // Distances of lattice points are computed in float64.
        if measured.is_nan() || measured > declared * (1.0 + 1e-9) {
            self.replayer.violations.push(Violation::Sensitivity { call: at + 1, measured, declared });
        }
    }

    /// There is nothing to answer with; the program ends, and what was different is on record.
    fn nothing_left<T>(&mut self) -> Result<T> {
        let reason = "the recorded run did not ask for this".to_owned();
        Err(dp_accounting::Error::Draw { mechanism: self.charge.mechanism.to_string(), reason })
    }

    fn lattice(&mut self, at: usize, before: Lattice, after: Lattice) {
        if before != after {
            self.differs(at, format!("{before:?}, then {after:?}"));
        }
    }

    /// L2 distance in the statistic's units; infinite between vectors of different lengths.
    fn distance(&mut self, at: usize, lattice: Lattice, before: &[i64], after: &[i64]) {
        let squares = before.iter().zip(after).map(|(a, b)| (*a as f64 - *b as f64).powi(2));
        let measured = if before.len() == after.len() {
            squares.sum::<f64>().sqrt() * lattice.step()
        } else {
            f64::INFINITY
        };
        let declared = lattice.sensitivity() * self.replayer.change.distance();
        self.apart(at, measured, declared);
    }

    /// Votes: of neighbours, one moves from one class to another.
    fn votes(&mut self, at: usize, before: &[u32], after: &[u32]) {
        let moved: f64 = before.iter().zip(after).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        let measured = if before.len() == after.len() { moved } else { f64::INFINITY };
        let whole = before.iter().sum::<u32>() == after.iter().sum::<u32>();
        // Where a shard's records change there are as many teachers as before.
        self.apart(at, if whole { measured } else { f64::INFINITY }, 2.0);
    }
}

impl Mechanisms for Answering<'_, '_> {
    fn screen(&mut self, votes_private: &[u32], threshold: i64) -> Result<bool> {
        let Some((at, call)) = self.recorded() else { return self.nothing_left() };
        let (Given::Screen { threshold: before, votes }, Released::Bit(bit)) = (&call.given, call.released)
        else {
            self.differs(at, "a screen, where there was none".to_owned());
            return self.nothing_left();
        };
        if *before != threshold {
            self.differs(at, format!("a threshold of {before}, then of {threshold}"));
        }
        self.votes(at, votes, votes_private);
        Ok(bit)
    }

    fn answer(&mut self, votes_private: &[u32]) -> Result<usize> {
        let Some((at, call)) = self.recorded() else { return self.nothing_left() };
        let (Given::Answer { votes }, Released::Index(index)) = (&call.given, call.released) else {
            self.differs(at, "an answer, where there was none".to_owned());
            return self.nothing_left();
        };
        self.votes(at, votes, votes_private);
        Ok(index)
    }

    fn integers(&mut self, values_private: &[i64]) -> Result<Vec<i64>> {
        let Some((at, call)) = self.recorded() else { return self.nothing_left() };
        let (Given::Integers(before), Released::Integers(noisy)) = (&call.given, call.released) else {
            self.differs(at, "integers, where there were none".to_owned());
            return self.nothing_left();
        };
        let declared = match self.charge.mechanism {
            Mechanism::DiscreteGaussian { sensitivity, .. } => sensitivity as f64,
            _ => 0.0,
        };
        // One of them differs: L1, so that two that differ by the sensitivity are too far.
        let moved: f64 = before.iter().zip(values_private).map(|(a, b)| a.abs_diff(*b) as f64).sum();
        let measured = if before.len() == values_private.len() { moved } else { f64::INFINITY };
        let declared = declared * self.replayer.change.distance();
        self.apart(at, measured, declared);
        Ok(noisy)
    }

    fn vector(&mut self, sum_private: &[i64], lattice: Lattice) -> Result<Vec<f64>> {
        let Some((at, call)) = self.recorded() else { return self.nothing_left() };
        let (Given::Vector { lattice: before, sum }, Released::Reals(noisy)) = (&call.given, call.released)
        else {
            self.differs(at, "a vector, where there was none".to_owned());
            return self.nothing_left();
        };
        self.lattice(at, *before, lattice);
        self.distance(at, *before, sum, sum_private);
        Ok(noisy)
    }

    fn sampled_sum(&mut self, records: usize, lattice: Lattice, sum_private: SumOf<'_>) -> Result<Vec<f64>> {
        let Some((at, call)) = self.recorded() else { return self.nothing_left() };
        let (Given::Sampled { lattice: before, sample, sum }, Released::Reals(noisy)) =
            (&call.given, call.released)
        else {
            self.differs(at, "a step on a sample, where there was none".to_owned());
            return self.nothing_left();
        };
        self.lattice(at, *before, lattice);
        let after = sum_private(&self.replayer.change.sample(sample, records))?;
        self.distance(at, *before, sum, &after);
        Ok(noisy)
    }
}
