//! The pictures that steps write beside their files.

use std::path::Path;

use anyhow::{Context as _, Result};
use artifact::{Access, FileRecord, write_bytes};
use pate_core::data::Images;
use pate_core::evaluate::ClassifierScore;
use pate_core::train::classifier::EpochScore;
use pate_core::train::vae::VaeEpoch;
use picture::{Chart, Line, Panel, Sample};

/// Candidates in a grid.
const GRID: i64 = 64;

/// The name of the picture beside a report or a pool.
pub fn beside(path: &Path) -> String {
    path.with_extension("png").file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The first 64 images, 8 a row with 2 pixels of white between them (242x242 for MNIST's shape).
///
/// # Errors
/// Where the file cannot be written.
pub fn grid(images: &Images, path: &Path, access: Access) -> Result<FileRecord> {
    let first = images.tensor().narrow(0, 0, GRID.min(images.tensor().size()[0]));
    let pixels = pate_core::base::tensor::to_f32(&first)?;
    let picture = picture::grid(&layout(images, &pixels), 8, 2)?;
    write(&picture, path, access)
}

/// At most `per_class` samples of every class in a row: the most confident with their confidences,
/// or, without confidences, some spread evenly over the rows.
///
/// # Errors
/// Where the file cannot be written.
pub fn class_sheet(
    title: &str,
    images: &Images,
    labels: &[i64],
    confidences: Option<&[f32]>,
    per_class: usize,
    path: &Path,
    access: Access,
) -> Result<FileRecord> {
    let mut by_class: std::collections::BTreeMap<i64, Vec<usize>> = std::collections::BTreeMap::new();
    for (row, &label) in labels.iter().enumerate() {
        by_class.entry(label).or_default().push(row);
    }
    let mut chosen = Vec::new();
    let mut rows = Vec::new();
    for (class, mut members) in by_class {
        let n = members.len();
        match confidences {
            Some(confidences) => {
                pate_core::pate::select::sort_by_confidence(&mut members, confidences);
                members.truncate(per_class);
            }
            // Evenly over the rows, which stand by teacher.
            None => members = (0..per_class.min(n)).map(|i| members[i * n / per_class.min(n)]).collect(),
        }
        let samples = members
            .iter()
            .enumerate()
            .map(|(i, &row)| Sample {
                image_idx: chosen.len() + i,
                caption: confidences.map_or_else(String::new, |c| format!("{:.3}", c[row])),
            })
            .collect();
        rows.push((format!("{class} (n = {n})"), samples));
        chosen.extend(members.into_iter().map(|row| row as i64));
    }
    let picked = images.tensor().index_select(0, &pate_core::base::tensor::from_i64(&chosen));
    let pixels = pate_core::base::tensor::to_f32(&picked)?;
    let picture = picture::class_sheet(title, &layout(images, &pixels), &rows)?;
    write(&picture, path, access)
}

/// Named rows of images, each image with a caption.
///
/// # Errors
/// Where the file cannot be written.
pub fn rows(
    title: &str,
    images: &Images,
    rows: &[(String, Vec<Sample>)],
    path: &Path,
    access: Access,
) -> Result<FileRecord> {
    let pixels = images.to_vec()?;
    write(&picture::class_sheet(title, &layout(images, &pixels), rows)?, path, access)
}

/// Counts of true and predicted classes.
///
/// # Errors
/// Where the file cannot be written.
pub fn confusion(
    title: &str,
    score: &ClassifierScore,
    class_names: &[String],
    path: &Path,
    access: Access,
) -> Result<FileRecord> {
    let name = |class: usize| class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let names: Vec<String> = (0..score.confusion_matrix.len()).map(name).collect();
    write(&picture::confusion(title, &names, &score.confusion_matrix)?.png()?, path, access)
}

/// Loss and accuracy by epoch.
///
/// # Errors
/// Where the file cannot be written.
pub fn classifier_curves(
    title: &str,
    history: &[EpochScore],
    path: &Path,
    access: Access,
) -> Result<FileRecord> {
    let line = |name: &str, value: &dyn Fn(&EpochScore) -> Option<f64>| Line {
        name: name.to_owned(),
        points: history.iter().filter_map(|e| Some((e.epoch as f64, value(e)?))).collect(),
    };
    let panels = vec![
        panel(
            "Loss",
            "negative log-likelihood",
            vec![line("training", &|e| Some(e.train_loss)), line("validation", &|e| e.validation_loss)],
        ),
        panel(
            "Accuracy",
            "per cent",
            vec![
                line("training", &|e| Some(e.train_accuracy)),
                line("validation", &|e| e.validation_accuracy),
            ],
        ),
    ];
    write(&Chart { title: title.to_owned(), panels }.png()?, path, access)
}

/// A curve with a panel of its own.
pub struct Curve {
    title: &'static str,
    y_label: &'static str,
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// `points` are x and y.
    pub fn new(title: &'static str, y_label: &'static str, points: Vec<(f64, f64)>) -> Self {
        Self { title, y_label, points }
    }
}

/// Curves over one x.
///
/// # Errors
/// Where the file cannot be written.
pub fn curves(
    title: &str,
    x_label: &str,
    curves: Vec<Curve>,
    path: &Path,
    access: Access,
) -> Result<FileRecord> {
    let of = |curve: Curve| Panel {
        x_label: x_label.to_owned(),
        ..panel(curve.title, curve.y_label, vec![Line { name: String::new(), points: curve.points }])
    };
    let panels = curves.into_iter().map(of).collect();
    write(&Chart { title: title.to_owned(), panels }.png()?, path, access)
}

/// The VAE's losses by epoch.
///
/// # Errors
/// Where the file cannot be written.
pub fn vae_curves(title: &str, history: &[VaeEpoch], path: &Path, access: Access) -> Result<FileRecord> {
    let line = |name: &str, value: &dyn Fn(&VaeEpoch) -> f64| Line {
        name: name.to_owned(),
        points: history.iter().map(|e| (e.epoch as f64, value(e))).collect(),
    };
    let panels = vec![
        panel("Reconstruction", "nats per image", vec![line("binary cross-entropy", &|e| e.recon_loss)]),
        panel("KL divergence", "nats per image", vec![line("KL", &|e| e.kl_loss)]),
    ];
    write(&Chart { title: title.to_owned(), panels }.png()?, path, access)
}

/// Distances to the nearest private image.
///
/// # Errors
/// Where the file cannot be written.
pub fn distances(
    title: &str,
    distances: &[f32],
    marks: &[(String, f64)],
    path: &Path,
    access: Access,
) -> Result<FileRecord> {
    let values: Vec<f64> = distances.iter().map(|&d| f64::from(d)).collect();
    let picture = picture::histogram(
        title,
        "Euclidean distance to the nearest image of the shard",
        &values,
        40,
        marks,
    )?;
    write(&picture.png()?, path, access)
}

fn panel(title: &str, y_label: &str, lines: Vec<Line>) -> Panel {
    Panel {
        title: title.to_owned(),
        x_label: "epoch".to_owned(),
        y_label: y_label.to_owned(),
        lines: lines.into_iter().filter(|line| !line.points.is_empty()).collect(),
        ..Panel::default()
    }
}

fn layout<'a>(images: &Images, pixels: &'a [f32]) -> picture::Images<'a> {
    let shape = images.shape();
    picture::Images {
        channels: shape.channels as usize,
        height: shape.height as usize,
        width: shape.width as usize,
        pixels,
    }
}

fn write(picture: &[u8], path: &Path, access: Access) -> Result<FileRecord> {
    write_bytes(path, access, picture).context("cannot write a picture")
}
