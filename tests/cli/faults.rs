//! Files that are missing, damaged, hostile, or not what a step needs: code 3, one line that names
//! the file and the hint, nothing executed, and nothing left behind.

use std::io::Write as _;

use artifact::OutputLock;
use tensorfile::View;
use zip::write::SimpleFileOptions;

use testing::{SIDE, Work, confidence, image, none_of, number};

/// A binary, its command line, and words of the message.
type Case<'a> = (&'a str, String, &'a [&'a str]);

/// Runs all cases, each of which must end with code 3, and compares the folder before and after.
#[track_caller]
fn refused(work: &Work, cases: &[Case<'_>]) {
    let before = work.tree();
    none_of(
        cases.iter().map(|(binary, line, words)| work.run_quiet(binary, line).check(3, "error: ", words)),
    );
    assert_eq!(work.tree(), before, "nothing is left behind");
}

/// A good teacher, decoder and pool, a shard and its metadata, samples and their labels.
fn good() -> Work {
    let work = Work::new();
    work.teacher("teacher.pth");
    work.decoder("decoder.pth");
    work.images("pool.pt", &[image(0, 0.9, 0), image(3, 0.8, 1)]);
    work.images("shard.pt", &[image(5, 0.9, 0)]);
    work.put("metadata.json", r#"{"teacher_id": 0, "shard_size": 1, "class_distribution": {"5": 1}}"#);
    work.samples("set", &[0, 1, 2, 3]);
    work.mnist("mnist", 30, 10);
    work
}

fn file(array: View<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensorfile::pt::write_array(&mut bytes, array).unwrap();
    bytes
}

/// A zip archive as PyTorch's, with this pickle.
fn pickled(pickle: &[u8]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in
        [("model/data.pkl", pickle), ("model/byteorder", b"little"), ("model/version", b"3\n")]
    {
        zip.start_file(name, stored).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

#[test]
fn images_that_are_none() {
    let work = good();
    let one = image(0, 0.5, 0);
    let mut with_nan = one.clone();
    with_nan[5] = f32::NAN;
    work.images("nan.pt", &[with_nan]);
    work.tensor("flat.pt", &[1, SIDE * SIDE], &one);
    work.tensor("two_channels.pt", &[1, 2, SIDE, SIDE], &[one.clone(), one.clone()].concat());
    work.tensor("small.pt", &[2, 1, 14, 14], &[0.5; 2 * 14 * 14]);
    work.tensor(
        "normalised.pt",
        &[1, 1, SIDE, SIDE],
        &one.iter().map(|x| (x - 0.1307) / 0.1).collect::<Vec<_>>(),
    );
    work.tensor("bright.pt", &[1, 1, SIDE, SIDE], &[300.0; SIDE * SIDE]);
    work.put("empty_file.pt", "");
    work.put("text.pt", "these are no tensors\n");
    let whole = work.bytes("pool.pt");
    work.put("truncated.pt", &whole[..whole.len() - 100]);
    work.images("no_shard.pt", &[]);

    let mut cases: Vec<Case<'_>> = Vec::new();
    let pools: &[(&str, &[&str])] = &[
        ("none.pt", &["none.pt", "cannot read"]),
        ("mnist", &["mnist", "it is a folder"]),
        ("nan.pt", &["nan.pt", "value 5 is NaN", "finite"]),
        ("flat.pt", &["flat.pt", "[1, 784]", "[n, channels, height, width]"]),
        ("two_channels.pt", &["two_channels.pt", "[1, 2, 28, 28]", "1 or 3 channels"]),
        ("normalised.pt", &["normalised.pt", "before normalisation"]),
        ("bright.pt", &["bright.pt", "300", "--scale"]),
        ("empty_file.pt", &["empty_file.pt", "the file is empty", "make it again"]),
        ("text.pt", &["text.pt", "these are no"]),
        ("truncated.pt", &["truncated.pt", "cut short", "again"]),
        ("teacher.pth", &["teacher.pth", "which array is the images"]),
    ];
    for (file, words) in pools {
        cases.push((
            "label-filter",
            format!("--candidates {file} --teacher-model teacher.pth --out-dir out"),
            words,
        ));
    }
    let with_shard = "--candidates pool.pt --teacher-model teacher.pth --out-dir out --teacher-shard-path";
    cases.extend::<[Case<'_>; _]>([
        ("label-filter", format!("{with_shard} none/shard.pt"), &["cannot use the shard", "none/shard.pt"]),
        (
            "label-filter",
            format!("{with_shard} no_shard.pt"),
            &["no_shard.pt", "no images", "prepare-shards"],
        ),
        ("label-filter", format!("{with_shard} small.pt"), &["small.pt", "1x14x14", "1x28x28"]),
        (
            "label-filter",
            "--candidates pool.pt --candidates small.pt --teacher-model teacher.pth --out-dir out".into(),
            &["small.pt", "1x14x14", "1x28x28"],
        ),
        (
            "label-filter",
            "--candidates small.pt --teacher-model teacher.pth --out-dir out".into(),
            &["cannot use the teacher", "teacher.pth", "fc1.weight"],
        ),
        (
            "train-student",
            "--samples normalised.pt --labels set/labels.csv --output-dir out".into(),
            &["normalised.pt", "--no-normalize"],
        ),
        (
            "evaluate-synthetic",
            "--samples set/synthetic_samples.pt --shard small.pt".into(),
            &["small.pt", "1x14x14"],
        ),
        ("train-teacher-vae", "--teacher-id 0 --shard-path nan.pt --out-dir out".into(), &["nan.pt", "NaN"]),
        ("train-teacher-vae", "--teacher-id 0 --shard-path no_shard.pt --out-dir out".into(), &["no images"]),
    ]);
    refused(&work, &cases);
}

#[test]
fn networks_that_are_none() {
    let work = good();
    // What the pickles ask for is spelled out: GLOBAL, its argument, REDUCE or NEWOBJ, STOP.
    work.put("hostile.pth", pickled(b"\x80\x02cposix\nsystem\nX\x0e\x00\x00\x00touch executed\x85R."));
    work.put("module.pth", pickled(b"\x80\x02c__main__\nUCStub\n)\x81}X\x04\x00\x00\x00_mods."));
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../tensorfile/tests/fixtures/torch");
    for name in ["hostile_torchscript_writes.pt", "short_storage.pt"] {
        work.put(name, std::fs::read(format!("{fixtures}/{name}")).unwrap());
    }
    let whole = work.bytes("teacher.pth");
    work.put("truncated.pth", &whole[..whole.len() / 2]);
    work.put("text.pth", "epoch 3\n");

    let mut cases: Vec<Case<'_>> = Vec::new();
    let teachers: &[(&str, &[&str])] = &[
        ("none.pth", &["none.pth", "cannot read"]),
        ("hostile.pth", &["hostile.pth", "nothing was run", "posix.system", "state_dict"]),
        (
            "module.pth",
            &["module.pth", "nothing was run", "__main__.UCStub", "torch.save(model.state_dict()"],
        ),
        (
            "hostile_torchscript_writes.pt",
            &["hostile_torchscript_writes.pt", "TorchScript", "--trust-torchscript"],
        ),
        ("decoder.pth", &["decoder.pth", "fc2.weight", "UCStub"]),
        ("pool.pt", &["pool.pt", "named tensors are needed", "state_dict"]),
        ("truncated.pth", &["truncated.pth", "cut short"]),
        ("short_storage.pt", &["short_storage.pt"]),
        ("text.pth", &["text.pth", "epoch 3"]),
    ];
    for (file, words) in teachers {
        cases.push((
            "label-filter",
            format!("--candidates pool.pt --teacher-model {file} --out-dir out"),
            words,
        ));
    }
    for (file, words) in [
        ("none.pth", &["cannot use the decoder", "none.pth"]),
        ("teacher.pth", &["teacher.pth", "fc.weight"]),
        ("hostile.pth", &["hostile.pth", "nothing was run"]),
    ] {
        cases.push(("generate-candidates", format!("--decoder-path {file} --out out.pt"), words));
        let line =
            format!("--candidates pool.pt --teacher-model teacher.pth --decoder-path {file} --out-dir out");
        cases.push(("label-filter", line, words));
    }
    for (file, words) in
        [("none.pth", &["none.pth"]), ("decoder.pth", &["decoder.pth"]), ("module.pth", &["module.pth"])]
    {
        let line = format!("--model {file} --mnist-dir mnist --output out.json");
        cases.push(("evaluate-student", line, words));
    }
    refused(&work, &cases);
    assert!(!work.path("executed").exists() && !work.path("written_by_a_model.pt").exists());
}

#[test]
fn a_torchscript_program_runs_only_where_it_is_trusted_and_the_report_says_so() {
    let work = good();
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tensorfile/tests/fixtures/torch/hostile_torchscript_writes.pt"
    );
    work.put("program.pt", std::fs::read(fixture).unwrap());
    let line = "--candidates pool.pt --teacher-model program.pt --out-dir out --confidence 0";
    work.run_quiet("label-filter", line).ends_with(3);
    assert!(!work.path("written_by_a_model.pt").exists());
    work.run_quiet("label-filter", &format!("{line} --trust-torchscript")).ok();
    assert_eq!(work.json("out/selection_report.json")["teacher_program_executed"], true);
    // The program writes a file: a reason not to run it unasked.
    assert!(work.path("written_by_a_model.pt").exists());
    work.run_quiet("label-filter", &line.replace("program.pt", "teacher.pth")).ok();
    assert_eq!(work.json("out/selection_report.json")["teacher_program_executed"], false);
}

#[test]
fn configurations_that_cannot_be_used() {
    let work = good();
    let cases: &[(&str, &[&str])] = &[
        (
            r#"{"filtering": {"min_pr_class": 3}}"#,
            &["filtering.min_pr_class", "did you mean `min_per_class`"],
        ),
        (r#"{"filterng": {}}"#, &["unknown section `filterng`", "did you mean `filtering`"]),
        (
            r#"{"filtering": {"confidence_threshold": 90}}"#,
            &["filtering.confidence_threshold", "is 90", "0 to 1"],
        ),
        (
            r#"{"filtering": {"confidence_threshold": 0.9, "default_confidence_threshold": 0.9}}"#,
            &["both", "two spellings", "keep one"],
        ),
        (r#"{"filtering": {"min_per_class": "many"}}"#, &["filtering.min_per_class", "many", "whole number"]),
        (r#"{"filtering": {"min_per_class": 3,}}"#, &["no JSON", "line 1", "fix it"]),
        (r#"{"preprocessing": {"normalize_std": [0.0]}}"#, &["normalize_std", "above 0"]),
    ];
    let line = "--candidates pool.pt --teacher-model teacher.pth --out-dir out --config";
    let mut problems = Vec::new();
    for (i, (text, words)) in cases.iter().enumerate() {
        let name = format!("c{i}.json");
        work.put(&name, text);
        // Settings that need a look at one another are arguments, wherever they stand.
        let code = if text.contains("normalize_std") { 2 } else { 3 };
        let run = work.run_quiet("label-filter", &format!("{line} {name}"));
        problems.push(run.check(code, "error: ", words));
        if code == 3 {
            problems.push(run.check(3, "error: ", &[&name]));
        }
    }
    problems.push(work.run_quiet("label-filter", &format!("{line} none.json")).check(
        3,
        "error: ",
        &["none.json"],
    ));
    none_of(problems.into_iter());
    assert!(!work.path("out").exists());
}

#[test]
fn labels_and_metadata_that_do_not_fit() {
    let work = good();
    for (name, text) in [
        ("ten.csv", "index,label\r\n0,4\r\n1,10\r\n2,0\r\n3,0\r\n"),
        ("word.csv", "index,label\n0,4\n1,2\n2,three\n3,0\n"),
        ("negative.csv", "label\n0\n-1\n1\n1\n"),
        ("jump.csv", "index,label\n0,4\n2,1\n"),
        ("header.csv", "index,class\n0,4\n"),
        ("ragged.csv", "index,label\n0,4\n1\n"),
        ("confidence.csv", "label,confidence\n1,0.5\n1,1.5\n"),
        ("short.csv", "index,label\n0,4\n1,2\n"),
        ("empty.csv", ""),
    ] {
        work.put(name, text);
    }
    work.put("labels.pt", file(View::i64(&[2], &[1, 2]).unwrap()));
    work.put("labels_of_11.pt", file(View::i64(&[1], &[11]).unwrap()));
    work.tensor("fractions.pt", &[1], &[0.5]);
    let student = "--samples set/synthetic_samples.pt --output-dir out --labels";
    let synthetic = "--samples set/synthetic_samples.pt --out out.json --labels";
    let shard = "--samples set/synthetic_samples.pt --out out.json --shard shard.pt --shard-labels";
    let mut cases: Vec<Case<'_>> = vec![
        ("train-student", format!("{student} ten.csv"), &["ten.csv", "line 3", "label is `10`", "0..9"]),
        ("train-student", format!("{student} word.csv"), &["word.csv", "line 4", "`three`"]),
        ("train-student", format!("{student} negative.csv"), &["negative.csv", "line 3", "`-1`"]),
        ("train-student", format!("{student} jump.csv"), &["jump.csv", "column 1 (`index`)", "row 1 has 2"]),
        ("train-student", format!("{student} header.csv"), &["header.csv", "`index,class`", "`label`"]),
        ("train-student", format!("{student} ragged.csv"), &["ragged.csv", "line: 3"]),
        ("train-student", format!("{student} empty.csv"), &["empty.csv", "`label`"]),
        (
            "train-student",
            format!("{student} short.csv"),
            &["short.csv", "2 labels", "4 samples", "set/synthetic_samples.pt"],
        ),
        (
            "evaluate-synthetic",
            format!("{synthetic} confidence.csv"),
            &["line 3", "confidence is `1.5`", "[0, 1]"],
        ),
        ("evaluate-synthetic", format!("{synthetic} short.csv"), &["short.csv", "2 labels", "4 samples"]),
        ("evaluate-synthetic", "--samples pool.pt --out out.json".into(), &["labels.csv"]),
        ("evaluate-synthetic", format!("{shard} labels.pt"), &["labels.pt", "2 labels", "1 images"]),
        (
            "evaluate-synthetic",
            format!("{shard} labels_of_11.pt"),
            &["labels_of_11.pt", "label 0 is 11", "0..9"],
        ),
        ("evaluate-synthetic", format!("{shard} fractions.pt"), &["fractions.pt", "whole numbers"]),
        ("evaluate-synthetic", format!("{shard} pool.pt"), &["pool.pt", "one number per image"]),
    ];
    let metadata: &[(&str, &str, &[&str])] = &[
        (
            "m0.json",
            r#"{"teacher_id": 0, "shard_size": 1, "class_distribution": {"12": 1}}"#,
            &["class `12`", "0..9"],
        ),
        ("m2.json", r#"{"teacher_id": 0}"#, &["missing field", "prepare-shards"]),
        ("m3.json", "{", &["no shard metadata", "prepare-shards"]),
    ];
    for (name, text, words) in metadata {
        work.put(name, text);
        let line =
            format!("--candidates pool.pt --teacher-model teacher.pth --out-dir out --shard-metadata {name}");
        cases.push(("label-filter", line, words));
    }
    // The labels of one teacher among good ones.
    work.samples("teachers/teacher_0", &[1, 2]);
    work.samples("teachers/teacher_1", &[1, 2]);
    work.put("teachers/teacher_1/labels.csv", work.text("short.csv") + "2,7\n");
    work.samples("others/teacher_0", &[1, 2]);
    work.put("others/teacher_0/labels.csv", work.bytes("ten.csv"));
    cases.push((
        "combine",
        "--teachers-dir teachers --output out".into(),
        &["teacher_1/synthetic_samples.pt", "2 samples", "3 labels", "run label-filter"],
    ));
    cases.push((
        "combine",
        "--teachers-dir others --output out".into(),
        &["others/teacher_0/labels.csv", "line 3", "`10`"],
    ));
    refused(&work, &cases);
}

#[test]
fn data_sets_and_indices_that_do_not_fit() {
    let work = good();
    for folder in ["short", "damaged", "wrong"] {
        work.mnist(folder, 30, 10);
    }
    work.put("short/MNIST/raw/train-labels-idx1-ubyte", testing::idx(&[29], &[0; 29]));
    let images = work.bytes("damaged/MNIST/raw/train-images-idx3-ubyte");
    work.put("damaged/MNIST/raw/train-images-idx3-ubyte", &images[..images.len() - 10]);
    work.put("wrong/MNIST/raw/train-labels-idx1-ubyte", testing::idx(&[30], &[12; 30]));
    work.put("only_images/train-images-idx3-ubyte", &images);
    work.put("overlap.json", r#"{"0": [1, 2], "1": [2]}"#);
    work.put("beyond.json", r#"{"0": [1, 2], "1": [30]}"#);
    work.put("list.json", "[[1, 2]]");
    work.put("two.json", r#"{"0": [1, 2], "1": [3]}"#);
    let shards = "--mnist-dir mnist --out-dir out --shard-indices";
    let vae = "--teacher-id 7 --mnist-data-dir mnist --out-dir out --epochs 1 --shard-indices";
    refused(
        &work,
        &[
            ("prepare-shards", "--mnist-dir none".into(), &["none", "cargo xtask data mnist", "data/mnist-subset"]),
            ("prepare-shards", "--mnist-dir set".into(), &["set", "no train-images-idx3-ubyte[.gz]", "MNIST/raw"]),
            ("prepare-shards", "--mnist-dir only_images".into(), &["only_images", "no train-labels-idx1-ubyte"]),
            ("prepare-shards", "--mnist-dir short".into(), &["train-labels-idx1-ubyte", "29 labels for 30 images"]),
            ("prepare-shards", "--mnist-dir damaged".into(), &["damaged/MNIST/raw/train-images-idx3-ubyte"]),
            ("prepare-shards", "--mnist-dir wrong".into(), &["train-labels-idx1-ubyte", "label 0 is 12", "0..9"]),
            ("prepare-shards", format!("{shards} none.json"), &["cannot use the shard indices", "none.json"]),
            ("prepare-shards", format!("{shards} overlap.json"), &["overlap.json", "row 2 stands twice", "disjoint"]),
            ("prepare-shards", format!("{shards} list.json"), &["list.json", "no list of shards"]),
            ("prepare-shards", format!("{shards} beyond.json"), &["beyond.json", "teacher 1 has row 30", "30 records"]),
            ("train-teacher-vae", format!("{vae} two.json"), &["two.json", "no teacher 7", "0..1"]),
            ("train-teacher-vae", "--teacher-id 0 --mnist-data-dir mnist --shard-indices none.json".into(), &["none.json"]),
            (
                "train-teachers",
                "--data-dir mnist --output-dir out --save-shards s.json --shard-indices two.json --num-models 3 --epochs 1 \
                 --start-id 7"
                    .into(),
                &["two.json", "no teacher 7", "0..1"],
            ),
            (
                "evaluate-synthetic",
                "--samples set/synthetic_samples.pt --out out.json --teacher-id 7 --shard-indices two.json \
                 --mnist-data-dir mnist"
                    .into(),
                &["two.json", "no teacher 7"],
            ),
            (
                "evaluate-synthetic",
                "--samples set/synthetic_samples.pt --out out.json --teacher-id 1 --shard-indices beyond.json \
                 --mnist-data-dir mnist"
                    .into(),
                &["beyond.json", "row 30"],
            ),
            ("pretrain-decoder", "--data-root none".into(), &["none", "cargo xtask data emnist", "--dataset digits"]),
            (
                "pretrain-decoder",
                "--dataset fashion-mnist --data-root none".into(),
                &["none", "cargo xtask data fashion", "--dataset digits"],
            ),
            ("evaluate-student", "--model teacher.pth --mnist-dir none".into(), &["none", "cargo xtask data mnist"]),
            ("batch-label-filter", "--candidates pool.pt --teachers-dir none".into(), &["none", "teachers' folder"]),
            (
                "batch-label-filter",
                "--candidates pool.pt --teachers-dir set --start-id 3".into(),
                &["set", "<id>/model.pth", "3 or more", "train-teachers"],
            ),
            ("combine", "--teachers-dir none --output out".into(), &["none", "teachers' folder"]),
            ("combine", "--teachers-dir set --output out".into(), &["set", "no samples", "label-filter"]),
        ],
    );
}

#[test]
fn outputs_that_cannot_be_written() {
    let work = good();
    work.put("file", "not a folder");
    work.put("folder.pt/inside", "");
    work.put("folder.json/inside", "");
    work.put("two.json", r#"{"0": [1, 2], "1": [3]}"#);
    work.teacher("teachers/0/model.pth");
    let words: &[&str] = &["cannot write", "file"];
    let folder: &[&str] = &["cannot write", "it is a folder"];
    refused(
        &work,
        &[
            ("label-filter", "--candidates pool.pt --teacher-model teacher.pth --out-dir file".into(), words),
            (
                "label-filter",
                "--candidates pool.pt --teacher-model teacher.pth --out-dir file/below".into(),
                words,
            ),
            (
                "batch-label-filter",
                "--candidates pool.pt --teachers-dir teachers --output-dir file".into(),
                words,
            ),
            ("generate-candidates", "--decoder-path decoder.pth --pool-size 4 --out file/p.pt".into(), words),
            (
                "generate-candidates",
                "--decoder-path decoder.pth --pool-size 4 --out folder.pt".into(),
                folder,
            ),
            ("combine", "--teachers-dir set/.. --output file".into(), &["no samples"]),
            ("pretrain-decoder", "--dataset digits --out-dir file".into(), words),
            (
                "train-student",
                "--samples set/synthetic_samples.pt --labels set/labels.csv --output-dir file".into(),
                words,
            ),
            ("train-teacher-vae", "--teacher-id 0 --shard-path shard.pt --out-dir file".into(), words),
            ("train-teachers", "--data-dir mnist --output-dir file".into(), words),
            ("prepare-shards", "--mnist-dir mnist --num-teachers 2 --out-dir file".into(), words),
            ("evaluate-synthetic", "--samples set/synthetic_samples.pt --out file/r.json".into(), words),
            ("evaluate-synthetic", "--samples set/synthetic_samples.pt --out folder.json".into(), folder),
        ],
    );
}

#[test]
fn a_second_run_on_one_output_folder_is_refused() {
    let work = good();
    work.teacher("teachers/0/model.pth");
    work.samples("sets/teacher_0", &[1, 2]);
    let held = OutputLock::acquire(&work.path("out"), "the first run").unwrap();
    let vae = OutputLock::acquire(&work.path("out/teacher_0"), "the first run").unwrap();
    let files = ["out/pool.pt", "out/student.json", "out/set.json"]
        .map(|name| OutputLock::acquire_file(&work.path(name), "the first run").unwrap());
    let words: &[&str] = &["the output out", "is in use by process", "the first run", "another output"];
    refused(
        &work,
        &[
            ("label-filter", "--candidates pool.pt --teacher-model teacher.pth --out-dir out".into(), words),
            (
                "batch-label-filter",
                "--candidates pool.pt --teachers-dir teachers --output-dir out".into(),
                words,
            ),
            ("combine", "--teachers-dir sets --output out".into(), words),
            ("pretrain-decoder", "--dataset digits --out-dir out".into(), words),
            (
                "train-student",
                "--samples set/synthetic_samples.pt --labels set/labels.csv --output-dir out".into(),
                words,
            ),
            ("train-teacher-vae", "--teacher-id 0 --shard-path shard.pt --out-dir out".into(), words),
            ("train-teachers", "--data-dir mnist --output-dir out".into(), words),
            ("prepare-shards", "--mnist-dir mnist --num-teachers 2 --out-dir out".into(), words),
            (
                "generate-candidates",
                "--decoder-path decoder.pth --pool-size 4 --out out/pool.pt".into(),
                words,
            ),
            (
                "evaluate-student",
                "--model teacher.pth --mnist-dir mnist --output out/student.json".into(),
                words,
            ),
            ("evaluate-synthetic", "--samples set/synthetic_samples.pt --out out/set.json".into(), words),
        ],
    );
    // Another file of the same folder is free.
    work.run("generate-candidates", "--decoder-path decoder.pth --pool-size 4 --out out/other.pt").ok();
    // It goes with the run that held it.
    drop((held, vae, files));
    work.run("label-filter", "--candidates pool.pt --teacher-model teacher.pth --out-dir out").ok();
}

#[test]
fn an_empty_pool_is_a_result_and_no_crash() {
    let work = good();
    work.images("nothing.pt", &[]);
    let line = "--candidates nothing.pt --teacher-model teacher.pth --teacher-shard-path shard.pt --shard-metadata \
                metadata.json --out-dir out";
    let run = work.run_quiet("label-filter", line).ends_with(1);
    run.says_only("result: ", &["the pool has no candidates"]);
    let report = work.json("out/selection_report.json");
    assert_eq!(number(&report["num_generated"]), 0);
    assert_eq!(report["emptied_by"], "the pool has no candidates");
    assert_eq!(work.array("out/synthetic_samples.pt").0, [0, 1, 28, 28]);
    // With a decoder, what is missing is steered, even from nothing.
    let steered =
        line.replace("--out-dir out", "--out-dir steered --decoder-path decoder.pth --min-per-class 1");
    work.run_quiet("label-filter", &steered).ok();
    let report = work.json("steered/selection_report.json");
    assert_eq!(number(&report["num_generated"]), 0);
    assert_eq!(report["steered"]["kept"], report["num_selected"]);
}

#[test]
fn zero_survivors_leave_empty_outputs_and_name_the_filter() {
    let work = good();
    work.images("faint.pt", &[image(0, 0.3, 0), image(3, 0.2, 1)]);
    work.images("copies.pt", &[image(5, 0.9, 0), image(5, 0.8, 0)]);
    assert!(confidence(0.3) < 0.9 && confidence(0.8) > 0.9);
    for (pool, more, reason) in [
        ("faint.pt", "", "no candidate reached its confidence threshold"),
        ("copies.pt", "--teacher-shard-path shard.pt", "too near to the shard"),
    ] {
        let line = format!("--candidates {pool} --teacher-model teacher.pth --out-dir out {more}");
        let run = work.run_quiet("label-filter", &line).ends_with(1);
        run.says_only("result: ", &[reason]);
        assert_eq!(run.stdout, "");
        let names: Vec<String> = work.files("out").into_keys().collect();
        assert_eq!(
            names,
            ["labels.csv", "selection_report.json", "synthetic_samples.pt"].map(|n| format!("out/{n}"))
        );
        assert_eq!(work.text("out/labels.csv"), "index,label,confidence\r\n");
        assert_eq!(work.array("out/synthetic_samples.pt"), (vec![0, 1, 28, 28], vec![]));
        let report = work.json("out/selection_report.json");
        assert_eq!(number(&report["num_selected"]), 0);
        assert!(
            report["emptied_by"].as_str().is_some_and(|r| r.contains(reason)),
            "{}",
            report["emptied_by"]
        );
        assert!(report["statistics"]["average_confidence"].is_null());
        assert_eq!(report["class_distribution"], serde_json::json!({}));
    }
}

#[cfg(unix)]
#[test]
fn a_stop_on_request_leaves_nothing_half_done() {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;

    let work = good();
    let line = "--dataset digits --epochs 100000 --batch-size 512 --device cpu --threads 1 --out-dir out";
    let mut child = work.command("pretrain-decoder", line).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("epoch 1/") {
        assert!(stderr.read_line(&mut text).unwrap() > 0, "it ended by itself: {text}");
    }
    let sent = std::process::Command::new("kill")
        .args([testing::interrupt(), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    stderr.read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{text}");
    assert!(text.contains("error: stopped on request"), "{text}");
    let left: Vec<String> = work.files("out").into_keys().collect();
    assert_eq!(left, ["out/checkpoint.safetensors"], "the state to go on from, and nothing else");
}

/// Attacks, row 5: text out of reports and off the command line reaches the data card as text.
#[test]
fn reports_and_names_bring_no_markup_into_the_card() {
    let work = good();
    for id in 0..2 {
        work.samples(&format!("sets/teacher_{id}"), &[0, 1, 2]);
        let record = |name: &str| {
            let name = format!("sets/teacher_{id}/{name}");
            serde_json::json!({"path": name, "bytes": work.bytes(&name).len(), "sha256": work.sha256(&name)})
        };
        let report = serde_json::json!({
            "formal_guarantee": null,
            "formal_guarantee_reason": "<script>alert(1)</script>\n# Heading\n[a link](https://evil) ![x](y) <!-- `code`",
            "inputs": [],
            "outputs": [record("synthetic_samples.pt"), record("labels.csv")],
        });
        work.put(&format!("sets/teacher_{id}/selection_report.json"), report.to_string());
    }
    let mut command = work.command("combine", "--teachers-dir sets --output out --quiet --device cpu --name");
    let output = command.arg("a`b <i>").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let card = work.text("out/a`b <i>_card.md");
    for raw in ["<script", "<i>_s", "\n# Heading", "[a link]", "![x]", "<!--", "https://evil"] {
        let outside_code = card.lines().filter(|line| !line.contains("``") && !line.contains("torch.load"));
        let found: Vec<&str> = outside_code.filter(|line| line.contains(raw)).collect();
        assert!(found.is_empty(), "{raw:?}: {found:?}");
    }
    assert!(card.contains("&lt;script&gt;alert(1)&lt;/script&gt; \\# Heading"), "{card}");
    assert!(card.contains("| ``a`b <i>_samples.pt`` |"), "{card}");
}

/// Attacks, row 16: what a public pool's report says of a run that reads private data.
#[test]
fn a_public_pool_names_no_private_file_and_no_time_that_private_work_took() {
    let work = good();
    work.teacher("secret_nets/0/model.pth");
    work.put("secret_shards/teacher_0/shard.pt", work.bytes("shard.pt"));
    let line = "--generate-candidates-per-teacher --pool-size 40 --decoder-path decoder.pth --candidates-dir out/pools --teachers-dir secret_nets \
                --teacher-shard-base secret_shards --output-dir out --confidence 0 --min-per-class 0";
    work.run_quiet("batch-label-filter", line).ok();
    let pool = "out/pools/candidates_teacher_0";
    let report = work.json(&format!("{pool}.json"));
    assert_eq!(report["formal_guarantee"], "public");
    assert_eq!(
        (&report["command"], &report["wall_seconds"]),
        (&"batch-label-filter".into(), &serde_json::Value::Null)
    );
    assert!(!work.text(&format!("{pool}.json")).contains("secret"));
    // The teacher's own report is private, and says all.
    let private = work.json("out/teacher_0/selection_report.json");
    assert!(
        private["command"].as_str().unwrap().contains("secret_nets") && private["wall_seconds"].is_number()
    );
    // So does one of a run that reads nothing private.
    work.run_quiet("generate-candidates", "--decoder-path decoder.pth --pool-size 40 --out own.pt").ok();
    let own = work.json("own.json");
    assert!(own["command"].as_str().unwrap().contains("--pool-size 40") && own["wall_seconds"].is_number());

    // Attacks, row 16: a finished teacher's pool that is gone is reported, and --force makes it
    // again.
    let bytes = work.bytes(&format!("{pool}.pt"));
    std::fs::remove_file(work.path(&format!("{pool}.pt"))).unwrap();
    let run = work.run("batch-label-filter", line).ok();
    run.says(&[
        "teacher 0: its samples are there, but their pool out/pools/candidates_teacher_0.pt is gone",
        "--force",
    ]);
    work.run_quiet("batch-label-filter", &format!("{line} --force")).ok();
    assert_eq!(work.bytes(&format!("{pool}.pt")), bytes);
}

/// Attacks, row 10: a checkpoint with one bit flipped gave another model with exit 0.
#[cfg(unix)]
#[test]
fn a_damaged_checkpoint_counts_as_none() {
    let work = good();
    let line = |epochs: usize| {
        format!(
            "--samples set/synthetic_samples.pt --labels set/labels.csv --batch-size 2 --epochs {epochs} --output-dir out"
        )
    };
    work.run_quiet("train-student", &line(30)).ok();
    let whole = work.sha256("out/student_model_final.pth");
    std::fs::remove_dir_all(work.path("out")).unwrap();
    let words = format!("{} --device cpu --threads 1", line(30));
    let mut child =
        work.command("train-student", &words).stderr(std::process::Stdio::null()).spawn().unwrap();
    while !work.path("out/checkpoint.safetensors").is_file() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was stopped");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let good_state = work.bytes("out/checkpoint.safetensors");
    for at in [good_state.len() / 2, good_state.len() - 3, 100] {
        let mut state = good_state.clone();
        state[at] ^= 0x10;
        work.put("out/checkpoint.safetensors", &state);
        let refused = work.run_quiet("train-student", &format!("{} --resume", line(30)));
        refused
            .check(2, "error: ", &["out/checkpoint.safetensors", "is damaged", "leave --resume out"])
            .unwrap();
        assert_eq!(work.bytes("out/checkpoint.safetensors"), state);
        let run = work.run("train-student", &line(30)).ok();
        run.says(&["out/checkpoint.safetensors is damaged: the training starts anew"]);
        assert_eq!(work.sha256("out/student_model_final.pth"), whole, "byte {at}");
    }
    work.put("out/checkpoint.safetensors", &good_state);
    let run = work.run("train-student", &line(30)).ok();
    run.says(&["goes on after epoch"]);
    assert!(!run.stderr.contains("starts anew"), "{}", run.stderr);
    assert_eq!(work.sha256("out/student_model_final.pth"), whole);
}
