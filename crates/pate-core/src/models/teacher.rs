//! A teacher out of any file that is known, and what its outputs mean.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;
use tch::{CModule, Device, Kind, TchError, Tensor};
use tensorfile::Format;

use super::{Classifier, UcStub};
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::data::{ImageShape, Normalisation};
use crate::nn::Pass;
use crate::{Error, Result};

/// What a TorchScript program gives for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scores {
    /// Any numbers; softmax makes probabilities of them.
    Logits,
    /// Logarithms of probabilities.
    LogProbabilities,
    /// Probabilities, which add up to 1.
    Probabilities,
}

impl Scores {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Logits, Self::LogProbabilities, Self::Probabilities];

    /// The name on command lines and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::LogProbabilities => "log-probabilities",
            Self::Probabilities => "probabilities",
        }
    }

    /// What `scores` are, from all their rows; `Err` says what they look like that no teacher
    /// gives.
    ///
    /// # Shapes
    /// `[n, classes]`, finite, n at least 1.
    fn of(scores: &Tensor, tolerance: f64) -> Result<Result<Self, &'static str>> {
        // Whether rows add up to one; rounding of 16-bit floats is wide.
        let is_one =
            |sums: Tensor| -> Result<bool> { Ok(f64::try_from((sums - 1.0).abs().f_max()?)? <= tolerance) };
        let sums = |x: &Tensor| x.f_sum_dim_intlist(-1, false, Kind::Double);
        let (low, high) = (f64::try_from(scores.f_min()?)?, f64::try_from(scores.f_max()?)?);
        let slack = tolerance / 10.0;
        Ok(if high <= slack && is_one(sums(&scores.f_exp()?)?)? {
            Ok(Self::LogProbabilities)
        } else if low >= -slack && high <= 1.0 + slack {
            if is_one(sums(scores)?)? {
                Ok(Self::Probabilities)
            } else {
                Err("numbers from 0 to 1 that do not add up to 1, as after a sigmoid")
            }
        } else if low >= -slack && is_one(sums(&scores.f_neg()?.f_exp()?)?)? {
            Err("negated log-probabilities, whose largest is the least probable class")
        } else {
            Ok(Self::Logits)
        })
    }
}

impl FromStr for Scores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name);
        let found = Self::ALL.into_iter().find(|scores| scores.name() == text);
        found.ok_or_else(|| format!("one of {}", names.join(", ")))
    }
}

/// What may be done with a TorchScript archive that is no UCStub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Program {
    /// Run it? It can do anything that its user can.
    pub trusted: bool,
    /// What it gives, where the user says so; otherwise this is detected from what it gives for
    /// some images.
    pub scores: Option<Scores>,
}

/// A classifier that somebody trained, from any container that a PATE repository leaves behind.
///
/// Formats are detected from the content. Nothing in a file is executed: a TorchScript archive is a
/// program, and its *parameters* are read into our own network. Another architecture runs through
/// libtorch's interpreter only where the caller says that the file is trusted.
pub struct Teacher {
    path: PathBuf,
    format: Format,
    network: TeacherNetwork,
    normalisation: Normalisation,
    classes: i64,
    device: Device,
}

enum TeacherNetwork {
    Own(Box<dyn Classifier>),
    Script(CModule, Scores),
}

/// Images that tell what a program gives: black, and noise.
const PROBES: i64 = 16;

