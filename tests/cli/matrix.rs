//! Every program against every kind of faulty input: the exit code, one line that names the file
//! and the hint, nothing left behind, and a good run in the same folder afterwards.
//!
//! `cargo test --release -p pate-cli --test cli matrix -- --nocapture` prints the matrix.

use std::collections::BTreeMap;

use artifact::Access;
use pate_core::models::{UNet, UNetShape};
use tensorfile::View;

use crate::steps;
use testing::{SIDE, Work, idx, image, none_of};

/// Kinds of faulty input, in the order of the matrix's columns.
const FAULTS: [&str; 8] = ["path", "format", "shape", "nan", "empty", "lengths", "config", "output"];

/// A binary, the kind of fault, what is changed in its good line, the code, and words of the
/// message.
type Case =
    (&'static str, &'static str, &'static [(&'static str, &'static str)], i32, &'static [&'static str]);

/// A line of every binary that succeeds, writing below `out`.
pub(crate) const GOOD: &[(&str, &str)] = &[
    ("prepare-shards", "--mnist-dir mnist --num-teachers 2 --out-dir out"),
    (
        "train-teachers",
        "--data-dir mnist --num-models 2 --epochs 2 --batch-size 4 --shard-indices two.json --output-dir out --config c.json",
    ),
    (
        "pretrain-decoder",
        "--dataset mnist --data-root mnist --epochs 2 --batch-size 4 --latent-dim 4 --out-dir out --config c.json",
    ),
    (
        "train-teacher-vae",
        "--teacher-id 0 --shard-path shards/teacher_0/shard.pt --epochs 2 --batch-size 4 --latent-dim 4 --out-dir out --config c.json",
    ),
    (
        "batch-train-teacher-vaes",
        "--num-teachers 2 --shard-indices two.json --mnist-data-dir mnist --epochs 2 --batch-size 4 --latent-dim 4 --out-dir out \
         --config c.json",
    ),
    (
        "generate-candidates",
        "--decoder-path decoder.pth --pool-size 200 --out out/pool.pt --save-grid --config c.json",
    ),
    (
        "label-filter",
        "--candidates pool.pt --teacher-model nets/0/model.pth --teacher-shard-path shards/teacher_0/shard.pt \
         --shard-metadata shards/teacher_0/metadata.json --decoder-path decoder.pth --out-dir out --config c.json",
    ),
    (
        "batch-label-filter",
        "--candidates pool.pt --teachers-dir nets --teacher-shard-base shards --shard-metadata-base shards \
         --decoder-path decoder.pth --output-dir out --config c.json",
    ),
    ("combine", "--teachers-dir sets --output out --format npz"),
    ("vote-label", "--samples pool.pt --labels pool.csv --teachers-dir nets --output out --config c.json"),
    (
        "train-student",
        "--samples s.pt --labels l.csv --epochs 2 --batch-size 4 --output-dir out --config c.json",
    ),
    (
        "evaluate-student",
        "--model nets/0/model.pth --mnist-dir mnist --output out/report.json --config c.json",
    ),
    (
        "evaluate-synthetic",
        "--samples s.pt --labels l.csv --shard shards/teacher_0/shard.pt --out out/report.json --config c.json",
    ),
    (
        "compare-approaches",
        "--approach a=sets --approach b=sets --teacher-shard-base shards --feature-model nets/0/model.pth --output-dir out \
         --config c.json",
    ),
    (
        "score-release",
        "--release sets/teacher_0 --test-dir mnist --classifiers mlp --seeds 1 --output-dir out --config c.json",
    ),
    // The control, whose bytes are the same each time; private noise never is.
    (
        "train-dp-classifier",
        "--data-dir mnist --network ucstub --records 40 --expected-batch 8 --steps 6 --block 2 --epsilon inf --clip-only \
         --output-dir out --config c.json",
    ),
    (
        "train-dp-teacher",
        "--data-dir mnist --model ucstub --records 40 --train-batch-size 8 --steps 6 --block 2 --epsilon inf --clip-only \
         --output-dir out --config c.json",
    ),
    (
        "capture-dp-stats",
        "--model nets/0/model.pth --data-dir mnist --records 40 --without-noise --out out/stats.pt --config c.json",
    ),
    (
        "synthesize-images",
        "--teacher nets/0/model.pth --dataset digits --num-samples 20 --batch-size 10 --k 1 --output-dir out --config c.json",
    ),
    (
        "distill-student",
        "--synthesis synthesis --k 0 --epochs 2 --batch-size 4 --output-dir out --config c.json",
    ),
    (
        "train-autoencoder",
        "--dataset mnist --data-root mnist --mnist-is-public --architecture mini --latent-dim 4 --epochs 2 --batch-size 8 \
         --output-dir out",
    ),
    (
        "train-gan",
        "--dataset mnist --data-root mnist --mnist-is-public --latent-dim 4 --steps 4 --batch-size 8 --output-dir out",
    ),
    ("extract-latents", "--extractor extractor/extractor.pt --data-dir mnist --out out/latents.pt"),
    // The control again, for its bytes.
    (
        "train-dp-latent",
        "--extractor extractor/extractor.pt --latents latents.pt --epsilon inf --output-dir out",
    ),
    (
        "sample-generator",
        "--extractor extractor/extractor.pt --model latent_model.pt --num-samples 20 --output-dir out",
    ),
    ("relabel", "--samples s.pt --labels l.csv --teacher nets/0/model.pth --output-dir out --config c.json"),
    (
        "query-central-images",
        "--data-dir mnist --records 40 --expected-batch 8 --steps 4 --rounds 2 --query-rate 0.5 --epsilon inf --output-dir out",
    ),
    (
        "pretrain-diffusion",
        "--images central.npz --nf 4 --ch-mult 1 --num-res-blocks 1 --steps 4 --every 2 --output-dir out",
    ),
    (
        "finetune-diffusion",
        "--data-dir mnist --init unet.safetensors --records 40 --expected-batch 8 --steps 4 --block 2 --noise-draws 2 \
         --epsilon inf --clip-only --output-dir out",
    ),
    (
        "sample-diffusion",
        "--model unet.safetensors --num-samples 6 --num-steps 3 --batch-size 2 --output-dir out",
    ),
];

pub(crate) fn good_line(binary: &str) -> &'static str {
    GOOD.iter().find(|(name, _)| *name == binary).map(|(_, line)| *line).unwrap()
}

/// What the good lines read.
pub(crate) fn inputs() -> Work {
    let work = Work::new();
    work.mnist("mnist", 40, 20);
    work.put("two.json", r#"{"0": [0, 1, 2, 3, 4, 5, 6, 7], "1": [10, 11, 12, 13, 14, 15, 16, 17]}"#);
    work.put(
        "c.json",
        r#"{"filtering": {"min_per_class": 2, "max_per_class": 3, "confidence_threshold": 0.8}, "latent_steering": {"steps": 2}}"#,
    );
    work.decoder("decoder.pth");
    let pool: Vec<_> = (0..60).map(|i| image(i % 10, 0.9, i)).collect();
    work.images("pool.pt", &pool);
    work.labels("pool.csv", &(0..60).map(|i| i % 10).collect::<Vec<i64>>());
    for id in 0..2 {
        work.teacher(&format!("nets/{id}/model.pth"));
        let shard: Vec<_> = (0..8).map(|i| image(i, 0.7, 100 + i)).collect();
        work.images(&format!("shards/teacher_{id}/shard.pt"), &shard);
        let counts = r#""class_distribution": {"0": 3, "1": 3, "2": 2}"#;
        work.put(
            &format!("shards/teacher_{id}/metadata.json"),
            format!(r#"{{"teacher_id": {id}, "shard_size": 8, {counts}}}"#),
        );
        work.samples(&format!("sets/teacher_{id}"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
    work.put("s.pt", work.bytes("sets/teacher_0/synthetic_samples.pt"));
    work.put("l.csv", work.bytes("sets/teacher_0/labels.csv"));
    // What synthesize-images writes, in small.
    let n = 12;
    let images: Vec<_> = (0..n).map(|i| image(i % 10, 0.8, i)).collect();
    work.images("synthesis/k0/synthetic_samples.pt", &images);
    work.tensor("synthesis/k0/soft_labels.pt", &[n, 10], &vec![0.1; 10 * n]);
    let rows = (0..n).map(|i| format!("{i},{class},0.5,{class},{class}\r\n", class = i % 10));
    let header = "index,label,confidence,assigned,public_label\r\n".to_owned();
    work.put("synthesis/k0/labels.csv", std::iter::once(header).chain(rows).collect::<String>());
    let report = r#"{"k0": {}, "temperature": 10, "classes": 10, "formal_guarantee": "public", "inputs": [], "outputs": []}"#;
    work.put("synthesis/synthesis_report.json", report);
    work.dpmi();
    // What query-central-images and pretrain-diffusion write, in small.
    let images: Vec<f32> = (0..10).flat_map(|i| image(i % 10, 0.8, i)).collect();
    let mut central = Vec::new();
    let labels: Vec<i64> = (0..10).collect();
    let arrays =
        [("x", View::f32(&[10, 1, SIDE, SIDE], &images).unwrap()), ("y", View::i64(&[10], &labels).unwrap())];
    tensorfile::npz::write(&mut central, &arrays).unwrap();
    work.put("central.npz", central);
    let sizes = UNetShape {
        size: SIDE as i64,
        channels: 1,
        width: 4,
        multipliers: vec![1],
        blocks: 1,
        attention: Vec::new(),
        classes: 10,
    };
    let network = UNet::new(&sizes, 1, tch::Device::Cpu).unwrap();
    network.save(&work.path("unet.safetensors"), Access::Public).unwrap();
    work
}

/// A weights file with other values or another shape of one tensor.
fn spoilt(work: &Work, from: &str, to: &str, name: &str, change: fn(&mut Vec<usize>, &mut Vec<f32>)) {
    let mut tensors: Vec<_> = tensorfile::read(&work.path(from))
        .unwrap()
        .into_tensors()
        .unwrap()
        .into_iter()
        .map(|(name, array)| (name, array.shape().to_vec(), array.into_f32()))
        .collect();
    let (_, shape, values) = tensors.iter_mut().find(|(n, ..)| n == name).unwrap();
    change(shape, values);
    let views: Vec<(&str, View<'_>)> = tensors
        .iter()
        .map(|(name, shape, values)| (name.as_str(), View::f32(shape, values).unwrap()))
        .collect();
    let mut file = Vec::new();
    tensorfile::pt::write_dict(&mut file, &views).unwrap();
    work.put(to, file);
}

/// A small MNIST with one file replaced.
fn odd_mnist(work: &Work, root: &str, file: &str, bytes: &[u8]) {
    work.mnist(root, 40, 20);
    work.put(&format!("{root}/MNIST/raw/{file}"), bytes);
}

/// One broken file of every kind beside the good ones.
fn broken(work: &Work) {
    work.put("text", "these are no data\n");
    work.put("file", "not a folder");
    work.put("taken/report.json/inside", "");
    work.put("taken/pool.pt/inside", "");
    work.put("unknown.json", r#"{"student": {"epoch": 3}}"#);
    work.put("range.json", r#"{"decoder": {"batch_size": 0}}"#);
    let mut with_nan = image(0, 0.5, 0);
    with_nan[7] = f32::NAN;
    work.images("nan.pt", &[with_nan]);
    work.images("none.pt", &[]);
    work.put("none.csv", "index,label,confidence\r\n");
    work.tensor("flat.pt", &[2, SIDE * SIDE], &[0.5; 2 * SIDE * SIDE]);
    work.tensor("small.pt", &[10, 1, 4, 4], &[0.5; 160]);
    work.tensor("odd.pt", &[8, 1, 30, 30], &vec![0.5; 8 * 900]);
    spoilt(work, "decoder.pth", "nan_decoder.pth", "fc.bias", |_, values| values[3] = f32::NAN);
    spoilt(work, "decoder.pth", "short_decoder.pth", "fc.bias", |shape, values| {
        *shape = vec![4];
        values.truncate(4);
    });
    for (name, tensor) in [("nan_net", "fc2.bias"), ("short_net", "fc2.bias")] {
        let change: fn(&mut Vec<usize>, &mut Vec<f32>) = if name == "nan_net" {
            |_, values| values[3] = f32::INFINITY
        } else {
            |shape, values| {
                *shape = vec![4];
                values.truncate(4);
            }
        };
        spoilt(work, "nets/0/model.pth", &format!("{name}/0/model.pth"), tensor, change);
    }
    work.put("text_net/0/model.pth", "these are no data\n");
    work.put("empty_net/0/readme", "");
    let (train, test) = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte");
    odd_mnist(work, "text_mnist", train, b"these are no data\n");
    odd_mnist(work, "flat_mnist", train, &idx(&[40, SIDE * SIDE], &vec![200; 40 * SIDE * SIDE]));
    odd_mnist(work, "small_mnist", test, &idx(&[20, 14, 14], &[200; 20 * 196]));
    odd_mnist(work, "short_mnist", train, &idx(&[39, SIDE, SIDE], &vec![200; 39 * SIDE * SIDE]));
    odd_mnist(work, "short_test", test, &idx(&[19, SIDE, SIDE], &[200; 19 * SIDE * SIDE]));
    odd_mnist(work, "text_test", test, b"these are no data\n");
    odd_mnist(work, "flat_test", test, &idx(&[20, SIDE * SIDE], &[200; 20 * SIDE * SIDE]));
    work.mnist("odd_mnist", 40, 20);
    work.put("odd_mnist/MNIST/raw/train-images-idx3-ubyte", idx(&[40, 30, 30], &vec![200; 40 * 900]));
    work.mnist("empty_mnist", 0, 20);
    work.mnist("empty_test", 40, 0);
    work.put("empty.json", r#"{"0": [], "1": [1]}"#);
    work.put("nobody.json", "{}");
    work.put("no_counts.json", r#"{"teacher_id": 0, "shard_size": 0, "class_distribution": {}}"#);
    for (folder, file) in
        [("text_sets", "text"), ("nan_sets", "nan.pt"), ("small_sets", "small.pt"), ("short_sets", "none.pt")]
    {
        for id in 0..2 {
            work.samples(&format!("{folder}/teacher_{id}"), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        }
        work.put(&format!("{folder}/teacher_1/synthetic_samples.pt"), work.bytes(file));
    }
    work.samples("empty_sets/teacher_0", &[]);
    work.put("empty_folder/readme", "");
    for class in 0..2 {
        let pixels = [0.5; 81];
        let images = picture::Images { channels: 1, height: 9, width: 9, pixels: &pixels };
        work.put(&format!("odd_sides/{class}/0.png"), picture::grid(&images, 1, 0).unwrap());
    }
}

const CASES: &[Case] = &[
    ("prepare-shards", "path", &[("-dir mnist", "-dir gone")], 3, &["gone", "cargo xtask data mnist"]),
    (
        "prepare-shards",
        "format",
        &[("-dir mnist", "-dir text_mnist")],
        3,
        &["text_mnist", "train-images-idx3-ubyte"],
    ),
    ("prepare-shards", "shape", &[("-dir mnist", "-dir flat_mnist")], 3, &["flat_mnist", "[40, 784]"]),
    ("prepare-shards", "empty", &[("-dir mnist", "-dir empty_mnist")], 3, &["empty_mnist", "no images"]),
    (
        "prepare-shards",
        "lengths",
        &[("-dir mnist", "-dir short_mnist")],
        3,
        &["short_mnist", "40 labels for 39 images"],
    ),
    ("prepare-shards", "output", &[("-dir out", "-dir file/out")], 3, &["cannot write", "file/out"]),
    ("train-teachers", "path", &[("-dir mnist", "-dir gone")], 3, &["gone", "cargo xtask data mnist"]),
    (
        "train-teachers",
        "path",
        &[("two.json", "gone.json")],
        3,
        &["cannot use the shard indices", "gone.json"],
    ),
    ("train-teachers", "format", &[("two.json", "text")], 3, &["text", "no list of shards"]),
    (
        "train-teachers",
        "format",
        &[("-dir mnist", "-dir text_test")],
        3,
        &["text_test", "t10k-images-idx3-ubyte"],
    ),
    (
        "train-teachers",
        "shape",
        &[("-dir mnist", "-dir small_mnist")],
        3,
        &["small_mnist", "1x14x14", "1x28x28"],
    ),
    ("train-teachers", "empty", &[("two.json", "empty.json")], 3, &["empty.json", "teacher 0 has no rows"]),
    ("train-teachers", "empty", &[("two.json", "nobody.json")], 3, &["nobody.json", "it names no teacher"]),
    ("train-teachers", "empty", &[("-dir mnist", "-dir empty_test")], 3, &["empty_test", "no images"]),
    ("train-teachers", "lengths", &[("-dir mnist", "-dir short_test")], 3, &["20 labels for 19 images"]),
    (
        "train-teachers",
        "config",
        &[("c.json", "unknown.json")],
        3,
        &["unknown.json", "student.epoch", "`epochs`"],
    ),
    ("train-teachers", "output", &[("-dir out", "-dir file")], 3, &["cannot write", "file"]),
    ("pretrain-decoder", "path", &[("-root mnist", "-root gone")], 3, &["gone", "cargo xtask data mnist"]),
    ("pretrain-decoder", "format", &[("-root mnist", "-root text_mnist")], 3, &["text_mnist"]),
    (
        "pretrain-decoder",
        "shape",
        &[("-root mnist", "-root odd_mnist")],
        3,
        &["odd_mnist", "30x30", "multiples of 4"],
    ),
    ("pretrain-decoder", "empty", &[("-root mnist", "-root empty_mnist")], 3, &["empty_mnist", "no images"]),
    (
        "pretrain-decoder",
        "config",
        &[("c.json", "range.json")],
        3,
        &["range.json", "decoder.batch_size", "is 0"],
    ),
    ("pretrain-decoder", "output", &[("-dir out", "-dir file/out")], 3, &["cannot write", "file/out"]),
    (
        "train-teacher-vae",
        "path",
        &[("shards/teacher_0/shard.pt", "gone.pt")],
        3,
        &["cannot use the shard", "gone.pt"],
    ),
    ("train-teacher-vae", "format", &[("shards/teacher_0/shard.pt", "text")], 3, &["text", "these are no"]),
    ("train-teacher-vae", "shape", &[("shards/teacher_0/shard.pt", "flat.pt")], 3, &["flat.pt", "[2, 784]"]),
    (
        "train-teacher-vae",
        "shape",
        &[("shards/teacher_0/shard.pt", "odd.pt")],
        3,
        &["odd.pt", "30x30", "multiples of 4"],
    ),
    (
        "train-teacher-vae",
        "nan",
        &[("shards/teacher_0/shard.pt", "nan.pt")],
        3,
        &["nan.pt", "value 7 is NaN"],
    ),
    ("train-teacher-vae", "empty", &[("shards/teacher_0/shard.pt", "none.pt")], 3, &["none.pt", "no images"]),
    ("train-teacher-vae", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    ("train-teacher-vae", "output", &[("-dir out", "-dir file")], 3, &["cannot write", "file"]),
    (
        "generate-candidates",
        "path",
        &[("decoder.pth", "gone.pth")],
        3,
        &["cannot use the decoder", "gone.pth"],
    ),
    ("generate-candidates", "format", &[("decoder.pth", "text")], 3, &["text", "these are no"]),
    ("generate-candidates", "format", &[("decoder.pth", "pool.pt")], 3, &["pool.pt", "named tensors"]),
    (
        "generate-candidates",
        "shape",
        &[("decoder.pth", "short_decoder.pth")],
        3,
        &["short_decoder.pth", "fc.bias", "[4]"],
    ),
    (
        "generate-candidates",
        "nan",
        &[("decoder.pth", "nan_decoder.pth")],
        3,
        &["nan_decoder.pth", "fc.bias", "NaN"],
    ),
    ("generate-candidates", "config", &[("c.json", "range.json")], 3, &["range.json", "decoder.batch_size"]),
    ("generate-candidates", "output", &[("out/pool.pt", "file/pool.pt")], 3, &["cannot write", "file"]),
    (
        "generate-candidates",
        "output",
        &[("out/pool.pt", "taken/pool.pt")],
        3,
        &["taken/pool.pt", "it is a folder"],
    ),
    (
        "label-filter",
        "path",
        &[("--candidates pool.pt", "--candidates gone.pt")],
        3,
        &["cannot use the candidates", "gone.pt"],
    ),
    (
        "label-filter",
        "path",
        &[("shards/teacher_0/metadata.json", "gone.json")],
        3,
        &["metadata", "gone.json"],
    ),
    ("label-filter", "format", &[("nets/0/model.pth", "text")], 3, &["cannot use the teacher", "text"]),
    ("label-filter", "format", &[("shards/teacher_0/metadata.json", "text")], 3, &["no shard metadata"]),
    (
        "label-filter",
        "shape",
        &[("nets/0/model.pth", "short_net/0/model.pth")],
        3,
        &["short_net/0/model.pth", "fc2.bias", "[4]"],
    ),
    (
        "label-filter",
        "shape",
        &[("--candidates pool.pt", "--candidates small.pt")],
        3,
        &["cannot use the teacher", "4x4", "6x6"],
    ),
    (
        "label-filter",
        "nan",
        &[("--candidates pool.pt", "--candidates nan.pt")],
        3,
        &["nan.pt", "value 7 is NaN"],
    ),
    (
        "label-filter",
        "nan",
        &[("nets/0/model.pth", "nan_net/0/model.pth")],
        3,
        &["nan_net/0/model.pth", "fc2.bias"],
    ),
    ("label-filter", "empty", &[("shards/teacher_0/shard.pt", "none.pt")], 3, &["none.pt", "no images"]),
    (
        "label-filter",
        "empty",
        &[("shards/teacher_0/metadata.json", "no_counts.json")],
        3,
        &["no_counts.json", "no records"],
    ),
    ("label-filter", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    ("label-filter", "output", &[("-dir out", "-dir file/out")], 3, &["cannot write", "file/out"]),
    ("batch-label-filter", "path", &[("-dir nets", "-dir gone")], 3, &["teachers' folder", "gone"]),
    ("batch-label-filter", "path", &[("--candidates pool.pt", "--candidates gone.pt")], 3, &["gone.pt"]),
    (
        "batch-label-filter",
        "format",
        &[("--candidates pool.pt", "--candidates text")],
        3,
        &["text", "these are no"],
    ),
    (
        "batch-label-filter",
        "shape",
        &[("--candidates pool.pt", "--candidates flat.pt")],
        3,
        &["flat.pt", "[2, 784]"],
    ),
    (
        "batch-label-filter",
        "nan",
        &[("--candidates pool.pt", "--candidates nan.pt")],
        3,
        &["nan.pt", "value 7 is NaN"],
    ),
    (
        "batch-label-filter",
        "empty",
        &[("-dir nets", "-dir empty_net")],
        3,
        &["empty_net", "none of its folders has a model.pth"],
    ),
    ("batch-label-filter", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    ("batch-label-filter", "output", &[("-dir out", "-dir file/out")], 3, &["cannot write", "file/out"]),
    ("combine", "path", &[("-dir sets", "-dir gone")], 3, &["teachers' folder", "gone"]),
    (
        "combine",
        "format",
        &[("-dir sets", "-dir text_sets")],
        3,
        &["text_sets/teacher_1/synthetic_samples.pt"],
    ),
    (
        "combine",
        "shape",
        &[("-dir sets", "-dir small_sets")],
        3,
        &["small_sets/teacher_1", "[1, 4, 4]", "[1, 28, 28]"],
    ),
    ("combine", "nan", &[("-dir sets", "-dir nan_sets")], 3, &["nan_sets/teacher_1", "value 7 is NaN"]),
    ("combine", "empty", &[("-dir sets", "-dir empty_sets")], 3, &["empty_sets", "no samples"]),
    (
        "combine",
        "empty",
        &[("-dir sets", "-dir empty_folder")],
        3,
        &["empty_folder", "no samples", "label-filter"],
    ),
    (
        "combine",
        "lengths",
        &[("-dir sets", "-dir short_sets")],
        3,
        &["short_sets/teacher_1", "0 samples", "10 labels"],
    ),
    ("combine", "output", &[("--output out", "--output file/out")], 3, &["cannot write", "file/out"]),
    ("train-student", "path", &[("s.pt", "gone.pt")], 3, &["cannot use the samples", "gone.pt"]),
    ("train-student", "format", &[("l.csv", "s.pt")], 3, &["cannot use the labels", "s.pt"]),
    ("train-student", "shape", &[("s.pt", "flat.pt")], 3, &["flat.pt", "[2, 784]"]),
    ("train-student", "shape", &[("s.pt", "small.pt")], 3, &["small.pt", "4x4", "6x6"]),
    ("train-student", "nan", &[("s.pt", "nan.pt")], 3, &["nan.pt", "value 7 is NaN"]),
    ("train-student", "empty", &[("s.pt", "none.pt"), ("l.csv", "none.csv")], 3, &["none.pt", "no images"]),
    (
        "train-student",
        "lengths",
        &[("l.csv", "none.csv")],
        3,
        &["0 labels", "10 samples", "two files of one run"],
    ),
    ("train-student", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    ("train-student", "output", &[("-dir out", "-dir file/out")], 3, &["cannot write", "file/out"]),
    (
        "evaluate-student",
        "path",
        &[("nets/0/model.pth", "gone.pth")],
        3,
        &["cannot use the student", "gone.pth"],
    ),
    ("evaluate-student", "format", &[("nets/0/model.pth", "text")], 3, &["cannot use the student", "text"]),
    ("evaluate-student", "shape", &[("nets/0/model.pth", "short_net/0/model.pth")], 3, &["fc2.bias", "[4]"]),
    ("evaluate-student", "shape", &[("-dir mnist", "-dir small_mnist")], 3, &["fc1.weight"]),
    ("evaluate-student", "nan", &[("nets/0/model.pth", "nan_net/0/model.pth")], 3, &["fc2.bias"]),
    ("evaluate-student", "empty", &[("-dir mnist", "-dir empty_test")], 3, &["empty_test", "no images"]),
    ("evaluate-student", "lengths", &[("-dir mnist", "-dir short_test")], 3, &["20 labels for 19 images"]),
    ("evaluate-student", "config", &[("c.json", "range.json")], 3, &["range.json", "decoder.batch_size"]),
    ("evaluate-student", "output", &[("out/report.json", "file/report.json")], 3, &["cannot write", "file"]),
    (
        "evaluate-student",
        "output",
        &[("out/report.json", "taken/report.json")],
        3,
        &["taken/report.json", "it is a folder"],
    ),
    (
        "evaluate-synthetic",
        "path",
        &[("shards/teacher_0/shard.pt", "gone.pt")],
        3,
        &["cannot use the shard", "gone.pt"],
    ),
    ("evaluate-synthetic", "format", &[("s.pt", "text")], 3, &["cannot use the samples", "text"]),
    ("evaluate-synthetic", "shape", &[("s.pt", "small.pt")], 3, &["1x4x4", "1x28x28"]),
    (
        "evaluate-synthetic",
        "nan",
        &[("shards/teacher_0/shard.pt", "nan.pt")],
        3,
        &["nan.pt", "value 7 is NaN"],
    ),
    (
        "evaluate-synthetic",
        "empty",
        &[("shards/teacher_0/shard.pt", "none.pt")],
        3,
        &["none.pt", "no images"],
    ),
    ("evaluate-synthetic", "lengths", &[("l.csv", "none.csv")], 3, &["0 labels", "10 samples"]),
    ("evaluate-synthetic", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    (
        "evaluate-synthetic",
        "output",
        &[("out/report.json", "file/report.json")],
        3,
        &["cannot write", "file"],
    ),
    (
        "evaluate-synthetic",
        "output",
        &[("out/report.json", "taken/report.json")],
        3,
        &["taken/report.json", "it is a folder"],
    ),
    ("batch-train-teacher-vaes", "path", &[("two.json", "gone.json")], 3, &["gone.json"]),
    ("batch-train-teacher-vaes", "format", &[("two.json", "text")], 3, &["text", "no list of shards"]),
    ("batch-train-teacher-vaes", "lengths", &[("-dir mnist", "-dir gone")], 3, &["gone"]),
    (
        "batch-train-teacher-vaes",
        "config",
        &[("c.json", "range.json")],
        3,
        &["range.json", "decoder.batch_size"],
    ),
    ("batch-train-teacher-vaes", "output", &[("-dir out", "-dir file")], 3, &["cannot write", "file"]),
    ("compare-approaches", "path", &[("b=sets", "b=gone")], 3, &["\"b\"", "gone"]),
    ("compare-approaches", "path", &[("-base shards", "-base gone")], 3, &["gone"]),
    ("compare-approaches", "format", &[("nets/0/model.pth", "text")], 3, &["--feature-model", "text"]),
    ("compare-approaches", "shape", &[("nets/0/model.pth", "short_net/0/model.pth")], 3, &["fc2.bias"]),
    ("compare-approaches", "empty", &[("b=sets", "b=mnist")], 3, &["no complete teacher_<id>"]),
    ("compare-approaches", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    ("compare-approaches", "output", &[("-dir out", "-dir file")], 3, &["cannot write", "file"]),
    ("score-release", "path", &[("sets/teacher_0", "gone")], 3, &["gone"]),
    ("score-release", "path", &[("-dir mnist", "-dir gone")], 3, &["gone"]),
    ("score-release", "format", &[("sets/teacher_0", "text")], 3, &["cannot use the data set", "text"]),
    ("score-release", "shape", &[("sets/teacher_0", "small.pt --labels l.csv")], 3, &["4x4", "28x28"]),
    ("score-release", "nan", &[("sets/teacher_0", "nan.pt --labels l.csv")], 3, &["nan.pt", "NaN"]),
    (
        "score-release",
        "empty",
        &[("sets/teacher_0", "none.pt --labels none.csv")],
        3,
        &["none.pt", "holds 0 images"],
    ),
    (
        "score-release",
        "lengths",
        &[("sets/teacher_0", "s.pt --labels none.csv")],
        3,
        &["0 labels", "10 samples"],
    ),
    ("score-release", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    ("score-release", "output", &[("-dir out", "-dir file")], 3, &["cannot write", "file"]),
    ("train-autoencoder", "format", &[("-root mnist", "-root text_mnist")], 3, &["text_mnist"]),
    ("train-autoencoder", "empty", &[("-root mnist", "-root empty_mnist")], 3, &["empty_mnist", "no images"]),
    (
        "train-autoencoder",
        "shape",
        &[("-root mnist", "-root odd_mnist"), ("mini", "conv")],
        2,
        &["30x30", "28x28"],
    ),
    ("train-gan", "format", &[("-root mnist", "-root text_mnist")], 3, &["text_mnist"]),
    ("train-gan", "empty", &[("-root mnist", "-root empty_mnist")], 3, &["empty_mnist", "no images"]),
    ("extract-latents", "shape", &[("-dir mnist", "-dir odd_mnist")], 3, &["odd_mnist", "30x30", "28x28"]),
    ("extract-latents", "empty", &[("-dir mnist", "-dir empty_mnist")], 3, &["empty_mnist", "no images"]),
    ("train-dp-latent", "format", &[("latents latents.pt", "latents s.pt")], 3, &["s.pt", "named tensors"]),
    (
        "sample-generator",
        "format",
        &[("latent_model.pt", "latents.pt")],
        3,
        &["latents.pt", "train-dp-latent"],
    ),
    ("relabel", "nan", &[("s.pt", "nan.pt"), ("--labels l.csv ", "")], 3, &["nan.pt", "NaN"]),
    ("relabel", "shape", &[("s.pt", "small.pt"), ("--labels l.csv ", "")], 3, &["4x4"]),
    ("relabel", "lengths", &[("l.csv", "none.csv")], 3, &["0 labels", "10 samples"]),
    ("relabel", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    (
        "query-central-images",
        "shape",
        &[("-dir mnist", "-dir odd_sides --dataset folders")],
        2,
        &["cannot be halved", "even"],
    ),
    (
        "query-central-images",
        "empty",
        &[("-dir mnist", "-dir empty_mnist")],
        3,
        &["empty_mnist", "no images"],
    ),
    (
        "query-central-images",
        "lengths",
        &[("-dir mnist", "-dir short_mnist")],
        3,
        &["40 labels for 39 images"],
    ),
    ("pretrain-diffusion", "format", &[("central.npz", "s.pt")], 3, &["s.pt", "there are no classes in it"]),
    ("pretrain-diffusion", "nan", &[("central.npz", "nan.pt")], 3, &["nan.pt", "value 7 is NaN"]),
    ("pretrain-diffusion", "shape", &[("central.npz", "flat.pt")], 3, &["flat.pt", "[2, 784]"]),
    (
        "finetune-diffusion",
        "format",
        &[("unet.safetensors", "decoder.pth")],
        3,
        &["decoder.pth", "architecture"],
    ),
    ("finetune-diffusion", "shape", &[("-dir mnist", "-dir odd_mnist")], 2, &["1x28x28", "1x30x30"]),
    ("finetune-diffusion", "empty", &[("-dir mnist", "-dir empty_mnist")], 3, &["empty_mnist", "no images"]),
    (
        "sample-diffusion",
        "format",
        &[("unet.safetensors", "decoder.pth")],
        3,
        &["decoder.pth", "architecture"],
    ),
    (
        "sample-diffusion",
        "lengths",
        &[("--num-samples 6", "--labels none.csv")],
        2,
        &["no classes", "--num-samples"],
    ),
    ("vote-label", "path", &[("pool.pt", "gone.pt")], 3, &["cannot use the samples", "gone.pt"]),
    ("vote-label", "path", &[("-dir nets", "-dir gone")], 3, &["teachers' folder", "gone"]),
    ("vote-label", "format", &[("pool.pt", "text")], 3, &["cannot use the samples", "text"]),
    ("vote-label", "shape", &[("pool.pt", "small.pt")], 3, &["4x4", "too small"]),
    ("vote-label", "shape", &[("-dir nets", "-dir short_net")], 3, &["cannot use the teacher", "fc2.bias"]),
    ("vote-label", "nan", &[("-dir nets", "-dir nan_net")], 3, &["cannot use the teacher", "fc2.bias"]),
    ("vote-label", "empty", &[("pool.pt", "none.pt")], 3, &["none.pt", "no images"]),
    ("vote-label", "lengths", &[("pool.csv", "none.csv")], 3, &["0 labels", "60 samples"]),
    ("vote-label", "config", &[("c.json", "unknown.json")], 3, &["unknown.json", "student.epoch"]),
    ("vote-label", "output", &[("--output out", "--output file/out")], 3, &["cannot write", "file/out"]),
];

#[test]
fn every_program_refuses_every_kind_of_faulty_input_and_then_works() {
    let work = inputs();
    broken(&work);
    let before = work.tree();
    let mut codes: BTreeMap<(&str, &str), i32> = BTreeMap::new();
    none_of(CASES.iter().map(|&(binary, fault, changes, code, words)| {
        let line = changes.iter().fold(good_line(binary).to_owned(), |line, (from, to)| {
            assert!(line.contains(from), "{binary}: {from}");
            line.replace(from, to)
        });
        codes.insert((binary, fault), code);
        work.run_quiet(binary, &line).check(code, "error: ", words)
    }));
    // The issue's rule: a refused step leaves nothing behind: no lock, no folder, no half file.
    let left: Vec<String> = work.tree().into_keys().filter(|name| !before.contains_key(name)).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    assert_eq!(work.tree(), before);
    for &(binary, line) in GOOD {
        work.run_quiet(binary, line).ok();
        std::fs::remove_dir_all(work.path("out")).unwrap();
    }
    println!("| program | {} |", FAULTS.join(" | "));
    for &binary in steps() {
        let cells = FAULTS.map(|fault| codes.get(&(binary, fault)).map_or("-".to_owned(), i32::to_string));
        println!("| {binary} | {} |", cells.join(" | "));
    }
}

/// The word after each flag of a good line that leads to something that is read, with a file of it
/// that is read.
fn inputs_of(work: &Work, binary: &str) -> Vec<(&'static str, &'static str, String)> {
    let words: Vec<&str> = good_line(binary).split_whitespace().collect();
    let inside = |folder: &str| match folder {
        "mnist" if ["evaluate-student", "score-release"].contains(&binary) => {
            "mnist/MNIST/raw/t10k-images-idx3-ubyte".to_owned()
        }
        "mnist" => "mnist/MNIST/raw/train-images-idx3-ubyte".to_owned(),
        "nets" => "nets/1/model.pth".to_owned(),
        "shards" => "shards/teacher_1/shard.pt".to_owned(),
        "synthesis" => "synthesis/k0/synthetic_samples.pt".to_owned(),
        "sets/teacher_0" => "sets/teacher_0/synthetic_samples.pt".to_owned(),
        _ => "sets/teacher_1/synthetic_samples.pt".to_owned(),
    };
    let named = words.windows(2).filter_map(|pair| {
        // Of data sets it gives the name.
        let flag = Some(pair[0]).filter(|flag| flag.starts_with("--") && *flag != "--dataset")?;
        let word = pair[1];
        let place = word.strip_prefix("a=").or(word.strip_prefix("b=")).unwrap_or(word);
        let path = work.path(place);
        match (path.is_file(), path.is_dir()) {
            (true, _) => Some((flag, word, word.to_owned())),
            (_, true) => Some((flag, word, inside(place))),
            _ => None,
        }
    });
    named.collect()
}

/// The faults that every step has by its flags, whatever it does: each input that its good line
/// names is missing, or is a text, and the output is in a place where nothing can be. A new step
/// needs its line in [`GOOD`] and gets these.
#[test]
fn every_flag_of_every_step_has_the_faults_of_its_kind() {
    let work = inputs();
    broken(&work);
    let before = work.tree();
    let mut problems = Vec::new();
    let all: Vec<_> = steps().iter().map(|&binary| (binary, inputs_of(&work, binary))).collect();
    for (binary, inputs) in all {
        let line = good_line(binary);
        for (flag, word, file) in inputs {
            let is_file = word == file;
            let place = word.split_once('=').map_or(String::new(), |(name, _)| format!("{name}="));
            // A folder's place is taken by a file.
            for other in ["gone", if is_file { "text" } else { "file" }] {
                let line = line.replacen(&format!("{flag} {word}"), &format!("{flag} {place}{other}"), 1);
                problems.push(work.run_quiet(binary, &line).check(3, "error: ", &[other]));
            }
        }
        let flag = output_of(binary);
        let line = line.replacen(&format!("{flag} out"), &format!("{flag} file/out"), 1);
        problems.push(work.run_quiet(binary, &line).check(3, "error: ", &["cannot write", "file/out"]));
    }
    none_of(problems.into_iter());
    assert_eq!(work.tree(), before, "a refused step leaves nothing behind");
}

/// The flag of a good line that names where results go.
fn output_of(binary: &str) -> &'static str {
    let words: Vec<&str> = good_line(binary).split_whitespace().collect();
    words.windows(2).find(|pair| pair[1] == "out" || pair[1].starts_with("out/")).map(|pair| pair[0]).unwrap()
}

/// Attacks, row 3: every program, every flag that names an input, every file that it writes, by the
/// same path, by a hard link and by a symbolic one: code 2, one line with both flags, and nothing
/// is touched.
#[test]
fn no_output_takes_the_place_of_an_input() {
    let work = inputs();
    let mut problems = Vec::new();
    let mut tried = 0;
    for &(binary, line) in GOOD {
        let inputs = inputs_of(&work, binary);
        let before = work.tree();
        work.run_quiet(binary, line).ok();
        // The pictures of an exported folder are held against inputs as a whole, when it is
        // written.
        let outputs: Vec<String> = work.files("out").into_keys().collect();
        std::fs::remove_dir_all(work.path("out")).unwrap();
        assert!(!inputs.is_empty() && !outputs.is_empty(), "{binary}");
        for turn in 0..inputs.len().max(outputs.len()) {
            let (flag, word, file) = &inputs[turn % inputs.len()];
            let output = &outputs[turn % outputs.len()];
            let mut line = line.to_owned();
            let is_file = *word == file.as_str();
            // Folders are read for what is in them: their files keep their places.
            let way = if is_file { turn / inputs.len() % 3 } else { 1 + turn % 2 };
            let target = work.path(output);
            if way == 0 {
                work.put(output, work.bytes(file));
                line = line.replacen(&format!("{flag} {word}"), &format!("{flag} {output}"), 1);
            } else {
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                #[cfg(unix)]
                if way == 1 {
                    std::fs::hard_link(work.path(file), &target).unwrap();
                } else {
                    std::os::unix::fs::symlink(work.path(file), &target).unwrap();
                }
                if cfg!(not(unix)) {
                    continue;
                }
            }
            tried += 1;
            let there = work.tree();
            // Two flags may lead to one folder.
            let alone = inputs.iter().filter(|(_, other, _)| other == word).count() == 1;
            let flag = if alone { *flag } else { "--" };
            let words = [flag, output_of(binary), output.as_str(), "give another output"];
            let what = format!("{binary}: {flag} as {output}, way {way}");
            problems.push(
                work.run_quiet(binary, &line).check(2, "error: ", &words).map_err(|e| format!("{what}\n{e}")),
            );
            if work.tree() != there {
                problems.push(Err(format!("{what}: the folder is another one now\n")));
            }
            std::fs::remove_dir_all(work.path("out")).unwrap();
            assert_eq!(work.tree(), before, "{what}");
        }
    }
    none_of(problems.into_iter());
    assert!(!cfg!(unix) || tried >= 80, "only {tried} pairs");
}

/// Attacks, row 3: two outputs in one place.
#[test]
fn two_outputs_in_one_place_are_refused() {
    let work = inputs();
    let before = work.tree();
    let line = good_line("train-teachers").replace("--shard-indices two.json", "--save-shards");
    for place in ["out/training_report.json", "out/1/model.pth", "out/../out/0/training_report.json"] {
        let line = line.replace("--save-shards", &format!("--save-shards {place}"));
        let run = work.run_quiet("train-teachers", &line);
        run.check(2, "error: ", &["--save-shards", "--output-dir", "both write"]).unwrap();
    }
    let line = good_line("batch-label-filter").replace(
        "--candidates pool.pt",
        "--generate-candidates-per-teacher --pool-size 20 --candidates-dir out/teacher_0",
    );
    work.run_quiet("batch-label-filter", &line).ok();
    std::fs::remove_dir_all(work.path("out")).unwrap();
    assert_eq!(work.tree(), before);
}
