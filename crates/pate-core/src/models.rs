//! The networks. Field names are the keys of PyTorch's `state_dict`, so that files go both ways.

mod batch_normed;
mod classifier;
mod described;
mod extractor;
mod feature_program;
mod mlp;
mod resnet;
mod scatter_linear;
mod sequential;
mod small_cnn;
mod teacher;
mod ucstub;
mod unet;
mod vae;

pub use batch_normed::{BatchNormed, BlockKind, Form};
pub use classifier::Classifier;
pub use described::Described;
pub use extractor::{
    Extractor, ExtractorKind, Latent, Standard, critic, image_critic, image_generator, latent_generator,
    project,
};
pub use feature_program::{Declared, FeatureProgram, ProgramAnswers};
pub use mlp::Mlp;
pub use resnet::GnResNet;
pub use scatter_linear::ScatterLinear;
pub use sequential::{Between, ConvSpec, LayerSpec, Sequential, Size, output as layers_output, takes_rows};
pub use small_cnn::{Activation, SmallCnn};
pub use teacher::{Program, Scores, Teacher};
pub use ucstub::UcStub;
pub use unet::{UNet, UNetShape, sinusoids};
pub use vae::{Decoder, Encoder, GroupedVae, Vae};

use std::path::Path;

use artifact::{Access, AtomicFile, FileRecord};
use tch::Device;
use tensorfile::Array;

use crate::base::tensor::HostTensors;
use crate::config::NetworkKind;
use crate::data::ImageShape;
use crate::nn::{self, Module};
use crate::{Error, Result};

/// A fresh network of a kind for images of `shape`; `width` is that of the residual network.
///
/// # Errors
/// Images that are too small for it, a width that it cannot have.
pub fn fresh(
    kind: NetworkKind,
    width: i64,
    shape: ImageShape,
    classes: i64,
    seed: u64,
    device: Device,
) -> Result<Box<dyn Classifier>> {
    Ok(match kind {
        NetworkKind::UcStub => Box::new(UcStub::new(shape, classes, seed, device)?),
        NetworkKind::SmallCnn => Box::new(SmallCnn::new(shape, classes, Activation::Tanh, seed, device)?),
        NetworkKind::ResNet => Box::new(GnResNet::new(shape, classes, width, seed, device)?),
        NetworkKind::ScatterLinear => Box::new(ScatterLinear::new(shape, classes, device)?),
        NetworkKind::Mlp => Box::new(Mlp::new(shape, classes, seed, device)?),
        NetworkKind::ResNet110 => Box::new(BatchNormed::new(Form::RESNET_110, shape, classes, seed, device)?),
        NetworkKind::Wrn40 => Box::new(BatchNormed::new(Form::WRN_40_4, shape, classes, seed, device)?),
        NetworkKind::ResNext29 => Box::new(BatchNormed::new(Form::RESNEXT_29, shape, classes, seed, device)?),
    })
}

