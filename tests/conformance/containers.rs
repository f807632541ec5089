//! Teachers in every container: one network, the same log-probabilities; hostile files refused by
//! name.

use libtest_mimic::Failed;
use pate_core::data::{ImageShape, Images, Normalisation, RangeRule};
use pate_core::models::{Program, Teacher};
use tch::Device;

use super::{Case, Dir};

const TEACHERS: &[&str] = &[
    "ucstub_state_dict.pth",
    "ucstub_checkpoint_dict.pth",
    "ucstub_dataparallel.pth",
    "ucstub_cuda_tags.pth",
    "ucstub_scripted.pt",
    "ucstub_traced.pt",
    "ucstub.safetensors",
];

/// File, and a part of the message that names the reason or the hint.
const REFUSED: &[(&str, &str)] = &[
    (WHOLE_MODULE, "state_dict"),
    ("hostile_os_system.pt", "system"),
    ("hostile_torchscript_writes.pt", "--trust-torchscript"),
    ("truncated.pt", "truncated.pt"),
    ("empty_file.pt", "empty"),
    ("text.pt", "text.pt"),
    ("short_storage.pt", "short_storage.pt"),
];

/// A module in which a whole network was pickled; its weights are too much for the extract.
const WHOLE_MODULE: &str = "ucstub_whole_module.pth";

pub(crate) fn cases() -> Vec<Case> {
    let teachers = TEACHERS
        .iter()
        .map(|&file| Case::new(format!("teacher/{file}"), false, move |dir| same_answers(dir, file)));
    let refused = REFUSED.iter().map(|&(file, part)| {
        let in_extract = file != WHOLE_MODULE;
        Case::new(format!("refused/{file}"), in_extract, move |dir| refused(dir, file, part))
    });
    teachers.chain(refused).collect()
}

fn load(dir: &Dir, file: &str) -> pate_core::Result<Teacher> {
    let path = dir.path(&format!("pt/{file}"));
    Teacher::load(&path, ImageShape::MNIST, Normalisation::mnist(), Program::default(), Device::Cpu)
}

fn same_answers(dir: &Dir, file: &str) -> Result<(), Failed> {
    let teacher = load(dir, file)?;
    let rule = RangeRule::OWN;
    let images = Images::load(&dir.path("pt/f32.pt"), rule)?;
    let _guard = tch::no_grad_guard();
    let found = pate_core::base::tensor::to_f32(
        &teacher.log_probs(images.tensor(), &mut pate_core::nn::Pass::Infer)?,
    )?;
    let expected = dir.json("pt/ucstub_expected_log_probs.json")?;
    let expected: Vec<f64> = serde_json::from_value::<Vec<Vec<f64>>>(expected["log_probs"].clone())?.concat();
    if found.len() != expected.len() {
        return Err(format!("{} log-probabilities, expected {}", found.len(), expected.len()).into());
    }
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        if (f64::from(*found) - expected).abs() > 1e-5 {
            return Err(format!("log-probability {i} is {found}, expected {expected}").into());
        }
    }
    Ok(())
}

fn refused(dir: &Dir, file: &str, part: &str) -> Result<(), Failed> {
    let before = std::fs::read_dir(".")?.count();
    let message = match load(dir, file) {
        Ok(_) => return Err("it was taken as a teacher".into()),
        Err(error) => error.to_string(),
    };
    if std::fs::read_dir(".")?.count() != before {
        return Err("something appeared in the working folder".into());
    }
    if message.contains(file) && message.contains(part) && !message.contains('\n') {
        return Ok(());
    }
    Err(format!("the message should be one line that names {file} and {part:?}: {message}").into())
}
