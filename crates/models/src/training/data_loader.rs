//! The data loader: assembles the batches of an epoch in worker threads, ahead of the training steps.
//!
//! Each worker takes the next clip in the order of the epoch, reads it (from the feature cache, or computed from its recording if
//! every epoch has new examples), normalizes it and copies it to its position in its batch. Workers are not threads of the global
//! pool: a step on the CPU occupies that pool, and a clip that waited there for a thread while the step waits for the clip would
//! be a deadlock. A slow batch does not delay the others, and the consumer gets the batches in the order of the epoch with the
//! same bytes for any number of workers.
//!
//! Memory: `prefetch` batches that are in preparation or ready, and the one that the consumer holds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use timbre_inputs::dataset::feature_set::FeatureSet;

/// What to load, and how.
#[derive(Clone, Copy)]
pub struct LoaderSpec<'a> {
    pub set: &'a FeatureSet,
    /// Rows of the set in the order of the epoch; a row may occur more than once.
    pub order: &'a [usize],
    /// Clips per batch; the last batch may be shorter.
    pub batch_size: usize,
    /// From 0.
    pub epoch: usize,
    /// Batches prepared ahead of the one that the consumer holds, at least one.
    pub prefetch: usize,
    /// See [`worker_threads`].
    pub workers: usize,
    /// Normalizes a clip in position.
    pub transform: &'a (dyn Fn(&mut [f32]) + Sync),
}

/// The number of workers for a set: one is enough to copy rows from the cache faster than any network uses them; examples that
/// are computed from recordings need all threads (`--jobs`).
pub fn worker_threads(set: &FeatureSet) -> usize {
    if set.has_generator() { rayon::current_num_threads() } else { 1 }
}

/// The clips of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Their rows in the set.
    pub rows: Vec<usize>,
    /// Clip after clip.
    pub inputs: Vec<f32>,
    /// The target of each class for each clip.
    pub targets: Vec<f32>,
}

/// An iterator over the batches of an epoch. Dropping it early stops the workers after their current clip.
///
/// An error is that of the first clip of its batch that could not be read; later batches can still be read.
pub struct DataLoader<'a> {
    queue: Arc<Queue<'a>>,
    waited: Duration,
}

impl<'a> DataLoader<'a> {
    /// Starts the workers.
    pub fn start<'scope, 'env>(scope: &'scope Scope<'scope, 'env>, spec: LoaderSpec<'a>) -> Result<DataLoader<'a>>
    where
        'a: 'scope,
    {
        let spec = LoaderSpec { batch_size: spec.batch_size.max(1), prefetch: spec.prefetch.max(1), ..spec };
        let state = State { taken: 0, delivered: 0, pending: VecDeque::new(), end: None };
        let queue =
            Arc::new(Queue { spec, state: Mutex::new(state), batch_ready: Condvar::new(), space_free: Condvar::new() });
        // Created first: if a worker cannot be started, dropping the loader stops the others.
        let loader = DataLoader { queue, waited: Duration::ZERO };
        for _ in 0..spec.workers.max(1).min(spec.order.len()) {
            let queue = Arc::clone(&loader.queue);
            Builder::new()
                .name("data-loader".to_owned())
                .spawn_scoped(scope, move || queue.work())
                .context("cannot start a worker of the data loader: use a smaller --jobs")?;
        }
        Ok(loader)
    }

    /// The time that [`Self::next`] has spent waiting for batches.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

impl Iterator for DataLoader<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let clock = Instant::now();
        let taken = self.queue.next();
        self.waited += clock.elapsed();
        taken
    }
}

impl Drop for DataLoader<'_> {
    fn drop(&mut self) {
        self.queue.close(End::Dropped);
    }
}

/// The state that workers and consumer share.
struct Queue<'a> {
    spec: LoaderSpec<'a>,
    state: Mutex<State>,
    batch_ready: Condvar,
    space_free: Condvar,
}

struct State {
    /// Positions of the order that workers have taken.
    taken: usize,
    /// Batches that the consumer has received.
    delivered: usize,
    /// The following batches that workers have begun.
    pending: VecDeque<Arc<Mutex<PendingBatch>>>,
    end: Option<End>,
}

/// Why the workers stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Dropped,
    /// A worker panicked, so its batch would never be complete.
    Panicked,
}

/// A batch in preparation.
struct PendingBatch {
    inputs: Vec<f32>,
    targets: Vec<f32>,
    missing: usize,
    /// The error at the first position that has one, whichever worker found it first.
    fault: Option<(usize, Error)>,
}