/// The classifier of a weights file, of whichever architecture its names and shapes tell, for
/// images of the shape of `shape`.
///
/// A [`SmallCnn`] is taken to have tanh between its layers, as all have that these programs write.
///
/// # Errors
/// A file of no architecture that is known, and those of its own `load`.
pub fn load_classifier(path: &Path, shape: ImageShape, device: Device) -> Result<Box<dyn Classifier>> {
    let marks = [
        "conv1.weight",
        "head.weight",
        "norm1.weight",
        "fc1.weight",
        "fc2.weight",
        "fc3.weight",
        "fc.weight",
        "layer1.0.bn1.weight",
        "block1.layer.0.bn1.weight",
        "conv_1_3x3.weight",
    ];
    let marked = read_tensors(path, &marks)?;
    let size = |name: &str| shape_in(&marked, name);
    let fits = |shape: &[usize], at: usize, length: usize| shape.len() == 4 && shape[at] == length;
    let there = |name: &str| size(name).is_some();
    let kind = match (size("head.weight"), size("norm1.weight"), size("conv1.weight")) {
        (Some(_), ..) => NetworkKind::ScatterLinear,
        (.., None) if there("conv_1_3x3.weight") => NetworkKind::ResNext29,
        (.., None) if there("fc3.weight") => NetworkKind::Mlp,
        _ if there("layer1.0.bn1.weight") => NetworkKind::ResNet110,
        _ if there("block1.layer.0.bn1.weight") => NetworkKind::Wrn40,
        (_, Some(_), Some(_)) => NetworkKind::ResNet,
        (.., Some(conv)) if fits(conv, 2, 8) => NetworkKind::SmallCnn,
        _ => NetworkKind::UcStub,
    };
    Ok(match kind {
        NetworkKind::UcStub => Box::new(UcStub::load(path, shape, device)?),
        NetworkKind::SmallCnn => Box::new(SmallCnn::load(path, shape, Activation::Tanh, device)?),
        NetworkKind::ResNet => Box::new(GnResNet::load(path, shape, device)?),
        NetworkKind::ScatterLinear => Box::new(ScatterLinear::load(path, shape, device)?),
        NetworkKind::Mlp => Box::new(Mlp::load(path, shape, device)?),
        NetworkKind::ResNet110 => Box::new(BatchNormed::load(path, Form::RESNET_110, shape, device)?),
        NetworkKind::Wrn40 => Box::new(BatchNormed::load(path, Form::WRN_40_4, shape, device)?),
        NetworkKind::ResNext29 => Box::new(BatchNormed::load(path, Form::RESNEXT_29, shape, device)?),
    })
}

/// Writes a network as `torch.save(state_dict)` would; `torch.load(..., weights_only=True)` reads
/// it. What stands before all its names within a larger network is left out.
///
/// # Errors
/// Where the file cannot be written; nothing is left under its name then.
pub fn save(network: &dyn Module, path: &Path, access: Access) -> Result<FileRecord> {
    let tensors = host_tensors(network)?;
    let mut file = AtomicFile::create(path, access)?;
    tensorfile::pt::write_dict(&mut file, &tensors.views()?)?;
    Ok(file.commit()?)
}

fn host_tensors(network: &dyn Module) -> Result<HostTensors> {
    let own =
        |name: &str| network.scope().and_then(|scope| name.strip_prefix(scope)).unwrap_or(name).to_owned();
    HostTensors::of(nn::parameters(network).into_iter().map(|p| (own(p.name()), p.value())))
}

/// The tensors of a weights file in any container: those called `names`, wherever they stand, and
/// what stands beside them.
fn read_tensors(path: &Path, names: &[&str]) -> Result<Vec<(String, Array)>> {
    Ok(tensorfile::read(path)?.into_state_dict(names)?)
}

fn shape_in<'a>(tensors: &'a [(String, Array)], name: &str) -> Option<&'a [usize]> {
    tensors.iter().find(|(n, _)| n == name).map(|(_, array)| array.shape())
}

fn missing(path: &Path, name: &str, architecture: &str, tensors: &[(String, Array)]) -> Error {
    let names: Vec<&str> = tensors.iter().take(6).map(|(n, _)| n.as_str()).collect();
    Error::content(
        path,
        format!(
            "there is no `{name}` in it (it holds {})",
            if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
        ),
        format!("give the state_dict of {architecture}"),
    )
}

#[cfg(test)]
mod tests {
    use tensorfile::View;

    use super::*;

    fn assert_equal(a: &dyn Module, b: &dyn Module, case: &str) {
        let (a, b) = (nn::parameters(a), nn::parameters(b));
        assert_eq!(a.len(), b.len());
        for (a, b) in a.into_iter().zip(b) {
            assert!(a.value().equal(b.value()), "{case}{}", a.name());
        }
    }

