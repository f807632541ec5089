//! Which network a file's tensors are, or which data.

use tensorfile::{Array, Document};

use super::arrays::ArrayInfo;

const UCSTUB: [&str; 8] = [
    "conv1.weight",
    "conv1.bias",
    "conv2.weight",
    "conv2.bias",
    "fc1.weight",
    "fc1.bias",
    "fc2.weight",
    "fc2.bias",
];

const DECODER: [&str; 8] = [
    "fc.weight",
    "fc.bias",
    "conv_t1.weight",
    "conv_t1.bias",
    "conv_t2.weight",
    "conv_t2.bias",
    "conv_final.weight",
    "conv_final.bias",
];

/// The tensors of a file as the steps would read it.
pub(crate) fn tensors(document: Document) -> Option<Vec<(String, Array)>> {
    let has =
        |ending: &str| document.entries().iter().any(|(name, _)| name.replace('|', ".").ends_with(ending));
    let names = if has("conv_t1.bias") { &DECODER } else { &UCSTUB };
    document.into_state_dict(names).ok()
}

/// Recognises the networks of these steps by names and shapes, as `pate-core`'s models read them.
pub(crate) fn network(tensors: &[(String, Array)]) -> Option<String> {
    let shape = |name: &str| tensors.iter().find(|(n, _)| n == name).map(|(_, array)| array.shape());
    if let Some((_, array)) = tensors.iter().find(|(name, _)| name == "architecture") {
        return described(&serde_json::from_slice(array.bytes()).ok()?);
    }
    let only = |names: &[&str]| {
        tensors.len() == 2 * names.len()
            && names.iter().all(|name| {
                shape(&format!("{name}.weight")).is_some() && shape(&format!("{name}.bias")).is_some()
            })
    };
    if only(&["conv1", "conv2", "fc1", "fc2"])
        && let (Some(&[32, channels, 3, 3]), Some([64, 32, 3, 3]), Some([128, _]), Some(&[classes, 128])) =
            (shape("conv1.weight"), shape("conv2.weight"), shape("fc1.weight"), shape("fc2.weight"))
    {
        return Some(format!(
            "UCStub, the classifier of teachers and students: {classes} classes, image channels: {channels}"
        ));
    }
    if let Some(private) = of_private_training(&shape, &only).or_else(|| diffusion(&shape)) {
        return Some(private);
    }
    if let Some(judge) = batch_normed(&shape) {
        return Some(judge);
    }
    let decoder = |prefix: &str| {
        let shape = |name: &str| shape(&format!("{prefix}{name}"));
        match (
            shape("fc.weight")?,
            shape("conv_t1.weight")?,
            shape("conv_t2.weight")?,
            shape("conv_final.weight")?,
        ) {
            (&[_, latents], [128, 64, 4, 4], [64, 32, 4, 4], &[channels, 32, 3, 3]) => {
                Some((latents, channels))
            }
            _ => None,
        }
    };
    if only(&["fc", "conv_t1", "conv_t2", "conv_final"])
        && let Some((latents, channels)) = decoder("")
    {
        return Some(format!("VAE decoder: {latents} latents, image channels: {channels}"));
    }
    if shape("encoder.fc_mu.weight").is_some()
        && shape("encoder.fc_logvar.weight").is_some()
        && let Some((latents, channels)) = decoder("decoder.").or_else(|| decoder(""))
    {
        return Some(format!("VAE, encoder and decoder: {latents} latents, image channels: {channels}"));
    }
    None
}

/// Files that say themselves what they are of.
fn described(about: &serde_json::Value) -> Option<String> {
    let text = |at: &str| about.pointer(at).and_then(|value| value.as_str());
    let number = |at: &str| about.pointer(at).and_then(serde_json::Value::as_u64);
    if let (Some(latents), Some(height), Some(width)) =
        (number("/latent_dim"), number("/shape/height"), number("/shape/width"))
    {
        let encoder = if about["encoder"].is_null() { "without an encoder" } else { "with its encoder" };
        let channels = number("/shape/channels")?;
        return Some(format!(
            "extractor {encoder}: {latents} latents of images of {channels}x{height}x{width}"
        ));
    }
    if let (Some(model), Some(dataset)) = (text("/kind/model"), text("/dataset")) {
        return Some(format!("model of latents ({model}) of the data set \"{dataset}\""));
    }
    let (dataset, how) = (text("/dataset")?, text("/method/method")?);
    Some(format!("private latents of the data set \"{dataset}\", by the method {how}"))
}

