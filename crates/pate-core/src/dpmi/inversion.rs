//! From images to latents: by the encoder, or by a search for the latents whose image is nearest.
//!
//! # Privacy
//! A latent is a function of its own image, of the public extractor and of public settings: losses,
//! step sizes and stops are each record's own, a search starts where the record's own content says,
//! and all records take as many steps. (The original couples 400 records through one mean loss, so
//! that one record moves the latents of 399 others.) Every record is worked on alone, in a batch of
//! one: in larger batches its place moves the last bits of what libtorch's kernels give.

use serde::Serialize;
use tch::{Device, Kind, Tensor};

use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::{parallel, tensor};
use crate::data::Records;
use crate::dp::keys;
use crate::models::{Extractor, Latent, project};
use crate::nn::{Adam, Pass};
use crate::{Error, Result};

/// How latents are found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
pub enum Method {
    /// What the encoder says.
    Encoder,
    /// Gradient descent on the mean squared error of an image's pixels.
    GradientDescent {
        /// Size of the first step.
        step: f64,
        /// When steps are halved; never where there is none.
        halving: Option<Halving>,
    },
    /// Adam on the same.
    Adam {
        /// Its learning rate.
        learning_rate: f64,
    },
}

/// A record's steps are halved where they stopped helping, and it rests where they grew small.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Halving {
    /// Steps between two looks at the loss.
    pub every: u64,
    /// By how much it must have fallen.
    pub tolerance: f64,
    /// Steps below this end the search.
    pub least: f64,
}

/// How latents are found, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InversionPlan {
    /// How.
    #[serde(flatten)]
    pub method: Method,
    /// Steps of a search, the same for all.
    pub steps: u64,
    /// Whether a search starts from the encoder's latents; else from a standard normal draw.
    pub from_encoder: bool,
    /// Whether a search stays within the norm of another standard normal draw of the record's, as
    /// latents of a GAN must.
    pub project: bool,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// A search of the latents of some images.
pub struct Search<'a> {
    /// What draws images.
    pub extractor: &'a Extractor,
    /// How.
    pub method: Method,
    /// Largest norm of each record's latents, `[n, 1]`, where there is one.
    pub radius: Option<&'a Tensor>,
}

/// Where searches are after some steps.
pub struct Found {
    /// `[n, d]`.
    pub latents: Tensor,
    /// Each record's loss before each step, `[steps, n]`.
    pub losses: Tensor,
    /// Steps that each record took.
    pub steps: Vec<u64>,
}

impl Search<'_> {
    /// Takes at most `steps` steps from `start`.
    ///
    /// # Shapes
    /// `images` `[n, c, h, w]`, `start` `[n, d]`, of one kind of numbers.
    ///
    /// # Errors
    /// Other shapes; [`Method::Encoder`], which is no search.
    pub fn run(&self, images: &Tensor, start: &Tensor, steps: u64) -> Result<Found> {
        let (n, kind, device) = (images.size()[0], images.kind(), images.device());
        let mut z = start.f_detach()?.copy();
        let zeros = || Tensor::f_zeros(start.size(), (kind, device));
        let (mut mean, mut square) = (zeros()?, zeros()?);
        let first = match self.method {
            Method::GradientDescent { step, .. } => step,
            _ => 0.0,
        };
        let mut sizes = Tensor::f_full([n, 1], first, (kind, device))?;
        let mut reference: Option<Tensor> = None;
        let mut taken = vec![0u64; n as usize];
        let mut losses = Vec::with_capacity(steps as usize);
        for t in 0..steps {
            let (loss, gradient) = self.gradient(images, &z)?;
            match self.method {
                Method::Encoder => return Err(Error::invalid("an encoder searches for nothing")),
                Method::Adam { learning_rate } => {
                    let counts = vec![i32::try_from(t + 1).unwrap_or(i32::MAX); n as usize];
                    Adam::step_rows(&mut z, &mut mean, &mut square, &gradient, learning_rate, &counts)?;
                    for taken in &mut taken {
                        *taken += 1;
                    }
                }
                Method::GradientDescent { halving, .. } => {
                    let moves = sizes.f_gt(0.0)?;
                    let _ = z.f_sub_(&(&gradient * &sizes))?;
                    for (taken, moves) in taken.iter_mut().zip(tensor::to_i64(&moves)?) {
                        *taken += moves as u64;
                    }
                    if let Some(halving) = halving.filter(|halving| t % halving.every.max(1) == 0) {
                        if let Some(reference) = &reference {
                            let fell = (reference - &loss).f_gt(halving.tolerance)?.f_unsqueeze(1)?;
                            sizes = sizes.f_where_self(&fell, &(&sizes * 0.5))?;
                            // A step of nothing: the record rests.
                            let goes_on = sizes.f_ge(halving.least)?.f_to_kind(kind)?;
                            sizes *= goes_on;
                        }
                        reference = Some(loss.shallow_clone());
                    }
                }
            }
            if let Some(radius) = self.radius {
                z = project(&z, radius)?;
            }
            losses.push(loss);
        }
        let losses = if losses.is_empty() {
            Tensor::f_zeros([0, n], (kind, device))?
        } else {
            Tensor::f_stack(&losses, 0)?
        };
        Ok(Found { latents: z, losses, steps: taken })
    }

    /// Each record's loss, and the gradient in its latents.
    fn gradient(&self, images: &Tensor, z: &Tensor) -> Result<(Tensor, Tensor)> {
        let z = z.detach().set_requires_grad(true);
        let drawn = self.extractor.decoded(&z, &mut Pass::Frozen);
        let off = drawn.f_sub(images)?.f_flatten(1, -1)?;
        let loss = off.f_square()?.f_mean_dim([1i64].as_slice(), false, None)?;
        let gradient = tensor::gradients(&loss.f_sum(None)?, &[&z])?.remove(0);
        Ok((loss.detach(), gradient))
    }
}

