//! Temporary folders, runs of the binaries, and inputs whose results are known beforehand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use artifact::{Access, FileRecord};
use serde_json::Value;
use tempfile::TempDir;
use tensorfile::View;

/// Name and path of every binary.
pub(crate) const BINARIES: [(&str, &str); 14] = [
    ("batch-label-filter", env!("CARGO_BIN_EXE_batch-label-filter")),
    ("batch-train-teacher-vaes", env!("CARGO_BIN_EXE_batch-train-teacher-vaes")),
    ("combine", env!("CARGO_BIN_EXE_combine")),
    ("compare-approaches", env!("CARGO_BIN_EXE_compare-approaches")),
    ("evaluate-student", env!("CARGO_BIN_EXE_evaluate-student")),
    ("evaluate-synthetic", env!("CARGO_BIN_EXE_evaluate-synthetic")),
    ("generate-candidates", env!("CARGO_BIN_EXE_generate-candidates")),
    ("label-filter", env!("CARGO_BIN_EXE_label-filter")),
    ("prepare-shards", env!("CARGO_BIN_EXE_prepare-shards")),
    ("pretrain-decoder", env!("CARGO_BIN_EXE_pretrain-decoder")),
    ("train-student", env!("CARGO_BIN_EXE_train-student")),
    ("train-teacher-vae", env!("CARGO_BIN_EXE_train-teacher-vae")),
    ("train-teachers", env!("CARGO_BIN_EXE_train-teachers")),
    ("vote-label", env!("CARGO_BIN_EXE_vote-label")),
];

/// What a run left on its standard streams, and its exit code.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) line: String,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Fails unless the run ended with code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        self.ends_with(0)
    }

    /// Fails unless the run ended with this code.
    #[track_caller]
    pub(crate) fn ends_with(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.line,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Fails unless standard error is one line that starts with `start` and has all `words`.
    #[track_caller]
    pub(crate) fn says_only(&self, start: &str, words: &[&str]) {
        self.check(self.code.unwrap_or(-1), start, words).unwrap();
    }

    /// Fails unless standard error has all `words`.
    #[track_caller]
    pub(crate) fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "{}\n{word:?} is not in:\n{}", self.line, self.stderr);
        }
    }

    /// Whether the run ended with `code` and one line on standard error that starts with `start` and has all `words`.
    pub(crate) fn check(&self, code: i32, start: &str, words: &[&str]) -> Result<(), String> {
        let line = self.stderr.strip_suffix('\n').unwrap_or(&self.stderr);
        let wrong = |what: String| Err(format!("{}\n  {what}: {line}\n", self.line));
        if self.code != Some(code) {
            return wrong(format!("code {:?} instead of {code}", self.code));
        }
        if line.contains('\n') || !line.starts_with(start) || line.contains("bug at") {
            return wrong(format!("not one line that starts with {start:?}"));
        }
        match words.iter().find(|word| !line.contains(*word)) {
            Some(word) => wrong(format!("{word:?} is missing")),
            None => Ok(()),
        }
    }
}

/// Fails with all the problems of a table, where there are some.
#[track_caller]
pub(crate) fn none_of(problems: impl Iterator<Item = Result<(), String>>) {
    let problems: Vec<String> = problems.filter_map(Result::err).collect();
    assert!(problems.is_empty(), "{} problems\n{}", problems.len(), problems.join(""));
}

/// A temporary folder in which binaries run.
pub(crate) struct Work(TempDir);

