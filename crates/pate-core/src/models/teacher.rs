use std::path::{Path, PathBuf};

use tch::{CModule, Device, Kind, Tensor};
use tensorfile::Format;

use super::UcStub;
use crate::data::{ImageSpec, Normalisation};
use crate::{Error, Result};

/// A classifier that somebody trained, from any container that a PATE repository leaves behind.
///
/// Containers are told apart by content. Nothing in a file is executed: a TorchScript archive is a program, and its
/// *parameters* are read into our own network. Another architecture runs through libtorch's interpreter only where the caller
/// says that the file is trusted.
pub struct Teacher {
    path: PathBuf,
    format: Format,
    network: TeacherNetwork,
    normalisation: Normalisation,
    classes: i64,
    device: Device,
}

enum TeacherNetwork {
    UcStub(UcStub),
    Script(CModule),
}

impl Teacher {
    /// Loads a teacher for images of the shape of `spec`. The number of classes is the teacher's own.
    ///
    /// # Errors
    /// Names the file, what is wrong with it, and the cure: a pickled Python module, a program whose parameters are not
    /// UCStub's (without `trust_torchscript`), another shape, damaged content.
    pub fn load(
        path: &Path,
        spec: ImageSpec,
        normalisation: Normalisation,
        trust_torchscript: bool,
        device: Device,
    ) -> Result<Self> {
        normalisation.check_channels(spec.channels)?;
        let document = tensorfile::read(path)?;
        let (format, code) = (document.format, document.code);
        let read = document
            .into_state_dict(&UcStub::PARAMETERS)
            .map_err(Error::from)
            .and_then(|tensors| UcStub::from_tensors(path, tensors, spec, device));
        let (network, classes) = match read {
            Ok(network) => {
                let classes = network.classes();
                (TeacherNetwork::UcStub(network), classes)
            }
            Err(_) if code && trust_torchscript => {
                let mut module = CModule::load_on_device(path, device)?;
                module.set_eval();
                // What it gives for one black image tells the number of classes.
                let probe = Tensor::f_zeros(spec.batch(1), (Kind::Float, device))?;
                let scores = module.forward_ts(&[&probe])?;
                let classes = scores.size().last().copied().unwrap_or(0);
                (TeacherNetwork::Script(module), classes)
            }
            Err(error) if code => {
                return Err(Error::content(
                    path,
                    format!("a TorchScript program whose parameters are not UCStub's ({error})"),
                    "save the state_dict of a UCStub teacher; or, if you trust whoever made this file to run code on \
                     your machine, give --trust-torchscript",
                ));
            }
            Err(error) => return Err(error),
        };
        Ok(Self { path: path.to_path_buf(), format, network, normalisation, classes, device })
    }

    /// A network that was trained here, as a teacher.
    pub fn from_network(network: UcStub, normalisation: Normalisation, device: Device) -> Self {
        let (path, format, classes) = (PathBuf::new(), Format::TorchZip, network.classes());
        let network = TeacherNetwork::UcStub(network);
        Self { path, format, network, normalisation, classes, device }
    }

    /// The same teacher for another thread: its weights are these, not copies. `None` where it runs a program.
    pub fn share(&self) -> Option<Self> {
        let TeacherNetwork::UcStub(network) = &self.network else { return None };
        Some(Self {
            path: self.path.clone(),
            format: self.format,
            network: TeacherNetwork::UcStub(network.share()),
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
        matches!(self.network, TeacherNetwork::Script(_))
    }

    /// Where its weights are.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Log-probabilities of images in `[0, 1]`, without dropout.
    ///
    /// # Shapes
    /// `[n, channels, height, width]` to `[n, classes]`.
    ///
    /// # Errors
    /// Where a TorchScript program fails or does not give one row of class scores per image.
    pub fn log_probs(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.normalisation.apply(images);
        match &self.network {
            TeacherNetwork::UcStub(network) => Ok(network.forward(&x, None)),
            TeacherNetwork::Script(module) => {
                let scores = module.forward_ts(&[&x])?;
                match scores.size()[..] {
                    [n, classes] if n == x.size()[0] && classes == self.classes && classes > 1 => {
                        // Log-softmax leaves log-probabilities as they are, so it is right for logits and for both.
                        Ok(scores.f_log_softmax(-1, Kind::Float)?)
                    }
                    ref other => Err(Error::content(
                        &self.path,
                        format!("the program gave a tensor of shape {other:?} for {} images", x.size()[0]),
                        format!("a teacher gives [images, {}]", self.classes),
                    )),
                }
            }
        }
    }
}
