//! A pool of worker threads that compute the parts of a training step side by side.
//!
//! A batch is cut into parts by its size alone, each part's gradients are computed on one thread,
//! and they are added in the order of the parts: weights do not depend on how many threads there
//! are.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};

use tch::{Device, Tensor};

use crate::base::parallel::Threads;
use crate::{Error, Result};

/// Maximum rows of a part: their activations stay in the processor's cache.
const MAX_ROWS: i64 = 32;
/// Minimum rows that are worth a part of their own.
const MIN_ROWS: i64 = 4;

/// The parts of a batch of `rows`: two or more where they have at least 4 rows each, of at most 32
/// rows. On a GPU, one.
pub(crate) fn parts(rows: i64, device: Device) -> Vec<Range<i64>> {
    let size = if device == Device::Cpu { ((rows + 1) / 2).clamp(MIN_ROWS, MAX_ROWS) } else { rows.max(1) };
    (0..rows).step_by(size as usize).map(|first| first..(first + size).min(rows)).collect()
}

/// Computes parts: in the calling thread, or in threads of its own.
pub(crate) enum Pool<'a, J, P> {
    /// There is one worker: the calling thread itself.
    Inline(&'a mut dyn FnMut(J) -> Result<P>, Vec<Result<P>>),
    /// One queue per thread; results carry the number of their part.
    Threads { queues: Vec<Sender<(usize, J)>>, results: Receiver<(usize, Result<P>)>, waiting: usize },
}

impl<J, P> Pool<'_, J, P> {
    /// Hands the parts out. Their results must be [taken](Pool::finish) before the next ones are
    /// started.
    pub(crate) fn start(&mut self, jobs: Vec<J>) -> Result<()> {
        match self {
            Self::Inline(compute, done) => done.extend(jobs.into_iter().map(compute)),
            Self::Threads { queues, waiting, .. } => {
                *waiting = jobs.len();
                let n = queues.len();
                for (part, job) in jobs.into_iter().enumerate() {
                    queues[part % n].send((part, job)).map_err(|_| gone())?;
                }
            }
        }
        Ok(())
    }

    /// Waits for the results, in the order of the parts.
    pub(crate) fn finish(&mut self) -> Result<Vec<P>> {
        match self {
            Self::Inline(_, done) => done.drain(..).collect(),
            Self::Threads { results, waiting, .. } => {
                let mut all: Vec<Option<Result<P>>> = (0..*waiting).map(|_| None).collect();
                for _ in 0..*waiting {
                    let (part, result) = results.recv().map_err(|_| gone())?;
                    all[part] = Some(result);
                }
                all.into_iter().map(|result| result.unwrap_or_else(|| Err(gone()))).collect()
            }
        }
    }
}

fn gone() -> Error {
    Error::invalid("a thread of the training failed; there should be a message of it above")
}

/// Runs `lead` with a pool of `workers`, one thread for each where there are two or more; each
/// computes on one thread, as does `lead`.
///
/// # Errors
/// Those of `lead`.
pub(crate) fn with_pool<W: Send, J: Send, P: Send, R>(
    mut workers: Vec<W>,
    compute: impl Fn(&mut W, J) -> Result<P> + Sync,
    lead: impl FnOnce(&mut Pool<'_, J, P>) -> Result<R>,
) -> Result<R> {
    let _threads = Threads::one();
    if workers.len() < 2 {
        let Some(mut worker) = workers.pop() else {
            return Err(Error::invalid("a training needs at least one worker"));
        };
        return lead(&mut Pool::Inline(&mut |job| compute(&mut worker, job), Vec::new()));
    }
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        let mut queues = Vec::new();
        for mut worker in workers {
            let (queue, jobs) = channel::<(usize, J)>();
            queues.push(queue);
            let (sender, compute) = (sender.clone(), &compute);
            scope.spawn(move || {
                // libtorch's number of threads is set for each thread anew.
                tch::set_num_threads(1);
                for (part, job) in jobs {
                    // A panic is a bug, and the other threads would be waited for in vain.
                    let computed = catch_unwind(AssertUnwindSafe(|| compute(&mut worker, job)));
                    if sender.send((part, computed.unwrap_or_else(|_| Err(gone())))).is_err() {
                        break;
                    }
                }
            });
        }
        // With only the threads' own senders left, waiting for results ends when all threads have.
        drop(sender);
        // Dropped at the end, which ends the threads.
        let mut pool = Pool::Threads { queues, results, waiting: 0 };
        lead(&mut pool)
    })
}

/// Sums of the parts' tensors, in the order of the parts.
pub(crate) fn sum(parts: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    let _guard = tch::no_grad_guard();
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_default();
    for part in parts {
        for (total, part) in total.iter_mut().zip(&part) {
            let _ = total.f_add_(part)?;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_a_batch_and_depend_on_its_size_alone() {
        let sizes = |rows| parts(rows, Device::Cpu).iter().map(|r| r.end - r.start).collect::<Vec<_>>();
        assert_eq!(sizes(64), [32, 32]);
        assert_eq!(sizes(128), [32; 4]);
        assert_eq!(sizes(32), [16, 16]);
        assert_eq!(sizes(17), [9, 8]);
        assert_eq!(sizes(8), [4, 4]);
        assert_eq!(sizes(9), [5, 4]);
        assert_eq!(sizes(5), [4, 1]);
        assert_eq!(sizes(3), [3]);
        assert_eq!(sizes(1), [1]);
        assert!(sizes(0).is_empty());
        let whole = parts(500, Device::Cuda(0));
        assert_eq!((whole.len(), whole[0].end), (1, 500));
    }

    #[test]
    fn a_panic_of_one_worker_is_an_error_and_no_endless_wait() {
        let compute = |(): &mut (), job: i64| if job == 13 { panic!("thirteen") } else { Ok(job) };
        let found = with_pool(vec![(); 3], compute, |pool| {
            pool.start(vec![1, 13, 2])?;
            pool.finish()
        });
        assert!(found.is_err_and(|error| error.to_string().contains("a thread of the training failed")));
    }

    #[test]
    fn results_come_in_order_and_errors_are_passed_on() {
        for n in 1..4 {
            let got = with_pool(
                vec![(); n],
                |(), job: i64| if job == 13 { Err(Error::invalid("thirteen")) } else { Ok(job * 2) },
                |pool| {
                    pool.start((0..7).collect())?;
                    let first = pool.finish()?;
                    pool.start(vec![12, 13])?;
                    assert!(pool.finish().is_err_and(|e| e.to_string().contains("thirteen")));
                    pool.start(vec![5])?;
                    assert_eq!(pool.finish()?, [10]);
                    Ok(first)
                },
            );
            assert_eq!(got.unwrap(), [0, 2, 4, 6, 8, 10, 12]);
        }
    }
}
