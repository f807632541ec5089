//! A temporary folder in which programs run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use artifact::{Access, FileRecord};
use serde_json::{Value, json};
use tempfile::TempDir;
use tensorfile::View;

use crate::golden::fill;
use crate::networks::{Image, SIDE, copying_decoder, image, region_decoder, region_teacher};
use crate::run::Run;

/// A program of the package under test. Cargo builds the programs of a package before its tests, in
/// the folder above that of the tests.
pub fn program(name: &str) -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let folder = tests.ancestors().nth(2).unwrap();
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// A temporary folder in which binaries run.
pub struct Work(TempDir);

impl Work {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "a folder is made")]
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// The path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A binary with its words and nothing else, ready to run in the folder.
    pub fn command(&self, binary: &str, line: &str) -> Command {
        let mut command = Command::new(program(binary));
        command
            .args(line.split_whitespace())
            .current_dir(self.root())
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a binary with nothing added.
    pub fn run_bare(&self, binary: &str, line: &str) -> Run {
        let output = self.command(binary, line).output().unwrap();
        Run {
            line: format!("{binary} {line}"),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: with_slashes(String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// Runs a binary on one thread of the processor.
    pub fn run(&self, binary: &str, line: &str) -> Run {
        self.run_bare(binary, &format!("{line} --device cpu --threads 1"))
    }

    /// The same, with errors and results only on standard error.
    pub fn run_quiet(&self, binary: &str, line: &str) -> Run {
        self.run(binary, &format!("{line} --quiet"))
    }

    /// Writes a file; its record has the name as given.
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> FileRecord {
        let record = artifact::write_bytes(&self.path(name), Access::Public, bytes.as_ref()).unwrap();
        FileRecord { path: PathBuf::from(name), ..record }
    }

    /// The bytes of a file.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// A file as text.
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    /// A file as JSON.
    pub fn json(&self, name: &str) -> Value {
        let text = self.text(name);
        // Windows joins paths with backslashes, which are doubled in JSON.
        serde_json::from_str(&if cfg!(windows) { text.replace("\\\\", "/") } else { text }).unwrap()
    }

    /// A file's hash.
    pub fn sha256(&self, name: &str) -> String {
        FileRecord::of(&self.path(name)).unwrap().sha256
    }

    /// Every file below `folder` with its hash, by its path relative to the working folder, with
    /// `/` between parts. Locks, which may stay as empty files, are left out.
    pub fn files(&self, folder: &str) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut left = vec![self.path(folder)];
        while let Some(path) = left.pop() {
            if path.is_dir() {
                left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if path.is_file() && path.file_name().is_some_and(|name| !is_lock(name)) {
                let name = path.strip_prefix(self.root()).unwrap().to_string_lossy().replace('\\', "/");
                all.insert(name, FileRecord::of(&path).unwrap().sha256);
            }
        }
        all
    }

    /// Everything below the working folder: folders, temporary files and locks, too, with the hash
    /// of each file and where each link leads.
    pub fn tree(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        let mut left = vec![self.root().to_path_buf()];
        while let Some(folder) = left.pop() {
            for entry in std::fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.root()).unwrap().to_string_lossy().replace('\\', "/");
                let what = if path.is_symlink() {
                    format!("link to {}", std::fs::read_link(&path).unwrap().display())
                } else if path.is_dir() {
                    left.push(path);
                    "folder".to_owned()
                } else {
                    artifact::sha256_bytes(&std::fs::read(&path).unwrap())
                };
                all.insert(name, what);
            }
        }
        all
    }

    /// Writes images in a tensor file.
    pub fn images(&self, name: &str, images: &[Image]) {
        self.tensor(name, &[images.len(), 1, SIDE, SIDE], &images.concat());
    }

    /// Writes a float32 tensor.
    pub fn tensor(&self, name: &str, shape: &[usize], values: &[f32]) {
        let mut file = Vec::new();
        tensorfile::pt::write_array(&mut file, View::f32(shape, values).unwrap()).unwrap();
        self.put(name, file);
    }

    /// Writes the labels that go with a tensor of samples, as `label-filter` does.
    pub fn labels(&self, name: &str, labels: &[i64]) {
        let row = |(index, label): (usize, &i64)| format!("{index},{label},0.95\r\n");
        let rows: Vec<String> = labels.iter().enumerate().map(row).collect();
        self.put(name, format!("index,label,confidence\r\n{}", rows.concat()));
    }

    /// One teacher's finished samples, as `combine` finds them.
    pub fn samples(&self, folder: &str, labels: &[i64]) {
        let images: Vec<Image> =
            labels.iter().enumerate().map(|(tag, &class)| image(class as usize, 0.9, tag)).collect();
        self.images(&format!("{folder}/synthetic_samples.pt"), &images);
        self.labels(&format!("{folder}/labels.csv"), labels);
    }

    /// The shape and values of a tensor file.
    pub fn array(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let array = tensorfile::read(&self.path(name)).unwrap().into_array().unwrap();
        (array.shape().to_vec(), array.into_f32())
    }

    /// The rows of a CSV file, without its header.
    pub fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let text = self.text(name);
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    /// The column `label` of a CSV file that this program wrote.
    pub fn label_column(&self, name: &str) -> Vec<i64> {
        self.rows(name).iter().map(|row| row[1].parse().unwrap()).collect()
    }

    /// A teacher that sees the class of [`image`] with [`confidence`](crate::confidence).
    pub fn teacher(&self, name: &str) {
        self.put(name, region_teacher());
    }

    /// A decoder that draws region `c` of [`image`] brighter the greater latent `c` is.
    pub fn decoder(&self, name: &str) {
        self.put(name, region_decoder());
    }

    /// DPMI's files in small, with 32 latents: a public extractor with its report in `extractor`,
    /// private latents of 12 records of it in `latents.pt`, and a model of them in
    /// `latent_model.pt`.
    pub fn dpmi(&self) {
        const LATENTS: usize = 32;
        let linear = |inputs: usize, outputs: usize| json!({ "layer": "linear", "inputs": inputs, "outputs": outputs });
        let (pixels, n) = (SIDE * SIDE, LATENTS as i64);
        let architecture = json!({
            "shape": { "channels": 1, "height": SIDE, "width": SIDE }, "latent_dim": LATENTS, "latent": "encoded",
            "encoder": [linear(pixels, LATENTS)], "decoder": [linear(LATENTS, pixels), { "layer": "sigmoid" }],
        });
        let file = described(
            &architecture,
            &[
                ("enc.model.0.weight", &[LATENTS, pixels], fill(1, &[n, pixels as i64], -0.05, 0.05)),
                ("enc.model.0.bias", &[LATENTS], vec![0.0; LATENTS]),
                ("dec.model.0.weight", &[pixels, LATENTS], fill(2, &[pixels as i64, n], -1.0, 1.0)),
                ("dec.model.0.bias", &[pixels], vec![-1.0; pixels]),
                ("latent_mean", &[LATENTS], vec![0.0; LATENTS]),
                ("latent_deviation", &[LATENTS], vec![1.0; LATENTS]),
            ],
            &[],
        );
        let extractor = self.put("extractor/extractor.pt", file).sha256;
        let bytes = self.bytes("extractor/extractor.pt").len();
        let report = json!({
            "formal_guarantee": "public", "inputs": [],
            "outputs": [{ "path": "extractor.pt", "sha256": extractor, "bytes": bytes }],
        });
        self.put("extractor/training_report.json", report.to_string());
        let about = json!({
            "extractor": extractor, "dataset": "mnist", "classes": 10, "only_classes": [], "records": 40,
            "method": { "method": "encoder" },
        });
        let labels: Vec<i64> = (0..12).map(|row| row % 10).collect();
        let rows = ("latents", &[12, LATENTS][..], fill(3, &[12, n], -1.0, 1.0));
        self.put("latents.pt", described(&about, &[rows], &[("labels", &labels)]));
        let about = json!({
            "kind": { "model": "gaussian", "size": [10, 1, LATENTS] }, "bounds": { "radius": 7.0 },
            "extractor": extractor, "dataset": "mnist",
        });
        let unit = (0..10 * LATENTS * LATENTS)
            .map(|at| if (at % (LATENTS * LATENTS)).is_multiple_of(LATENTS + 1) { 0.3 } else { 0.0 })
            .collect();
        let arrays: [(&str, &[usize], Vec<f32>); 4] = [
            ("class_shares", &[10], vec![0.1; 10]),
            ("component_shares", &[10, 1], vec![1.0; 10]),
            ("mean", &[10, 1, LATENTS], fill(4, &[10, n], -1.0, 1.0)),
            ("factor", &[10, 1, LATENTS, LATENTS], unit),
        ];
        self.put("latent_model.pt", described(&about, &arrays, &[]));
    }

    /// A decoder that draws one image, whatever the latents are: it has memorised it.
    pub fn copying_decoder(&self, name: &str, image: &Image) {
        self.put(name, copying_decoder(image));
    }

    /// A small MNIST in torchvision's layout: `train` and `test` images, class i mod 10.
    pub fn mnist(&self, root: &str, train: usize, test: usize) {
        for (split, n) in [("train", train), ("t10k", test)] {
            let pixels: Vec<u8> = (0..n)
                .flat_map(|i| image(i % 10, 0.51 + 0.05 * (i / 10 % 10) as f32, i))
                .map(|x| (x * 255.0) as u8)
                .collect();
            let labels: Vec<u8> = (0..n).map(|i| (i % 10) as u8).collect();
            let folder = format!("{root}/MNIST/raw");
            self.put(&format!("{folder}/{split}-images-idx3-ubyte"), idx(&[n, SIDE, SIDE], &pixels));
            self.put(&format!("{folder}/{split}-labels-idx1-ubyte"), idx(&[n], &labels));
        }
    }
}

/// Windows joins paths with backslashes.
fn with_slashes(text: String) -> String {
    if cfg!(windows) { text.replace('\\', "/") } else { text }
}

fn is_lock(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(".pate-synth.") && name.ends_with("lock")
}

/// A weights file that says what it is of.
fn described(about: &Value, arrays: &[(&str, &[usize], Vec<f32>)], integers: &[(&str, &[i64])]) -> Vec<u8> {
    let text = about.to_string().into_bytes();
    let size = [text.len()];
    let lengths: Vec<[usize; 1]> = integers.iter().map(|(_, values)| [values.len()]).collect();
    let mut views: Vec<(&str, View<'_>)> =
        arrays.iter().map(|(name, shape, values)| (*name, View::f32(shape, values).unwrap())).collect();
    for ((name, values), length) in integers.iter().zip(&lengths) {
        views.push((name, View::i64(length, values).unwrap()));
    }
    views.push(("architecture", View::u8(&size, &text).unwrap()));
    let mut file = Vec::new();
    tensorfile::pt::write_dict(&mut file, &views).unwrap();
    file
}

/// Unsigned bytes as an IDX file.
pub fn idx(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    tensorfile::idx::write(&mut file, View::u8(shape, values).unwrap()).unwrap();
    file
}

/// The same, gzipped.
pub fn idx_gz(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    tensorfile::idx::write_gz(&mut file, View::u8(shape, values).unwrap()).unwrap();
    file
}
