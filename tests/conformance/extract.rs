//! The part of the recorded cases that is committed, so that every clone compares rows with the
//! original.
//!
//! The weights of a teacher alone would be most of it, so a selection starts from the teacher's
//! answers, as our network gives them for the whole set of candidates; `selection/*` of the whole
//! folder holds these against the original's own. Of the candidates there are those that any case
//! keeps after its confidence filter: no later filter looks at another.
//!
//! `PATE_WRITE_EXTRACT=1 cargo test --release --package pate-cli --test conformance` makes it again
//! from the whole folder.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use artifact::Access;
use clap::Parser;
use libtest_mimic::Failed;
use pate_cli::args::FilterArgs;
use pate_cli::settings::ResolvedFilters;
use pate_core::base::progress::Silent;
use pate_core::config::Config;
use pate_core::data::{ImageShape, Images, MNIST_CLASSES, Normalisation, RangeRule, Shard, ShardMetadata};
use pate_core::models::{Program, Teacher};
use pate_core::pate::label::{Labelled, label};
use pate_core::pate::label_filter::{FilterInputs, Filtered, filter};
use tch::Device;
use tensorfile::{Array, View};

use super::steps::{SELECTIONS, Selection};
use super::{Dir, workspace};

/// Candidates of a made pool that are compared.
const POOL_ROWS: usize = 64;

/// Files that are taken over as they are.
const COPIED: &[&str] = &[
    "config_default.json",
    "config_small.json",
    "decoder.pth",
    "teacher_0/metadata.json",
    "teacher_0/shard_labels.pt",
    "teacher_7/metadata.json",
    "teacher_7/shard_labels.pt",
    "expected/pool_seed123/candidates.json",
    "expected/t0_small_shard/evaluation_report.json",
    "expected/t7_strict/evaluation_report.json",
    "pt/hostile_os_system.pt",
    "pt/hostile_torchscript_writes.pt",
    "pt/truncated.pt",
    "pt/empty_file.pt",
    "pt/text.pt",
    "pt/short_storage.pt",
];

/// Where the extract is in the checkout.
pub(crate) fn folder() -> PathBuf {
    workspace().join("tests/conformance/extract")
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    filters: FilterArgs,
}

/// The filters of a case, as `label-filter` resolves them.
fn filters(dir: &Dir, selection: &Selection) -> Result<ResolvedFilters, Failed> {
    let arguments = selection.arguments;
    let named = arguments.iter().position(|word| *word == "--config");
    let config = named.map_or("config_default.json", |at| arguments[at + 1]);
    let words = arguments
        .iter()
        .enumerate()
        .filter(|(at, _)| named.is_none_or(|named| !(named..named + 2).contains(at)));
    let line = Line::try_parse_from(std::iter::once(&"label-filter").chain(words.map(|(_, word)| word)))?;
    Ok(line.filters.resolve(&Config::load(&dir.path(config))?, 0)?)
}

/// The candidates; those that no case keeps are black.
fn candidates(dir: &Dir) -> Result<Images, Failed> {
    let arrays = tensorfile::read(&dir.path("candidates_a.safetensors"))?.into_tensors()?;
    let named = |name: &str| {
        let found = arrays.iter().find(|(found, _)| found == name).map(|(_, array)| array.clone());
        found.ok_or_else(|| format!("candidates_a.safetensors has no {name}"))
    };
    let (total, rows, kept) =
        (named("total")?.to_i64()?[0], named("rows")?.to_i64()?, named("pixels")?.into_f32());
    let width = 28 * 28;
    let mut pixels = vec![0.0; total as usize * width];
    for (row, values) in rows.iter().zip(kept.chunks_exact(width)) {
        pixels[*row as usize * width..][..width].copy_from_slice(values);
    }
    let work = tempfile::tempdir()?;
    let path = work.path().join("candidates_a.pt");
    let mut file = Vec::new();
    tensorfile::pt::write_array(&mut file, View::f32(&[total as usize, 1, 28, 28], &pixels)?)?;
    artifact::write_bytes(&path, Access::Public, &file)?;
    Ok(Images::load(&path, RangeRule::OWN)?)
}

fn answers(dir: &Dir, teacher: u64) -> Result<Labelled, Failed> {
    let arrays =
        tensorfile::read(&dir.path(&format!("teacher_{teacher}/answers.safetensors")))?.into_tensors()?;
    let mut labelled = Labelled::default();
    for (name, array) in arrays {
        match name.as_str() {
            "labels" => labelled.labels = array.to_i64()?,
            _ => labelled.confidences = array.into_f32(),
        }
    }
    Ok(labelled)
}

/// A network that is not asked: answers are recorded.
fn silent_teacher() -> Result<Teacher, Failed> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model.pth");
    let network = pate_core::models::UcStub::new(ImageShape::MNIST, MNIST_CLASSES, 0, Device::Cpu)?;
    pate_core::models::save(&network, &path, Access::Public)?;
    Ok(Teacher::load(&path, ImageShape::MNIST, Normalisation::mnist(), Program::default(), Device::Cpu)?)
}

/// The selection of a case, from the recorded answers.
pub(crate) fn select(dir: &Dir, selection: &Selection) -> Result<Filtered, Failed> {
    let pool = candidates(dir)?;
    let labelled = answers(dir, selection.teacher)?;
    let teacher = silent_teacher()?;
    let folder = format!("teacher_{}", selection.teacher);
    let (mut shard, mut counts) = (None, None);
    if selection.with_shard {
        shard = Some(Shard::load(&dir.path(&format!("{folder}/shard.pt")), RangeRule::OWN)?.images);
        let path = dir.path(&format!("{folder}/metadata.json"));
        counts = Some(ShardMetadata::load(&path, 10)?.counts(&path, 10)?);
    }
    let inputs = FilterInputs {
        teacher: &teacher,
        shard_private: shard.as_ref(),
        shard_counts: counts.as_ref(),
        decoder: None,
        latents: None,
    };
    Ok(filter(&pool, &labelled, &inputs, &filters(dir, selection)?.plan, &Silent)?)
}

