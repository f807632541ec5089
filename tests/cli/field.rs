//! Files as people have them, from the outside: the right values, or an error that names the file
//! and the hint.

use tensorfile::View;

use testing::{Image, SIDE, Work, idx, image};

/// Twenty private images, and a pool that copies each of them.
fn copied() -> (Work, Vec<Image>) {
    let work = Work::new();
    let images: Vec<Image> = (0..20).map(|i| image(i % 10, 0.55 + 0.04 * (i / 10) as f32, i)).collect();
    work.images("pool.pt", &images);
    work.teacher("teacher.pth");
    (work, images)
}

fn npz(arrays: &[(&str, View<'_>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensorfile::npz::write(&mut bytes, arrays).unwrap();
    bytes
}

const FILTER: &str = "--candidates pool.pt --teacher-model teacher.pth --quota False --confidence 0 --disable-diversity \
                      --min-nn-distance 1.5 --out-dir out --teacher-shard-path";

/// Field cases, row 1: whatever the shard is stored in, copies of its images are found, or the file
/// is refused.
#[test]
fn copies_of_private_images_are_found_in_every_encoding_of_the_shard() {
    let (work, images) = copied();
    let n = images.len();
    let shape = [n, 1, SIDE, SIDE];
    let pixels = images.concat();
    let floats = |name: &str, change: &dyn Fn(f32) -> f32| {
        work.tensor(name, &shape, &pixels.iter().map(|x| change(*x)).collect::<Vec<_>>());
    };
    floats("unit.pt", &|x| x);
    floats("byte.pt", &|x| (x * 255.0).round());
    floats("signed.pt", &|x| 2.0 * x - 1.0);
    floats("sixteen.pt", &|x| (16.0 * x).round());
    let mut overshoot = pixels.clone();
    overshoot[500] = 1.2;
    work.tensor("overshoot.pt", &shape, &overshoot);
    let bytes: Vec<u8> = pixels.iter().map(|x| (x * 255.0).round() as u8).collect();
    work.put("bytes.npz", npz(&[("images", View::u8(&shape, &bytes).unwrap())]));
    let last = [n, SIDE, SIDE, 1];
    work.put("channels_last.npz", npz(&[("images", View::u8(&last, &bytes).unwrap())]));
    for (shard, flag) in [
        ("unit.pt", ""),
        ("bytes.npz", ""),
        ("channels_last.npz", ""),
        ("byte.pt", "--shard-scale byte"),
        ("signed.pt", "--shard-scale signed"),
        ("sixteen.pt", "--shard-scale 0..16"),
        ("overshoot.pt", "--shard-scale unit"),
    ] {
        let run = work.run("label-filter", &format!("{FILTER} {shard} {flag}")).ends_with(1);
        run.says(&["too near to the shard"]);
        let report = work.json("out/selection_report.json");
        assert_eq!(report["num_selected"], 0, "{shard}: copies of private images passed");
        let line = format!("--samples pool.pt --labels labels.csv --shard {shard} {flag} --out e.json");
        work.labels("labels.csv", &(0..n as i64).map(|i| i % 10).collect::<Vec<_>>());
        work.run("evaluate-synthetic", &line).ok();
        let met = &work.json("e.json")["success_criteria"]["min_nn_distance"]["met"];
        assert_eq!(*met, false, "{shard}");
    }
    for shard in ["signed.pt", "sixteen.pt", "overshoot.pt"] {
        let run = work.run("label-filter", &format!("{FILTER} {shard}")).ends_with(3);
        run.says(&[shard, "run from", "--shard-scale"]);
    }
}

/// Field cases, row 1: pools of 0 and 1 in bytes were black to every teacher.
#[test]
fn a_pool_whose_scale_nobody_knows_is_refused_until_it_is_declared() {
    let (work, images) = copied();
    let shape = [images.len(), 1, SIDE, SIDE];
    let bits: Vec<u8> = images.concat().iter().map(|x| u8::from(*x > 0.3)).collect();
    work.put("bits.npz", npz(&[("x", View::u8(&shape, &bits).unwrap())]));
    let line = "--candidates bits.npz --teacher-model teacher.pth --quota False --confidence 0 --disable-diversity --out-dir out";
    work.run("label-filter", line).ends_with(3).says(&["bits.npz", "0 to 1", "--scale"]);
    work.run("label-filter", &format!("{line} --scale unit")).ok();
    let labels = work.label_column("out/labels.csv");
    assert!((0..10).all(|class| labels.contains(&class)), "{labels:?}");
}

/// Field cases, row 11.
#[test]
fn what_combine_exports_can_be_read_back() {
    let work = Work::new();
    for id in 0..2 {
        work.samples(&format!("sets/teacher_{id}"), &(0..10).chain(0..10).collect::<Vec<i64>>());
    }
    work.run("combine", "--teachers-dir sets --output all --format npz,safetensors").ok();
    for ending in ["npz", "safetensors"] {
        let samples = format!("--samples all/combined_synthetic.{ending}");
        work.run("train-student", &format!("{samples} --epochs 1 --output-dir student")).ok();
        assert_eq!(work.json("student/training_report.json")["train_samples"], 32);
        work.run("evaluate-synthetic", &format!("{samples} --out e.json")).ok();
        assert_eq!(work.json("e.json")["class_distribution"]["total_samples"], 40);
    }
    work.run("train-student", "--samples all/combined_synthetic_samples.pt --output-dir student")
        .ends_with(2)
        .says(&["--labels is missing", "combined_synthetic_samples.pt"]);
}

/// Field cases, row 12: an autoencoder needs no labels, whatever they count.
#[test]
fn a_decoder_is_trained_on_images_whatever_their_labels() {
    let line = "--dataset idx --data-root data --epochs 1 --batch-size 8 --latent-dim 4 --out-dir out";
    for (labels, kind) in [
        (None, "none"),
        (Some(idx(&[20], &(0..20).map(|i| i % 26 + 1).collect::<Vec<u8>>())), "letters"),
        (Some(b"no labels at all".to_vec()), "text"),
    ] {
        let work = Work::new();
        work.mnist("data", 20, 10);
        let path = work.path("data/MNIST/raw/train-labels-idx1-ubyte");
        std::fs::remove_file(&path).unwrap();
        if let Some(labels) = labels {
            work.put("data/MNIST/raw/train-labels-idx1-ubyte", labels);
        }
        work.run("pretrain-decoder", line).ok();
        assert_eq!(work.json("out/pretrain_report.json")["dataset_size"], 20, "{kind}");
    }
}

/// Field cases, row 12: names as Kaggle spells them, and QMNIST's eight numbers for each image.
#[test]
fn idx_files_under_other_names_and_labels_of_qmnist_are_read() {
    let work = Work::new();
    work.mnist("data", 20, 10);
    let raw = |name: &str| format!("data/MNIST/raw/{name}");
    for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"] {
        work.put(&format!("dots/{}", name.replace("-idx", ".idx")), work.bytes(&raw(name)));
        work.put(&format!("folders/{name}/{name}"), work.bytes(&raw(name)));
    }
    let mut qmnist = vec![0, 0, 12, 2, 0, 0, 0, 20, 0, 0, 0, 8];
    for i in 0..20u32 {
        qmnist.extend([i % 10, 4, 9, 9, 9, 9, 9, 9].iter().flat_map(|n| n.to_be_bytes()));
    }
    work.put("qmnist/train-images-idx3-ubyte", work.bytes(&raw("train-images-idx3-ubyte")));
    work.put("qmnist/train-labels-idx1-ubyte", qmnist);
    let mut shards = Vec::new();
    for root in ["data", "dots", "folders", "qmnist"] {
        work.run("prepare-shards", &format!("--mnist-dir {root} --num-teachers 2 --out-dir out")).ok();
        shards.push((work.sha256("out/teacher_0/shard.pt"), work.sha256("out/teacher_0/shard_labels.pt")));
    }
    assert!(shards.iter().all(|shard| *shard == shards[0]), "{shards:?}");
}

/// Field cases, rows 5 and 13: two spellings of one teacher, a model of another name, and the path
/// that exists.
#[test]
fn folders_of_teachers_are_taken_as_they_are_spelt() {
    let (work, _) = copied();
    for name in ["000", "001"] {
        work.teacher(&format!("padded/{name}/model.pth"));
        work.teacher(&format!("twice/{name}/model.pth"));
    }
    work.teacher("twice/1/model.pth");
    work.teacher("upper/0/MODEL.PTH");
    work.teacher("some/0/model.pth");
    work.put("some/1/readme.txt", "gone");
    let line = |dir: &str| format!("--samples pool.pt --teachers-dir {dir} --output out");
    work.run("vote-label", &line("padded")).ok();
    let report = work.text("out/voted_report.json");
    assert!(report.contains("padded/001/model.pth"), "{report}");
    work.run("vote-label", &line("twice")).ends_with(3).says(&["twice/001", "twice/1", "both teacher 1"]);
    work.run("vote-label", &line("upper")).ends_with(3).says(&["upper/0", "MODEL.PTH"]);
    work.run("vote-label", &line("some")).ok().says(&["some/1", "readme.txt"]);
    work.run("batch-label-filter", "--candidates pool.pt --teachers-dir twice --output-dir out2")
        .ends_with(3)
        .says(&["both teacher 1"]);
}

/// Attacks, row 4: that one round was enough says what the teacher found, too.
#[cfg(unix)]
#[test]
fn a_pool_that_follows_from_labels_is_private_after_one_round_as_well() {
    use std::os::unix::fs::PermissionsExt as _;
    let work = Work::new();
    work.decoder("decoder.pth");
    work.teacher("nets/0/model.pth");
    for (until, max_pools, private) in [(false, 9, false), (true, 1, false), (true, 9, true)] {
        work.put(
            "c.json",
            format!(
                r#"{{"latent_steering": {{"enabled": false}}, "filtering": {{"min_per_class": 0}},
                "generation": {{"generate_until_target_per_class": {until}, "max_pools": {max_pools}}}}}"#
            ),
        );
        let line = "--generate-candidates-per-teacher --decoder-path decoder.pth --pool-size 60 --teachers-dir nets \
                    --quota False --confidence 0 --output-dir out --config c.json --force";
        work.run("batch-label-filter", line).ok();
        let report = work.json("candidates/candidates_teacher_0.json");
        assert_eq!(report["rounds"], 1);
        assert_eq!(report["formal_guarantee"].is_null(), private, "until {until}, at most {max_pools}");
        let mode =
            std::fs::metadata(work.path("candidates/candidates_teacher_0.pt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o044 == 0, private, "{mode:o}");
    }
}
