//! Overspending is impossible: every sequence of charges, crashes, restarts and second processes up
//! to a length, on a disk that fails as disks may; then the same on real files.

use std::cell::RefCell;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

use dp_accounting::filter::{Budget, Cap};
use dp_accounting::ledger::{Account, Charge, Entry, Header, Ledger, Stamp, Store};
use dp_accounting::{Adjacency, Error, Mechanism, Result};
use dp_noise::{NoiseSource, SystemNoise};
use dp_noise_testing::TestNoise;

const ANSWER: Mechanism = Mechanism::GnmaxAnswer { sigma: 41.0 };

fn header(count: u64) -> Header {
    Header {
        ledger: 1,
        dataset: "mnist-train-60000".to_owned(),
        unit: "all records of one shard".to_owned(),
        adjacency: Adjacency::ReplaceOneShard,
        budget: Budget::Caps { epsilon: 1.0, delta: 1e-5, caps: vec![Cap { mechanism: ANSWER, count }] },
        stamp: Stamp::Release,
    }
}

/// A budget for `count` answers that is computed in a moment: RDP at order 12.
fn quick(count: u64) -> Header {
    let (order, delta) = (12.0f64, 1e-5);
    let divergence = (count as f64 + 0.5) * order / (41.0 * 41.0);
    let epsilon = divergence + (-1.0 / order).ln_1p() - (delta * order).ln() / (order - 1.0);
    Header { budget: Budget::Rdp { epsilon, delta, order }, ..header(count) }
}

fn charge(count: u64) -> Charge {
    Charge {
        mechanism: ANSWER,
        count,
        adjacency: Adjacency::ReplaceOneShard,
        run: "only".to_owned(),
        purpose: "a query".to_owned(),
        converted_from: None,
    }
}

/// Noise that says it is secret; the tests' draws look at nothing else.
struct Counted;

impl NoiseSource for Counted {
    const SECRET: bool = true;
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
    fn split(&mut self) -> std::result::Result<Self, dp_noise::Error> {
        Ok(Counted)
    }
}

/// What survives a power cut, and how the next write goes wrong.
#[derive(Clone)]
struct Disk {
    bytes: Rc<RefCell<Vec<u8>>>,
    /// How many of the bytes of the next append arrive before the machine stops.
    dies_after: Rc<RefCell<Option<usize>>>,
}

impl Store for Disk {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.bytes.borrow().clone())
    }
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(arrive) = self.dies_after.borrow_mut().take() {
            self.bytes.borrow_mut().extend(&bytes[..arrive.min(bytes.len())]);
            return Err(io::Error::other("the power is off"));
        }
        self.bytes.borrow_mut().extend(bytes);
        Ok(())
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.bytes.borrow_mut().truncate(length as usize);
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A charge of one run that goes well.
    Charge,
    /// A charge of two at once.
    ChargeTwo,
    /// The machine stops while the intent is written: nothing, half a line, the line without its
    /// end, or all of it arrives.
    CrashInIntent(usize),
    /// It stops between the intent and the draw.
    CrashBeforeDraw,
    /// It stops after the draw, while the result is written.
    CrashInResult(usize),
    /// It stops when nothing is going on.
    Crash,
}

const ARRIVALS: usize = 4;

/// The bytes of `line` that arrive in the n-th way.
fn arrive(way: usize, length: usize) -> usize {
    match way {
        0 => 0,
        1 => length / 2,
        2 => length - 1,
        _ => length,
    }
}

fn steps() -> Vec<Step> {
    let mut all = vec![Step::Charge, Step::ChargeTwo, Step::CrashBeforeDraw, Step::Crash];
    for way in 0..ARRIVALS {
        all.extend([Step::CrashInIntent(way), Step::CrashInResult(way)]);
    }
    all
}