impl Teacher {
    /// Loads a teacher for images of the shape of `shape`. The number of classes is the teacher's
    /// own.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and the hint: a pickled Python module, a program
    /// whose parameters are not UCStub's (and that is not trusted), another shape, damaged content,
    /// fewer than two classes, a program that fails on a few images or gives no class scores.
    pub fn load(
        path: &Path,
        shape: ImageShape,
        normalisation: Normalisation,
        program: Program,
        device: Device,
    ) -> Result<Self> {
        normalisation.check_channels(shape.channels)?;
        let document = tensorfile::read(path)?;
        let (format, code) = (document.format, document.code);
        // Parameters first, even of a program that is trusted: what can be read need not be run.
        let read = document
            .into_state_dict(&UcStub::PARAMETERS)
            .map_err(Error::from)
            .and_then(|tensors| UcStub::from_tensors(path, tensors, shape, device));
        let (network, classes) = match read {
            Ok(network) => {
                let classes = network.classes();
                (TeacherNetwork::Own(Box::new(network)), classes)
            }
            Err(_) if code && program.trusted => {
                let failed = |e: TchError| {
                    let problem = format!("its program cannot be loaded ({})", last_line(&e));
                    Error::content(path, problem, "save it again with torch.jit.save")
                };
                let mut module = CModule::load_on_device(path, device).map_err(failed)?;
                // Before anything runs: dropout would make its answers random.
                module.set_eval();
                let (scores, classes) = probe(path, &module, shape, &normalisation, program.scores, device)?;
                (TeacherNetwork::Script(module, scores), classes)
            }
            Err(error) if code => {
                return Err(Error::content(
                    path,
                    format!("a TorchScript program whose parameters are not UCStub's ({error})"),
                    "save the state_dict of a UCStub teacher; or, if you trust the person who made this file to run code on \
                     your machine, give --trust-torchscript",
                ));
            }
            Err(error) => return Err(error),
        };
        if classes < 2 {
            return Err(Error::content(
                path,
                format!("it knows {classes} class"),
                "a teacher tells at least two classes apart; with one, it is sure of everything",
            ));
        }
        Ok(Self { path: path.to_path_buf(), format, network, normalisation, classes, device })
    }

    /// A network that was trained here, as a teacher.
    pub fn from_network(network: &dyn Classifier, normalisation: Normalisation) -> Self {
        let (path, format, classes, device) =
            (PathBuf::new(), Format::TorchZip, network.classes(), network.device());
        let network = TeacherNetwork::Own(network.alias());
        Self { path, format, network, normalisation, classes, device }
    }

    /// The same teacher for another thread: its weights are these, not copies. `None` where it runs
    /// a program.
    pub fn alias(&self) -> Option<Self> {
        let TeacherNetwork::Own(network) = &self.network else { return None };
        Some(Self {
            path: self.path.clone(),
            format: self.format,
            network: TeacherNetwork::Own(network.alias()),
            normalisation: self.normalisation.clone(),
            classes: self.classes,
            device: self.device,
        })
    }

    /// Number of classes that it tells apart.
    pub fn classes(&self) -> i64 {
        self.classes
    }

    /// The file's container.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Whether the file's own program runs (`--trust-torchscript`), for the report.
    pub fn runs_program(&self) -> bool {
        matches!(self.network, TeacherNetwork::Script(..))
    }

