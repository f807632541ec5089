//! Every program cut off in the middle: by a full disk, Ctrl-C, a termination and a kill, at
//! moments spread over its run and while it writes. What stands under a final name is what a whole
//! run writes there, and a run in the same folder afterwards ends as one in an empty folder does.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::matrix::{GOOD, good_line, inputs};
use crate::steps;
use testing::{Run, Work};

const QUIETLY: &str = "--quiet --device cpu --threads 1";

/// Every file of `out` with its hash; of reports, the text without what differs from run to run.
fn contents(work: &Work) -> BTreeMap<String, String> {
    let mut all = work.files("out");
    for (name, content) in &mut all {
        if Path::new(name).extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let mut report = work.json(name);
        // A batch that goes on skips the teachers that are done.
        for field in ["wall_seconds", "training_seconds", "done", "skipped", "teachers"] {
            report.as_object_mut().unwrap().remove(field);
        }
        *content = report.to_string();
    }
    all
}

/// A file in the making.
fn is_temporary(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|ending| ending == "tmp")
}

/// The state of unfinished work, from which the next run goes on.
fn is_checkpoint(name: &str) -> bool {
    name.ends_with("checkpoint.safetensors")
}

/// Fails where a final name holds anything else than after a whole run, or than before this one.
fn are_whole(work: &Work, whole: &BTreeMap<String, String>, before: &BTreeMap<String, String>, what: &str) {
    for (name, content) in contents(work) {
        let known = [whole, before].iter().any(|files| files.get(&name) == Some(&content));
        assert!(is_temporary(&name) || is_checkpoint(&name) || known, "{what}: {name} is half done");
    }
}

fn temporaries(work: &Work) -> Vec<String> {
    work.files("out").into_keys().filter(|name| is_temporary(name)).collect()
}

/// Asks a program to stop.
fn signal(child: &Child, name: &str) {
    send(child, if name == "-INT" { testing::interrupt() } else { name });
}

fn send(child: &Child, name: &str) {
    // Where it has ended by itself, there is no process to send to.
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(sent.is_ok(), "there is no kill: {sent:?}");
}

/// When a run is cut off.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// After this share of the time that a whole run takes.
    Share(f64),
    /// As soon as a temporary file is there.
    Writing,
}

const CUTS: [(&str, Moment); 4] = [
    ("-INT", Moment::Share(0.55)),
    ("-TERM", Moment::Share(0.8)),
    ("-INT", Moment::Writing),
    ("-KILL", Moment::Writing),
];