/// Runs the steps; gives how many runs were drawn in all.
#[expect(clippy::unwrap_used, reason = "a helper of tests")]
fn play(sequence: &[Step], cap: u64) -> (u64, Account) {
    let bytes = Ledger::<Counted, Disk>::start(&quick(cap)).unwrap();
    let disk = Disk { bytes: Rc::new(RefCell::new(bytes)), dies_after: Rc::default() };
    let open = || Ledger::with_store(Path::new("disk"), disk.clone(), Counted).unwrap();
    let mut ledger = open();
    let drawn = RefCell::new(0);
    // A line's length, to know where it can be cut.
    let length = 400;
    for step in sequence {
        let count = if *step == Step::ChargeTwo { 2 } else { 1 };
        let result = match *step {
            Step::Crash => Err(()),
            Step::Charge | Step::ChargeTwo => ledger
                .run(charge(count), |_| {
                    *drawn.borrow_mut() += count;
                    Ok(())
                })
                .map_err(|error| assert!(matches!(error, Error::Overspent { .. }), "{error}")),
            Step::CrashInIntent(way) => {
                *disk.dies_after.borrow_mut() = Some(arrive(way, length));
                let result = ledger
                    .run(charge(1), |_| -> Result<()> { panic!("drawn without an intent on the disk") });
                disk.dies_after.borrow_mut().take();
                result.map_err(|_| ())
            }
            Step::CrashBeforeDraw => {
                let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    ledger
                        .run(charge(1), |_| -> Result<()> { std::panic::resume_unwind(Box::new("stopped")) })
                }));
                drop(unwound);
                Err(())
            }
            Step::CrashInResult(way) => {
                let dies = disk.dies_after.clone();
                let result = ledger.run(charge(1), |_| {
                    *drawn.borrow_mut() += 1;
                    *dies.borrow_mut() = Some(arrive(way, length));
                    Ok(())
                });
                disk.dies_after.borrow_mut().take();
                result.map_err(|_| ())
            }
        };
        // After every failure a new process begins; after a refusal the old one could go on just as
        // well.
        if result.is_err() {
            ledger = open();
        }
    }
    (drawn.into_inner(), open().account().clone())
}

/// All 12^4 sequences of four steps, against budgets of one, two and three answers.
#[test]
fn no_sequence_of_charges_and_crashes_draws_more_than_the_budget() {
    let steps = steps();
    assert_eq!(steps.len(), 12);
    let mut tried = 0;
    let mut full = 0;
    let mut sequence = [0; 4];
    loop {
        let chosen: Vec<Step> = sequence.iter().map(|i| steps[*i]).collect();
        for cap in 1..=3 {
            let (drawn, account) = play(&chosen, cap);
            let charged: u64 = account.totals().iter().map(|(_, count)| count).sum();
            assert!(drawn <= cap, "{chosen:?} drew {drawn} of {cap}");
            assert!(
                drawn <= charged && charged <= cap,
                "{chosen:?}: drew {drawn}, charged {charged} of {cap}"
            );
            full += u64::from(drawn == cap);
            tried += 1;
        }
        let Some(place) = sequence.iter().rposition(|i| *i + 1 < steps.len()) else { break };
        sequence[place] += 1;
        sequence[place + 1..].fill(0);
    }
    assert_eq!(tried, 3 * 12usize.pow(4));
    // The test would be empty if nothing could be drawn.
    assert!(full > 1000, "{full}");
}

/// What a process does, by the name that it gets in [`ROLE`].
const ROLES: [&str; 4] = ["charge", "stop before the draw", "stop after the draw", "second process"];
const ROLE: &str = "LEDGER_TEST_ROLE";
const FOLDER: &str = "LEDGER_TEST_FOLDER";
const REFUSED: i32 = 40;
const IN_USE: i32 = 41;