    /// What its program gives, for the report.
    pub fn scores(&self) -> Option<Scores> {
        match self.network {
            TeacherNetwork::Own(_) => None,
            TeacherNetwork::Script(_, scores) => Some(scores),
        }
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Log-probabilities of images in `[0, 1]`, without dropout: [`Pass::Infer`], or
    /// [`Pass::differentiate`] for gradients.
    ///
    /// # Shapes
    /// `[n, channels, height, width]` to `[n, classes]`.
    ///
    /// # Errors
    /// Where a TorchScript program fails or does not give one row of class scores per image, of the
    /// kind that it gave at first; scores that are not finite.
    pub fn log_probs(&self, images: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let _guard = pass.guard();
        let x = self.normalisation.apply(images);
        let log_probs = match &self.network {
            TeacherNetwork::Own(network) => network.log_probs(&x, pass),
            TeacherNetwork::Script(module, kind) => {
                let scores = run(&self.path, module, &x, Some(self.classes))?;
                match kind {
                    // Log-softmax leaves log-probabilities as they are, but for their rounding.
                    Scores::Logits | Scores::LogProbabilities => scores.f_log_softmax(-1, Kind::Float)?,
                    Scores::Probabilities => {
                        // The logarithm of what are no probabilities would be wrong in silence, so
                        // each batch is looked at.
                        let found = Scores::of(&scores, tolerance(&scores))?;
                        if found != Ok(Scores::Probabilities) {
                            return Err(Error::content(
                                &self.path,
                                "its program gave probabilities for some images and other numbers for others",
                                "a teacher gives one kind of scores",
                            ));
                        }
                        // A probability of 0 has no finite logarithm, and steering follows its
                        // gradient.
                        scores.f_to_kind(Kind::Float)?.f_clamp_min(f64::from(f32::MIN_POSITIVE))?.f_log()?
                    }
                }
            }
        };
        if bool::try_from(log_probs.f_isnan()?.f_any()?)? {
            return Err(Error::content(
                &self.path,
                "it gives scores that are no numbers",
                "its training diverged, or the file is damaged; train it again",
            ));
        }
        Ok(log_probs)
    }
}

/// How far sums of probabilities may be from 1.
fn tolerance(scores: &Tensor) -> f64 {
    if matches!(scores.kind(), Kind::Half | Kind::BFloat16) { 0.05 } else { 1e-3 }
}

/// The interpreter's own words, which come after its trace.
pub(super) fn last_line(error: &TchError) -> String {
    let text = error.to_string();
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    input_file::shown(line, 200)
}

/// What a program gives for `x`, checked: `[n, classes]`, finite, as it gave it but as float32.
fn run(path: &Path, module: &CModule, x: &Tensor, classes: Option<i64>) -> Result<Tensor> {
    let n = x.size()[0];
    let wrong = |problem: String| {
        let shape = classes.map_or_else(|| "classes".to_owned(), |classes| classes.to_string());
        let hint = format!("a teacher takes images {:?} and gives one tensor [images, {shape}]", x.size());
        Error::content(path, problem, hint)
    };
    let scores = module
        .forward_ts(&[x])
        .map_err(|e| wrong(format!("its program fails on {n} images ({})", last_line(&e))))?;
    // A transposed result, or one row for all images, would be read as other scores.
    let fits = matches!(scores.size()[..], [m, k] if m == n && classes.is_none_or(|classes| k == classes));
    if !fits || !scores.is_floating_point() {
        let (kind, shape) = (scores.kind(), scores.size());
        return Err(wrong(format!("its program gave {kind:?} of shape {shape:?} for {n} images")));
    }
    // The logarithm of a probability of 0 is minus infinity.
    if bool::try_from(scores.f_isnan()?.f_logical_or(&scores.f_isposinf()?)?.f_any()?)? {
        return Err(Error::content(
            path,
            "its program gives scores that are no finite numbers",
            "its training diverged, or the file is damaged; train it again",
        ));
    }
    Ok(scores)
}

/// What a program gives, and for how many classes, from a few images: the kind that was declared,
/// or that nobody can mistake.
fn probe(
    path: &Path,
    module: &CModule,
    shape: ImageShape,
    normalisation: &Normalisation,
    declared: Option<Scores>,
    device: Device,
) -> Result<(Scores, i64)> {
    let shape = shape.batch(PROBES);
    // A fixed seed: what a file gives must not depend on the run that looks at it.
    let mut images =
        Stream::new(0, Purpose::Probe, 0).uniform(shape.iter().product::<i64>() as usize, 0.0, 1.0);
    let black = images.len() / PROBES as usize;
    images[..black].fill(0.0);
    let images = tensor::from_f32(&images, &shape)?.f_to_device(device)?;
    let scores = run(path, module, &normalisation.apply(&images), None)?;
    let classes = scores.size()[1];
    // One number per image tells no kind; such a teacher is refused with a message of its own.
    if classes < 2 {
        return Ok((Scores::Logits, classes));
    }
    let found = Scores::of(&scores, tolerance(&scores))?;
    match (declared, found) {
        // Any numbers can be logits.
        (Some(Scores::Logits), _) => Ok((Scores::Logits, classes)),
        (Some(declared), Ok(found)) if declared == found => Ok((found, classes)),
        (Some(declared), found) => Err(Error::content(
            path,
            format!(
                "its program gives {}, not {}",
                found.map_or_else(|what| what, Scores::name),
                declared.name()
            ),
            "declare what it gives, or leave that out",
        )),
        (None, Ok(found)) => Ok((found, classes)),
        (None, Err(what)) => Err(Error::content(
            path,
            format!("its program gives {what}"),
            "let it give logits, log-probabilities or probabilities; if these are logits all the same, say \
             --program-scores logits",
        )),
    }
}