/// Runs a good line, cuts it off, and checks what it left.
fn cut_off(work: &Work, binary: &str, cut: (&str, Moment), whole: &BTreeMap<String, String>, time: Duration) {
    let (name, moment) = cut;
    let what = format!("{binary} {name} {moment:?}");
    let before = contents(work);
    let mut command = work.command(binary, &format!("{} {QUIETLY}", good_line(binary)));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    match moment {
        Moment::Share(share) => std::thread::sleep(time.mul_f64(share)),
        Moment::Writing => {
            while child.try_wait().unwrap().is_none() && !holds_temporary(&work.path("out")) {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
    // One that has ended and was seen to has no number any more.
    if child.try_wait().unwrap().is_none() {
        signal(&child, name);
    }
    let output = child.wait_with_output().unwrap();
    let (code, text) = (output.status.code(), String::from_utf8(output.stderr).unwrap());
    are_whole(work, whole, &before, &what);
    if name == "-KILL" {
        return;
    }
    assert!(temporaries(work).is_empty(), "{what} left {:?}", temporaries(work));
    match code {
        // Too late to stop anything.
        Some(0) => assert!(!text.contains("error"), "{what}: {text}"),
        Some(130) => {
            assert_eq!(text.lines().count(), 2, "{what}: {text}");
            assert!(
                text.contains("\nerror: stopped on request; files that were finished are complete"),
                "{what}: {text}"
            );
        }
        // Before it listened.
        None => assert!(output.status.signal().is_some() && contents(work) == before, "{what}: {text}"),
        Some(_) => panic!("{what} ended with {code:?}: {text}"),
    }
}

/// Whether a temporary file is in `folder` or in a folder of it.
fn holds_temporary(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        is_temporary(&path.to_string_lossy()) || (path.is_dir() && holds_temporary(&path))
    })
}

/// A run whose files cannot grow beyond a few thousand bytes, as on a disk that fills up while it
/// writes. Attacks, row 16: the system's signal for that does not end it.
fn on_a_full_disk(work: &Work, binary: &str) -> Run {
    let path = testing::program(binary);
    let line = format!("{} {QUIETLY}", good_line(binary));
    let output = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""])
        .arg(path)
        .args(line.split_whitespace())
        .current_dir(work.root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Run {
        line: format!("{binary} {line}"),
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// All of it for some of the programs.
fn cut_off_each(binaries: &[(&str, &str)]) {
    let work = inputs();
    for &(binary, line) in binaries {
        let started = Instant::now();
        work.run_quiet(binary, line).ok();
        let time = started.elapsed();
        let whole = contents(&work);
        let unfinished = |name: &String| is_temporary(name) || is_checkpoint(name);
        assert!(!whole.is_empty() && !whole.keys().any(unfinished), "{binary}: {whole:?}");
        std::fs::remove_dir_all(work.path("out")).unwrap();

        let run = on_a_full_disk(&work, binary);
        // One teacher's failure is a result of the batch.
        let (code, start) = if binary.starts_with("batch-") { (1, "result: 2 of 2") } else { (3, "error: ") };
        run.check(code, start, &[]).unwrap();
        let text = format!("{}{}", run.stdout, run.stderr);
        assert!(
            text.contains("cannot write") && text.contains("out/") && text.contains("File too large"),
            "{text}"
        );
        assert!(temporaries(&work).is_empty(), "{binary} left {:?}", temporaries(&work));
        let mut left = contents(&work);
        // It says what became of the teachers.
        left.retain(|name, _| !name.starts_with("out/batch_report"));
        for (name, content) in left {
            assert_eq!(whole.get(&name), Some(&content), "{binary}: {name} after a full disk");
        }

        for cut in CUTS {
            cut_off(&work, binary, cut, &whole, time);
        }
        work.run_quiet(binary, line).ok();
        let mut after = contents(&work);
        // A killed program cannot clean up; its temporary files have names of their own that
        // nothing reads.
        after.retain(|name, _| !is_temporary(name));
        assert_eq!(after, whole, "{binary}");
        println!(
            "{binary}: full disk {code}, -INT and -TERM 130 (or 0, where done), whole again after -KILL"
        );
        std::fs::remove_dir_all(work.path("out")).unwrap();
    }
}

#[test]
fn programs_that_are_cut_off_leave_whole_files_and_go_on() {
    cut_off_each(&GOOD[..7]);
}

#[test]
fn more_programs_that_are_cut_off_leave_whole_files_and_go_on() {
    cut_off_each(&GOOD[7..19]);
}

#[test]
fn the_last_programs_that_are_cut_off_leave_whole_files_and_go_on() {
    cut_off_each(&GOOD[19..]);
}

#[test]
fn a_second_run_names_the_first() {
    let work = inputs();
    for (binary, line, lock) in [
        (
            "pretrain-decoder",
            "--dataset digits --epochs 100000 --batch-size 64 --out-dir out",
            "out/.pate-synth.lock",
        ),
        (
            "generate-candidates",
            "--decoder-path decoder.pth --pool-size 50000 --out out/p.pt",
            "out/.pate-synth.p.pt.lock",
        ),
    ] {
        let line = format!("{line} {QUIETLY}");
        let mut first = work.command(binary, &line).stderr(Stdio::null()).spawn().unwrap();
        while std::fs::read_to_string(work.path(lock)).unwrap_or_default().is_empty() {
            assert!(first.try_wait().unwrap().is_none(), "{binary} ended by itself");
            std::thread::sleep(Duration::from_millis(5));
        }
        // Held fast, it takes no time from the second.
        signal(&first, "-STOP");
        let process = format!("is in use by process {} ({binary});", first.id());
        let second = work.run_bare(binary, &line).check(
            3,
            "error: ",
            &["the output out", &process, "wait for it, stop it"],
        );
        for name in ["-TERM", "-CONT"] {
            signal(&first, name);
        }
        assert_eq!(first.wait().unwrap().code(), Some(130));
        second.unwrap();
        let left: Vec<String> =
            work.tree().into_keys().filter(|name| name.starts_with("out") && !is_checkpoint(name)).collect();
        assert!(left.iter().all(|name| name == "out"), "{left:?}");
    }
}

#[test]
fn devices_and_pipes_are_not_replaced() {
    let work = inputs();
    let made = Command::new("mkfifo").arg(work.path("pipe.json")).status();
    if !made.is_ok_and(|status| status.success()) {
        println!("skipped: a pipe as output: mkfifo is not there");
        return;
    }
    for binary in ["generate-candidates", "evaluate-student", "evaluate-synthetic"] {
        let line =
            good_line(binary).replace("out/pool.pt", "pipe.json").replace("out/report.json", "pipe.json");
        let line = if binary == "generate-candidates" {
            std::fs::rename(work.path("pipe.json"), work.path("pipe.pt")).unwrap();
            line.replace("pipe.json", "pipe.pt")
        } else {
            line
        };
        work.run_quiet(binary, &line).check(3, "error: ", &["cannot write pipe", "no regular file"]).unwrap();
        if binary == "generate-candidates" {
            std::fs::rename(work.path("pipe.pt"), work.path("pipe.json")).unwrap();
        }
    }
    assert!(!std::fs::metadata(work.path("pipe.json")).unwrap().is_file());
    assert!(work.files(".").keys().all(|name| !is_temporary(name)));
}

#[test]
fn results_that_cannot_be_printed_are_an_error() {
    let work = inputs();
    let full = Path::new("/dev/full");
    if !full.exists() {
        println!("skipped: a full device as standard output: /dev/full is not there");
        return;
    }
    for binary in ["batch-label-filter", "evaluate-student", "evaluate-synthetic"] {
        let mut command = work.command(binary, &format!("{} {QUIETLY}", good_line(binary)));
        let device = std::fs::OpenOptions::new().write(true).open(full).unwrap();
        let output = command.stdout(device).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{binary}: {text}");
        assert!(
            text.starts_with("error: cannot write to standard output: No space left"),
            "{binary}: {text}"
        );
        assert_eq!(text.lines().count(), 1, "{binary}: {text}");
    }
    // Nothing can be made below the system's own file system by any user.
    for (binary, out) in
        [("prepare-shards", "-dir out"), ("combine", "--output out"), ("train-student", "-dir out")]
    {
        let line = good_line(binary).replace(out, &out.replace(" out", " /proc/out"));
        work.run_quiet(binary, &line).check(3, "error: ", &["cannot write /proc/out"]).unwrap();
    }
}

/// A report of a stopped batch is no report: nothing is called finished that is not.
#[test]
fn a_stopped_batch_has_no_report() {
    let work = inputs();
    let line = good_line("batch-label-filter").replace(
        "--candidates pool.pt",
        "--generate-candidates-per-teacher --pool-size 2000 --candidates-dir out/pools",
    );
    let mut child = work
        .command("batch-label-filter", &format!("{line} {QUIETLY}"))
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !work.path("out/teacher_0/selection_report.json").is_file() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(1));
    }
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        !work.path("out/batch_report.json").exists()
            && !work.path("out/teacher_1/selection_report.json").exists()
    );
    let first = work.sha256("out/teacher_0/synthetic_samples.pt");
    work.run_quiet("batch-label-filter", &line).ok();
    let statuses: Vec<Value> = work.json("out/batch_report.json")["teachers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["status"].clone())
        .collect();
    assert_eq!(statuses, ["skipped", "done"]);
    assert_eq!(work.sha256("out/teacher_0/synthetic_samples.pt"), first);
}