/// The same with real processes, which are stopped as the operating system stops them, and a real
/// file: every sequence of three. The test runs itself as the other process.
#[test]
#[expect(clippy::disallowed_methods, clippy::exit, reason = "draws are counted behind the ledger's back")]
fn no_sequence_of_processes_draws_more_than_the_budget() {
    let cap = 2;
    if let (Ok(role), Some(folder)) = (std::env::var(ROLE), std::env::var_os(FOLDER)) {
        let folder = Path::new(&folder);
        let draw =
            || std::fs::OpenOptions::new().append(true).open(folder.join("drawn")).unwrap().write_all(b"x");
        let Ok(mut ledger) = Ledger::open(&folder.join("ledger"), Counted) else {
            std::process::exit(IN_USE)
        };
        let result = ledger.run(charge(1), |_| match role.as_str() {
            "stop before the draw" => std::process::abort(),
            "stop after the draw" => {
                draw().unwrap();
                std::process::abort();
            }
            _ => {
                draw().unwrap();
                Ok(())
            }
        });
        std::process::exit(if result.is_ok() { 0 } else { REFUSED });
    }
    let mut full = 0;
    for number in 0..ROLES.len().pow(3) {
        let roles = [0, 1, 2].map(|place| ROLES[number / ROLES.len().pow(place) % ROLES.len()]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        drop(Ledger::create(&path, &quick(cap), Counted).unwrap());
        std::fs::write(dir.path().join("drawn"), b"").unwrap();
        let drawn = || std::fs::read(dir.path().join("drawn")).unwrap().len() as u64;
        for role in roles {
            let before = drawn();
            // Held open here while the other process tries.
            let held = (role == "second process").then(|| Ledger::open(&path, Counted).unwrap());
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "no_sequence_of_processes_draws_more_than_the_budget"])
                .env(ROLE, role)
                .env(FOLDER, dir.path())
                .output()
                .unwrap();
            let code = output.status.code();
            match role {
                "second process" => assert_eq!((code, drawn()), (Some(IN_USE), before), "{output:?}"),
                "charge" => assert!(
                    (code, drawn()) == (Some(0), before + 1) || (code, drawn()) == (Some(REFUSED), before),
                    "{output:?}"
                ),
                // Stopped; or refused, where nothing is left.
                _ => assert!(code == Some(REFUSED) || !output.status.success(), "{output:?}"),
            }
            drop(held);
        }
        let charged: u64 = Account::read(&path).unwrap().totals().iter().map(|(_, count)| count).sum();
        assert!(drawn() <= charged && charged <= cap, "{roles:?}: drew {}, charged {charged}", drawn());
        full += u64::from(drawn() == cap);
    }
    assert!(full > 10, "{full}");
}

#[test]
fn an_intent_without_a_result_is_spent_and_never_drawn_again() {
    let (drawn, account) = play(&[Step::CrashBeforeDraw, Step::Charge], 2);
    assert_eq!((drawn, account.open()), (1, vec![1]));
    let (drawn, _) = play(&[Step::CrashBeforeDraw, Step::CrashBeforeDraw, Step::Charge], 2);
    assert_eq!(drawn, 0);
}

/// Cut at every byte, a ledger either opens with everything whose intent was complete, or says that
/// its header is gone.
#[test]
fn a_ledger_cut_anywhere_keeps_what_could_have_been_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let mut ledger = Ledger::create(&path, &header(5), SystemNoise::new().unwrap()).unwrap();
    for _ in 0..3 {
        ledger.run(charge(1), |draws| draws.answer(&[20, 30, 25])).unwrap();
    }
    drop(ledger);
    let bytes = std::fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == b'\n').collect();
    assert_eq!(ends.len(), 7);
    for length in 0..bytes.len() {
        let cut = dir.path().join("cut.jsonl");
        put(&cut, &bytes[..length]);
        match Ledger::open(&cut, SystemNoise::new().unwrap()) {
            Ok(ledger) => {
                let complete = ends.iter().filter(|end| **end <= length).count();
                assert_eq!(ledger.account().entries.len() + 1, complete, "cut to {length}");
                drop(ledger);
                // It can go on, and what it writes is read again.
                let again = Ledger::open(&cut, SystemNoise::new().unwrap()).unwrap();
                assert_eq!(again.account().torn, 0);
            }
            Err(error) => assert!(length < ends[0], "cut to {length}: {error}"),
        }
    }
}

