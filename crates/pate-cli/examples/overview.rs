//! Draws the picture of the README out of a run of the demo: a row each of public digits,
//! candidates, images that teachers selected, and images that were steered to a class.
//!
//! `cargo xtask demo` runs it. Nothing is picked by hand: every row shows the first image of a
//! class in the order of its file, and teachers are looked through in the order of their numbers.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use artifact::{Access, write_bytes};
use pate_core::data::{Images, LabelColumn, RangeRule, digits, read_labels_of};
use picture::Sample;

const CLASSES: i64 = 10;

/// An image's values.
type Pixels = Vec<f32>;

/// Images of a row with what is written below them.
type Row = Vec<(Pixels, String)>;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(demo), Some(out), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        bail!("usage: overview DEMO-FOLDER OUT.png");
    };
    let (selected, steered) = samples(&demo)?;
    let rows = [
        ("public digits", public()?),
        ("candidates", candidates(&demo.join("candidates/candidates_teacher_0.pt"))?),
        ("selected", selected),
        ("steered", steered),
    ];
    draw(&rows, &out)
}

/// The first digit of each class, as the decoder saw it.
fn public() -> Result<Row> {
    let records = digits()?;
    let images = split(&records.images)?;
    let of_class = |class: i64| {
        let index = records.labels.values().iter().position(|&label| label == class);
        let index = index.with_context(|| format!("no digit {class}"))?;
        Ok((images[index].clone(), class.to_string()))
    };
    (0..CLASSES).map(of_class).collect()
}

/// The first images of a pool, as the decoder drew them.
fn candidates(pool: &Path) -> Result<Row> {
    let images = split(&Images::load(pool, RangeRule::OWN)?)?;
    Ok(images.into_iter().take(CLASSES as usize).map(|image| (image, String::new())).collect())
}

/// The first selected and the first steered image of each class. A sample that is not in its
/// teacher's pool was steered.
fn samples(demo: &Path) -> Result<(Row, Row)> {
    let (mut selected, mut steered) = (BTreeMap::new(), BTreeMap::new());
    for teacher in 0.. {
        let folder = demo.join(format!("teachers/teacher_{teacher}"));
        let path = folder.join("synthetic_samples.pt");
        let is_done = selected.len() == CLASSES as usize && steered.len() == CLASSES as usize;
        if is_done || !path.exists() {
            break;
        }
        let pool =
            Images::load(&demo.join(format!("candidates/candidates_teacher_{teacher}.pt")), RangeRule::OWN)?;
        let pool: HashSet<Vec<u32>> = split(&pool)?.iter().map(|image| bits(image)).collect();
        let images = Images::load(&path, RangeRule::OWN)?;
        let labels = read_labels_of(
            &path,
            images.len(),
            &folder.join("labels.csv"),
            CLASSES,
            LabelColumn::Confidence,
        )?;
        for (image, row) in split(&images)?.into_iter().zip(labels) {
            let of_kind = if pool.contains(&bits(&image)) { &mut selected } else { &mut steered };
            let confidence = row.confidence.context("labels without confidences")?;
            of_kind.entry(row.label).or_insert((image, format!("{}: {confidence:.2}", row.label)));
        }
    }
    Ok((selected.into_values().collect(), steered.into_values().collect()))
}

fn draw(rows: &[(&str, Row)], out: &Path) -> Result<()> {
    let mut pixels = Vec::new();
    let mut sheet = Vec::new();
    let mut image_idx = 0;
    let side = rows.iter().flat_map(|(_, row)| row).map(|(image, _)| image.len()).next().unwrap_or_default();
    for (label, row) in rows {
        let mut samples = Vec::new();
        for (image, caption) in row {
            pixels.extend_from_slice(image);
            samples.push(Sample { image_idx, caption: caption.clone() });
            image_idx += 1;
        }
        sheet.push(((*label).to_owned(), samples));
    }
    let side = side.isqrt();
    let images = picture::Images { channels: 1, height: side, width: side, pixels: &pixels };
    let png = picture::class_sheet("From public digits to labelled synthetic images", &images, &sheet)?;
    write_bytes(out, Access::Public, &png).with_context(|| format!("cannot write {}", out.display()))?;
    Ok(())
}

fn split(images: &Images) -> Result<Vec<Pixels>> {
    let values = images.to_vec()?;
    let size = values.len().checked_div(images.len()).context("no images")?;
    Ok(values.chunks(size).map(<[f32]>::to_vec).collect())
}

/// An image as something that can be looked up.
fn bits(image: &[f32]) -> Vec<u32> {
    image.iter().map(|value| value.to_bits()).collect()
}
