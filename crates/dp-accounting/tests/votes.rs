//! Record and replay over the mechanisms of PATE: a program that answers queries by the noisy vote
//! of teachers, on shards of which one changes.

#![expect(clippy::unwrap_used, reason = "a test's helpers, outside of test functions")]

use dp_accounting::filter::Cap;
use dp_accounting::ledger::{Charge, Header};
use dp_accounting::spend::Spending;
use dp_accounting::{Adjacency, Mechanism, Result};
use dp_noise_testing::replay::{Change, Outputs, Recording};
use serde_json::json;

const CLASSES: usize = 5;
const QUERIES: usize = 12;
const SCREEN: Mechanism = Mechanism::GnmaxScreen { sigma: 12.0 };
const ANSWER: Mechanism = Mechanism::GnmaxAnswer { sigma: 4.0 };

/// What every teacher, of one shard each, says to every query.
type Says = Vec<[usize; QUERIES]>;

fn says(teachers: usize) -> Says {
    let answer = |t: usize, q: usize| match q % 3 {
        // Evenly between two classes: one vote decides.
        0 => t % 2,
        _ if (t * 7 + q * 3).is_multiple_of(4) => (t + q) % CLASSES,
        _ => q % CLASSES,
    };
    (0..teachers).map(|t| std::array::from_fn(|q| answer(t, q))).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The threshold follows the largest count.
    ThresholdFromVotes,
    /// Queries are asked in the order of the teachers' agreement.
    OrderFromVotes,
    /// A teacher has two votes.
    TwoVotes,
    /// A teacher that is unsure leaves its vote out, which the counts show.
    Abstains,
    /// Noise grows with the number of classes that were seen.
    NoiseFromVotes,
    /// A query is skipped where most agree.
    SkipsAgreed,
    /// The largest count is in the report.
    CountReported,
    /// The clean winner is answered.
    CleanWinner,
}

const FAULTS: [Fault; 8] = [
    Fault::ThresholdFromVotes,
    Fault::OrderFromVotes,
    Fault::TwoVotes,
    Fault::Abstains,
    Fault::NoiseFromVotes,
    Fault::SkipsAgreed,
    Fault::CountReported,
    Fault::CleanWinner,
];

fn charge(mechanism: Mechanism) -> Charge {
    Charge::new(mechanism, Adjacency::ReplaceOneShard, "votes", "a query")
}

fn header() -> Header {
    let caps = [SCREEN, ANSWER, Mechanism::GnmaxAnswer { sigma: 5.0 }];
    Header::of_caps(
        "shards",
        "all records of one shard",
        Adjacency::ReplaceOneShard,
        (200.0, 1e-5),
        caps.map(|mechanism| Cap { mechanism, count: QUERIES as u64 }).to_vec(),
    )
}

fn counts(says: &Says, query: usize, fault: Option<Fault>) -> Vec<u32> {
    let mut votes = vec![0; CLASSES];
    for teacher in says {
        let twice = fault == Some(Fault::TwoVotes);
        if fault == Some(Fault::Abstains) && teacher[0] == teacher[1] {
            continue;
        }
        votes[teacher[query]] += if twice { 2 } else { 1 };
    }
    votes
}

/// Confident-GNMax: a screen, and an answer where it passes.
fn program(says: &Says, fault: Option<Fault>, spending: &mut dyn Spending) -> Result<Outputs> {
    let mut transcript = Vec::new();
    let mut order: Vec<usize> = (0..QUERIES).collect();
    let most = |query: usize| counts(says, query, None).into_iter().max().unwrap();
    if fault == Some(Fault::OrderFromVotes) {
        order.sort_by_key(|query| most(*query));
    }
    for query in order {
        let votes = counts(says, query, fault);
        let threshold =
            if fault == Some(Fault::ThresholdFromVotes) { i64::from(most(query)) - 2 } else { 14 };
        if fault == Some(Fault::SkipsAgreed) && most(query) >= 16 {
            continue;
        }
        let mut passed = false;
        spending.spend(charge(SCREEN), &mut |mechanisms| {
            passed = mechanisms.screen(&votes, threshold)?;
            Ok(json!(passed))
        })?;
        let mut label = None;
        if passed {
            let seen = votes.iter().filter(|count| **count > 0).count();
            let wide = fault == Some(Fault::NoiseFromVotes) && seen > 4;
            let mechanism = if wide { Mechanism::GnmaxAnswer { sigma: 5.0 } } else { ANSWER };
            spending.spend(charge(mechanism), &mut |mechanisms| {
                label = Some(mechanisms.answer(&votes)?);
                Ok(json!(label))
            })?;
            if fault == Some(Fault::CleanWinner) {
                label = (0..CLASSES).max_by_key(|class| (votes[*class], CLASSES - class));
            }
        }
        let count = if fault == Some(Fault::CountReported) { most(query) } else { 0 };
        transcript.push(format!("{query} {passed} {label:?} {count}"));
    }
    Ok(vec![("transcript".to_owned(), transcript.join("\n").into_bytes())])
}

/// Shards of which one has other records: its teacher may say anything.
fn neighbours(says: &Says) -> Vec<(Says, usize)> {
    let mut all = Vec::new();
    for teacher in [0, 1, says.len() / 2, says.len() - 1] {
        for turn in 0..CLASSES {
            let mut other = says.clone();
            other[teacher] = std::array::from_fn(|q| (q * turn + teacher + turn) % CLASSES);
            all.push((other, teacher));
        }
    }
    all
}

fn betrayed(fault: Option<Fault>, seed: u64) -> Option<String> {
    let says = says(20 + seed as usize);
    let recording = Recording::of(&header(), seed, |spending| program(&says, fault, spending));
    recording.outputs().unwrap();
    neighbours(&says).into_iter().find_map(|(other, teacher)| {
        let found = recording.replay(Change::Replaced(teacher), |spending| program(&other, fault, spending));
        found.first().map(|violation| format!("teacher {teacher}: {violation}"))
    })
}

#[test]
fn an_honest_vote_betrays_nothing_on_a_hundred_neighbours() {
    for seed in 0..6 {
        assert_eq!(betrayed(None, seed), None, "seed {seed}");
    }
}

#[test]
fn every_planted_fault_of_a_vote_is_caught() {
    for fault in FAULTS {
        let found = betrayed(Some(fault), 0);
        println!("{fault:?}: {found:?}");
        assert!(found.is_some(), "{fault:?} was not caught");
    }
}
