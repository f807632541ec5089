//! A TorchScript program whose features images are compared in.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tch::{CModule, Device, IValue, Kind, TchError, Tensor};

use super::teacher::last_line;
use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::config::FeatureKind;
use crate::data::{Images, Scale};
use crate::{Error, Result};

/// Sides of the images that a program is given.
const SIDE: i64 = 299;
/// Images that it is given at once.
const BATCH: i64 = 32;
/// Images that tell what it gives.
const PROBES: i64 = 2;

/// A program of features, as an Inception network is one: it takes images `[n, 3, 299, 299]` and
/// gives `[n, d]`. Images are enlarged bilinearly (corners not aligned), and one channel becomes
/// three equal ones; on which scale the program takes them is declared, and so is what it gives.
///
/// To run one is to trust whoever made it: a program can do anything that its user can.
pub struct FeatureProgram {
    path: PathBuf,
    module: CModule,
    gives: FeatureKind,
    scale: Scale,
    device: Device,
    width: i64,
    classes: Option<i64>,
}

/// What a program says of images.
pub struct ProgramAnswers {
    /// `[n, d]`.
    pub features: Tensor,
    /// Probabilities of its own classes, `[n, k]`, where it gives logits.
    pub probabilities: Option<Tensor>,
}

/// What is declared of a program.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Declared {
    /// What it gives.
    pub gives: FeatureKind,
    /// What black and white are for it.
    pub scale: Scale,
}

impl FeatureProgram {
    /// Loads a program and runs it on two images.
    ///
    /// # Errors
    /// Names the file: no TorchScript program, one that fails, or that gives other things than
    /// declared.
    pub fn load(path: &Path, declared: Declared, device: Device) -> Result<Self> {
        let document = tensorfile::read(path)?;
        if !document.code {
            return Err(Error::content(
                path,
                "it is no TorchScript program",
                "give one of features, saved with torch.jit.save",
            ));
        }
        drop(document);
        let failed = |e: TchError| {
            let problem = format!("its program cannot be loaded ({})", last_line(&e));
            Error::content(path, problem, "save it again with torch.jit.save")
        };
        let mut module = CModule::load_on_device(path, device).map_err(failed)?;
        // Before anything runs: dropout would make its answers random.
        module.set_eval();
        let Declared { gives, scale } = declared;
        let mut program =
            Self { path: path.to_path_buf(), module, gives, scale, device, width: 0, classes: None };
        let side = 16;
        let shape = [PROBES, 1, side, side];
        // A fixed seed: what a file gives must not depend on the run that looks at it.
        let pixels = Stream::new(0, Purpose::Probe, 0).uniform((PROBES * side * side) as usize, 0.0, 1.0);
        let _guard = tch::no_grad_guard();
        let answers = program.run(&tensor::from_f32(&pixels, &shape)?)?;
        program.width = answers.features.size()[1];
        program.classes = answers.probabilities.map(|all| all.size()[1]);
        Ok(program)
    }

    /// Values of an image's features.
    pub fn width(&self) -> i64 {
        self.width
    }

    /// What it says of images, on the CPU; `progress` counts them.
    ///
    /// # Errors
    /// Where the program fails or gives other things than for other images; no images; a stop.
    pub fn answers(&self, images: &Images, progress: &dyn Progress) -> Result<ProgramAnswers> {
        let _guard = tch::no_grad_guard();
        let (mut features, mut probabilities) = (Vec::new(), Vec::new());
        tensor::batches(images.len() as i64, BATCH, |first, n| {
            progress.check()?;
            let answers = self.run(&images.tensor().f_narrow(0, first, n)?)?;
            let same = answers.features.size()[1] == self.width
                && answers.probabilities.as_ref().map(|all| all.size()[1]) == self.classes;
            if !same {
                return Err(self.other("it gives another number of values for other images"));
            }
            features.push(answers.features);
            probabilities.extend(answers.probabilities);
            progress.advance(n as u64, "");
            Ok(())
        })?;
        if features.is_empty() {
            return Err(Error::invalid("features of no images are not defined"));
        }
        let probabilities =
            if probabilities.is_empty() { None } else { Some(Tensor::f_cat(&probabilities, 0)?) };
        Ok(ProgramAnswers { features: Tensor::f_cat(&features, 0)?, probabilities })
    }

    /// The program on images in `[0, 1]`.
    fn run(&self, images: &Tensor) -> Result<ProgramAnswers> {
        let n = images.size()[0];
        let x = images.f_to_device(self.device)?;
        let x = match x.size()[1] {
            3 => x,
            1 => x.f_expand([-1, 3, -1, -1], false)?,
            channels => {
                return Err(Error::invalid(format!("images of {channels} channels have no features there")));
            }
        };
        let x = self.scale.stretch(&x.f_upsample_bilinear2d([SIDE, SIDE], false, None, None)?);
        let given = self
            .module
            .forward_is(&[IValue::Tensor(x)])
            .map_err(|e| self.other(&format!("its program fails on {n} images ({})", last_line(&e))))?;
        let checked = |given: Tensor| -> Result<Tensor> {
            let size = given.size();
            // Pooled maps of one pixel are features, too.
            let flat = match size[..] {
                [m, d] | [m, d, 1, 1] if m == n && d > 0 && given.is_floating_point() => {
                    given.f_reshape([n, d])?
                }
                _ => {
                    let kind = given.kind();
                    return Err(
                        self.other(&format!("its program gave {kind:?} of shape {size:?} for {n} images"))
                    );
                }
            };
            let flat = flat.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?;
            if bool::try_from(flat.f_isfinite()?.f_all()?)? {
                Ok(flat)
            } else {
                Err(self.other("its program gives values that are no finite numbers"))
            }
        };
        match (self.gives, given) {
            (FeatureKind::Features, IValue::Tensor(features)) => {
                Ok(ProgramAnswers { features: checked(features)?, probabilities: None })
            }
            (FeatureKind::FeaturesAndLogits, IValue::Tuple(all)) => {
                let mut tensors = all.into_iter().map(|one| match one {
                    IValue::Tensor(tensor) => Some(tensor),
                    _ => None,
                });
                let (Some(Some(features)), Some(Some(logits)), None) =
                    (tensors.next(), tensors.next(), tensors.next())
                else {
                    return Err(self.other("its program gave no two tensors"));
                };
                let probabilities = checked(logits)?.f_softmax(-1, Kind::Float)?;
                Ok(ProgramAnswers { features: checked(features)?, probabilities: Some(probabilities) })
            }
            (FeatureKind::Features, _) => Err(self.other("its program gave no single tensor")),
            (FeatureKind::FeaturesAndLogits, _) => Err(self.other("its program gave no pair of tensors")),
        }
    }

    fn other(&self, problem: &str) -> Error {
        let hint = match self.gives {
            FeatureKind::Features => "it is declared to give features [images, d] alone",
            FeatureKind::FeaturesAndLogits => {
                "it is declared to give a pair: features [images, d], logits [images, classes]"
            }
        };
        let hint = format!("{hint}, of images [images, 3, {SIDE}, {SIDE}]");
        Error::content(&self.path, problem, hint)
    }
}
