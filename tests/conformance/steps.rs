//! Selections, pools, students, evaluations and combinations.

use std::path::Path;

use libtest_mimic::Failed;
use pate_core::data::{LabelColumn, LabelRow, read_label_csv};
use serde_json::Value;
use tensorfile::Array;

use super::{Case, Dir, extract, run, same, text, workspace};

/// Confidences may differ by this much.
const CONFIDENCE: f32 = 1e-4;
/// Metrics may differ by this share.
const METRIC: f64 = 1e-3;
/// Least samples by class in `combined_40`: the floor of each class's share of 217.
const FLOORS: [u64; 10] = [30, 19, 28, 29, 15, 26, 29, 2, 16, 17];
/// Paths, hashes and wording: not compared.
const NOT_COMPARED: &[&str] = &[
    "candidate_pool_path",
    "teacher_model_path",
    "samples_path",
    "labels_path",
    "teacher_ids_path",
    "config_used",
    "samples_hash",
    "metadata",
    "interpretation",
    "model_path",
    "mnist_test_dir",
    "decoder_path",
];

pub(crate) struct Selection {
    pub(crate) case: &'static str,
    pub(crate) teacher: u64,
    pub(crate) with_shard: bool,
    pub(crate) arguments: &'static [&'static str],
    /// Candidates beyond quota and target, from the material's specification (the original does not
    /// report them).
    rejected: (u64, u64),
}

pub(crate) const SELECTIONS: &[Selection] = &[
    Selection { case: "t0_default", teacher: 0, with_shard: false, arguments: &[], rejected: (0, 0) },
    Selection {
        case: "t0_small_shard",
        teacher: 0,
        with_shard: true,
        arguments: &["--config", "config_small.json"],
        rejected: (161, 0),
    },
    Selection {
        case: "t7_small_shard",
        teacher: 7,
        with_shard: true,
        arguments: &["--config", "config_small.json"],
        rejected: (255, 0),
    },
    Selection {
        case: "t7_target36",
        teacher: 7,
        with_shard: false,
        arguments: &[
            "--quota",
            "False",
            "--confidence",
            "0.9",
            "--min-nn-distance",
            "2.0",
            "--min-diversity-distance",
            "3.0",
            "--target-samples",
            "36",
        ],
        rejected: (37, 360),
    },
    Selection {
        case: "t0_nodiv_max40",
        teacher: 0,
        with_shard: true,
        arguments: &["--min-diversity-distance", "0", "--max-per-class", "40", "--min-per-class", "10"],
        rejected: (99, 0),
    },
    Selection {
        case: "t7_strict",
        teacher: 7,
        with_shard: true,
        arguments: &["--confidence", "0.99", "--min-nn-distance", "6.5", "--min-diversity-distance", "6.0"],
        rejected: (0, 0),
    },
];

pub(crate) fn cases() -> Vec<Case> {
    let selections = SELECTIONS.iter().map(|selection| {
        Case::new(format!("selection/{}", selection.case), true, move |dir| select(dir, selection))
    });
    let mut all: Vec<Case> = selections.collect();
    for case in ["t0_small_shard", "t7_strict"] {
        all.push(Case::new(format!("evaluation/{case}"), true, move |dir| evaluate(dir, case)));
    }
    for (case, percentage) in [("combined_100", "1.0"), ("combined_40", "0.4")] {
        all.push(Case::new(format!("combine/{case}"), true, move |dir| combine(dir, case, percentage)));
    }
    for teacher in [0, 7] {
        all.push(Case::new(format!("student/as_teacher_{teacher}"), false, move |dir| student(dir, teacher)));
    }
    all.push(Case::new("pool/seed123", true, pool));
    all
}

