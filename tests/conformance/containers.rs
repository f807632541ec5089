//! Teachers in every container: one network, the same log-probabilities; hostile files refused by name.

use libtest_mimic::{Failed, Trial};
use pate_core::data::{ImageSpec, Images, Normalisation, RangeRule};
use pate_core::models::{Program, Teacher};
use tch::Device;

use super::Dir;

const TEACHERS: &[&str] = &[
    "ucstub_state_dict.pth",
    "ucstub_checkpoint_dict.pth",
    "ucstub_dataparallel.pth",
    "ucstub_cuda_tags.pth",
    "ucstub_scripted.pt",
    "ucstub_traced.pt",
    "ucstub.safetensors",
];

/// File, and a part of the message that names the reason or the cure.
const REFUSED: &[(&str, &str)] = &[
    ("ucstub_whole_module.pth", "state_dict"),
    ("hostile_os_system.pt", "system"),
    ("hostile_torchscript_writes.pt", "--trust-torchscript"),
    ("truncated.pt", "truncated.pt"),
    ("empty_file.pt", "empty"),
    ("text.pt", "text.pt"),
    ("short_storage.pt", "short_storage.pt"),
];

pub(crate) fn trials(dir: &Dir) -> Vec<Trial> {
    let mut all = Vec::new();
    for file in TEACHERS {
        let dir = dir.clone();
        all.push(Trial::test(format!("teacher/{file}"), move || same_answers(&dir, file)));
    }
    for (file, part) in REFUSED {
        let dir = dir.clone();
        all.push(Trial::test(format!("refused/{file}"), move || refused(&dir, file, part)));
    }
    all
}

fn load(dir: &Dir, file: &str) -> pate_core::Result<Teacher> {
    let path = dir.path(&format!("pt/{file}"));
    Teacher::load(&path, ImageSpec::MNIST, Normalisation::mnist(), Program::default(), Device::Cpu)
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
