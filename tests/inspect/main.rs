//! `inspect` from the outside: what it says of files of every kind, of changed ones, and of hostile
//! ones. Nothing here links libtorch.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::path::{Path, PathBuf};
use std::process::Command;

use artifact::{FileRecord, Guarantee, Input, Report};
use serde_json::{Map, json};
use tensorfile::View;
use testing::Run;

/// A folder in which `inspect` runs.
struct Work(testing::Work);

impl std::ops::Deref for Work {
    type Target = testing::Work;

    fn deref(&self) -> &testing::Work {
        &self.0
    }
}

impl Work {
    fn new() -> Self {
        Self(testing::Work::new())
    }

    fn inspect(&self, line: &str) -> Run {
        let run = self.run_bare("inspect", line);
        Run { stdout: run.stdout.replace('\\', "/"), ..run }
    }

    /// A report of `out/` that names these files.
    fn report(&self, name: &str, guarantee: &Guarantee, inputs: &[FileRecord], outputs: &[FileRecord]) {
        let mut report = Report::new();
        report.field("num_selected", 2).unwrap().field("class_distribution", json!({"3": 2})).unwrap();
        let inputs =
            inputs.iter().map(|record| Input { record: record.clone(), guarantee: guarantee.clone() });
        for input in inputs {
            report.input(input);
        }
        if let Some(reason) = guarantee.reason() {
            report.reads_private(reason);
        }
        for record in outputs {
            report.output(record.clone());
        }
        let run = json!({"tool": "pate-cli", "command": "label-filter --out-dir out"});
        report.write(&self.path(name), run.as_object().unwrap_or(&Map::new())).unwrap();
    }

    /// Two samples with their labels and report, as `label-filter` leaves them.
    fn teacher(&self) {
        let pool = self.put("pool.pt", pt(&[2, 1, 4, 4], 0.25));
        let samples = self.put("out/synthetic_samples.pt", pt(&[2, 1, 4, 4], 0.25));
        let labels = self.put("out/labels.csv", "index,label,confidence\r\n0,3,0.5\r\n1,3,1\r\n");
        self.report(
            "out/selection_report.json",
            &Guarantee::none("a teacher read a shard"),
            &[pool],
            &[samples, labels],
        );
    }
}

fn pt(shape: &[usize], value: f32) -> Vec<u8> {
    let mut file = Vec::new();
    let values = vec![value; shape.iter().product()];
    tensorfile::pt::write_array(&mut file, View::f32(shape, &values).unwrap()).unwrap();
    file
}

fn state_dict(layers: &[(&str, &[usize])]) -> Vec<u8> {
    let zeros = vec![0.5; 2_000_000];
    let bias = |name: &str| format!("{name}.bias");
    let names: Vec<[String; 2]> =
        layers.iter().map(|(name, _)| [format!("{name}.weight"), bias(name)]).collect();
    let mut entries = Vec::new();
    for ([weight, bias], (_, shape)) in names.iter().zip(layers) {
        let n = shape.iter().product();
        entries.push((weight.as_str(), View::f32(shape, &zeros[..n]).unwrap()));
        entries.push((bias.as_str(), View::f32(&shape[..1], &zeros[..shape[0]]).unwrap()));
    }
    let mut file = Vec::new();
    tensorfile::pt::write_dict(&mut file, &entries).unwrap();
    file
}

const STUB: &[(&str, &[usize])] =
    &[("conv1", &[32, 1, 3, 3]), ("conv2", &[64, 32, 3, 3]), ("fc1", &[128, 9216]), ("fc2", &[10, 128])];

const DECODER: &[(&str, &[usize])] = &[
    ("fc", &[6272, 5]),
    ("conv_t1", &[128, 64, 4, 4]),
    ("conv_t2", &[64, 32, 4, 4]),
    ("conv_final", &[1, 32, 3, 3]),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tensorfile/tests/fixtures")
}

#[test]
fn help_is_that_of_the_snapshot() {
    let help = Work::new().inspect("--help").ends_with(0);
    insta::with_settings!({
        snapshot_path => "snapshots",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!("inspect", help.stdout.replace(".exe", ""));
    });
}

