//! EMNIST's files hold every image transposed. A fixture made from known, asymmetric images must
//! come out upright.

use std::io::Write as _;

use pate_core::data::{Dataset, Orientation, Split, Wanted};
use zip::write::SimpleFileOptions;

use testing::{SIDE, Work, idx, idx_gz};

/// As it is written by hand: a long bar down the left, a short one along the top; `i` marks the
/// image.
fn upright(i: usize) -> Vec<u8> {
    let mut pixels = vec![0; SIDE * SIDE];
    for row in 2..26 {
        pixels[row * SIDE + 3] = 255;
    }
    for column in 3..12 {
        pixels[2 * SIDE + column] = 200;
    }
    pixels[20 * SIDE + 10] = i as u8 + 1;
    pixels
}

/// As the file holds it: rows and columns exchanged.
fn transposed(pixels: &[u8]) -> Vec<u8> {
    (0..SIDE * SIDE).map(|at| pixels[at % SIDE * SIDE + at / SIDE]).collect()
}

const N: usize = 6;

/// The two files, by the names that they have everywhere (and `.gz`).
fn files(gz: bool) -> Vec<(String, Vec<u8>)> {
    let images: Vec<u8> = (0..N).flat_map(|i| transposed(&upright(i))).collect();
    // 47 classes: the greatest label is 46.
    let labels: Vec<u8> = (0..N).map(|i| 46 - i as u8).collect();
    let suffix = if gz { ".gz" } else { "" };
    let write = if gz { idx_gz } else { idx };
    vec![
        (format!("emnist-balanced-train-images-idx3-ubyte{suffix}"), write(&[N, SIDE, SIDE], &images)),
        (format!("emnist-balanced-train-labels-idx1-ubyte{suffix}"), write(&[N], &labels)),
    ]
}

/// The archive that NIST gives out, as torchvision keeps it.
fn archive() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files(true) {
        zip.start_file(format!("gzip/{name}"), SimpleFileOptions::default()).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Every place and form in which EMNIST may lie below `data`.
fn layouts() -> Vec<(&'static str, Work)> {
    let mut all = Vec::new();
    for (layout, folder, gz) in [
        ("torchvision's layout", "data/EMNIST/raw", false),
        ("torchvision's layout, gzipped", "data/EMNIST/raw", true),
        ("straight in the folder", "data", false),
        ("the folder named EMNIST itself", "data/raw", true),
    ] {
        let work = Work::new();
        for (name, bytes) in files(gz) {
            work.put(&format!("{folder}/{name}"), bytes);
        }
        all.push((layout, work));
    }
    for place in ["data/EMNIST/raw/gzip.zip", "data/EMNIST/gzip.zip", "data/gzip.zip"] {
        let work = Work::new();
        work.put(place, archive());
        all.push((place, work));
    }
    all
}

#[test]
fn images_come_out_upright_from_every_layout_unless_raw_is_asked_for() {
    for (layout, work) in layouts() {
        for (orientation, as_expected) in [(Orientation::Upright, true), (Orientation::Raw, false)] {
            let records = Dataset::Emnist
                .load(&work.path("data"), Split::Train, orientation, None, Wanted::Labelled)
                .unwrap();
            assert_eq!(records.images.tensor().size(), [N as i64, 1, 28, 28], "{layout}");
            assert_eq!(records.labels.values(), [46, 45, 44, 43, 42, 41], "{layout}");
            assert_eq!(records.labels.classes(), 47);
            let found = records.images.to_vec().unwrap();
            for (i, found) in found.chunks_exact(SIDE * SIDE).enumerate() {
                let wanted = if as_expected { upright(i) } else { transposed(&upright(i)) };
                let wanted: Vec<f32> = wanted.iter().map(|&x| f32::from(x) / 255.0).collect();
                assert!(found == wanted, "{layout}, {orientation:?}: image {i}");
            }
        }
    }
}

#[test]
fn the_program_reads_it_both_ways_and_the_decoders_differ() {
    let (_, work) = layouts().swap_remove(1);
    let mut decoders = Vec::new();
    for orientation in ["", "--orientation upright", "--orientation raw"] {
        let line = format!(
            "--data-root data --epochs 1 --batch-size 6 --no-augmentation --out-dir out {orientation}"
        );
        work.run("pretrain-decoder", &line).ok();
        let report = work.json("out/pretrain_report.json");
        assert_eq!(report["dataset"], "emnist");
        assert_eq!(report["dataset_size"], N);
        assert_eq!(report["formal_guarantee"], "public");
        let inputs: Vec<&str> =
            report["inputs"].as_array().unwrap().iter().map(|i| i["path"].as_str().unwrap()).collect();
        assert_eq!(inputs.len(), 1, "labels are not read: {inputs:?}");
        assert!(inputs.iter().all(|path| path.contains("emnist-balanced-train-")), "{inputs:?}");
        decoders.push(work.sha256("out/decoder.pth"));
    }
    assert_eq!(decoders[0], decoders[1], "upright is the default");
    assert_ne!(decoders[0], decoders[2], "raw images are other images");
}

#[test]
fn an_archive_without_the_files_is_named() {
    let work = Work::new();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    zip.start_file("gzip/emnist-letters-train-images-idx3-ubyte.gz", SimpleFileOptions::default()).unwrap();
    work.put("data/gzip.zip", zip.finish().unwrap().into_inner());
    work.run_quiet("pretrain-decoder", "--data-root data").ends_with(3).says_only(
        "error: ",
        &["data/gzip.zip", "emnist-balanced-train-images-idx3-ubyte.gz", "cargo xtask data emnist"],
    );
}
