//! What TorchScript teachers of another architecture give (field cases, row 3): detected, declared,
//! or refused with the file's name.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

use std::path::{Path, PathBuf};

use pate_core::base::progress::Silent;
use pate_core::data::{ImageShape, Images, Normalisation};
use pate_core::models::{Program, Scores, Teacher};
use pate_core::pate::label::label;
use tch::{CModule, Device, Kind, Tensor};

const SHAPE: ImageShape = ImageShape { channels: 1, height: 4, width: 4 };

/// What a program computes.
type Forward = fn(&Tensor) -> Tensor;

/// Sums of an image's four rows, with weights that make some classes sure: any numbers.
fn logits(x: &Tensor) -> Tensor {
    let rows = x.flatten(1, 2).sum_dim_intlist(-1, false, Kind::Float); // [n, 4]
    // A tensor made here would be traced as an empty one.
    let column = |class: i64, weight: f64| (rows.narrow(1, class, 1) - 1.9) * weight;
    Tensor::cat(&[column(0, 3.0), column(1, -2.0), column(2, 1.0), column(3, 5.0)], 1)
}

/// Traces `program`, writes it, and gives its path.
fn script(dir: &tempfile::TempDir, program: impl Fn(&Tensor) -> Tensor) -> PathBuf {
    let _guard = tch::no_grad_guard();
    let path = dir.path().join("teacher.pt");
    let example = Tensor::zeros([2, 1, 4, 4], (Kind::Float, Device::Cpu));
    let mut forward = |inputs: &[Tensor]| vec![program(&inputs[0])];
    let module = CModule::create_by_tracing("Teacher", "forward", &[example], &mut forward).unwrap();
    module.save(&path).unwrap();
    path
}

fn load(path: &Path, scores: Option<Scores>) -> pate_core::Result<Teacher> {
    let program = Program { trusted: true, scores };
    Teacher::load(path, SHAPE, Normalisation::identity(), program, Device::Cpu)
}

fn images(dir: &tempfile::TempDir) -> (Images, Tensor) {
    let values: Vec<f32> = (0..5 * 16).map(|i| (i * 37 % 101) as f32 / 100.0).collect();
    let path = dir.path().join("images.npz");
    let mut bytes = Vec::new();
    let view = tensorfile::View::f32(&[5, 1, 4, 4], &values).unwrap();
    tensorfile::npz::write(&mut bytes, &[("x", view)]).unwrap();
    artifact::write_bytes(&path, artifact::Access::Public, &bytes).unwrap();
    let images = Images::load(&path, pate_core::data::RangeRule::OWN).unwrap();
    let tensor = images.tensor().shallow_clone();
    (images, tensor)
}

#[test]
fn logits_log_probabilities_and_probabilities_give_the_same_labels_and_confidences() {
    let dir = tempfile::tempdir().unwrap();
    let (images, x) = images(&dir);
    let expected = Vec::<f32>::try_from(logits(&x).softmax(-1, Kind::Float).amax([1i64], false)).unwrap();
    let classes = Vec::<i64>::try_from(logits(&x).argmax(-1, false)).unwrap();
    let cases: [(Scores, Forward); 4] = [
        (Scores::Logits, logits),
        (Scores::LogProbabilities, |x| logits(x).log_softmax(-1, Kind::Float)),
        (Scores::Probabilities, |x| logits(x).softmax(-1, Kind::Float)),
        (Scores::Logits, |x| logits(x).to_kind(Kind::Half)),
    ];
    for (scores, program) in cases {
        let path = script(&dir, program);
        for declared in [None, Some(scores)] {
            let teacher = load(&path, declared).unwrap();
            assert_eq!((teacher.scores(), teacher.classes()), (Some(scores), 4));
            let found = label(&teacher, &images, 3, &Silent).unwrap();
            assert_eq!(found.labels, classes, "{}", scores.name());
            for (found, expected) in found.confidences.iter().zip(&expected) {
                assert!((found - expected).abs() < 2e-3, "{}: {found}, not {expected}", scores.name());
            }
        }
    }
}

#[test]
fn what_no_teacher_gives_is_refused_with_the_files_name_and_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let cases: [(&str, Forward); 7] = [
        ("after a sigmoid", |x| logits(x).sigmoid()),
        ("negated log-probabilities", |x| -logits(x).log_softmax(-1, Kind::Float)),
        ("no finite numbers", |x| logits(x) / (x.flatten(1, -1).sum(Kind::Float) * 0.0) * 0.0),
        ("of shape [16]", |x| logits(x).argmax(-1, false)),
        ("Int64 of shape [16, 4]", |x| logits(x).to_kind(Kind::Int64)),
        ("it knows 1 class", |x| logits(x).narrow(1, 0, 1)),
        ("fails on 16 images", |x| logits(&x.view([2, 1, 4, 4]))),
    ];
    for (part, program) in cases {
        let error = load(&script(&dir, program), None).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(
            error.contains(part) && error.contains("teacher.pt") && !error.contains('\n'),
            "{part}: {error}"
        );
    }
}

#[test]
fn a_declaration_that_is_not_true_is_refused_but_anything_can_be_logits() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(&dir, logits);
    for declared in [Scores::Probabilities, Scores::LogProbabilities] {
        let error = load(&path, Some(declared)).err().unwrap().to_string();
        assert!(error.contains(&format!("gives logits, not {}", declared.name())), "{error}");
    }
    let path = script(&dir, |x| logits(x).sigmoid());
    assert_eq!(load(&path, Some(Scores::Logits)).unwrap().scores(), Some(Scores::Logits));
}

#[test]
fn nothing_of_a_file_runs_unless_it_is_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let path = script(&dir, logits);
    let program = Program::default();
    let error = Teacher::load(&path, SHAPE, Normalisation::identity(), program, Device::Cpu).err().unwrap();
    assert!(error.to_string().contains("--trust-torchscript"), "{error}");
}