/// The samples that the original selected in a case.
pub(crate) fn expected_samples(dir: &Dir, case: &str) -> Result<Array, Failed> {
    let rows: Vec<i64> = serde_json::from_value(dir.json(&format!("expected/{case}/rows.json"))?)?;
    let pixels = candidates(dir)?.select(&rows)?.to_vec()?;
    Ok(Array::from_f32(vec![rows.len(), 1, 28, 28], pixels)?)
}

/// Writes the extract from the whole folder.
pub(crate) fn write(whole: &Dir) -> Result<(), Failed> {
    let to = folder();
    let put = |name: &str, bytes: &[u8]| artifact::write_bytes(&to.join(name), Access::Public, bytes);
    for name in COPIED {
        put(name, &std::fs::read(whole.path(name))?)?;
    }
    let pool = Images::load(&whole.path("candidates_a.pt"), RangeRule::OWN)?;
    let pixels = pool.to_vec()?;
    let width = 28 * 28;
    let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
    let row_of: HashMap<Vec<u32>, usize> =
        pixels.chunks_exact(width).enumerate().map(|(row, values)| (bits(values), row)).collect();

    let mut used = BTreeSet::new();
    for teacher in [0, 7] {
        let folder = format!("teacher_{teacher}");
        let model = whole.path(&format!("{folder}/model.pth"));
        let network = Teacher::load(
            &model,
            ImageShape::MNIST,
            Normalisation::mnist(),
            Program::default(),
            Device::Cpu,
        )?;
        let labelled = label(&network, &pool, 128, &Silent)?;
        for selection in SELECTIONS.iter().filter(|selection| selection.teacher == teacher) {
            let thresholds = filters(whole, selection)?.plan.thresholds;
            used.extend(
                (0..pool.len())
                    .filter(|&row| labelled.confidences[row] >= thresholds.of(labelled.labels[row])),
            );
        }
        let shape = [labelled.labels.len()];
        let mut file = Vec::new();
        let arrays = [
            ("labels", View::i64(&shape, &labelled.labels)?),
            ("confidences", View::f32(&shape, &labelled.confidences)?),
        ];
        tensorfile::safetensors::write(&mut file, &arrays, &[])?;
        put(&format!("{folder}/answers.safetensors"), &file)?;
        put(&format!("{folder}/shard.pt"), &as_bytes(&whole.path(&format!("{folder}/shard.pt")))?)?;
    }
    for selection in SELECTIONS {
        let case = selection.case;
        for name in ["labels.csv", "selection_report.json"] {
            let name = format!("expected/{case}/{name}");
            put(&name, &std::fs::read(whole.path(&name))?)?;
        }
        let samples = tensorfile::read(&whole.path(&format!("expected/{case}/synthetic_samples.pt")))?;
        let rows: Option<Vec<usize>> = samples
            .into_array()?
            .into_f32()
            .chunks_exact(width)
            .map(|values| row_of.get(&bits(values)).copied().filter(|row| used.contains(row)))
            .collect();
        let rows = rows.ok_or_else(|| format!("{case} has a sample that is no candidate"))?;
        put(&format!("expected/{case}/rows.json"), serde_json::to_string(&rows)?.as_bytes())?;
    }
    for case in ["combined_100", "combined_40"] {
        for part in ["labels.csv", "teacher_ids.csv", "metadata.json"] {
            let name = format!("expected/{case}/combined_synthetic_{part}");
            put(&name, &std::fs::read(whole.path(&name))?)?;
        }
    }
    let made = tensorfile::read(&whole.path("expected/pool_seed123/candidates.pt"))?.into_array()?.into_f32();
    let mut file = Vec::new();
    tensorfile::pt::write_array(&mut file, View::f32(&[POOL_ROWS, 1, 28, 28], &made[..POOL_ROWS * width])?)?;
    put("expected/pool_seed123/candidates.pt", &file)?;

    let rows: Vec<i64> = used.iter().map(|&row| row as i64).collect();
    let kept: Vec<f32> = used.iter().flat_map(|&row| &pixels[row * width..][..width]).copied().collect();
    let total = [pool.len() as i64];
    let shape = [rows.len(), 1, 28, 28];
    let arrays = [
        ("total", View::i64(&[1], &total)?),
        ("rows", View::i64(&shape[..1], &rows)?),
        ("pixels", View::f32(&shape, &kept)?),
    ];
    let mut file = Vec::new();
    tensorfile::safetensors::write(&mut file, &arrays, &[])?;
    put("candidates_a.safetensors", &file)?;
    Ok(())
}

/// A shard as unsigned bytes, which read as the same images.
fn as_bytes(path: &Path) -> Result<Vec<u8>, Failed> {
    let array = tensorfile::read(path)?.into_array()?;
    let shape = array.shape().to_vec();
    let values = array.into_f32();
    let bytes: Vec<u8> = values.iter().map(|x| (x * 255.0).round() as u8).collect();
    if bytes.iter().zip(&values).any(|(byte, x)| (f32::from(*byte) / 255.0).to_bits() != x.to_bits()) {
        return Err(format!("{} is no image of bytes", path.display()).into());
    }
    let mut file = Vec::new();
    tensorfile::pt::write_array(&mut file, View::u8(&shape, &bytes)?)?;
    Ok(file)
}
