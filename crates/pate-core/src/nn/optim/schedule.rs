//! How the learning rate changes over epochs.

use serde::Serialize;

/// How the learning rate falls over a training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// `base gamma^(epoch / every)` (`torch.optim.lr_scheduler.StepLR`).
    Steps {
        /// Epochs between two drops, at least 1.
        every: usize,
        /// Factor of a drop.
        gamma: f64,
    },
    /// A tenth of it from 60% of the training on, a hundredth from 80% on.
    Drops,
    /// Half a cosine from `base` to 0 over all epochs, step by step, after a linear rise over the
    /// first [`Schedule::WARM_UP`] of them (Loshchilov and Hutter, "SGDR", 2017, without restarts).
    Cosine,
}

impl Schedule {
    /// Fraction of the training in which the cosine's rate rises.
    pub const WARM_UP: f64 = 0.05;

    /// The rate at `epoch`, counted from 0, with the fraction of it that is done, of `epochs`.
    pub fn rate(self, base: f64, epoch: f64, epochs: usize) -> f64 {
        match self {
            Self::Constant => base,
            Self::Steps { every, gamma } => base * gamma.powi((epoch as usize / every.max(1)) as i32),
            Self::Drops => {
                let done = epoch / epochs.max(1) as f64;
                base * if done < 0.6 {
                    1.0
                } else if done < 0.8 {
                    0.1
                } else {
                    0.01
                }
            }
            Self::Cosine => {
                let done = epoch / epochs.max(1) as f64;
                let rise = ((done + 1e-3) / Self::WARM_UP).min(1.0);
                base * rise * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_falls_as_the_schedule_says() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(Schedule::Constant.rate(0.1, 7.5, 10), 0.1);
        let steps = Schedule::Steps { every: 2, gamma: 0.5 };
        close(steps.rate(0.1, 1.9, 10), 0.1);
        close(steps.rate(0.1, 4.0, 10), 0.025);
        close(Schedule::Drops.rate(0.1, 5.9, 10), 0.1);
        close(Schedule::Drops.rate(0.1, 6.0, 10), 0.01);
        close(Schedule::Drops.rate(0.1, 9.0, 10), 0.001);
        // Half-way the cosine is at half its height; at the end at 0; at the start it rises.
        close(Schedule::Cosine.rate(0.1, 5.0, 10), 0.05);
        close(Schedule::Cosine.rate(0.1, 10.0, 10), 0.0);
        assert!(Schedule::Cosine.rate(0.1, 0.0, 10) < 0.01);
        assert!(Schedule::Cosine.rate(0.1, 0.5, 10) > 0.099);
    }
}
