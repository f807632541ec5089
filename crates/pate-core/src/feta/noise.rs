//! What is drawn while a diffusion model learns: noise levels, noise, and which labels are left
//! out.

use serde::Serialize;
use tch::{Kind, Tensor};

use crate::base::rng::Stream;
use crate::base::tensor;
use crate::{Error, Result};

/// Noise levels: their logarithms are normal.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Levels {
    /// Mean of ln sigma.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// Levels that are drawn alone: from the least to the largest.
    pub within: Option<(f64, f64)>,
}

impl Levels {
    /// EDM's and the original's.
    pub const ORIGINAL: Self = Self { mean: -1.2, deviation: 1.2, within: None };

    /// Turns in which a level within the bounds comes up nearly always, where there is a chance in
    /// a hundred.
    const TURNS: usize = 2000;

    /// Checks that there is something to draw.
    ///
    /// # Errors
    /// Bounds that are no range, or hardly ever met.
    fn check(self) -> Result<()> {
        let Some((low, high)) = self.within else { return Ok(()) };
        let part = if low > 0.0 && low < high && high.is_finite() {
            let z = |sigma: f64| (sigma.ln() - self.mean) / self.deviation;
            below(z(high)) - below(z(low))
        } else {
            0.0
        };
        if part >= 0.01 {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "noise levels from {low} to {high} hold {:.2}% of those that are drawn; give a range with 1% or more, such as \
             0.1 to 2",
            100.0 * part
        )))
    }

    fn draw(self, stream: &mut Stream) -> f32 {
        let Self { mean, deviation, within } = self;
        for _ in 0..Self::TURNS {
            let e = stream.normal(1).first().copied().unwrap_or_default();
            let sigma = (mean + deviation * f64::from(e)).exp();
            if within.is_none_or(|(low, high)| (low..=high).contains(&sigma)) {
                return sigma as f32;
            }
        }
        within.map_or(1.0, |(low, high)| (low * high).sqrt()) as f32
    }
}

/// The normal distribution function, to a hundred-thousandth: enough to tell a range that is hardly
/// ever met (Abramowitz and Stegun 26.2.16).
fn below(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.33267 * z.abs());
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let above = density * t * (0.436_183_6 + t * (-0.120_167_6 + t * 0.937_298));
    if z > 0.0 { 1.0 - above } else { above }
}

/// What is drawn for each record in each step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NoisePlan {
    /// Draws of level and noise (K), whose losses are averaged.
    pub draws: u32,
    /// The levels.
    pub levels: Levels,
    /// Probability with which a record has no label in a step, so that the model learns images of
    /// no class, too.
    pub label_dropout: f64,
    /// Seed of all this. Public: noise here hides nothing.
    pub seed: u64,
}

/// What was drawn for some records, `draws` rows each.
pub(super) struct Drawn {
    /// `[rows]`.
    pub(super) sigma: Tensor,
    /// `[rows, c, h, w]`.
    pub(super) noise: Tensor,
    /// `[rows]`, int64.
    pub(super) classes: Tensor,
}

impl NoisePlan {
    /// Checks its numbers.
    ///
    /// # Errors
    /// Names the first that means nothing.
    pub(super) fn check(&self) -> Result<()> {
        if self.draws == 0 || !(0.0..=1.0).contains(&self.label_dropout) {
            return Err(Error::invalid(format!(
                "{} draws of noise, and labels left out with probability {}: give one draw or more, and a probability",
                self.draws, self.label_dropout
            )));
        }
        self.levels.check()
    }