impl Queue<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the state is locked")
    }

    fn close(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.space_free.notify_all();
        self.batch_ready.notify_all();
    }

    /// The rows of batch `batch`.
    fn rows(&self, batch: usize) -> &[usize] {
        let LoaderSpec { order, batch_size, .. } = self.spec;
        &order[batch * batch_size..order.len().min((batch + 1) * batch_size)]
    }

    /// The loop of a worker.
    fn work(&self) {
        let _guard = PanicGuard(self);
        let mut clip = vec![0.0; self.spec.set.dims()];
        let mut targets = vec![0.0; self.spec.set.n_targets()];
        while let Some((position, batch)) = self.take() {
            let row = self.spec.order[position];
            let read = self.spec.set.read_example(row, self.spec.epoch, &mut clip, &mut targets);
            if read.is_ok() {
                (self.spec.transform)(&mut clip);
            }
            if store(&batch, position, position % self.spec.batch_size, [&clip, &targets], read) {
                // Under the lock, so that the consumer either has not looked at the batch yet or is already waiting.
                let _state = self.lock();
                self.batch_ready.notify_one();
            }
        }
    }

    /// The next position of the order and its batch. Waits until that batch may be begun.
    fn take(&self) -> Option<(usize, Arc<Mutex<PendingBatch>>)> {
        let LoaderSpec { order, batch_size, prefetch, set, .. } = self.spec;
        let mut state = self.lock();
        loop {
            if state.end.is_some() || state.taken == order.len() {
                return None;
            }
            if state.taken / batch_size < state.delivered + prefetch {
                break;
            }
            state = self.space_free.wait(state).expect("nothing panics while the state is locked");
        }
        let position = state.taken;
        state.taken += 1;
        let batch = position / batch_size;
        let inside = batch - state.delivered;
        if inside == state.pending.len() {
            let missing = self.rows(batch).len();
            let inputs = vec![0.0; missing * set.dims()];
            let targets = vec![0.0; missing * set.n_targets()];
            state.pending.push_back(Arc::new(Mutex::new(PendingBatch { inputs, targets, missing, fault: None })));
        }
        Some((position, Arc::clone(&state.pending[inside])))
    }

    fn next(&self) -> Option<Result<Batch>> {
        let mut state = self.lock();
        let batch = state.delivered;
        if batch * self.spec.batch_size >= self.spec.order.len() {
            return None;
        }
        let pending = loop {
            if let Some(pending) = state.pending.pop_front_if(|batch| lock(batch).missing == 0) {
                break pending;
            }
            if state.end.is_some() {
                return Some(Err(anyhow!("a worker of the data loader panicked: see its message above")));
            }
            state = self.batch_ready.wait(state).expect("nothing panics while the state is locked");
        };
        state.delivered += 1;
        drop(state);
        self.space_free.notify_all();
        let mut pending = lock(&pending);
        let (inputs, targets) = (std::mem::take(&mut pending.inputs), std::mem::take(&mut pending.targets));
        Some(match pending.fault.take() {
            None => Ok(Batch { rows: self.rows(batch).to_vec(), inputs, targets }),
            Some((_, error)) => Err(error),
        })
    }
}

fn lock(batch: &Mutex<PendingBatch>) -> MutexGuard<'_, PendingBatch> {
    batch.lock().expect("nothing panics while a batch is locked")
}

/// Stores a clip and its targets, or its error, in its batch. Returns whether the batch is complete.
fn store(
    batch: &Mutex<PendingBatch>,
    position: usize,
    inside: usize,
    [clip, targets]: [&[f32]; 2],
    read: Result<()>,
) -> bool {
    let mut pending = lock(batch);
    match read {
        Ok(()) => {
            pending.inputs[inside * clip.len()..][..clip.len()].copy_from_slice(clip);
            pending.targets[inside * targets.len()..][..targets.len()].copy_from_slice(targets);
        }
        Err(error) => {
            if pending.fault.as_ref().is_none_or(|(first, _)| position < *first) {
                pending.fault = Some((position, error));
            }
        }
    }
    pending.missing -= 1;
    pending.missing == 0
}

/// Wakes the consumer, who would wait forever, if a worker panics.
struct PanicGuard<'h, 'a>(&'h Queue<'a>);