/// What the original selected in a case, as a file.
fn expected_samples(dir: &Dir, case: &str, to: &Path) -> Result<(), Failed> {
    if !dir.is_extract {
        std::fs::copy(dir.path(&format!("expected/{case}/synthetic_samples.pt")), to)?;
        return Ok(());
    }
    let samples = extract::expected_samples(dir, case)?;
    let mut file = Vec::new();
    tensorfile::pt::write_array(&mut file, samples.view())?;
    artifact::write_bytes(to, artifact::Access::Public, &file)?;
    Ok(())
}

fn array(path: &Path) -> Result<Array, Failed> {
    Ok(tensorfile::read(path)?.into_array()?)
}

/// Rows equal to the bit, in order; two rows may swap where their confidences are as good as equal.
fn same_rows(found: Array, expected: Array, rows: &[LabelRow]) -> Result<(), Failed> {
    if found.shape() != expected.shape() {
        return Err(format!("samples are {:?}, expected {:?}", found.shape(), expected.shape()).into());
    }
    let n = rows.len().max(1);
    let (found, expected) = (found.into_f32(), expected.into_f32());
    let width = found.len() / n;
    let row = |values: &[f32], i: usize| values[i * width..][..width].to_vec();
    for i in 0..rows.len() {
        let near = |j: usize| match (rows[i].confidence, rows[j].confidence) {
            (Some(a), Some(b)) => (a - b).abs() < CONFIDENCE,
            _ => i == j,
        };
        let wanted = row(&expected, i);
        let neighbours = i.saturating_sub(3)..(i + 4).min(rows.len());
        if !neighbours.filter(|&j| near(j)).any(|j| row(&found, j) == wanted) {
            return Err(format!("row {i} of the samples is not the expected candidate").into());
        }
    }
    Ok(())
}

/// Report, rows and samples of `label-filter`.
fn by_program(dir: &Dir, selection: &Selection) -> Result<(Value, Vec<LabelRow>, Array), Failed> {
    let out = tempfile::tempdir()?;
    let teacher = format!("teacher_{}", selection.teacher);
    let mut args = vec![
        "--candidates".to_owned(),
        text(&dir.path("candidates_a.pt")),
        "--teacher-model".to_owned(),
        text(&dir.path(&format!("{teacher}/model.pth"))),
        "--out-dir".to_owned(),
        text(out.path()),
    ];
    if selection.with_shard {
        args.extend([
            "--teacher-shard-path".to_owned(),
            text(&dir.path(&format!("{teacher}/shard.pt"))),
            "--shard-metadata".to_owned(),
            text(&dir.path(&format!("{teacher}/metadata.json"))),
        ]);
    }
    if !selection.arguments.contains(&"--config") {
        args.extend(["--config".to_owned(), text(&dir.path("config_default.json"))]);
    }
    for &word in selection.arguments {
        let is_file = Path::new(word).extension().is_some_and(|ending| ending == "json");
        args.push(if is_file { text(&dir.path(word)) } else { word.to_owned() });
    }
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    run(env!("CARGO_BIN_EXE_label-filter"), &words)?;

    let report = std::fs::read_to_string(out.path().join("selection_report.json"))?;
    let rows = read_label_csv(&out.path().join("labels.csv"), 10, LabelColumn::Confidence)?;
    Ok((serde_json::from_str(&report)?, rows, array(&out.path().join("synthetic_samples.pt"))?))
}

/// The same from the extract, which has no teacher to ask.
fn by_library(dir: &Dir, selection: &Selection) -> Result<(Value, Vec<LabelRow>, Array), Failed> {
    let filtered = extract::select(dir, selection)?;
    let answers = filtered.answers;
    let row = |(&label, &confidence): (&i64, &f32)| LabelRow { label, confidence: Some(confidence) };
    let rows = answers.labels.iter().zip(&answers.confidences).map(row).collect();
    let shape: Vec<usize> = filtered.images.tensor().size().iter().map(|&n| n as usize).collect();
    let samples = Array::from_f32(shape, filtered.images.to_vec()?)?;
    Ok((serde_json::to_value(filtered.summary)?, rows, samples))
}