#[test]
fn every_kind_of_file_is_told_by_its_content() {
    let work = Work::new();
    work.put("stub", state_dict(STUB));
    work.put("decoder", state_dict(DECODER));
    work.put("pool", pt(&[3, 1, 4, 4], 0.25));
    let (pixels, labels) = (vec![0.5; 2 * 16], [7_i64, 0]);
    let arrays =
        [("x", View::f32(&[2, 1, 4, 4], &pixels).unwrap()), ("y", View::i64(&[2], &labels).unwrap())];
    let (mut npz, mut safetensors, mut idx) = (Vec::new(), Vec::new(), Vec::new());
    tensorfile::npz::write(&mut npz, &arrays).unwrap();
    let texts = [("guarantee".to_owned(), "none of it".to_owned())];
    tensorfile::safetensors::write(&mut safetensors, &arrays, &texts).unwrap();
    tensorfile::idx::write_gz(&mut idx, View::u8(&[2, 2, 2], &[0, 1, 255, 3, 4, 5, 6, 7]).unwrap()).unwrap();
    work.put("both.npz", npz);
    work.put("both.safetensors", safetensors);
    work.put("images.gz", idx);
    work.put("indices.json", r#"{"0": [3, 1], "1": [2]}"#);
    work.put("shard.json", r#"{"teacher_id": 0, "shard_size": 3, "class_distribution": {"1": 3}}"#);
    work.put("config.json", r#"{"filtering": {"min_per_class": 5}}"#);
    work.put("labels.csv", "index,label\n0,3\n");
    work.put("card.md", "# Data card: x\n");
    for (file, words) in [
        (
            "stub",
            &["PyTorch", "UCStub", "10 classes", "conv1.weight  float32 [32, 1, 3, 3]", "mean 0.5", "NaN 0"]
                [..],
        ),
        ("decoder", &["VAE decoder: 5 latents"]),
        ("pool", &["images: 3 of 1 x 4 x 4, in [0, 1]", "min 0.25  max 0.25"]),
        ("both.npz", &["npz", "images: 2 of 1 x 4 x 4, in [0, 1], with labels"]),
        (
            "both.safetensors",
            &["safetensors", "guarantee: none of it", "y  int64 [2]  min 0  max 7  mean 3.5"],
        ),
        ("images.gz", &["IDX", "images: 2 of 1 x 2 x 2, in 0..255", "uint8"]),
        ("indices.json", &["shard indices: 2 teachers, 3 rows"]),
        ("shard.json", &["metadata of a private shard"]),
        ("config.json", &["configuration", "filtering"]),
        ("labels.csv", &["labels: 1", "classes: {\"3\":1}"]),
        ("card.md", &["Data card: x", "generated data"]),
    ] {
        let run = work.inspect(file).ends_with(0);
        run.shows(words);
        run.shows(&["unknown: no report beside it"]);
        assert_eq!(run.stderr, "", "{file}");
    }
}

#[test]
fn programs_are_named_and_not_run() {
    let work = Work::new();
    let path = fixtures().join("torch/hostile_torchscript_writes.pt");
    let before = std::fs::read_dir(work.path("")).unwrap().count();
    let run = work.inspect(path.to_str().unwrap()).ends_with(0);
    run.shows(&["TorchScript program: not run"]);
    assert_eq!(std::fs::read_dir(work.path("")).unwrap().count(), before);
}

#[test]
fn the_label_and_the_hash_come_from_the_report_beside_a_file() {
    let work = Work::new();
    work.teacher();
    let run = work.inspect("out/synthetic_samples.pt").ends_with(0);
    run.shows(&["no formal guarantee: a teacher read a shard", "out/selection_report.json (same hash)"]);
    let report = work.inspect("out/selection_report.json").ends_with(0);
    report.shows(&[
        "report of label-filter",
        "num_selected: 2",
        "input    present  pool.pt",
        "output   present  out/labels.csv",
    ]);
    // A folder that was moved with all that is in it.
    std::fs::rename(work.path("out"), work.path("moved")).unwrap();
    work.inspect("moved/selection_report.json moved/labels.csv").ends_with(0);

    work.put("moved/synthetic_samples.pt", pt(&[2, 1, 4, 4], 0.75));
    let run = work.inspect("moved/synthetic_samples.pt").ends_with(1);
    run.shows(&["changed since", "PROBLEM", "unknown: the report beside it is of another content"]);
    work.inspect("moved/selection_report.json").ends_with(1).shows(&["changed  out/synthetic_samples.pt"]);
    std::fs::remove_file(work.path("moved/synthetic_samples.pt")).unwrap();
    work.inspect("moved/selection_report.json").ends_with(1).shows(&["missing  out/synthetic_samples.pt"]);
    // An input may be elsewhere.
    let other = Work::new();
    other.teacher();
    std::fs::remove_file(other.path("pool.pt")).unwrap();
    other.inspect("out/selection_report.json").ends_with(0).shows(&["input    missing  pool.pt"]);
    other.put("pool.pt", pt(&[2, 1, 4, 4], 0.5));
    other.inspect("out/selection_report.json").ends_with(1).shows(&["input    changed  pool.pt"]);
}

#[test]
fn a_public_file_says_so_and_a_private_one_never_does() {
    let work = Work::new();
    for (guarantee, words) in [
        (Guarantee::Public, "public: its report says that no private data was read"),
        (Guarantee::none("a shard"), "no formal guarantee: a shard"),
        (Guarantee::Void { reason: "test noise".into() }, "void, no claim of any kind: test noise"),
    ] {
        let pool = work.put("out/pool.pt", pt(&[1, 1, 4, 4], 0.5));
        work.report("out/pool.json", &guarantee, &[], &[pool]);
        let run = work.inspect("out/pool.pt").ends_with(0);
        run.shows(&[words]);
        assert_eq!(run.stdout.contains("public"), words.starts_with("public"), "{}", run.stdout);
    }
    // A label that rests on something says on what.
    let pool = work.put("out/pool.pt", pt(&[1, 1, 4, 4], 0.5));
    let mut report = Report::new();
    report.field("formal_guarantee_basis", "the decoder is taken to be public").unwrap().output(pool);
    report.write(&work.path("out/pool.json"), &Map::new()).unwrap();
    work.inspect("out/pool.pt")
        .ends_with(0)
        .shows(&["public: the decoder is taken to be public", "out/pool.json (same"]);
}

#[test]
fn a_folder_is_told_by_what_is_in_it() {
    let work = Work::new();
    work.teacher();
    let run = work.inspect("out").ends_with(0);
    run.shows(&["samples of one teacher, complete", "labels: 2", "report of label-filter"]);
    work.put("out/labels.csv", "index,label,confidence\r\n0,3,0.5\r\n");
    let run = work.inspect("out").ends_with(1);
    run.shows(&["synthetic_samples.pt has 2 samples, labels.csv has 1 rows"]);
    std::fs::remove_file(work.path("out/synthetic_samples.pt")).unwrap();
    work.inspect("out").ends_with(1).shows(&["incomplete: no synthetic_samples.pt"]);
    work.put("out/notes.txt", "mine");
    work.inspect("out").ends_with(1).shows(&["not recognised"]);
    work.put("out/broken.pt", "PK\x03\x04 cut short");
    let run = work.inspect("out").ends_with(3);
    assert!(run.stderr.contains("broken.pt") && run.stderr.lines().count() == 1, "{}", run.stderr);
    work.put("nets/0/model.pth", state_dict(STUB));
    work.inspect("nets").ends_with(0).shows(&["1 trained teachers"]);
    let model = FileRecord::of(&work.path("nets/0/model.pth")).unwrap();
    let model = FileRecord { path: PathBuf::from("nets/0/model.pth"), ..model };
    work.report("nets/training_report.json", &Guarantee::none("a shard"), &[], &[model]);
    work.inspect("nets/0/model.pth").ends_with(0).shows(&["report   nets/training_report.json (same hash)"]);
}

#[test]
fn images_in_class_folders_are_checked_one_by_one() {
    let work = Work::new();
    let png = work.put("all_folders/3/000000.png", b"\x89PNG\r\n\x1a\n");
    let list = format!("file_name,index,label,teacher_id,sha256\r\n3/000000.png,0,3,7,{}\r\n", png.sha256);
    let list = work.put("all_folders/metadata.csv", list);
    work.report("all_metadata.json", &Guarantee::none("a shard"), &[], &[list]);
    let run = work.inspect("all_folders").ends_with(0);
    run.shows(&[
        "images in class folders",
        "images_as_listed: 1",
        "no formal guarantee: a shard",
        "(same hash)",
    ]);
    work.put("all_folders/3/000000.png", b"another");
    work.inspect("all_folders").ends_with(1).shows(&["1 images changed since"]);
    std::fs::remove_file(work.path("all_folders/3/000000.png")).unwrap();
    work.inspect("all_folders").ends_with(1).shows(&["1 images of metadata.csv are missing"]);
    work.put("all_folders/metadata.csv", "file_name,label,sha256\r\n../../etc/passwd,3,0\r\n");
    work.inspect("all_folders")
        .ends_with(1)
        .shows(&["1 images of metadata.csv are missing", "changed since"]);
}

#[test]
fn machines_get_json() {
    let work = Work::new();
    work.teacher();
    work.put("broken.pt", "PK\x03\x04");
    let run =
        work.inspect("--json out/synthetic_samples.pt out/selection_report.json broken.pt").ends_with(3);
    let all = run.json();
    let sha256 = FileRecord::of(&work.path("out/synthetic_samples.pt")).unwrap().sha256;
    assert_eq!(all[0]["sha256"], sha256.as_str());
    assert_eq!(all[0]["arrays"][0]["shape"], json!([2, 1, 4, 4]));
    assert_eq!(all[0]["arrays"][0]["mean"], 0.25);
    assert_eq!(all[0]["privacy"]["label"], "none");
    assert_eq!(all[0]["report"]["unchanged"], true);
    assert_eq!(all[1]["files"][0]["state"], "present");
    assert_eq!(all[1]["fields"]["num_selected"], 2);
    assert!(all[2]["error"].as_str().unwrap().contains("broken.pt"), "{}", all[2]);
    assert_eq!(run.stderr.lines().count(), 1);
}

#[test]
fn files_that_cannot_be_used_give_one_line_each() {
    let work = Work::new();
    let deep = "[".repeat(200_000);
    let report = r#"{"formal_guarantee": null, "inputs": [{"path": "/dev/zero", "bytes": 1, "sha256": ""}], "outputs": []}"#;
    work.put("deep.json", deep);
    work.put("cut.json", "{\"a\": ");
    work.put("empty.pt", "");
    work.put("text.txt", "hello");
    work.put("label.csv", "index,label\n0,\u{1b}[2J\n");
    work.put("zip.pt", b"PK\x05\x06");
    let hostile = fixtures().join("torch/hostile_os_system.pt");
    for file in [
        "deep.json",
        "cut.json",
        "empty.pt",
        "text.txt",
        "label.csv",
        "zip.pt",
        "absent.pt",
        hostile.to_str().unwrap(),
    ] {
        let run = work.inspect(file).ends_with(3);
        assert_eq!(run.stdout, "", "{file}");
        let name = Path::new(file).file_name().unwrap().to_str().unwrap();
        assert!(run.stderr.starts_with("error: ") && run.stderr.contains(name), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
        assert!(!run.stderr.contains('\u{1b}') && !run.stderr.contains("bug"), "{}", run.stderr);
    }
    // A report that names a device: it is not read.
    work.put("report.json", report);
    work.inspect("report.json").ends_with(0).shows(&["input    missing  /dev/zero"]);
    // Every file is looked at, whatever became of the one before.
    work.put("good.csv", "index,label\n0,3\n");
    work.inspect("cut.json good.csv").ends_with(3).shows(&["labels: 1"]);
    work.inspect("").ends_with(2);
}

#[test]
fn damaged_files_never_make_it_panic() {
    let work = Work::new();
    work.teacher();
    for name in ["out/synthetic_samples.pt", "out/labels.csv", "out/selection_report.json"] {
        let bytes = std::fs::read(work.path(name)).unwrap();
        let ending = name.rsplit('.').next().unwrap();
        for step in 0..24 {
            let at = bytes.len() * step / 24;
            let mut flipped = bytes.clone();
            flipped[at] ^= 0xff;
            for (kind, content) in [("cut", &bytes[..at]), ("flipped", &flipped[..])] {
                let damaged = format!("{kind}_{step}.{ending}");
                work.put(&damaged, content);
                let run = work.inspect(&damaged);
                assert!(matches!(run.code, Some(0 | 1 | 3)), "{damaged}: {:?} {}", run.code, run.stderr);
                assert!(run.stderr.lines().count() <= 1 && !run.stderr.contains("bug"), "{}", run.stderr);
            }
        }
    }
}

#[test]
fn completions_are_there_for_every_shell() {
    let work = Work::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let run = work.inspect(&format!("--completions {shell}")).ends_with(0);
        assert!(run.stdout.contains("json") && run.stdout.contains("inspect"), "{shell}: {}", run.stdout);
    }
    work.inspect("--completions tcsh").ends_with(2);
}

/// Field cases, row 5: folders that are one teacher, and those without a model.
#[test]
fn teachers_folders_that_contradict_each_other_are_named() {
    let work = Work::new();
    let model = state_dict(STUB);
    for folder in ["1", "01", "+1", "2", "000"] {
        work.put(&format!("nets/{folder}/model.pth"), &model);
    }
    work.put("nets/3/MODEL.PTH", &model);
    work.put("nets/4/best_model.pth", &model);
    std::fs::create_dir(work.path("nets/5")).unwrap();
    let run = work.inspect("nets").ends_with(1);
    run.shows(&[
        "PROBLEM  teacher 1 has 3 folders: nets/+1, nets/01, nets/1",
        "PROBLEM  nets/3/MODEL.PTH is not called model.pth: rename it",
        "PROBLEM  nets/4 has no model.pth: no teacher is read from it",
        "PROBLEM  nets/5 has no model.pth: no teacher is read from it",
        "is       5 trained teachers",
    ]);
    // What is there is shown by the path that it has. Field cases, row 13.
    work.inspect("nets/000").ends_with(0).shows(&["nets/000/model.pth", "UCStub"]);
    for folder in ["teacher_1", "teacher_01"] {
        work.put(&format!("shards/{folder}/shard.pt"), pt(&[2, 1, 8, 8], 0.5));
    }
    work.inspect("shards")
        .ends_with(1)
        .shows(&["teacher 1 has 2 folders: shards/teacher_01, shards/teacher_1"]);
    let work = Work::new();
    for folder in ["0", "1"] {
        work.put(&format!("nets/{folder}/model.pth"), &model);
    }
    work.inspect("nets").ends_with(0).shows(&["2 trained teachers"]);
}

/// Attacks, row 6: JSON that is no report does not decide what a small file costs, and no file's
/// values fill the memory.
#[test]
fn large_json_is_bounded() {
    let work = Work::new();
    let many = format!("[{}[0]]", "[0],".repeat(3_000_000));
    let record = work.put("out/a.pt", pt(&[2, 1, 8, 8], 0.5));
    work.report("out/z_report.json", &Guarantee::Public, &[], &[record]);
    for name in ["out/b.json", "out/c.json", "out/d.json"] {
        work.put(name, &many);
    }
    let run = work.inspect("out/a.pt").ends_with(0);
    run.shows(&["privacy  public", "z_report.json (same hash)"]);
    let run = work.inspect("out/b.json").ends_with(3);
    assert!(
        run.stderr.contains("out/b.json: broken JSON file: it holds more than 2097152 values"),
        "{}",
        run.stderr
    );
    let twice = r#"{"filtering": {"a": 1}, "generation": {}, "filtering": {}}"#;
    work.put("twice.json", twice);
    let run = work.inspect("twice.json").ends_with(3);
    assert!(run.stderr.contains("the key \"filtering\" stands twice"), "{}", run.stderr);
    work.put("wide.csv", format!("a{}\n", ",a".repeat(20_000)));
    let run = work.inspect("wide.csv").ends_with(3);
    assert!(run.stderr.contains("line 1 has more than 10000 columns"), "{}", run.stderr);
}

/// Attacks, row 7: a file is hashed once, however often it is named. Hashing 4 MB 30,000 times
/// would take minutes.
#[test]
fn a_file_that_is_named_again_and_again_is_hashed_once() {
    let work = Work::new();
    let image = work.put("out/0/a.png", vec![7; 4 << 20]);
    let records = vec![image.clone(); 15_000];
    work.report("out/any_report.json", &Guarantee::Public, &records, &records);
    work.inspect("out/any_report.json").ends_with(0).shows(&["... and 14940 more"]);
    let row = format!("0/a.png,0,{}\n", image.sha256);
    work.put("list/metadata.csv", format!("file_name,label,sha256\n{}", row.repeat(30_000)));
    work.put("list/0/a.png", vec![7; 4 << 20]);
    let run = work.inspect("list").ends_with(1);
    run.shows(&[
        "images_as_listed: 30000",
        "29999 rows of metadata.csv name an image that an earlier row names",
    ]);
    let many = vec![image; 100_001];
    work.report("out/many_report.json", &Guarantee::Public, &many, &[]);
    work.inspect("out/many_report.json")
        .ends_with(1)
        .shows(&["it names 100001 files; the last 1 were not looked for"]);
}

/// Attacks, row 9.
#[test]
#[cfg(target_os = "linux")]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let work = Work::new();
    for name in ["pipe", "out/pipe.json", "out/any_report.json"] {
        std::fs::create_dir_all(work.path("out")).unwrap();
        assert!(Command::new("mkfifo").arg(work.path(name)).status().unwrap().success());
    }
    work.put("out/a.pt", pt(&[2, 1, 8, 8], 0.5));
    work.inspect("out/a.pt").ends_with(0).shows(&["images: 2"]);
    for path in ["pipe", "/dev/zero", "/dev/null", "out/pipe.json"] {
        let run = work.inspect(path).ends_with(3);
        assert!(
            run.stderr.contains("it is a pipe") && run.stderr.lines().count() == 1,
            "{path}: {}",
            run.stderr
        );
    }
    for path in ["/proc/kmsg", "/proc/self/status", "/proc/cpuinfo"] {
        let run = work.inspect(path).ends_with(3);
        assert_eq!(run.stderr.lines().count(), 1, "{path}: {}", run.stderr);
    }
    // In a folder they are named, and the rest is read.
    let run = work.inspect("out").ends_with(3);
    run.shows(&["out/a.pt"]);
    assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
}

/// Attacks, row 15: from names of arrays, keys and texts of JSON, columns of CSV, file names, and
/// errors, in both kinds of output.
#[test]
fn what_is_not_seen_never_reaches_a_terminal() {
    let work = Work::new();
    let hidden = [
        '\u{61c}',
        '\u{feff}',
        '\u{2060}',
        '\u{ad}',
        '\u{e0041}',
        '\u{fe0f}',
        '\u{115f}',
        '\u{3164}',
        '\u{202e}',
        '\u{fff9}',
    ];
    let name: String = hidden.iter().collect();
    let mut file = Vec::new();
    let view = View::u8(&[1], &[7]).unwrap();
    tensorfile::pt::write_dict(&mut file, &[(&format!("a{name}"), view), ("b", view)]).unwrap();
    work.put("a.pt", &file);
    let mut file = Vec::new();
    tensorfile::safetensors::write(&mut file, &[("a", view)], &[(format!("k{name}"), format!("v{name}"))])
        .unwrap();
    work.put("a.safetensors", &file);
    work.put("a.csv", format!("label,x{name}\n1,2\n"));
    work.put("bad.csv", format!("label\n1{name}\n"));
    work.put("a.json", json!({format!("k{name}"): format!("v{name}")}).to_string());
    work.put("bad.json", format!("{{\"{name}\": 1, \"{name}\": 1}}"));
    work.put("card.md", format!("# Data card {name}\n"));
    work.put(&format!("file{name}.csv"), "a\n1\n");
    work.put(&format!("file{name}.pt"), "no tensors");
    for line in [".", "--json ."] {
        let run = work.inspect(line).ends_with(3);
        for text in [&run.stdout, &run.stderr] {
            let found = text.chars().find(|symbol| hidden.contains(symbol));
            assert_eq!(found, None, "{line}: {text}");
        }
        assert!(run.stdout.contains("u202e") || run.stdout.contains("u{202e}"), "{}", run.stdout);
    }
    // The machine gets the texts as they are.
    let mut run = work.inspect("--json a.json").ends_with(0);
    run.stdout = run.stdout.replace("/u", "\\u");
    let found = run.json();
    assert_eq!(found[0]["fields"]["keys"], json!([format!("k{name}")]));
}

/// Field cases, row 13: what Windows PowerShell 5 writes with `>`.
#[test]
fn texts_of_powershell_are_read() {
    let work = Work::new();
    let utf16 = |text: &str| {
        [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect::<Vec<u8>>()
    };
    work.put("labels.csv", utf16("index,label\r\n0,3\r\n"));
    work.put("config.json", utf16("{\"filtering\": {}}"));
    work.inspect("labels.csv").ends_with(0).shows(&["labels: 1"]);
    work.inspect("config.json").ends_with(0).shows(&["configuration"]);
}

/// Field cases, rows 7 and 8: networks in files of other tools, and what is not read of them.
#[test]
fn networks_of_other_tools_are_told() {
    let work = Work::new();
    let inner = |prefix: &str| {
        let layers: Vec<(String, &[usize])> =
            STUB.iter().map(|(name, shape)| (format!("{prefix}{name}"), *shape)).collect();
        let layers: Vec<(&str, &[usize])> =
            layers.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        state_dict(&layers)
    };
    for prefix in ["_module.", "model._orig_mod.", "student.net."] {
        work.put("model.pth", inner(prefix));
        work.inspect("model.pth").ends_with(0).shows(&["UCStub, the classifier"]);
    }
    let fixture = fixtures().join("field/beside.pt");
    work.inspect(&fixture.to_string_lossy()).ends_with(0).shows(&["not_read: {", "a tensor of complex64"]);
}
