//! The preconditioning and the loss of EDM (Karras, Aittala, Aila, Laine, "Elucidating the design
//! space of diffusion-based generative models", 2022, table 1).

use tch::Tensor;

use crate::Result;

/// Variance of the data, pixels in `[-1, 1]`.
const DATA: f64 = 1.0 / 3.0;

/// What a network's input and output are multiplied by at noise levels `[n]`; each `[n]`.
#[derive(Debug)]
pub struct Coefficients {
    /// Of the noisy image, in what is given.
    pub skip: Tensor,
    /// Of the network's output.
    pub out: Tensor,
    /// Of the noisy image, in what the network is given.
    pub input: Tensor,
    /// What the network is told of the noise level.
    pub level: Tensor,
    /// Of the squared error, in the loss.
    pub weight: Tensor,
}

/// The coefficients at noise levels `sigma`, of any shape.
pub fn coefficients(sigma: &Tensor) -> Coefficients {
    let squares = sigma * sigma;
    let total = &squares + DATA;
    let root = total.sqrt();
    Coefficients {
        skip: total.reciprocal() * DATA,
        out: sigma * DATA.sqrt() / &root,
        input: root.reciprocal(),
        level: sigma.log() * 0.25,
        weight: total / (squares * DATA),
    }
}

/// A network: images, what it is told of their noise levels, their classes.
pub type Network<'a> = dyn FnMut(&Tensor, &Tensor, &Tensor) -> Result<Tensor> + 'a;

fn by_image(values: &Tensor) -> Result<Tensor> {
    Ok(values.f_view([-1, 1, 1, 1])?)
}

/// What images without their noise look like, as the network has it.
///
/// # Shapes
/// `x` `[n, c, h, w]`, `sigma` `[n]`, `classes` `[n]` int64; as `x`.
///
/// # Errors
/// Those of the network.
pub fn denoised(network: &mut Network<'_>, x: &Tensor, sigma: &Tensor, classes: &Tensor) -> Result<Tensor> {
    let Coefficients { skip, out, input, level, .. } = coefficients(sigma);
    let given = network(&(x * by_image(&input)?), &level, classes)?;
    Ok(x * by_image(&skip)? + given * by_image(&out)?)
}

/// The weighted squared error of each image, the mean over its pixels.
///
/// # Shapes
/// `x` and `noise` `[n, c, h, w]`, `sigma` `[n]`, `classes` `[n]`, to `[n]`.
///
/// # Errors
/// Those of the network.
pub fn losses(
    network: &mut Network<'_>,
    x: &Tensor,
    noise: &Tensor,
    sigma: &Tensor,
    classes: &Tensor,
) -> Result<Tensor> {
    let noisy = x + noise * by_image(sigma)?;
    let off = denoised(network, &noisy, sigma, classes)? - x;
    let errors = (&off * &off).f_mean_dim([1i64, 2, 3].as_slice(), false, None::<tch::Kind>)?;
    Ok(errors * coefficients(sigma).weight)
}