/// A kill at any moment loses at most the teacher in hand.
#[test]
fn a_batch_that_is_killed_again_and_again_ends_with_the_same_bytes() {
    const RUNS: u64 = 16;
    let work = inputs();
    for id in 2..8 {
        for file in ["nets/N/model.pth", "shards/teacher_N/shard.pt", "shards/teacher_N/metadata.json"] {
            let bytes = work.bytes(&file.replace('N', "1"));
            work.put(&file.replace('N', &id.to_string()), bytes);
        }
    }
    let line = good_line("batch-label-filter").replace(
        "--candidates pool.pt",
        "--generate-candidates-per-teacher --pool-size 600 --candidates-dir out/pools",
    );
    let started = Instant::now();
    work.run_quiet("batch-label-filter", &line).ok();
    let mut time = started.elapsed();
    let whole = contents(&work);
    assert!(whole.len() > 8 * 4, "{:?}", whole.keys());
    std::fs::remove_dir_all(work.path("out")).unwrap();
    let mut killed = 0;
    for kill in 0..RUNS {
        let before = contents_if_any(&work);
        let mut child = work
            .command("batch-label-filter", &format!("{line} {QUIETLY}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Spread over the run without a pattern; libtorch alone takes a share of the time to load.
        let share = (kill * 7919 % 97) as f64 / 97.0;
        std::thread::sleep(time.mul_f64(0.1 + 0.6 * share));
        if child.try_wait().unwrap().is_none() {
            signal(&child, "-KILL");
            killed += 1;
        } else {
            // All is done; the next ones have something to do again, and less time for it.
            std::fs::remove_dir_all(work.path("out")).unwrap();
            time = time.mul_f64(0.6);
        }
        child.wait().unwrap();
        if work.path("out").exists() {
            are_whole(&work, &whole, &before, &format!("kill {kill}"));
        }
    }
    assert!(killed >= 6, "only {killed} of {RUNS} runs were killed in the middle");
    work.run_quiet("batch-label-filter", &line).ok();
    let mut after = contents(&work);
    after.retain(|name, _| !is_temporary(name));
    assert_eq!(after, whole);
}

fn contents_if_any(work: &Work) -> BTreeMap<String, String> {
    if work.path("out").exists() { contents(work) } else { BTreeMap::new() }
}

/// Lines that work for many seconds, of every program that can be made to on these inputs.
const LONG: [(&str, &str); 9] = [
    (
        "train-teachers",
        "--data-dir mnist --num-models 2 --epochs 100000 --batch-size 4 --shard-indices two.json --output-dir out",
    ),
    ("pretrain-decoder", "--dataset digits --epochs 100000 --out-dir out"),
    (
        "train-teacher-vae",
        "--teacher-id 0 --shard-path shards/teacher_0/shard.pt --epochs 100000 --batch-size 4 --out-dir out",
    ),
    (
        "batch-train-teacher-vaes",
        "--num-teachers 2 --shard-indices two.json --mnist-data-dir mnist --epochs 100000 --batch-size 4 --out-dir out",
    ),
    ("generate-candidates", "--decoder-path decoder.pth --pool-size 100000 --out out/pool.pt"),
    (
        "batch-label-filter",
        "--generate-candidates-per-teacher --pool-size 40000 --candidates-dir out/pools --teachers-dir nets --decoder-path decoder.pth \
         --output-dir out --config c.json",
    ),
    ("train-student", "--samples s.pt --labels l.csv --epochs 100000 --batch-size 4 --output-dir out"),
    (
        "compare-approaches",
        "--approach a=sets --approach b=sets --teacher-shard-base shards --output-dir out",
    ),
    (
        "label-filter",
        "--candidates many.pt --teacher-model nets/0/model.pth --decoder-path decoder.pth --out-dir out --config c.json",
    ),
];

/// The signals that a process listens to, as a mask; nothing where the system does not tell.
fn caught(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Waits until a program listens to SIGTERM.
fn wait_until_it_listens(child: &mut Child) {
    if cfg!(not(target_os = "linux")) {
        std::thread::sleep(Duration::from_secs(2));
    }
    while cfg!(target_os = "linux") && caught(child).is_none_or(|mask| mask >> 14 & 1 == 0) {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Attacks, row 1: the second signal ends every program at once, with code 130 and not by a crash
/// in libtorch's destructors, and leaves no file that is not whole, no temporary file and no lock.
#[test]
fn a_second_signal_ends_every_program_at_once() {
    const WAYS: [(&[&str], u64); 4] = [
        (&["-INT", "-INT"], 0),
        (&["-TERM", "-TERM"], 20),
        (&["-INT", "-TERM"], 3),
        (&["-INT", "-INT", "-INT"], 7),
    ];
    let work = inputs();
    let many: Vec<_> = (0..4000).map(|i| testing::image(i % 10, 0.9, i)).collect();
    work.images("many.pt", &many);
    let before = work.tree();
    // A campaign: PATE_SYNTH_ROUNDS=50 cargo test --release -p pate-cli --test cli a_second_signal
    // -- --nocapture
    let rounds = std::env::var("PATE_SYNTH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(2);
    for (n, (binary, line)) in LONG.into_iter().enumerate() {
        // All threads that there are: it is they that the end must not meet.
        let line = format!("{line} --quiet --device cpu");
        for turn in 0..rounds {
            let (signals, pause) = WAYS[(2 * n + turn) % WAYS.len()];
            let what = format!("{binary} {signals:?}, {pause} ms between");
            let mut command = work.command(binary, &line);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            wait_until_it_listens(&mut child);
            std::thread::sleep(Duration::from_millis(150 + 211 * (n as u64 + 5 * turn as u64) % 700));
            for name in signals {
                signal(&child, name);
                std::thread::sleep(Duration::from_millis(pause));
            }
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), output.status.signal()), (Some(130), None), "{what}: {text}");
            assert!(text.starts_with("stopping after") && text.lines().count() <= 2, "{what}: {text}");
            let left: Vec<String> =
                work.tree().into_keys().filter(|name| !before.contains_key(name)).collect();
            let odd = left.iter().find(|name| is_temporary(name) || name.ends_with("lock"));
            assert_eq!(odd, None, "{what}");
            if !left
                .iter()
                .any(|name| is_checkpoint(name) || name.contains("/pools") || name.contains("teacher_"))
            {
                assert!(left.is_empty(), "{what}: {left:?}");
            }
            let _ = std::fs::remove_dir_all(work.path("out"));
        }
        println!("{binary}: code 130 {rounds} times of {rounds}, nothing half done");
    }
}

/// Attacks, row 11: `nohup train-student &`, and a shell's job in the background, go on when the
/// terminal closes or is interrupted.
#[test]
fn signals_that_were_ignored_stay_ignored() {
    let work = inputs();
    if cfg!(not(target_os = "linux")) {
        println!("skipped: ignored signals: this system does not tell which they are");
        return;
    }
    let line = good_line("train-student").replace("--epochs 2", "--epochs 40");
    for (ignored, sent) in [("HUP", &["-HUP"][..]), ("INT HUP", &["-INT", "-HUP", "-INT"])] {
        let path = testing::program("train-student");
        let mut child = Command::new("sh")
            .args(["-c", &format!("trap '' {ignored}; exec \"$0\" \"$@\"")])
            .arg(path)
            .args(format!("{line} {QUIETLY}").split_whitespace())
            .current_dir(work.root())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_it_listens(&mut child);
        for name in sent {
            send(&child, name);
        }
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{ignored}: {:?}", String::from_utf8(output.stderr));
        assert_eq!(work.json("out/training_report.json")["epochs"], 40);
        std::fs::remove_dir_all(work.path("out")).unwrap();
    }
}

/// A program that a shell starts after some words of its own.
fn in_a_shell(work: &Work, before: &str, binary: &str) -> std::process::Output {
    let path = testing::program(binary);
    let line = format!("{} {QUIETLY}", good_line(binary));
    Command::new("sh")
        .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
        .arg(path)
        .args(line.split_whitespace())
        .current_dir(work.root())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Attacks, row 16: with `umask 777` files had mode 0, so that their own writer could not read
/// them.
#[test]
fn whatever_the_umask_the_owner_can_read_the_results() {
    use std::os::unix::fs::PermissionsExt as _;
    let work = inputs();
    for binary in ["generate-candidates", "prepare-shards", "combine", "pretrain-decoder"] {
        let output = in_a_shell(&work, "umask 777", binary);
        assert_eq!(output.status.code(), Some(0), "{binary}: {}", String::from_utf8_lossy(&output.stderr));
        let mut n_files = 0;
        for (name, what) in work.tree().into_iter().filter(|(name, _)| name.starts_with("out")) {
            let mode = std::fs::metadata(work.path(&name)).unwrap().permissions().mode() & 0o777;
            let right = if what == "folder" { 0o700 } else { 0o600 };
            assert_eq!(mode, right, "{binary}: {name} is {mode:o}");
            n_files += usize::from(what != "folder");
        }
        assert!(n_files > 1, "{binary}");
        std::fs::remove_dir_all(work.path("out")).unwrap();
    }
}

/// Attacks, row 16: libtorch's own fatal error, before the program's first line.
#[test]
fn a_working_folder_that_is_gone_is_an_error_of_one_line() {
    let work = inputs();
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) {
        println!(
            "skipped: a working folder that is gone: only glibc lets a program speak before its libraries"
        );
        return;
    }
    for &binary in steps() {
        let output = in_a_shell(&work, "mkdir gone; cd gone; rmdir ../gone", binary);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{binary}: {text}");
        assert_eq!(text, "error: the working folder is gone; change to another one\n", "{binary}");
    }
}