    /// Field cases, row 8.
    #[test]
    fn networks_are_read_behind_the_prefixes_of_other_tools() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.pth");
        let write = |prefix: &str, tensors: &HostTensors, beside: &[&str]| {
            let views = tensors.views().unwrap();
            let names: Vec<String> = views.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
            let named = names.iter().map(String::as_str).zip(views.iter().map(|(_, view)| *view));
            let count = [7];
            let beside = beside.iter().map(|name| (*name, View::i64(&[], &count).unwrap()));
            let mut file = AtomicFile::create(&path, Access::Public).unwrap();
            tensorfile::pt::write_dict(&mut file, &named.chain(beside).collect::<Vec<_>>()).unwrap();
            file.commit().unwrap();
        };
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let stub = UcStub::new(shape, 3, 1, Device::Cpu).unwrap();
        let tensors = host_tensors(&stub).unwrap();
        let vae = Vae::new(shape, 5, 1, Device::Cpu).unwrap();
        let whole = host_tensors(&vae).unwrap();
        let decoder = host_tensors(&vae.decoder).unwrap();
        for prefix in ["", "_module.", "module.", "model.", "net.", "model._orig_mod.", "teacher.network."] {
            write(prefix, &tensors, &["n_averaged", "model.num_batches_tracked"]);
            assert_equal(&UcStub::load(&path, shape, Device::Cpu).unwrap(), &stub, prefix);
            for tensors in [&whole, &decoder] {
                write(prefix, tensors, &["n_averaged"]);
                assert_equal(&Decoder::load(&path, shape, Device::Cpu).unwrap(), &vae.decoder, prefix);
            }
        }
    }

    /// Each architecture is told from its file.
    #[test]
    fn every_classifier_comes_back_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.pth");
        let shape = ImageShape { channels: 1, height: 16, width: 16 };
        let images = tch::Tensor::rand([3, 1, 16, 16], (tch::Kind::Float, Device::Cpu));
        for kind in <NetworkKind as crate::config::Word>::ALL {
            let network = fresh(*kind, 4, shape, 3, 5, Device::Cpu).unwrap();
            save(&*network, &path, Access::Public).unwrap();
            let back = load_classifier(&path, shape, Device::Cpu).unwrap();
            assert_equal(&*back, &*network, &format!("{kind:?} "));
            let (a, b) = (
                network.logits(&images, &mut crate::nn::Pass::Infer),
                back.logits(&images, &mut crate::nn::Pass::Infer),
            );
            assert!(a.equal(&b), "{kind:?}");
        }
        // Whitening travels with the weights.
        let whitened = ScatterLinear::new(shape, 3, Device::Cpu).unwrap();
        let features = whitened.features_of(&images, &crate::base::progress::Silent).unwrap();
        let whitened = whitened.whitened_by(&features, 2, 0.1).unwrap();
        save(&whitened, &path, Access::Public).unwrap();
        let back = load_classifier(&path, shape, Device::Cpu).unwrap();
        assert_equal(&*back, &whitened, "whitened ");
        let pass = &mut crate::nn::Pass::Infer;
        assert!(back.features(&images, pass).equal(&whitened.features(&images, pass)));
    }

    /// A larger network is no smaller one.
    #[test]
    fn what_a_network_has_not_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.pth");
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let tensors = host_tensors(&UcStub::new(shape, 3, 1, Device::Cpu).unwrap()).unwrap();
        let mut views: Vec<(String, View<'_>)> = tensors
            .views()
            .unwrap()
            .into_iter()
            .map(|(name, view)| (format!("model.{name}"), view))
            .collect();
        views.push(("model.head.weight".into(), View::f32(&[2], &[1.0, 2.0]).unwrap()));
        let views: Vec<(&str, View<'_>)> = views.iter().map(|(name, view)| (name.as_str(), *view)).collect();
        let mut file = AtomicFile::create(&path, Access::Public).unwrap();
        tensorfile::pt::write_dict(&mut file, &views).unwrap();
        file.commit().unwrap();
        let Err(error) = UcStub::load(&path, shape, Device::Cpu) else { panic!("it was read") };
        assert!(error.to_string().contains("not known: head.weight"), "{error}");
    }
}