impl Drop for PanicGuard<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(End::Panicked);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use anyhow::bail;
    use rayon::prelude::*;

    use super::*;
    use timbre_inputs::dataset::row_source::{ExampleGenerator, RowSource};

    const DIMS: usize = 6;

    /// Row r holds r, r + 0.1, …; each read is counted, takes a while, and fails or panics for the given rows.
    #[derive(Default)]
    struct Rows {
        read: AtomicUsize,
        pause: Duration,
        faulty: Vec<usize>,
        panics: Option<usize>,
    }

    struct Shared(Arc<Rows>);

    impl RowSource for Shared {
        fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
            let rows = &self.0;
            // Neighbours take different times, so that workers finish out of order.
            thread::sleep(rows.pause * (1 + row as u32 % 3));
            rows.read.fetch_add(1, Ordering::SeqCst);
            if rows.faulty.contains(&row) {
                bail!("row {row} is damaged");
            }
            assert!(rows.panics != Some(row), "row {row} panics");
            out.iter_mut().zip(columns).for_each(|(o, c)| *o = row as f32 + c as f32 / 10.0);
            Ok(())
        }
    }

    fn set(rows: &Arc<Rows>, n: usize) -> FeatureSet {
        FeatureSet::new(Box::new(Shared(Arc::clone(rows))), [2, DIMS / 2], vec![vec![0].into(); n], 1)
    }

    fn unchanged(_: &mut [f32]) {}

    fn spec<'a>(set: &'a FeatureSet, order: &'a [usize], batch_size: usize) -> LoaderSpec<'a> {
        LoaderSpec { set, order, batch_size, epoch: 0, prefetch: 2, workers: 3, transform: &unchanged }
    }

    fn all(spec: LoaderSpec) -> Vec<Batch> {
        thread::scope(|scope| DataLoader::start(scope, spec).unwrap().collect::<Result<_>>()).unwrap()
    }

    /// Waits until `done`, for at most ten seconds.
    fn wait_until(done: impl Fn() -> bool) {
        let clock = Instant::now();
        while !done() && clock.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn batches_have_the_given_order_and_the_same_bytes_for_any_number_of_workers() {
        let rows = Arc::new(Rows { pause: Duration::from_micros(200), ..Rows::default() });
        let set = set(&rows, 20);
        let order: Vec<usize> = (0..23).map(|position| position * 7 % 20).collect();
        let twice = |values: &mut [f32]| values.iter_mut().for_each(|v| *v *= 2.0);
        let expected: Vec<Batch> = order
            .chunks(5)
            .map(|rows| Batch {
                rows: rows.to_vec(),
                inputs: rows.iter().flat_map(|&r| (0..DIMS).map(move |c| 2.0 * (r as f32 + c as f32 / 10.0))).collect(),
                targets: vec![1.0; rows.len()],
            })
            .collect();
        for (workers, prefetch) in [(1, 1), (2, 1), (4, 3), (9, 2)] {
            let batches = all(LoaderSpec { workers, prefetch, transform: &twice, ..spec(&set, &order, 5) });
            assert_eq!(batches, expected, "{workers} workers, {prefetch} ahead");
        }
        assert!(all(spec(&set, &[], 5)).is_empty());
    }

    #[test]
    fn examples_depend_on_the_epoch() {
        struct Epochs;
        impl ExampleGenerator for Epochs {
            fn example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()> {
                out.fill((100 * epoch + row) as f32);
                targets[0] /= (row + 1) as f32;
                Ok(())
            }
        }
        let set = set(&Arc::default(), 4).with_generator(Arc::new(Epochs));
        let batches = all(LoaderSpec { epoch: 3, ..spec(&set, &[2, 0], 2) });
        assert_eq!(batches[0].inputs, [[302.0; DIMS], [300.0; DIMS]].concat());
        assert_eq!(batches[0].targets, [1.0 / 3.0, 1.0], "targets start from the labels and are those of the example");
        assert_eq!(worker_threads(&set), rayon::current_num_threads());
    }

    #[test]
    fn a_batch_fails_with_the_error_of_its_first_faulty_clip() {
        let rows = Arc::new(Rows { faulty: vec![3, 5, 4], pause: Duration::from_micros(100), ..Rows::default() });
        let set = set(&rows, 9);
        let order: Vec<usize> = (0..9).collect();
        for workers in [1, 4] {
            thread::scope(|scope| {
                let mut loader = DataLoader::start(scope, LoaderSpec { workers, ..spec(&set, &order, 3) }).unwrap();
                assert_eq!(loader.next().unwrap().unwrap().rows, [0, 1, 2]);
                assert_eq!(loader.next().unwrap().unwrap_err().to_string(), "row 3 is damaged");
                assert_eq!(loader.next().unwrap().unwrap().rows, [6, 7, 8]);
                assert!(loader.next().is_none());
            });
        }
    }

    #[test]
    fn dropping_the_loader_stops_the_workers() {
        let rows = Arc::new(Rows { pause: Duration::from_millis(2), ..Rows::default() });
        let set = set(&rows, 1000);
        let order: Vec<usize> = (0..1000).collect();
        thread::scope(|scope| {
            let mut loader = DataLoader::start(scope, LoaderSpec { prefetch: 1000, ..spec(&set, &order, 2) }).unwrap();
            loader.next().unwrap().unwrap();
        });
        // Otherwise they would read all clips.
        let read = rows.read.load(Ordering::SeqCst);
        assert!(read < 500, "{read} of 1000 clips were read");
    }

    #[test]
    fn no_clip_is_read_further_ahead_than_prefetch() {
        let rows = Arc::new(Rows::default());
        let set = set(&rows, 60);
        let order: Vec<usize> = (0..60).collect();
        thread::scope(|scope| {
            let mut loader = DataLoader::start(scope, LoaderSpec { prefetch: 3, ..spec(&set, &order, 4) }).unwrap();
            for delivered in 0..15 {
                let allowed = 60.min(4 * (delivered + 3));
                let read = || rows.read.load(Ordering::SeqCst);
                wait_until(|| read() == allowed);
                // Long enough to notice one clip too many.
                thread::sleep(Duration::from_millis(2));
                assert_eq!(read(), allowed, "after {delivered} batches");
                loader.next().unwrap().unwrap();
            }
            assert!(loader.next().is_none());
        });
    }

    #[test]
    fn the_time_waited_does_not_include_work_between_batches() {
        let rows = Arc::new(Rows { pause: Duration::from_millis(5), ..Rows::default() });
        let set = set(&rows, 12);
        let order: Vec<usize> = (0..12).map(|position| position * 3 % 12).collect();
        thread::scope(|scope| {
            let begun = Instant::now();
            let mut loader = DataLoader::start(scope, LoaderSpec { workers: 1, ..spec(&set, &order, 2) }).unwrap();
            loader.by_ref().for_each(|batch| drop(batch.unwrap()));
            let (waited, passed) = (loader.waited(), begun.elapsed());
            // The consumer only waits for reads of 5 ms, the first of which may have begun before.
            assert!(waited >= Duration::from_millis(50) && waited <= passed, "{waited:?} of {passed:?}");
            let mut loader = DataLoader::start(scope, LoaderSpec { prefetch: 6, ..spec(&set, &order, 2) }).unwrap();
            wait_until(|| rows.read.load(Ordering::SeqCst) == 24);
            loader.next().unwrap().unwrap();
            let before = loader.waited();
            thread::sleep(Duration::from_millis(200));
            loader.next().unwrap().unwrap();
            assert!(loader.waited() - before < Duration::from_millis(200), "{before:?}, then {:?}", loader.waited());
        });
    }

    #[test]
    fn a_busy_global_pool_causes_no_deadlock() {
        let rows = Arc::new(Rows { pause: Duration::from_micros(50), ..Rows::default() });
        let set = set(&rows, 64);
        let order: Vec<usize> = (0..64).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        // The only thread of the pool consumes batches and computes on the pool in between, like a network on the CPU.
        let sum: f32 = pool.install(|| {
            thread::scope(|scope| {
                let loader = DataLoader::start(scope, spec(&set, &order, 4)).unwrap();
                loader.map(|batch| batch.unwrap().inputs.par_iter().sum::<f32>()).sum()
            })
        });
        let expected: f32 = (0..64).flat_map(|r| (0..DIMS).map(move |c| r as f32 + c as f32 / 10.0)).sum();
        assert!((sum - expected).abs() < 0.1, "{sum}, not {expected}");
    }

    #[test]
    fn a_worker_that_panics_causes_an_error_and_no_endless_wait() {
        let rows = Arc::new(Rows { panics: Some(3), ..Rows::default() });
        let set = set(&rows, 40);
        let order: Vec<usize> = (0..40).collect();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            thread::scope(|scope| {
                let mut loader = DataLoader::start(scope, spec(&set, &order, 2)).unwrap();
                let error = loader.find_map(Result::err).expect("the batch of row 3 is never complete");
                assert!(error.to_string().contains("panicked"), "{error}");
            });
        }));
        assert!(ended.is_err(), "the scope passes the panic on");
    }
}