fn select(dir: &Dir, selection: &Selection) -> Result<(), Failed> {
    let (report, rows, samples) =
        if dir.is_extract { by_library(dir, selection)? } else { by_program(dir, selection)? };
    let expected = format!("expected/{}", selection.case);
    same("report", &report, &dir.json(&format!("{expected}/selection_report.json"))?, NOT_COMPARED, METRIC)?;
    let found = (report["rejected_quota"].as_u64(), report["rejected_target"].as_u64());
    if found != (Some(selection.rejected.0), Some(selection.rejected.1)) {
        return Err(
            format!("rejected by quota and target: {found:?}, expected {:?}", selection.rejected).into()
        );
    }
    let wanted = read_label_csv(&dir.path(&format!("{expected}/labels.csv")), 10, LabelColumn::Confidence)?;
    if rows.len() != wanted.len() {
        return Err(format!("{} labels, expected {}", rows.len(), wanted.len()).into());
    }
    for (i, (row, wanted)) in rows.iter().zip(&wanted).enumerate() {
        let difference = row.confidence.unwrap_or(f32::NAN) - wanted.confidence.unwrap_or(f32::NAN);
        if row.label != wanted.label || difference.is_nan() || difference.abs() > CONFIDENCE {
            return Err(format!("row {i}: {row:?}, expected {wanted:?}").into());
        }
    }
    let work = tempfile::tempdir()?;
    let path = work.path().join("expected.pt");
    expected_samples(dir, selection.case, &path)?;
    same_rows(samples, array(&path)?, &rows)
}

fn evaluate(dir: &Dir, case: &str) -> Result<(), Failed> {
    let out = tempfile::tempdir()?;
    let report_path = out.path().join("evaluation_report.json");
    let teacher = &case[1..2];
    let samples = out.path().join("samples.pt");
    expected_samples(dir, case, &samples)?;
    run(
        env!("CARGO_BIN_EXE_evaluate-synthetic"),
        &[
            "--samples",
            &text(&samples),
            "--labels",
            &text(&dir.path(&format!("expected/{case}/labels.csv"))),
            "--shard",
            &text(&dir.path(&format!("teacher_{teacher}/shard.pt"))),
            "--shard-labels",
            &text(&dir.path(&format!("teacher_{teacher}/shard_labels.pt"))),
            "--out",
            &text(&report_path),
        ],
    )?;
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&report_path)?)?;
    let expected = dir.json(&format!("expected/{case}/evaluation_report.json"))?;
    let compared = same("report", &report, &expected, NOT_COMPARED, METRIC)?;
    if compared < 40 {
        return Err(format!("only {compared} values were compared").into());
    }
    Ok(())
}

