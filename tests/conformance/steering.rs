//! Latent steering without noise: the confidence at every step, the best step, the final latents.

use libtest_mimic::Failed;
use pate_core::base::tensor;
use pate_core::config::StartKind;
use pate_core::data::{ImageShape, Normalisation};
use pate_core::models::{Decoder, Program, Teacher};
use pate_core::pate::steer::{SteeringPlan, steer};
use serde_json::Value;
use tch::Device;

use super::{Case, Dir};

pub(crate) fn case() -> Case {
    Case::new("steering/without_noise", false, steering)
}

fn matrix(value: &Value) -> Result<(Vec<f32>, i64), Failed> {
    let rows: Vec<Vec<f32>> = serde_json::from_value(value.clone())?;
    let n = rows.len() as i64;
    Ok((rows.concat(), n))
}

fn steering(dir: &Dir) -> Result<(), Failed> {
    let case = dir.json("steering.json")?;
    let shape = ImageShape::MNIST;
    let decoder = Decoder::load(&dir.path("decoder.pth"), shape, Device::Cpu)?;
    let model = dir.path("teacher_0/model.pth");
    let teacher = Teacher::load(&model, shape, Normalisation::mnist(), Program::default(), Device::Cpu)?;
    let (z0, n) = matrix(&case["z0"])?;
    let z0 = tensor::from_f32(&z0, &[n, decoder.latent_dim()])?;
    let classes: Vec<i64> = serde_json::from_value(case["target_class"].clone())?;
    let plan = SteeringPlan {
        steps: 20,
        learning_rate: 0.05,
        noise_scale: 0.0,
        stop_confidence: None,
        starts: StartKind::Random,
    };
    let steered = steer(&decoder, &teacher, &z0, &tensor::from_i64(&classes), plan, |_| Ok(None))?;

    let found = tensor::to_f32(&steered.confidences)?;
    let (expected, steps) = matrix(&case["confidence"])?;
    if steps != 21 || found.len() != expected.len() {
        return Err(format!("{} confidences, expected {}", found.len(), expected.len()).into());
    }
    // The material states its own tolerance: 1e-3 on confidences, 5e-3 on latents.
    let worst = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let confidences = worst(&found, &expected);
    let (z20, _) = matrix(&case["z20"])?;
    let latents = worst(&tensor::to_f32(&steered.last)?, &z20);
    if confidences > 1e-3 || latents > 5e-3 {
        return Err(format!("confidences differ by up to {confidences}, final latents by {latents}").into());
    }
    let best: Vec<usize> = serde_json::from_value(case["best_step"].clone())?;
    for (sample, step) in best.into_iter().enumerate() {
        let column: Vec<f32> = (0..21).map(|k| found[k * n as usize + sample]).collect();
        let top = column.iter().copied().fold(0.0, f32::max);
        if top - column[step] > 1e-4 {
            return Err(format!("sample {sample}: step {step} is not among the best").into());
        }
    }
    Ok(())
}