    /// Draws for records of `classes`, whose streams `stream_of` gives by their place; `no_class`
    /// is the number of "no class".
    pub(super) fn draw(
        &self,
        classes: &[i64],
        no_class: i64,
        shape: [i64; 3],
        stream_of: impl Fn(usize) -> Stream + Sync,
        threads: usize,
    ) -> Result<Drawn> {
        let values = shape.iter().product::<i64>() as usize;
        let draws = self.draws as usize;
        let n = classes.len();
        let (mut sigma, mut drawn) = (vec![0f32; n * draws], vec![0i64; n * draws]);
        let mut noise = vec![0f32; n * draws * values];
        // A few records for each thread; who gets which changes nothing.
        let each = n.div_ceil(threads.max(1)).max(1);
        let part = |first: usize, sigma: &mut [f32], drawn: &mut [i64], noise: &mut [f32]| {
            for (i, of_record) in sigma.chunks_mut(draws).enumerate() {
                let mut stream = stream_of(first + i);
                let dropped =
                    stream.uniform(1, 0.0, 1.0).first().is_some_and(|&u| f64::from(u) < self.label_dropout);
                let class = if dropped { no_class } else { classes[first + i] };
                drawn[i * draws..(i + 1) * draws].fill(class);
                for (k, sigma) in of_record.iter_mut().enumerate() {
                    *sigma = self.levels.draw(&mut stream);
                    let row = i * draws + k;
                    noise[row * values..(row + 1) * values].copy_from_slice(&stream.normal(values));
                }
            }
        };
        let parts = sigma
            .chunks_mut(each * draws)
            .zip(drawn.chunks_mut(each * draws))
            .zip(noise.chunks_mut(each * draws * values))
            .enumerate();
        if threads < 2 {
            parts.for_each(|(at, ((sigma, drawn), noise))| part(at * each, sigma, drawn, noise));
        } else {
            let part = &part;
            std::thread::scope(|scope| {
                for (at, ((sigma, drawn), noise)) in parts {
                    scope.spawn(move || part(at * each, sigma, drawn, noise));
                }
            });
        }
        let rows = (n * draws) as i64;
        Ok(Drawn {
            sigma: tensor::from_f32(&sigma, &[rows])?,
            noise: tensor::from_f32(&noise, &[rows, shape[0], shape[1], shape[2]])?,
            classes: tensor::from_i64(&drawn).f_to_kind(Kind::Int64)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::rng::Purpose;

    const PLAN: NoisePlan = NoisePlan { draws: 3, levels: Levels::ORIGINAL, label_dropout: 0.5, seed: 1 };

    fn draw(plan: &NoisePlan, classes: &[i64], threads: usize) -> Drawn {
        let stream = |at: usize| Stream::new(plan.seed + at as u64, Purpose::DiffusionNoise, 0);
        plan.draw(classes, 10, [1, 2, 2], stream, threads).unwrap()
    }

    #[test]
    fn what_is_drawn_follows_from_the_record_alone() {
        let (all, threads) = (draw(&PLAN, &[1, 2, 3, 4, 5], 1), draw(&PLAN, &[1, 2, 3, 4, 5], 3));
        let fewer = draw(&PLAN, &[1, 2], 1);
        for (a, b) in
            [(&all.sigma, &threads.sigma), (&all.noise, &threads.noise), (&all.classes, &threads.classes)]
        {
            assert!(a.equal(b));
        }
        assert!(
            all.noise.narrow(0, 0, 6).equal(&fewer.noise) && all.sigma.narrow(0, 0, 6).equal(&fewer.sigma)
        );
        // A label is left out for all draws of a record, or for none.
        let classes: Vec<i64> = all.classes.try_into().unwrap();
        for (i, three) in classes.chunks(3).enumerate() {
            assert!(three == [10; 3] || three == [i as i64 + 1; 3], "{classes:?}");
        }
        let many: Vec<i64> = draw(&PLAN, &[0; 400], 1).classes.try_into().unwrap();
        let dropped = many.iter().filter(|class| **class == 10).count() / 3;
        // Five standard deviations of 400 fair coins are 50.
        assert!((150..=250).contains(&dropped), "{dropped}");
    }

    #[test]
    fn levels_stay_in_their_range() {
        let levels = Levels { within: Some((0.2, 0.5)), ..Levels::ORIGINAL };
        let plan = NoisePlan { levels, ..PLAN };
        plan.check().unwrap();
        let sigma: Vec<f32> = draw(&plan, &[0; 100], 1).sigma.try_into().unwrap();
        assert!(sigma.iter().all(|sigma| (0.2..=0.5).contains(sigma)));
        for within in [(0.5, 0.2), (0.0, 1.0), (70.0, 80.0), (0.3, 0.301)] {
            let plan = NoisePlan { levels: Levels { within: Some(within), ..levels }, ..PLAN };
            assert!(plan.check().is_err(), "{within:?}");
        }
        // scipy.stats.norm.cdf
        for (z, expected) in [(0.0, 0.5), (1.0, 0.841_344_7), (-2.5, 0.006_209_7)] {
            assert!((below(z) - expected).abs() < 2e-5, "{z}");
        }
    }
}