/// A diffusion model's U-Net.
fn diffusion<'a>(shape: &dyn Fn(&str) -> Option<&'a [usize]>) -> Option<String> {
    let (Some(&[labels, width]), Some(&[_, channels, 3, 3]), Some(_), Some(_)) = (
        shape("label.weight"),
        shape("conv_in.weight"),
        shape("mid_attn.q.weight"),
        shape("norm_out.weight"),
    ) else {
        return None;
    };
    let classes = labels.checked_sub(1)?;
    Some(format!("diffusion U-Net of width {width}: {classes} classes, image channels: {channels}"))
}

/// The other networks of private training, and what it releases beside them.
fn of_private_training<'a>(
    shape: &dyn Fn(&str) -> Option<&'a [usize]>,
    only: &dyn Fn(&[&str]) -> bool,
) -> Option<String> {
    if only(&["conv1", "conv2", "fc1", "fc2"])
        && let (Some(&[_, channels, 8, 8]), Some(&[classes, _])) =
            (shape("conv1.weight"), shape("fc2.weight"))
    {
        return Some(format!("small CNN: {classes} classes, image channels: {channels}"));
    }
    if only(&["fc1", "fc2", "fc3"])
        && let (Some(&[hidden, pixels]), Some(&[classes, _])) = (shape("fc1.weight"), shape("fc3.weight"))
    {
        return Some(format!("perceptron, {pixels} to {hidden} to {hidden}: {classes} classes"));
    }
    if let (Some(&[width, channels, 3, 3]), Some(_), Some(_), Some(&[classes, _])) =
        (shape("conv1.weight"), shape("norm1.weight"), shape("layer4_1.conv2.weight"), shape("fc.weight"))
    {
        return Some(format!(
            "ResNet-18 with group normalisation, width {width}: {classes} classes, image channels: {channels}"
        ));
    }
    let whitened = shape("whiten.weight").map(|shape| shape.first().copied().unwrap_or(0));
    if let Some(&[classes, inputs]) = shape("head.weight")
        && (only(&["head"]) || (whitened.is_some() && only(&["head", "whiten"])))
    {
        let how = if whitened.is_some() { "whitened" } else { "unwhitened" };
        return Some(format!("linear map of {inputs} {how} scattering features: {classes} classes"));
    }
    if let (Some(&[n]), Some(&[same]), Some(&[layers])) =
        (shape("mean"), shape("variance"), shape("channels"))
        && n == same
    {
        return Some(format!("means and variances of what {layers} layers see: {n} channels"));
    }
    None
}

/// The networks with batch normalisation that data sets are judged by.
fn batch_normed<'a>(shape: &dyn Fn(&str) -> Option<&'a [usize]>) -> Option<String> {
    let known: [(&str, &str, &str, &str, &[usize]); 3] = [
        ("ResNet-110", "conv1", "fc", "layer3.17.conv2", &[64, 64, 3, 3]),
        ("WRN-40-4", "conv1", "fc", "block3.layer.5.conv2", &[256, 256, 3, 3]),
        (
            "ResNeXt-29 of 8 groups",
            "conv_1_3x3",
            "classifier",
            "stage_3.stage_3_bottleneck_2.conv_conv",
            &[2048, 256, 3, 3],
        ),
    ];
    let weight = |layer: &str| shape(&format!("{layer}.weight"));
    known.into_iter().find_map(|(name, first, head, last, last_shape)| {
        let (&[_, channels, 3, 3], &[classes, _]) = (weight(first)?, weight(head)?) else { return None };
        (weight(last)? == last_shape).then(|| {
            format!("{name} with batch normalisation: {classes} classes, image channels: {channels}")
        })
    })
}

/// Recognises images, labels and class probabilities.
pub(crate) fn data(arrays: &[ArrayInfo]) -> Option<String> {
    match arrays {
        [one] => images(one).or_else(|| labels(one)).or_else(|| probabilities(one)),
        several => {
            let pixels = several.iter().find_map(images)?;
            let n = several.iter().filter(|array| labels(array).is_some()).count();
            let beside = match n {
                0 => return None,
                1 => "with labels or ids",
                _ => "with labels and ids",
            };
            Some(format!("{pixels}, {beside}"))
        }
    }
}