#[test]
fn a_changed_lost_or_added_line_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let mut ledger = Ledger::create(&path, &header(5), SystemNoise::new().unwrap()).unwrap();
    for _ in 0..3 {
        ledger.run(charge(1), |_| Ok(7)).unwrap();
    }
    drop(ledger);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let without = |gone: usize| {
        let mut text = String::new();
        for (_, line) in lines.iter().enumerate().filter(|(i, _)| *i != gone) {
            text.push_str(line);
            text.push('\n');
        }
        text
    };
    let mut damaged: Vec<String> = (0..lines.len() - 1).map(without).collect();
    damaged.push(text.replacen("\"outcome\":7", "\"outcome\":8", 1));
    damaged.push(text.replacen("\"count\":1", "\"count\":0", 2));
    damaged.push(format!("{text}{}\n", lines[1]));
    damaged.push(format!("{text}{{}}\n"));
    damaged.push(text.replacen("\"ledger\":1", "\"ledger\":2", 1));
    damaged.push(format!("\n{text}"));
    damaged.push(text.replacen("\"entry\":", "\"more\":1,\"entry\":", 1));
    damaged.push(text.replacen("\"dataset\":", "\"more\":1,\"dataset\":", 1));
    for (i, text) in damaged.iter().enumerate() {
        put(&path, text.as_bytes());
        let error = Account::read(&path).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{i}: {error}");
        assert!(error.to_string().contains("ledger.jsonl"), "{error}");
    }
}

#[test]
fn a_second_process_is_refused_and_a_second_ledger_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.jsonl");
    let first = Ledger::create(&path, &header(5), SystemNoise::new().unwrap()).unwrap();
    let second = Ledger::open(&path, SystemNoise::new().unwrap()).unwrap_err();
    assert!(second.to_string().contains("is in use by"), "{second}");
    // Reading is free.
    assert_eq!(Account::read(&path).unwrap().entries.len(), 0);
    drop(first);
    let again = Ledger::create(&path, &header(5), SystemNoise::new().unwrap()).unwrap_err();
    assert!(again.to_string().contains("already"), "{again}");
    assert!(Ledger::open(&dir.path().join("none.jsonl"), SystemNoise::new().unwrap()).is_err());
}

/// Noise that nothing was charged for would be free.
#[test]
fn a_charge_of_nothing_draws_nothing() {
    for budget in [header(2).budget, quick(2).budget, Budget::Gdp { epsilon: 1.0, delta: 1e-5 }] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let head = Header { budget, ..header(2) };
        let mut ledger = Ledger::create(&path, &head, SystemNoise::new().unwrap()).unwrap();
        let error = ledger.run(charge(0), |_| -> Result<()> { panic!("drawn") }).unwrap_err();
        assert!(error.to_string().contains("1 or more"), "{error}");
        assert!(ledger.account().entries.is_empty());
        // Nor is a line believed that says so.
        ledger.run(charge(1), |_| Ok(1)).unwrap();
        drop(ledger);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        put(&path, format!("{}\n{}\n", lines[0], lines[1].replace("\"count\":1", "\"count\":0")).as_bytes());
        assert!(matches!(Account::read(&path).unwrap_err(), Error::Damaged { line: 2, .. }));
    }
}

#[test]
#[cfg(unix)]
fn another_name_of_the_file_is_no_second_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    drop(Ledger::create(&path, &header(1), SystemNoise::new().unwrap()).unwrap());
    let (symbolic, hard) = (dir.path().join("symbolic"), dir.path().join("hard"));
    std::os::unix::fs::symlink(&path, &symbolic).unwrap();
    std::fs::hard_link(&path, &hard).unwrap();
    let names = [&path, &symbolic, &hard];
    for first in names {
        let held = Ledger::open(first, SystemNoise::new().unwrap()).unwrap();
        for second in names {
            let error = Ledger::open(second, SystemNoise::new().unwrap()).unwrap_err();
            assert!(error.to_string().contains("is in use by"), "{error}");
        }
        drop(held);
    }
    // Without the file beside it, too.
    let _held = Ledger::open(&path, SystemNoise::new().unwrap()).unwrap();
    std::fs::remove_file(dir.path().join(".pate-synth.ledger.lock")).unwrap();
    assert!(Ledger::open(&path, SystemNoise::new().unwrap()).is_err());
}

/// A child has its parent's open files, locks and all, until it runs its own program.
#[test]
#[cfg(unix)]
fn a_ledger_that_is_closed_is_free_though_children_are_born() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    drop(Ledger::create(&path, &quick(1), SystemNoise::new().unwrap()).unwrap());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Command::new("true").status().unwrap();
            }
        });
        let opened: Vec<_> = (0..2000)
            .map(|_| Ledger::open(&path, SystemNoise::new().unwrap()).map(|_| ()))
            .filter_map(Result::err)
            .collect();
        done.store(true, Ordering::Relaxed);
        assert!(opened.is_empty(), "{} refusals: {}", opened.len(), opened[0]);
    });
}