/// Records that a thread takes up at a time.
const CHUNK: i64 = 16;

/// A thread's part of the work.
struct Worker {
    extractor: Extractor,
    images: Tensor,
}

/// The latents of `records`, `[n, d]` on the CPU.
///
/// # Privacy
/// Private: see the module.
///
/// # Errors
/// Images of another shape, an extractor without an encoder where one is needed, a stop.
pub fn extract(
    extractor: &Extractor,
    records: &Records,
    plan: &InversionPlan,
    progress: &dyn Progress,
) -> Result<Tensor> {
    records.images.expect_shape(records.source(), extractor.shape())?;
    let needs = plan.method == Method::Encoder || plan.from_encoder;
    if needs && extractor.latent() == Latent::Prior {
        return Err(Error::invalid(
            "the extractor has no encoder; search with --method adam or gradient-descent and --start random",
        ));
    }
    let keys_private = keys::of_records(records)?;
    let (n, d) = (records.len() as i64, extractor.latent_dim());
    let all = Tensor::f_empty([n, d], (Kind::Float, Device::Cpu))?;
    let workers = (0..parallel::workers(extractor.device()))
        .map(|_| Worker { extractor: extractor.clone(), images: records.images.tensor().shallow_clone() });
    parallel::batches(
        n,
        CHUNK,
        workers.collect(),
        progress,
        |worker, first, count| {
            let alone = |row: i64| {
                let image = worker.images.f_narrow(0, row, 1)?;
                let latents = latents_of(&worker.extractor, &image, keys_private[row as usize], plan)?;
                Ok(latents.f_to_device(Device::Cpu)?)
            };
            let latents = (first..first + count).map(alone).collect::<Result<Vec<_>>>()?;
            Ok(Tensor::f_cat(&latents, 0)?)
        },
        |first, count, latents: Tensor| Ok(all.f_narrow(0, first, count)?.f_copy_(&latents)?),
    )?;
    Ok(all)
}

/// The latents of one image, whose content has the number `key`.
fn latents_of(extractor: &Extractor, image: &Tensor, key: u64, plan: &InversionPlan) -> Result<Tensor> {
    let d = extractor.latent_dim();
    let image = image.f_to_device(extractor.device())?;
    let encoded = || -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        Ok(extractor.encoded(&image, &mut Pass::Infer)?.f_narrow(1, 0, d)?)
    };
    if plan.method == Method::Encoder {
        return encoded();
    }
    let draw = |which: u64| -> Result<Tensor> {
        let noise = Stream::new(plan.seed ^ key, Purpose::Inversion, which).normal_tensor(&[1, d])?;
        Ok(noise.f_to_device(image.device())?)
    };
    let start = if plan.from_encoder { encoded()? } else { draw(0)? };
    let radius = if plan.project {
        let squares = draw(1)?.f_square()?;
        Some(squares.f_sum_dim_intlist([1i64].as_slice(), true, Kind::Float)?.f_sqrt()?)
    } else {
        None
    };
    let search = Search { extractor, method: plan.method, radius: radius.as_ref() };
    Ok(search.run(&image, &start, plan.steps)?.latents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;
    use crate::data::{ImageShape, Images, Labels};
    use crate::models::{self, ExtractorKind};

    fn records(n: i64) -> Records {
        let pixels = Stream::new(4, Purpose::Latents, 0).uniform((n * 64) as usize, 0.0, 1.0);
        let images = Images::trusted(tensor::from_f32(&pixels, &[n, 1, 8, 8]).unwrap());
        let labels = Labels::new(std::path::Path::new("made up"), vec![0; n as usize], 2).unwrap();
        Records::of_samples(images, labels, Vec::new())
    }

    fn plan(method: Method) -> InversionPlan {
        InversionPlan { method, steps: 8, from_encoder: method == Method::Encoder, project: false, seed: 5 }
    }

    /// One record that goes leaves the others' latents as they were, to the byte.
    #[test]
    fn a_record_s_latents_depend_on_that_record_alone() {
        let shape = ImageShape { channels: 1, height: 8, width: 8 };
        let whole = records(70);
        let rows: Vec<i64> = (0..70).filter(|&row| row != 3).collect();
        let without = whole.select(&rows).unwrap();
        let layers = models::latent_generator(5, &[16], 64, true);
        let generator = Extractor::generator(layers, shape, 5, 1, Device::Cpu).unwrap();
        let mini = Extractor::new(ExtractorKind::Mini, shape, 5, Latent::Encoded, 1, Device::Cpu).unwrap();
        let wide = Extractor::new(ExtractorKind::Wide, shape, 5, Latent::Posterior, 1, Device::Cpu).unwrap();
        let halving = Halving { every: 2, tolerance: 1e-6, least: 0.5 };
        let descent = Method::GradientDescent { step: 2.0, halving: Some(halving) };
        let adam = Method::Adam { learning_rate: 0.05 };
        for (extractor, plan) in [
            (&mini, plan(Method::Encoder)),
            (&wide, plan(Method::Encoder)),
            (&mini, plan(adam)),
            (&wide, InversionPlan { from_encoder: true, ..plan(adam) }),
            (&mini, plan(descent)),
            (&generator, InversionPlan { project: true, ..plan(descent) }),
        ] {
            let all = extract(extractor, &whole, &plan, &Silent).unwrap();
            let fewer = extract(extractor, &without, &plan, &Silent).unwrap();
            let kept = all.index_select(0, &tensor::from_i64(&rows));
            assert!(kept.equal(&fewer), "{plan:?}");
        }
        assert!(extract(&generator, &whole, &plan(Method::Encoder), &Silent).is_err());
    }
}