fn combine(dir: &Dir, case: &str, percentage: &str) -> Result<(), Failed> {
    let work = tempfile::tempdir()?;
    for (teacher, source) in [(0, "t0_small_shard"), (7, "t7_small_shard")] {
        let folder = work.path().join(format!("teachers/teacher_{teacher}"));
        std::fs::create_dir_all(&folder)?;
        std::fs::copy(dir.path(&format!("expected/{source}/labels.csv")), folder.join("labels.csv"))?;
        expected_samples(dir, source, &folder.join("synthetic_samples.pt"))?;
    }
    let out = work.path().join("combined");
    run(
        env!("CARGO_BIN_EXE_combine"),
        &[
            "--teachers-dir",
            &text(&work.path().join("teachers")),
            "--output",
            &text(&out),
            "--percentage",
            percentage,
        ],
    )?;
    let metadata = std::fs::read_to_string(out.join("combined_synthetic_metadata.json"))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let expected = dir.json(&format!("expected/{case}/combined_synthetic_metadata.json"))?;
    let (labels, ids) = ("combined_synthetic_labels.csv", "combined_synthetic_teacher_ids.csv");
    if percentage == "1.0" {
        same("metadata", &metadata, &expected, NOT_COMPARED, METRIC)?;
        for file in [labels, ids] {
            if std::fs::read(out.join(file))? != std::fs::read(dir.path(&format!("expected/{case}/{file}")))?
            {
                return Err(format!("{file} differs").into());
            }
        }
        let samples = "combined_synthetic_samples.pt";
        let found = array(&out.join(samples))?;
        let wanted = if dir.is_extract {
            let sets = ["t0_small_shard", "t7_small_shard"].map(|set| extract::expected_samples(dir, set));
            let pixels =
                sets.into_iter().map(|set| Ok(set?.into_f32())).collect::<Result<Vec<_>, Failed>>()?;
            Array::from_f32(found.shape().to_vec(), pixels.concat())?
        } else {
            array(&dir.path(&format!("expected/{case}/{samples}")))?
        };
        return if found == wanted { Ok(()) } else { Err("the samples differ".into()) };
    }
    // Random rows: counts and floors are what can be compared.
    for field in
        ["total_samples", "num_teachers", "teacher_ids", "percentage_used", "stratified_sampling", "shape"]
    {
        if metadata[field] != expected[field] {
            return Err(format!("{field} is {}, expected {}", metadata[field], expected[field]).into());
        }
    }
    let mut excess = 0;
    for (class, floor) in FLOORS.iter().enumerate() {
        let n = metadata["class_distribution"][class.to_string()].as_u64().unwrap_or(0);
        excess += n
            .checked_sub(*floor)
            .ok_or_else(|| format!("class {class} has {n}, at least {floor} expected"))?;
    }
    let rows = read_label_csv(&out.join(labels), 10, LabelColumn::Label)?.len();
    if excess != 6 || rows != 217 {
        return Err(
            format!("{excess} rows beyond the floors (6 expected), {rows} labels (217 expected)").into()
        );
    }
    Ok(())
}

fn student(dir: &Dir, teacher: u64) -> Result<(), Failed> {
    let out = tempfile::tempdir()?;
    let report_path = out.path().join("report.json");
    let printed = run(
        env!("CARGO_BIN_EXE_evaluate-student"),
        &[
            "--model",
            &text(&dir.path(&format!("teacher_{teacher}/model.pth"))),
            "--mnist-dir",
            &text(&workspace().join("data/mnist-subset")),
            "--output",
            &text(&report_path),
        ],
    )?;
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&report_path)?)?;
    let expected = dir.json(&format!("expected/student_as_teacher_{teacher}.json"))?;
    same("report", &report, &expected, NOT_COMPARED, METRIC)?;
    let accuracy = format!("{:.2}%", expected["overall_accuracy"].as_f64().unwrap_or_default());
    if printed.contains(&accuracy) {
        Ok(())
    } else {
        Err(format!("{accuracy} is not printed:\n{printed}").into())
    }
}

fn pool(dir: &Dir) -> Result<(), Failed> {
    let out = tempfile::tempdir()?;
    let path = out.path().join("candidates.pt");
    run(
        env!("CARGO_BIN_EXE_generate-candidates"),
        &[
            "--decoder-path",
            &text(&dir.path("decoder.pth")),
            "--pool-size",
            "700",
            "--seed",
            "123",
            "--config",
            &text(&dir.path("config_default.json")),
            "--rng",
            "torch",
            "--save-grid",
            "--out",
            &text(&path),
        ],
    )?;
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path.with_extension("json"))?)?;
    same("report", &report, &dir.json("expected/pool_seed123/candidates.json")?, NOT_COMPARED, METRIC)?;
    let found = array(&path)?.into_f32();
    let expected = array(&dir.path("expected/pool_seed123/candidates.pt"))?.into_f32();
    let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    // The extract has the first rows.
    if found.len() != 700 * 28 * 28 || expected.is_empty() || worst > 1e-5 {
        return Err(format!("the pool differs by up to {worst}").into());
    }
    Ok(())
}