#[test]
fn two_ledgers_and_a_ledger_that_was_turned_back_have_labels_that_do_not_join() {
    let dir = tempfile::tempdir().unwrap();
    let label = |name: &str| {
        let mut ledger =
            Ledger::create(&dir.path().join(name), &header(3), SystemNoise::new().unwrap()).unwrap();
        ledger.run(charge(1), |_| Ok(1)).unwrap();
        ledger.label()
    };
    let (one, other) = (label("one"), label("other"));
    assert!(one.clone().join(other).to_json().is_null());
    // The same first lines, then two ends: a copy was put back, and the budget spent twice.
    let path = dir.path().join("one");
    let before = std::fs::read(&path).unwrap();
    let spend = |outcome: u32| {
        put(&path, &before);
        let mut ledger = Ledger::open(&path, SystemNoise::new().unwrap()).unwrap();
        ledger.run(charge(1), |_| Ok(outcome)).unwrap();
        ledger.label()
    };
    let (left, right) = (spend(1), spend(2));
    assert!(one.join(left.clone()).to_json().is_object());
    assert!(left.join(right).to_json().is_null());
}

#[test]
fn a_large_outcome_leaves_its_hash_and_a_ledger_that_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mut ledger = Ledger::create(&path, &header(2), SystemNoise::new().unwrap()).unwrap();
    let text = ledger.run(charge(1), |_| Ok("x".repeat(3_000_000))).unwrap();
    assert_eq!(text.len(), 3_000_000);
    drop(ledger);
    let account = Account::read(&path).unwrap();
    let Entry::Result { outcome, .. } = &account.entries[1] else { panic!("{:?}", account.entries) };
    assert_eq!(outcome["bytes"], 3_000_002);
    assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
}

#[test]
fn adjacencies_are_not_mixed() {
    let dir = tempfile::tempdir().unwrap();
    let mut head = header(5);
    head.budget = Budget::Rdp { epsilon: 2.0, delta: 1e-5, order: 12.0 };
    let mut ledger = Ledger::create(&dir.path().join("l"), &head, SystemNoise::new().unwrap()).unwrap();
    let step = Mechanism::PoissonSubsampledGaussian { q: 0.01, sigma: 4.0 };
    for adjacency in [Adjacency::AddOrRemoveOne, Adjacency::ReplaceOneShard] {
        let refused = Charge { mechanism: step, adjacency, ..charge(1) };
        let error = ledger.run(refused, |_| -> Result<()> { panic!("drawn") }).unwrap_err();
        assert!(matches!(error, Error::Adjacency { .. }), "{error}");
    }
    assert!(ledger.account().entries.is_empty());
    // Stated under another relation and converted explicitly it is let in.
    let mut records = head.clone();
    records.adjacency = Adjacency::ReplaceOne;
    let mut ledger = Ledger::create(&dir.path().join("r"), &records, SystemNoise::new().unwrap()).unwrap();
    let gaussian = Mechanism::Gaussian { sigma: 20.0, sensitivity_l2: 1.0 };
    let mechanism = gaussian.converted(Adjacency::AddOrRemoveOne, Adjacency::ReplaceOne).unwrap();
    ledger.run(Charge { mechanism, adjacency: Adjacency::ReplaceOne, ..charge(1) }, |_| Ok(1)).unwrap();
    // Votes hide a shard, and so a record of it; the ledger shows that this was meant.
    let error = ledger
        .run(Charge { adjacency: Adjacency::ReplaceOne, ..charge(1) }, |_| -> Result<()> { panic!("drawn") });
    assert!(matches!(error.unwrap_err(), Error::Adjacency { .. }));
    ledger.run(charge(1).converted(Adjacency::ReplaceOne).unwrap(), |_| Ok(1)).unwrap();
    drop(ledger);
    let text = std::fs::read_to_string(dir.path().join("r")).unwrap();
    assert_eq!(text.matches("\"converted_from\":\"replace_one_shard\"").count(), 1);
    // Steps of DP-SGD have no way to a shard, whatever a charge says.
    let claim = Charge {
        mechanism: step,
        adjacency: Adjacency::ReplaceOne,
        converted_from: Some(Adjacency::AddOrRemoveOne),
        ..charge(1)
    };
    let mut ledger = Ledger::open(&dir.path().join("r"), SystemNoise::new().unwrap()).unwrap();
    assert!(ledger.run(claim, |_| -> Result<()> { panic!("drawn") }).is_err());
}

