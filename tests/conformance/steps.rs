//! Selections, pools, students, evaluations and combinations.

use std::path::Path;

use libtest_mimic::{Failed, Trial};
use pate_core::data::{LabelColumn, LabelRow, read_label_csv};
use tensorfile::Array;

use super::{Dir, run, same, text, workspace};

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

struct Selection {
    case: &'static str,
    teacher: u64,
    with_shard: bool,
    arguments: &'static [&'static str],
    /// Candidates beyond quota and target, from the material's specification (the original does not report them).
    rejected: (u64, u64),
}

const SELECTIONS: &[Selection] = &[
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

pub(crate) fn trials(dir: &Dir) -> Vec<Trial> {
    let mut all = Vec::new();
    for selection in SELECTIONS {
        let dir = dir.clone();
        all.push(Trial::test(format!("selection/{}", selection.case), move || select(&dir, selection)));
    }
    for case in ["t0_small_shard", "t7_strict"] {
        let dir = dir.clone();
        all.push(Trial::test(format!("evaluation/{case}"), move || evaluate(&dir, case)));
    }
    for (case, percentage) in [("combined_100", "1.0"), ("combined_40", "0.4")] {
        let dir = dir.clone();
        all.push(Trial::test(format!("combine/{case}"), move || combine(&dir, case, percentage)));
    }
    for teacher in [0, 7] {
        let dir = dir.clone();
        all.push(Trial::test(format!("student/as_teacher_{teacher}"), move || student(&dir, teacher)));
    }
    let own = dir.clone();
    all.push(Trial::test("pool/seed123", move || pool(&own)));
    all
}

fn array(path: &Path) -> Result<Array, Failed> {
    Ok(tensorfile::read(path)?.into_array()?)
}

/// Rows equal to the bit, in order; two rows may swap where their confidences are as good as equal.
fn same_rows(found: &Path, expected: &Path, rows: &[LabelRow]) -> Result<(), Failed> {
    let (found, expected) = (array(found)?, array(expected)?);
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

fn select(dir: &Dir, selection: &Selection) -> Result<(), Failed> {
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

    let expected = format!("expected/{}", selection.case);
    let report = std::fs::read_to_string(out.path().join("selection_report.json"))?;
    let report: serde_json::Value = serde_json::from_str(&report)?;
    same("report", &report, &dir.json(&format!("{expected}/selection_report.json"))?, NOT_COMPARED, METRIC)?;
    let found = (report["rejected_quota"].as_u64(), report["rejected_target"].as_u64());
    if found != (Some(selection.rejected.0), Some(selection.rejected.1)) {
        return Err(
            format!("rejected by quota and target: {found:?}, expected {:?}", selection.rejected).into()
        );
    }
    let read = |path: &Path| read_label_csv(path, 10, LabelColumn::Confidence);
    let rows = read(&out.path().join("labels.csv"))?;
    let wanted = read(&dir.path(&format!("{expected}/labels.csv")))?;
    if rows.len() != wanted.len() {
        return Err(format!("{} labels, expected {}", rows.len(), wanted.len()).into());
    }
    for (i, (row, wanted)) in rows.iter().zip(&wanted).enumerate() {
        let difference = row.confidence.unwrap_or(f32::NAN) - wanted.confidence.unwrap_or(f32::NAN);
        if difference.is_nan() || difference.abs() > CONFIDENCE {
            return Err(format!("row {i}: {row:?}, expected {wanted:?}").into());
        }
    }
    same_rows(
        &out.path().join("synthetic_samples.pt"),
        &dir.path(&format!("{expected}/synthetic_samples.pt")),
        &rows,
    )
}

fn evaluate(dir: &Dir, case: &str) -> Result<(), Failed> {
    let out = tempfile::tempdir()?;
    let report_path = out.path().join("evaluation_report.json");
    let teacher = &case[1..2];
    run(
        env!("CARGO_BIN_EXE_evaluate-synthetic"),
        &[
            "--samples",
            &text(&dir.path(&format!("expected/{case}/synthetic_samples.pt"))),
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
        for file in ["synthetic_samples.pt", "labels.csv"] {
            std::fs::copy(dir.path(&format!("expected/{source}/{file}")), folder.join(file))?;
        }
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
        let (found, wanted) =
            (array(&out.join(samples))?, array(&dir.path(&format!("expected/{case}/{samples}")))?);
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
    if found.len() != expected.len() || worst > 1e-5 {
        return Err(format!("the pool differs by up to {worst}").into());
    }
    Ok(())
}
