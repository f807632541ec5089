//! Batches of rows on several threads, each of which computes alone.
//!
//! Networks of this size do not fill two processor cores from inside one operation: threads wait
//! for each other after every one of them. A batch per thread has no such waits, and its result
//! does not depend on how many threads there are.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;

use tch::Device;

use crate::base::progress::Progress;
use crate::{Error, Result};

/// Holds the calling thread to a number of libtorch's threads, and gives it the former number back
/// when it is dropped.
pub(crate) struct Threads {
    before: i32,
}

impl Threads {
    pub(crate) fn one() -> Self {
        Self::hold(1)
    }

    pub(crate) fn hold(n: usize) -> Self {
        let before = tch::get_num_threads();
        tch::set_num_threads(i32::try_from(n).unwrap_or(i32::MAX));
        Self { before }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        tch::set_num_threads(self.before);
    }
}

/// Number of threads that [`batches`] uses on `device`: those of libtorch on the CPU, one
/// elsewhere.
pub fn workers(device: Device) -> usize {
    if device == Device::Cpu { tch::get_num_threads().max(1) as usize } else { 1 }
}

/// Runs `body` on consecutive row ranges `(first, n)` of at most `batch` rows, on one thread per
/// worker, and hands every result to `take` in the order of the rows, on the calling thread.
///
/// A worker holds what one thread needs; libtorch's tensors go from thread to thread, but two
/// cannot use one at once. With one worker, or one batch, the calling thread does all.
///
/// # Errors
/// The first error of `body` or `take`, or a stop; rows before it may have been taken.
pub fn batches<W: Send, T: Send>(
    rows: i64,
    batch: i64,
    mut workers: Vec<W>,
    progress: &dyn Progress,
    body: impl Fn(&mut W, i64, i64) -> Result<T> + Sync,
    mut take: impl FnMut(i64, i64, T) -> Result<()>,
) -> Result<()> {
    let count = if batch > 0 { (rows + batch - 1) / batch } else { 0 };
    let range = |index: i64| (index * batch, batch.min(rows - index * batch));
    let _threads = Threads::one();
    if workers.len() < 2 || count < 2 {
        let Some(worker) = workers.first_mut() else {
            return Err(Error::invalid("there is no worker to compute with"));
        };
        for (first, n) in (0..count).map(range) {
            progress.check()?;
            take(first, n, body(worker, first, n)?)?;
            progress.advance(n as u64, "");
        }
        return Ok(());
    }
    let (next, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    // Finished batches that the calling thread has not taken up yet are at most as many as this.
    let room = workers.len() * 2;
    let (sender, receiver) = mpsc::sync_channel::<(i64, Result<T>)>(room);
    std::thread::scope(|scope| {
        for mut worker in workers {
            let (sender, next, stop, body) = (sender.clone(), &next, &stop, &body);
            scope.spawn(move || {
                tch::set_num_threads(1);
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let (first, n) = range(index);
                    if sender.send((index, body(&mut worker, first, n))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        // Workers finish in any order, and results are taken in that of the rows: what a step
        // writes does not depend on the number of threads.
        let mut early = std::collections::BTreeMap::new();
        let mut wanted = 0;
        let mut run = || -> Result<()> {
            for (index, result) in &receiver {
                progress.check()?;
                early.insert(index, result?);
                while let Some(value) = early.remove(&wanted) {
                    let (first, n) = range(wanted);
                    take(first, n, value)?;
                    progress.advance(n as u64, "");
                    wanted += 1;
                }
            }
            Ok(())
        };
        let result = run();
        stop.store(true, Ordering::Relaxed);
        // Lets workers that wait for room go on, and end.
        drop(receiver);
        result
    })
}

/// Runs `body` for every number below `count`, each on one thread that computes alone, and hands
/// the results to `take` in order, on the calling thread. With one worker, or one job, the calling
/// thread does all, with every thread of libtorch.
///
/// # Errors
/// As [`batches`].
pub fn jobs<W: Send, T: Send, E: From<Error>>(
    count: usize,
    mut workers: Vec<W>,
    progress: &dyn Progress,
    body: impl Fn(&mut W, usize) -> Result<T> + Sync,
    mut take: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    match &mut workers[..] {
        [worker, rest @ ..] if rest.is_empty() || count < 2 => {
            for job in 0..count {
                progress.check()?;
                take(job, body(worker, job)?)?;
            }
            Ok(())
        }
        _ => {
            let mut failed = None;
            let taken = batches(
                count as i64,
                1,
                workers,
                progress,
                |worker, job, _| body(worker, job as usize),
                |job, _, result| {
                    take(job as usize, result).map_err(|error| {
                        // Any error ends the batches; the caller's own is given back below.
                        failed = Some(error);
                        Error::Stopped
                    })
                },
            );
            taken.map_err(|error| failed.unwrap_or_else(|| error.into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::progress::Silent;

    fn ranges(workers: usize, rows: i64, batch: i64) -> Vec<(i64, i64, i64)> {
        let mut taken = Vec::new();
        batches(
            rows,
            batch,
            vec![(); workers],
            &Silent,
            |(), first, n| Ok(first * 1000 + n),
            |first, n, value| {
                taken.push((first, n, value));
                Ok(())
            },
        )
        .unwrap();
        taken
    }

    #[test]
    fn results_come_in_the_order_of_the_rows() {
        let one = ranges(1, 1003, 10);
        assert_eq!(one.len(), 101);
        assert_eq!(one.last(), Some(&(1000, 3, 1_000_003)));
        for workers in 2..5 {
            assert_eq!(ranges(workers, 1003, 10), one);
        }
        assert!(ranges(3, 0, 10).is_empty());
    }

    #[test]
    fn the_first_error_ends_it() {
        for workers in 1..4 {
            let mut taken = 0;
            let result = batches(
                1000,
                1,
                vec![(); workers],
                &Silent,
                |(), first, _| if first == 50 { Err(Error::invalid("fifty")) } else { Ok(first) },
                |_, _, _| {
                    taken += 1;
                    Ok(())
                },
            );
            assert!(result.is_err_and(|e| e.to_string().contains("fifty")));
            assert!(taken <= 50, "{taken}");
        }
        let result = batches(
            9,
            2,
            vec![(); 2],
            &Silent,
            |(), _, _| Ok(()),
            |first, _, ()| {
                if first == 4 { Err(Error::invalid("full")) } else { Ok(()) }
            },
        );
        assert!(result.is_err_and(|e| e.to_string().contains("full")));
        assert!(batches(9, 2, Vec::<()>::new(), &Silent, |(), _, _| Ok(()), |_, _, ()| Ok(())).is_err());
    }

    #[test]
    fn jobs_come_in_order_and_one_worker_keeps_its_threads() {
        for workers in 1..4 {
            let mut seen = Vec::new();
            let threads = tch::get_num_threads();
            let body = |(): &mut (), job: usize| Ok((job * 3, tch::get_num_threads()));
            jobs::<_, _, Error>(7, vec![(); workers], &Silent, body, |job, value| {
                seen.push((job, value.0));
                assert_eq!(value.1, if workers == 1 { threads } else { 1 });
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, (0..7).map(|job| (job, job * 3)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn threads_of_libtorch_are_given_back() {
        let before = tch::get_num_threads();
        ranges(3, 100, 10);
        assert_eq!(tch::get_num_threads(), before);
    }
}
