//! The batches of an epoch, made before they are computed.

use std::collections::VecDeque;

use crate::Result;
use crate::base::rng::TorchGenerator;

/// Records of an epoch of which all batches are made before the first one is computed.
const SMALL: i64 = 1024;

/// Batches in order. Those of a small epoch are all made at the start, and libtorch's generator is
/// free again before anything is computed, so that trainings on small shards run side by side;
/// those of a large one are made one ahead. What is in them does not depend on it.
pub(super) struct Prefetch<F, T> {
    make: F,
    records: i64,
    batch: i64,
    next: i64,
    ready: VecDeque<T>,
    generator: Option<TorchGenerator>,
}

impl<T, F: FnMut(i64, i64) -> Result<T>> Prefetch<F, T> {
    /// Batches of `batch` of the `records`; `make` gets the first record of one and how many it
    /// has, and draws from `generator`.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn new(records: i64, batch: i64, generator: TorchGenerator, make: F) -> Result<Self> {
        let mut batches =
            Self { make, records, batch, next: 0, ready: VecDeque::new(), generator: Some(generator) };
        batches.make_next()?;
        if records <= SMALL {
            while batches.next < records {
                batches.make_next()?;
            }
        }
        Ok(batches)
    }

    /// The next batch, `None` after the last.
    pub(super) fn take(&mut self) -> Option<T> {
        self.ready.pop_front()
    }

    /// Makes one more, where there is one.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn make_next(&mut self) -> Result<()> {
        if self.next < self.records {
            let rows = self.batch.min(self.records - self.next);
            self.ready.push_back((self.make)(self.next, rows)?);
            self.next += rows;
        }
        if self.next >= self.records {
            self.generator = None;
        }
        Ok(())
    }

    /// All that are left, at once.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn all(mut self) -> Result<VecDeque<T>> {
        while self.next < self.records {
            self.make_next()?;
        }
        Ok(self.ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_epoch_frees_the_generator_and_a_large_one_keeps_it() {
        for (records, ahead) in [(100, 4), (SMALL, 35), (SMALL + 1, 1)] {
            let made = std::cell::Cell::new(0);
            let mut batches = Prefetch::new(records, 30, TorchGenerator::hold(), |first, rows| {
                made.set(made.get() + 1);
                Ok((first, rows))
            })
            .unwrap();
            assert_eq!(made.get(), ahead);
            assert_eq!(batches.generator.is_none(), records <= SMALL);
            let mut seen = Vec::new();
            while let Some(batch) = batches.take() {
                batches.make_next().unwrap();
                seen.push(batch);
            }
            assert!(batches.generator.is_none());
            assert_eq!(seen.len() as i64, (records + 29) / 30);
            assert_eq!(seen.iter().map(|(_, rows)| rows).sum::<i64>(), records);
            assert!(seen.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0));
        }
    }
}
