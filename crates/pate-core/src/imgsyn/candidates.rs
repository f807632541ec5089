//! Public images to start from: as they are, or changed so that they cover more of what images can
//! be.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::base::progress::Progress;
use crate::base::rng::{Purpose, Stream};
use crate::base::tensor;
use crate::config::VariantKind;
use crate::data::Images;
use crate::data::augment::{Warp, warp};
use crate::{Error, Result};

/// Which images are made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidatePlan {
    /// How many.
    pub count: usize,
    /// Kinds, in turns.
    pub variants: Vec<VariantKind>,
    /// Strength of the warps in them.
    pub strength: f64,
    /// Seed of everything that is drawn.
    pub seed: u64,
}

/// Images that are changed at once.
const CHUNK: usize = 1000;

/// Makes public images from public images: each row is the next of a seeded permutation, which
/// starts anew when it ends, changed as its kind says. Gives also the rows that they come from (of
/// mixtures, the first).
///
/// # Errors
/// No images or kinds, a stop.
pub fn candidates(
    public: &Images,
    plan: &CandidatePlan,
    progress: &dyn Progress,
) -> Result<(Images, Vec<i64>)> {
    if public.is_empty() || plan.variants.is_empty() {
        return Err(Error::invalid("there are no public images, or no kinds of them, to start from"));
    }
    let n = public.len();
    // A stretch of candidates of one kind at a time: what a kind draws does not depend on the
    // others.
    let mut parts: Vec<(Vec<i64>, Tensor)> = Vec::new();
    let mut sources = Vec::with_capacity(plan.count);
    for turn in 0..plan.count.div_ceil(n) {
        sources.extend(Stream::new(plan.seed, Purpose::Candidates, turn as u64).permutation(n));
    }
    sources.truncate(plan.count);
    let kinds = plan.variants.len();
    let mut index = 0;
    for (kind, &variant) in plan.variants.iter().enumerate() {
        let rows: Vec<usize> = (kind..plan.count).step_by(kinds).collect();
        for rows in rows.chunks(CHUNK) {
            progress.check()?;
            index += 1;
            let mut stream = Stream::new(plan.seed, Purpose::CandidateAugmentation, index);
            let chosen: Vec<i64> = rows.iter().map(|&row| sources[row]).collect();
            let images = public.tensor().f_index_select(0, &tensor::from_i64(&chosen))?;
            let images = change(&images, variant, plan.strength, &mut stream)?;
            parts.push((rows.iter().map(|&row| row as i64).collect(), images));
            progress.advance(rows.len() as u64, "");
        }
    }
    let order: Vec<i64> = parts.iter().flat_map(|(rows, _)| rows.iter().copied()).collect();
    let mut back = vec![0i64; order.len()];
    for (at, row) in order.into_iter().enumerate() {
        back[row as usize] = at as i64;
    }
    let all: Vec<Tensor> = parts.into_iter().map(|(_, images)| images).collect();
    let all = Tensor::f_cat(&all, 0)?.f_index_select(0, &tensor::from_i64(&back))?;
    Ok((Images::trusted(all.f_clamp(0.0, 1.0)?), sources))
}

fn change(images: &Tensor, variant: VariantKind, strength: f64, stream: &mut Stream) -> Result<Tensor> {
    let n = images.size()[0];
    let mut column = |low: f32, high: f32| -> Result<Tensor> {
        tensor::from_f32(&stream.uniform(n as usize, low, high), &[n, 1, 1, 1])
    };
    match variant {
        VariantKind::Plain => Ok(images.shallow_clone()),
        VariantKind::Warped => warp(images, &Warp::new(strength, false), stream),
        VariantKind::Edges => {
            let contrast = column(0.8, 2.0)?;
            let warped = warp(images, &Warp::new(strength, true), stream)?;
            let edges = dilated(&warped, 1)? - eroded(&warped, 1)?;
            Ok((edges * contrast).f_clamp(0.0, 1.0)?)
        }
        VariantKind::Mixed => {
            let share = column(0.2, 0.8)?;
            let order = tensor::from_i64(&stream.permutation(n as usize));
            let warped = warp(images, &Warp::new(strength, false), stream)?;
            let others = warped.f_index_select(0, &order)?;
            Ok(&warped * &share + others * (1.0 - share))
        }
        VariantKind::Textured => textured(images, strength, stream),
    }
}

fn dilated(images: &Tensor, radius: i64) -> Result<Tensor> {
    let k = 2 * radius + 1;
    Ok(images.f_max_pool2d([k, k], [1, 1], [radius, radius], [1, 1], false)?)
}

fn eroded(images: &Tensor, radius: i64) -> Result<Tensor> {
    Ok(dilated(&images.f_neg()?, radius)?.f_neg()?)
}

/// Wide shapes that are nearly symmetric, of an even brightness with a coarse texture. Chosen
/// knowing that clothes look so.
fn textured(images: &Tensor, strength: f64, stream: &mut Stream) -> Result<Tensor> {
    let size = images.size();
    let (n, channels, h, w) = (size[0], size[1], size[2], size[3]);
    let warped = warp(images, &Warp::new(strength, true), stream)?;
    let draw = |stream: &mut Stream, low: f32, high: f32| {
        tensor::from_f32(&stream.uniform(n as usize, low, high), &[n, 1, 1, 1])
    };
    // A dilation of 0 to 4 pixels each.
    let radius = draw(stream, 0.0, 5.0)?.f_floor()?;
    let mut wide = warped.shallow_clone();
    for r in 1..5 {
        let at_least = radius.f_ge(f64::from(r))?;
        wide = dilated(&warped, i64::from(r))?.f_where_self(&at_least, &wide)?;
    }
    // Half of them are joined with their mirror image.
    let joined = draw(stream, 0.0, 1.0)?.f_lt(0.5)?;
    let mirrored = wide.f_maximum(&wide.f_flip([3])?)?;
    let shape = mirrored.f_where_self(&joined, &wide)?;
    let (brightness, depth) = (draw(stream, 0.3, 1.0)?, draw(stream, 0.0, 0.8)?);
    let knots = stream.uniform((n * channels * 49) as usize, 0.0, 1.0);
    let coarse = tensor::from_f32(&knots, &[n, channels, 7, 7])?;
    let texture = coarse.f_upsample_bilinear2d([h, w], false, None, None)?;
    let factor: Tensor = brightness * (1.0 - depth * texture);
    Ok(shape.f_mul(&factor)?.f_clamp(0.0, 1.0)?.f_to_kind(Kind::Float)?)
}