fn images(array: &ArrayInfo) -> Option<String> {
    if array.dtype == "bool" {
        return None;
    }
    let (n, channels, height, width) = match array.shape[..] {
        [n, h, w] => (n, 1, h, w),
        [n, c @ (1 | 3), h, w] => (n, c, h, w),
        _ => return None,
    };
    let range = match (array.dtype, array.min, array.max) {
        (_, None, _) | (_, _, None) => "no values",
        ("float64" | "float32" | "float16" | "bfloat16", Some(low), Some(high))
            if low >= 0.0 && high <= 1.1 =>
        {
            "in [0, 1]"
        }
        (_, Some(low), Some(high)) if low >= 0.0 && high <= 255.0 => "in 0..255",
        _ => "normalised already, or no images",
    };
    Some(format!("images: {n} of {channels} x {height} x {width}, {range}"))
}

fn labels(array: &ArrayInfo) -> Option<String> {
    let &[n] = &array.shape[..] else { return None };
    if array.dtype.contains("float") || array.dtype == "bool" {
        return None;
    }
    Some(match (array.min, array.max) {
        (Some(low), Some(high)) => format!("labels: {n}, from {low} to {high}"),
        _ => "labels: none".to_owned(),
    })
}

fn probabilities(array: &ArrayInfo) -> Option<String> {
    let &[n, classes] = &array.shape[..] else { return None };
    let equal = 1.0 / classes as f64;
    let sums_to_one = array.mean.is_some_and(|mean| (mean - equal).abs() < 1e-4 * equal);
    let in_range =
        array.min.is_some_and(|low| low >= 0.0) && array.max.is_some_and(|high| high <= 1.0 + 1e-4);
    (classes >= 2 && sums_to_one && in_range && array.dtype.contains("float"))
        .then(|| format!("class probabilities: {n} rows of {classes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(shape: &[usize], value: f32) -> Array {
        Array::from_f32(shape.to_vec(), vec![value; shape.iter().product()]).unwrap()
    }

    fn tensors(shapes: &[(&str, &[usize])]) -> Vec<(String, Array)> {
        let layer = |&(name, shape): &(&str, &[usize])| {
            let bias = array(&shape[..1], 0.0);
            [(format!("{name}.weight"), array(shape, 0.0)), (format!("{name}.bias"), bias)]
        };
        shapes.iter().flat_map(layer).collect()
    }

    const DECODER_SHAPES: &[(&str, &[usize])] = &[
        ("fc", &[6272, 5]),
        ("conv_t1", &[128, 64, 4, 4]),
        ("conv_t2", &[64, 32, 4, 4]),
        ("conv_final", &[3, 32, 3, 3]),
    ];

    #[test]
    fn networks_are_told_by_names_and_shapes() {
        let stub = [
            ("conv1", &[32, 1, 3, 3][..]),
            ("conv2", &[64, 32, 3, 3]),
            ("fc1", &[128, 64]),
            ("fc2", &[47, 128]),
        ];
        assert!(
            network(&tensors(&stub)).unwrap().contains("UCStub")
                && network(&tensors(&stub)).unwrap().contains("47 classes")
        );
        let mut other = stub;
        other[1].1 = &[64, 16, 3, 3];
        assert_eq!(network(&tensors(&other)), None);
        assert_eq!(network(&tensors(DECODER_SHAPES)).unwrap(), "VAE decoder: 5 latents, image channels: 3");
        let mut more = tensors(DECODER_SHAPES);
        more.push(("extra".to_owned(), array(&[1], 0.0)));
        assert_eq!(network(&more), None);
        let mut vae = tensors(DECODER_SHAPES);
        for (name, _) in &mut vae {
            name.insert_str(0, "decoder.");
        }
        vae.extend(tensors(&[("encoder.fc_mu", &[5, 8]), ("encoder.fc_logvar", &[5, 8])]));
        assert!(network(&vae).unwrap().starts_with("VAE, encoder and decoder: 5 latents"));
        assert_eq!(network(&[]), None);
        let small = [
            ("conv1", &[16, 1, 8, 8][..]),
            ("conv2", &[32, 16, 4, 4]),
            ("fc1", &[32, 512]),
            ("fc2", &[10, 32]),
        ];
        assert_eq!(network(&tensors(&small)).unwrap(), "small CNN: 10 classes, image channels: 1");
        let perceptron = [("fc1", &[256, 784][..]), ("fc2", &[256, 256]), ("fc3", &[10, 256])];
        assert_eq!(network(&tensors(&perceptron)).unwrap(), "perceptron, 784 to 256 to 256: 10 classes");
        let residual = [
            ("conv1", &[16, 3, 3, 3][..]),
            ("norm1", &[16]),
            ("layer4_1.conv2", &[128, 128, 3, 3]),
            ("fc", &[4, 128]),
        ];
        let found = network(&tensors(&residual)).unwrap();
        assert!(found.contains("width 16: 4 classes, image channels: 3"), "{found}");
        let deep = [
            ("conv1", &[16, 1, 3, 3][..]),
            ("bn1", &[16]),
            ("layer3.17.conv2", &[64, 64, 3, 3]),
            ("fc", &[7, 64]),
        ];
        assert_eq!(
            network(&tensors(&deep)).unwrap(),
            "ResNet-110 with batch normalisation: 7 classes, image channels: 1"
        );
        let mut wide = deep;
        wide[2] = ("block3.layer.5.conv2", &[256, 256, 3, 3]);
        assert!(network(&tensors(&wide)).unwrap().starts_with("WRN-40-4"));
        wide[2].1 = &[128, 128, 3, 3];
        assert_eq!(network(&tensors(&wide)), None);
        let grouped = [
            ("conv_1_3x3", &[64, 3, 3, 3][..]),
            ("stage_3.stage_3_bottleneck_2.conv_conv", &[2048, 256, 3, 3]),
            ("classifier", &[10, 1024]),
        ];
        assert!(network(&tensors(&grouped)).unwrap().starts_with("ResNeXt-29"));
        let linear = [("head", &[10, 1000][..]), ("whiten", &[1000, 3969])];
        assert!(
            network(&tensors(&linear)).unwrap().contains("1000 whitened scattering features: 10 classes")
        );
        assert!(network(&tensors(&linear[..1])).unwrap().contains("1000 unwhitened"));
        let statistics = ["mean", "variance"].map(|name| (name.to_owned(), array(&[600], 1.0)));
        let channels = ("channels".to_owned(), Array::from_i64(vec![20], vec![30; 20]).unwrap());
        let all: Vec<_> = statistics.into_iter().chain([channels]).collect();
        assert_eq!(network(&all).unwrap(), "means and variances of what 20 layers see: 600 channels");
        let of = |about: serde_json::Value| described(&about);
        let extractor = serde_json::json!({
            "shape": { "channels": 1, "height": 28, "width": 28 }, "latent_dim": 32, "encoder": null, "decoder": [],
        });
        assert_eq!(of(extractor).unwrap(), "extractor without an encoder: 32 latents of images of 1x28x28");
        let model = serde_json::json!({ "kind": { "model": "vae" }, "dataset": "mnist" });
        assert_eq!(of(model).unwrap(), "model of latents (vae) of the data set \"mnist\"");
        let latents = serde_json::json!({ "dataset": "mnist", "method": { "method": "adam" } });
        assert!(of(latents).unwrap().starts_with("private latents of the data set \"mnist\""));
        assert_eq!(of(serde_json::json!({ "dataset": 3 })), None);
    }

    #[test]
    fn data_is_told_by_shape_type_and_range() {
        let of = |array: &Array| data(&[ArrayInfo::of(String::new(), array)]);
        assert_eq!(of(&array(&[3, 1, 4, 4], 0.5)).unwrap(), "images: 3 of 1 x 4 x 4, in [0, 1]");
        assert_eq!(of(&array(&[3, 4, 4], 200.0)).unwrap(), "images: 3 of 1 x 4 x 4, in 0..255");
        assert!(of(&array(&[3, 3, 4, 4], -2.0)).unwrap().contains("normalised already"));
        assert_eq!(of(&array(&[0, 1, 4, 4], 0.0)).unwrap(), "images: 0 of 1 x 4 x 4, no values");
        let labels = Array::from_i64(vec![3], vec![0, 9, 4]).unwrap();
        assert_eq!(of(&labels).unwrap(), "labels: 3, from 0 to 9");
        assert_eq!(of(&array(&[6, 4], 0.25)).unwrap(), "class probabilities: 6 rows of 4");
        assert_eq!(of(&array(&[6, 4], 0.5)), None);
        let both =
            [ArrayInfo::of("x".into(), &array(&[3, 1, 4, 4], 0.5)), ArrayInfo::of("y".into(), &labels)];
        assert_eq!(data(&both).unwrap(), "images: 3 of 1 x 4 x 4, in [0, 1], with labels or ids");
    }
}