impl Work {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A binary with its words and nothing else, ready to run in the folder.
    pub(crate) fn command(&self, binary: &str, line: &str) -> Command {
        let path = BINARIES.iter().find(|(name, _)| *name == binary).map(|(_, path)| *path).unwrap();
        let mut command = Command::new(path);
        command
            .args(line.split_whitespace())
            .current_dir(self.root())
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs a binary with nothing added.
    pub(crate) fn run_bare(&self, binary: &str, line: &str) -> Run {
        let output = self.command(binary, line).output().unwrap();
        Run {
            line: format!("{binary} {line}"),
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            // Windows joins paths with backslashes.
            stderr: String::from_utf8(output.stderr).unwrap().replace('\\', "/"),
        }
    }

    /// Runs a binary on one thread of the processor.
    pub(crate) fn run(&self, binary: &str, line: &str) -> Run {
        self.run_bare(binary, &format!("{line} --device cpu --threads 1"))
    }

    /// The same, with errors and results only on standard error.
    pub(crate) fn run_quiet(&self, binary: &str, line: &str) -> Run {
        self.run(binary, &format!("{line} --quiet"))
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        artifact::write_bytes(&self.path(name), Access::Public, bytes.as_ref()).unwrap();
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let path = self.path(name);
        std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        let text = self.text(name);
        // Windows joins paths with backslashes, which are doubled in JSON.
        serde_json::from_str(&if cfg!(windows) { text.replace("\\\\", "/") } else { text }).unwrap()
    }

    pub(crate) fn sha256(&self, name: &str) -> String {
        FileRecord::of(&self.path(name)).unwrap().sha256
    }

    /// Every file below `folder` with its hash, by its path relative to the working folder, with `/` between parts.
    /// Locks, which may stay as empty files, are left out.
    pub(crate) fn files(&self, folder: &str) -> BTreeMap<String, String> {
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

    /// Everything below the working folder: folders, temporary files and locks, too, with the hash of each file and where each link
    /// leads.
    pub(crate) fn tree(&self) -> BTreeMap<String, String> {
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
    pub(crate) fn images(&self, name: &str, images: &[Image]) {
        self.tensor(name, &[images.len(), 1, SIDE, SIDE], &images.concat());
    }

    /// Writes a float32 tensor.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize], values: &[f32]) {
        let mut file = Vec::new();
        tensorfile::pt::write_array(&mut file, View::f32(shape, values).unwrap()).unwrap();
        self.put(name, file);
    }

    /// Writes the labels that go with a tensor of samples, as `label-filter` does.
    pub(crate) fn labels(&self, name: &str, labels: &[i64]) {
        let row = |(index, label): (usize, &i64)| format!("{index},{label},0.95\r\n");
        let rows: Vec<String> = labels.iter().enumerate().map(row).collect();
        self.put(name, format!("index,label,confidence\r\n{}", rows.concat()));
    }

    /// One teacher's finished samples, as `combine` finds them.
    pub(crate) fn samples(&self, folder: &str, labels: &[i64]) {
        let images: Vec<Image> =
            labels.iter().enumerate().map(|(tag, &class)| image(class as usize, 0.9, tag)).collect();
        self.images(&format!("{folder}/synthetic_samples.pt"), &images);
        self.labels(&format!("{folder}/labels.csv"), labels);
    }

    /// The shape and values of a tensor file.
    pub(crate) fn array(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let array = tensorfile::read(&self.path(name)).unwrap().into_array().unwrap();
        (array.shape().to_vec(), array.into_f32())
    }

    /// The rows of a CSV file, without its header.
    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<String>> {
        let text = self.text(name);
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    }

    /// The column `label` of a CSV file that this program wrote.
    pub(crate) fn label_column(&self, name: &str) -> Vec<i64> {
        self.rows(name).iter().map(|row| row[1].parse().unwrap()).collect()
    }

    /// A teacher that sees the class of [`image`] with [`confidence`].
    pub(crate) fn teacher(&self, name: &str) {
        self.put(name, region_teacher());
    }

    /// A decoder that draws region `c` of [`image`] brighter the greater latent `c` is.
    pub(crate) fn decoder(&self, name: &str) {
        self.put(name, region_decoder());
    }

    /// A decoder that draws one image, whatever the latents are: it has memorised it.
    pub(crate) fn copying_decoder(&self, name: &str, image: &Image) {
        self.put(name, copying_decoder(image));
    }

    /// A small MNIST in torchvision's layout: `train` and `test` images, class i mod 10.
    pub(crate) fn mnist(&self, root: &str, train: usize, test: usize) {
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

fn is_lock(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with(".pate-synth.") && name.ends_with("lock")
}

/// Unsigned bytes as an IDX file.
pub(crate) fn idx(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    tensorfile::idx::write(&mut file, View::u8(shape, values).unwrap()).unwrap();
    file
}

/// The same, gzipped.
pub(crate) fn idx_gz(shape: &[usize], values: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    tensorfile::idx::write_gz(&mut file, View::u8(shape, values).unwrap()).unwrap();
    file
}

/// Side of an image.
pub(crate) const SIDE: usize = 28;

/// One image, row-major, in `[0, 1]`.
pub(crate) type Image = Vec<f32>;

/// Rows of pixels of a class's region: five bands of four rows each, two classes side by side in each.
fn rows_of(class: usize) -> std::ops::Range<usize> {
    let top = 4 * (class / 2 + 1);
    top..top + 4
}

/// Columns of pixels of a class's region.
fn columns_of(class: usize) -> std::ops::Range<usize> {
    if class.is_multiple_of(2) { 0..12 } else { 16..28 }
}

/// An image of `class` (0..10): its region at `brightness`, and in pixels that the teacher does not see a pattern for
/// `tag`. Two images of one class and brightness are at a distance of at least 3.46 where their tags differ; images of
/// one class and tag are at 6.93 times the difference of their brightness.
pub(crate) fn image(class: usize, brightness: f32, tag: usize) -> Image {
    let mut pixels = vec![0.0; SIDE * SIDE];
    for row in rows_of(class) {
        for column in columns_of(class) {
            pixels[row * SIDE + column] = brightness;
        }
    }
    // The four rows above and below the regions: 18 fields of 12 pixels, one per binary digit.
    let free: Vec<usize> = (0..4 * SIDE).chain(24 * SIDE..28 * SIDE).collect();
    for (digit, field) in free.chunks_exact(12).enumerate() {
        if tag >> digit & 1 == 1 {
            for &pixel in field {
                pixels[pixel] = 1.0;
            }
        }
    }
    pixels
}

/// Score of a class per unit of its pooled, normalised pixels.
const GAIN: f32 = 0.25;

/// The teacher's confidence in an image of this brightness (above .1307): ten pooled pixels of its region against
/// nothing in the nine others.
pub(crate) fn confidence(brightness: f32) -> f32 {
    let score = GAIN * 10.0 * (brightness - 0.1307) / 0.3081;
    score.exp() / (score.exp() + 9.0)
}

struct Weights(Vec<(&'static str, Vec<usize>, Vec<f32>)>);

impl Weights {
    fn of(shapes: &[(&'static str, &[usize])]) -> Self {
        Self(shapes.iter().map(|&(name, s)| (name, s.to_vec(), vec![0.0; s.iter().product()])).collect())
    }

    fn set(&mut self, name: &str, at: &[usize], value: f32) {
        let (_, shape, values) = self.0.iter_mut().find(|(n, ..)| *n == name).unwrap();
        let position = at.iter().zip(shape.iter()).fold(0, |sum, (index, length)| sum * length + index);
        values[position] = value;
    }

    fn file(&self) -> Vec<u8> {
        let views: Vec<(&str, View<'_>)> =
            self.0.iter().map(|(name, shape, values)| (*name, View::f32(shape, values).unwrap())).collect();
        let mut file = Vec::new();
        tensorfile::pt::write_dict(&mut file, &views).unwrap();
        file
    }
}

/// A UCStub that passes the image through its convolutions and adds up each class's region after the pool. Pooled pixel
/// p covers the pixels 2p+2 and 2p+3.
fn region_teacher() -> Vec<u8> {
    let mut weights = Weights::of(&[
        ("conv1.weight", &[32, 1, 3, 3]),
        ("conv1.bias", &[32]),
        ("conv2.weight", &[64, 32, 3, 3]),
        ("conv2.bias", &[64]),
        ("fc1.weight", &[128, 9216]),
        ("fc1.bias", &[128]),
        ("fc2.weight", &[10, 128]),
        ("fc2.bias", &[10]),
    ]);
    weights.set("conv1.weight", &[0, 0, 1, 1], 1.0);
    weights.set("conv2.weight", &[0, 0, 1, 1], 1.0);
    for class in 0..10 {
        for row in 0..12 {
            for column in 0..12 {
                let inside = |range: std::ops::Range<usize>, p: usize| {
                    range.contains(&(2 * p + 2)) && range.contains(&(2 * p + 3))
                };
                if inside(rows_of(class), row) && inside(columns_of(class), column) {
                    weights.set("fc1.weight", &[class, row * 12 + column], 1.0);
                }
            }
        }
        weights.set("fc2.weight", &[class, class], GAIN);
    }
    weights.file()
}

/// All weights of a VAE decoder, 0.
fn decoder_weights(latents: usize) -> Weights {
    Weights::of(&[
        ("fc.weight", &[6272, latents]),
        ("fc.bias", &[6272]),
        ("conv_t1.weight", &[128, 64, 4, 4]),
        ("conv_t1.bias", &[64]),
        ("conv_t2.weight", &[64, 32, 4, 4]),
        ("conv_t2.bias", &[32]),
        ("conv_final.weight", &[1, 32, 3, 3]),
        ("conv_final.bias", &[1]),
    ])
}

/// A VAE decoder of ten latents that enlarges a 7x7 picture, in which latent `c` fills the region of class `c`.
fn region_decoder() -> Vec<u8> {
    let mut weights = decoder_weights(10);
    for class in 0..10 {
        for row in rows_of(class).step_by(4) {
            for column in columns_of(class).step_by(4) {
                weights.set("fc.weight", &[row / 4 * 7 + column / 4, class], 1.0);
            }
        }
    }
    // Of a kernel of 4 with stride 2 and padding 1, the two middle taps repeat each value.
    for name in ["conv_t1.weight", "conv_t2.weight"] {
        for (row, column) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
            weights.set(name, &[0, 0, row, column], 1.0);
        }
    }
    weights.set("conv_final.weight", &[0, 0, 1, 1], 4.0);
    weights.set("conv_final.bias", &[0], -4.0);
    weights.file()
}

/// A VAE decoder of two latents whose only output is `image`. The 28x28 pixels lie in 16 channels of the first 7x7 layer,
/// one per place in a block of 4x4, and each transposed convolution puts four channels into the places of 2x2 pixels.
fn copying_decoder(image: &Image) -> Vec<u8> {
    // Logits of pixels are between -7 and 7; ReLU lets through what is not negative.
    const SHIFT: f32 = 7.0;
    let mut weights = decoder_weights(2);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let pixel = image[row * SIDE + column].clamp(0.001, 0.999);
            let channel = row % 4 * 4 + column % 4;
            weights.set(
                "fc.bias",
                &[channel * 49 + row / 4 * 7 + column / 4],
                (pixel / (1.0 - pixel)).ln() + SHIFT,
            );
        }
    }
    // Of stride 2 and padding 1, tap 1 writes the even and tap 2 the odd pixels.
    for row in 0..4 {
        for column in 0..4 {
            let (from, to) = (row * 4 + column, row % 2 * 2 + column % 2);
            weights.set("conv_t1.weight", &[from, to, 1 + row / 2, 1 + column / 2], 1.0);
        }
    }
    for row in 0..2 {
        for column in 0..2 {
            weights.set("conv_t2.weight", &[row * 2 + column, 0, 1 + row, 1 + column], 1.0);
        }
    }
    weights.set("conv_final.weight", &[0, 0, 1, 1], 1.0);
    weights.set("conv_final.bias", &[0], -SHIFT);
    weights.file()
}

/// A count in a report.
#[track_caller]
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}