#[test]
fn test_noise_voids_a_ledger_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    let ledger = Ledger::create(&path, &header(5), TestNoise::new(1)).unwrap();
    assert!(ledger.label().reason().unwrap().contains("test source"));
    drop(ledger);
    let mut ledger = Ledger::open(&path, SystemNoise::new().unwrap()).unwrap();
    ledger.degrade(Stamp::Release, "please").unwrap();
    assert_eq!(ledger.account().stamp, Stamp::Void);
    assert!(ledger.label().to_json().is_null());
}

#[test]
fn a_benchmark_has_a_budget_per_run_and_no_guarantee() {
    let dir = tempfile::tempdir().unwrap();
    let head = Header { stamp: Stamp::Benchmark, ..header(2) };
    let mut ledger = Ledger::create(&dir.path().join("l"), &head, SystemNoise::new().unwrap()).unwrap();
    for run in ["epsilon 1, seed 1", "epsilon 1, seed 2"] {
        let charge = || Charge { run: run.to_owned(), ..charge(1) };
        ledger.run(charge(), |_| Ok(1)).unwrap();
        ledger.run(charge(), |_| Ok(1)).unwrap();
        assert!(ledger.run(charge(), |_| Ok(1)).is_err());
    }
    assert!(ledger.label().reason().unwrap().starts_with("a benchmark ledger"));
    // A ledger for release counts all runs as one, whatever they are called.
    let mut release = Ledger::create(&dir.path().join("r"), &header(2), SystemNoise::new().unwrap()).unwrap();
    for (run, fits) in [("a", true), ("b", true), ("c", false)] {
        assert_eq!(release.run(Charge { run: run.to_owned(), ..charge(1) }, |_| Ok(1)).is_ok(), fits);
    }
    let label = release.label().to_json();
    assert_eq!((label["epsilon"].as_f64(), label["ledger"]["entries"].as_u64()), (Some(1.0), Some(4)));
}

#[test]
fn the_transcript_holds_what_was_released_and_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("l");
    let mut ledger = Ledger::create(&path, &header(3), SystemNoise::new().unwrap()).unwrap();
    let votes_private = [200, 30, 20];
    let label = ledger.run(charge(1), |draws| draws.answer(&votes_private)).unwrap();
    assert!(label < 3);
    let account = Account::read(&path).unwrap();
    assert_eq!(account.entries.len(), 2);
    assert!(matches!(&account.entries[1], Entry::Result { of: 1, outcome } if *outcome == label));
}

/// Attacks, row 13: an outcome nested 130 deep closed a ledger for good. What cannot be read back
/// is written down as its hash, the value is returned, and the ledger goes on.
#[test]
fn an_outcome_that_no_reader_takes_leaves_its_hash_and_a_ledger_that_goes_on() {
    let nested = |depth: usize| (0..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let text = |text: &str| serde_json::json!(text);
    let keys = serde_json::json!({"a\nb": 1, "\u{2028}\u{2029}": "\r\n", "": {"\u{0}": "\u{feff}"}});
    let outcomes = [
        (nested(110), false),
        (nested(130), true),
        (nested(1000), true),
        (text("one\ntwo\u{2028}three\r\n"), false),
        (keys, false),
        (serde_json::json!([1e308, -5e-324, u64::MAX, i64::MIN, 0.1 + 0.2]), false),
        (serde_json::json!(vec![0; 70_000]), true),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mut ledger = Ledger::create(&path, &quick(40), SystemNoise::new().unwrap()).unwrap();
    for (outcome, _) in &outcomes {
        assert_eq!(ledger.run(charge(1), |_| Ok(outcome.clone())).unwrap(), *outcome);
    }
    // What serde_json has no value for: NaN is null, and a number of 128 bits leaves its hash.
    assert!(ledger.run(charge(1), |_| Ok(f64::NAN)).unwrap().is_nan());
    ledger.run(charge(1), |_| Ok(u128::MAX)).unwrap();
    let twice = std::collections::BTreeMap::from([((1, 2), 3)]);
    ledger.run(charge(1), |_| Ok(twice)).unwrap();
    drop(ledger);
    let mut ledger = Ledger::open(&path, SystemNoise::new().unwrap()).unwrap();
    let account = ledger.account().clone();
    assert_eq!((account.entries.len(), account.open(), account.torn), (20, vec![], 0));
    for (i, (outcome, hashed)) in outcomes.iter().enumerate() {
        let Entry::Result { outcome: written, .. } = &account.entries[2 * i + 1] else { panic!("{i}") };
        assert_eq!(written["sha256_of_json"].is_string(), *hashed, "{i}: {written}");
        assert!(*hashed || written == outcome, "{i}: {written}");
    }
    let Entry::Result { outcome, .. } = &account.entries[17] else { panic!("no result") };
    assert_eq!(outcome["bytes"], 39);
    ledger.run(charge(1), |_| Ok(1)).unwrap();
}

/// Attacks, row 13: the other fields of a line, and those of the header.
#[test]
fn what_could_not_be_read_again_is_refused_before_it_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger");
    let mut ledger = Ledger::create(&path, &quick(5), SystemNoise::new().unwrap()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let long = Charge { purpose: "x".repeat(3 << 20), ..charge(1) };
    let error = ledger.run(long, |_| -> Result<()> { panic!("drawn") }).unwrap_err().to_string();
    assert!(error.contains("refused before it was written"), "{error}");
    for sigma in [f64::NAN, f64::INFINITY] {
        let charge = Charge { mechanism: Mechanism::GnmaxAnswer { sigma }, ..charge(1) };
        assert!(ledger.run(charge, |_| -> Result<()> { panic!("drawn") }).is_err());
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    // Line ends and quotes in texts are nothing to fear, and nothing was lost.
    let odd = "a\nb\r\u{2028}\"}\u{0}".to_owned();
    ledger.run(Charge { purpose: odd.clone(), run: odd.clone(), ..charge(1) }, |_| Ok(1)).unwrap();
    drop(ledger);
    let Entry::Intent(read) = &Account::read(&path).unwrap().entries[0] else { panic!("no intent") };
    assert_eq!(read.purpose, odd);
    let head = Header { dataset: odd.clone(), unit: odd.clone(), ..quick(2) };
    let path = dir.path().join("odd");
    drop(Ledger::create(&path, &head, SystemNoise::new().unwrap()).unwrap());
    assert_eq!(Account::read(&path).unwrap().header, head);
    for head in [
        Header { dataset: "x".repeat(3 << 20), ..quick(2) },
        Header { budget: Budget::Rdp { epsilon: f64::INFINITY, delta: 1e-5, order: 12.0 }, ..quick(2) },
        Header { budget: Budget::Rdp { epsilon: 1.0, delta: f64::NAN, order: 12.0 }, ..quick(2) },
    ] {
        let path = dir.path().join("bad");
        assert!(Ledger::create(&path, &head, SystemNoise::new().unwrap()).is_err());
        assert!(Ledger::<Counted, Disk>::start(&head).is_err() && !path.exists());
    }
}

/// Attacks, row 9; field cases, row 5: a ledger with a key that stands twice is damaged.
#[test]
#[cfg(unix)]
fn only_a_regular_file_without_double_keys_is_a_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), Path::new("/dev/zero"), Path::new("/proc/kmsg"), dir.path()] {
        assert!(Account::read(path).is_err(), "{}", path.display());
        assert!(Ledger::open(path, Counted).is_err(), "{}", path.display());
    }
    let path = dir.path().join("ledger");
    drop(Ledger::create(&path, &quick(2), Counted).unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    put(&path, text.replacen("\"ledger\":1", "\"ledger\":1,\"ledger\":1", 1).as_bytes());
    let error = Account::read(&path).unwrap_err().to_string();
    assert!(error.contains("damaged at line 1") && error.contains("stands twice"), "{error}");
}

#[expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a damaged ledger is what the tests need")]
fn put(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}
