//! Clips on their way to the device: the batches of an epoch, made ahead of the step that asks for them.
//!
//! Threads of their own take one clip after the other in the order of the epoch, read it (from the feature cache, or out of
//! its wave where examples are fresh each epoch), scale it and lay it into its place in its batch. They share no pool with
//! the network: a step on the CPU fills the global one, and a clip that waited there for a thread while the step waits for
//! the clip would be a deadlock. Where a batch is finished late the others are not held up, and the consumer gets batches in
//! the order of the epoch with the same bytes on any number of threads.
//!
//! Memory: `ahead` batches that are being made or lie ready, and the one that the consumer holds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow};

use timbre_inputs::dataset::feature_set::FeatureSet;

/// What is fed, and how.
#[derive(Clone, Copy)]
pub struct LoaderSpec<'a> {
    pub set: &'a FeatureSet,
    /// Rows of the set, in the order in which they are wanted; a row may come more than once.
    pub order: &'a [usize],
    /// Clips a batch; the last batch may be shorter.
    pub batch_size: usize,
    /// From 0.
    pub epoch: usize,
    /// Batches made ahead of the one that the consumer holds, at least one.
    pub ahead: usize,
    /// See [`worker_threads`].
    pub threads: usize,
    /// Scales a clip, in place.
    pub prepare: &'a (dyn Fn(&mut [f32]) + Sync),
}

/// How many threads feed a set: one copies rows out of the cache faster than any network reads them; examples that are made
/// of waves take as many as there are (`--jobs`).
pub fn worker_threads(set: &FeatureSet) -> usize {
    if set.has_generator() { rayon::current_num_threads() } else { 1 }
}

/// The clips of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Of the set.
    pub rows: Vec<usize>,
    /// One clip after the other.
    pub inputs: Vec<f32>,
    /// How much of each class is in each clip.
    pub targets: Vec<f32>,
}

/// Gives the batches of an epoch, one after the other. Dropped early, it stops the threads at the clip in hand.
///
/// An error is that of the first clip of its batch that could not be read; the batches after it are still to be had.
pub struct DataLoader<'a> {
    hall: Arc<Hall<'a>>,
    waited: Duration,
}

impl<'a> DataLoader<'a> {
    /// Starts the threads.
    pub fn start<'scope, 'env>(scope: &'scope Scope<'scope, 'env>, feed: LoaderSpec<'a>) -> Result<DataLoader<'a>>
    where
        'a: 'scope,
    {
        let feed = LoaderSpec { batch_size: feed.batch_size.max(1), ahead: feed.ahead.max(1), ..feed };
        let state = State { taken: 0, handed: 0, window: VecDeque::new(), spare: Vec::new(), end: None };
        let hall =
            Arc::new(Hall { feed, state: Mutex::new(state), whole_batch: Condvar::new(), free_place: Condvar::new() });
        // Made first: if a thread cannot be started, dropping it sends the others home.
        let feeder = DataLoader { hall, waited: Duration::ZERO };
        for _ in 0..feed.threads.max(1).min(feed.order.len()) {
            let hall = Arc::clone(&feeder.hall);
            Builder::new()
                .name("feeder".to_owned())
                .spawn_scoped(scope, move || hall.work())
                .context("cannot start a thread that reads clips: run with a smaller --jobs")?;
        }
        Ok(feeder)
    }

    /// How long [`Self::next`] has waited for batches so far.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Takes the memory of a batch back for a later one.
    pub fn recycle(&self, inputs: Vec<f32>) {
        let mut state = self.hall.lock();
        if state.spare.len() <= self.hall.feed.ahead {
            state.spare.push(inputs);
        }
    }
}

impl Iterator for DataLoader<'_> {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Result<Batch>> {
        let clock = Instant::now();
        let taken = self.hall.next();
        self.waited += clock.elapsed();
        taken
    }
}

impl Drop for DataLoader<'_> {
    fn drop(&mut self) {
        self.hall.close(End::Dropped);
    }
}

/// Where threads and consumer meet.
struct Hall<'a> {
    feed: LoaderSpec<'a>,
    state: Mutex<State>,
    whole_batch: Condvar,
    free_place: Condvar,
}

struct State {
    /// Places of the order that threads have taken.
    taken: usize,
    /// Batches that the consumer has got.
    handed: usize,
    /// The batches after those, as far as a thread has begun them.
    window: VecDeque<Arc<Mutex<Filling>>>,
    /// Memory of batches that have been used.
    spare: Vec<Vec<f32>>,
    end: Option<End>,
}

/// Why no more clips are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Dropped,
    /// A thread panicked: its batch would never be whole.
    Broken,
}

/// A batch that is being made.
struct Filling {
    inputs: Vec<f32>,
    targets: Vec<f32>,
    missing: usize,
    /// The error of the first place that has one, whichever thread came to it first.
    fault: Option<(usize, Error)>,
}

impl Hall<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while the state is locked")
    }

    fn close(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.free_place.notify_all();
        self.whole_batch.notify_all();
    }

    /// The rows of batch `batch`.
    fn rows(&self, batch: usize) -> &[usize] {
        let LoaderSpec { order, batch_size, .. } = self.feed;
        &order[batch * batch_size..order.len().min((batch + 1) * batch_size)]
    }

    /// What each thread does until nothing is left.
    fn work(&self) {
        let _alarm = Alarm(self);
        let mut clip = vec![0.0; self.feed.set.dims()];
        let mut targets = vec![0.0; self.feed.set.n_classes()];
        while let Some((place, batch)) = self.take() {
            let row = self.feed.order[place];
            let read = self.feed.set.read_example(row, self.feed.epoch, &mut clip, &mut targets);
            if read.is_ok() {
                (self.feed.prepare)(&mut clip);
            }
            if lay(&batch, place, place % self.feed.batch_size, [&clip, &targets], read) {
                // Under the lock, so that the consumer is either before its look at the batch or already asleep.
                let _state = self.lock();
                self.whole_batch.notify_one();
            }
        }
    }

    /// The next place of the order and the batch that it belongs to; waits until that batch may be begun.
    fn take(&self) -> Option<(usize, Arc<Mutex<Filling>>)> {
        let LoaderSpec { order, batch_size, ahead, set, .. } = self.feed;
        let mut state = self.lock();
        loop {
            if state.end.is_some() || state.taken == order.len() {
                return None;
            }
            if state.taken / batch_size < state.handed + ahead {
                break;
            }
            state = self.free_place.wait(state).expect("nothing panics while the state is locked");
        }
        let place = state.taken;
        state.taken += 1;
        let batch = place / batch_size;
        let inside = batch - state.handed;
        if inside == state.window.len() {
            let missing = self.rows(batch).len();
            let values = missing * set.dims();
            let inputs = state.spare.pop().map_or_else(
                || vec![0.0; values],
                |mut used| {
                    used.resize(values, 0.0);
                    used
                },
            );
            let targets = vec![0.0; missing * set.n_classes()];
            state.window.push_back(Arc::new(Mutex::new(Filling { inputs, targets, missing, fault: None })));
        }
        Some((place, Arc::clone(&state.window[inside])))
    }

    fn next(&self) -> Option<Result<Batch>> {
        let mut state = self.lock();
        let batch = state.handed;
        if batch * self.feed.batch_size >= self.feed.order.len() {
            return None;
        }
        let filling = loop {
            if let Some(filling) = state.window.pop_front_if(|filling| fill(filling).missing == 0) {
                break filling;
            }
            if state.end.is_some() {
                return Some(Err(anyhow!("a thread that reads clips has panicked: see its message above")));
            }
            state = self.whole_batch.wait(state).expect("nothing panics while the state is locked");
        };
        state.handed += 1;
        drop(state);
        self.free_place.notify_all();
        let mut filling = fill(&filling);
        let (inputs, targets) = (std::mem::take(&mut filling.inputs), std::mem::take(&mut filling.targets));
        Some(match filling.fault.take() {
            None => Ok(Batch { rows: self.rows(batch).to_vec(), inputs, targets }),
            Some((_, error)) => Err(error),
        })
    }
}

fn fill(batch: &Mutex<Filling>) -> MutexGuard<'_, Filling> {
    batch.lock().expect("nothing panics while a batch is locked")
}

/// Lays a clip and its targets, or the error in their stead, into its batch; whether the batch is whole now.
fn lay(batch: &Mutex<Filling>, place: usize, inside: usize, [clip, targets]: [&[f32]; 2], read: Result<()>) -> bool {
    let mut filling = fill(batch);
    match read {
        Ok(()) => {
            filling.inputs[inside * clip.len()..][..clip.len()].copy_from_slice(clip);
            filling.targets[inside * targets.len()..][..targets.len()].copy_from_slice(targets);
        }
        Err(error) => {
            if filling.fault.as_ref().is_none_or(|(first, _)| place < *first) {
                filling.fault = Some((place, error));
            }
        }
    }
    filling.missing -= 1;
    filling.missing == 0
}

/// Tells the consumer, who would wait for ever, when a thread panics.
struct Alarm<'h, 'a>(&'h Hall<'a>);

impl Drop for Alarm<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close(End::Broken);
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
    use timbre_inputs::dataset::feature_set::{ExampleGenerator, RowSource};

    const DIMS: usize = 6;

    /// Row r holds r, r + 0.1, …; each reading is counted, takes a while, and fails or panics where it is told to.
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
            // Neighbours take unequal times, so that threads finish in another order than they begin.
            thread::sleep(rows.pause * (1 + row as u32 % 3));
            rows.read.fetch_add(1, Ordering::SeqCst);
            if rows.faulty.contains(&row) {
                bail!("row {row} is torn");
            }
            assert!(rows.panics != Some(row), "row {row} is told to panic");
            out.iter_mut().zip(columns).for_each(|(o, c)| *o = row as f32 + c as f32 / 10.0);
            Ok(())
        }
    }

    fn set(rows: &Arc<Rows>, n: usize) -> FeatureSet {
        FeatureSet::new(Box::new(Shared(Arc::clone(rows))), [2, DIMS / 2], vec![vec![0]; n], 1)
    }

    fn as_it_is(_: &mut [f32]) {}

    fn feed<'a>(set: &'a FeatureSet, order: &'a [usize], batch_size: usize) -> LoaderSpec<'a> {
        LoaderSpec { set, order, batch_size, epoch: 0, ahead: 2, threads: 3, prepare: &as_it_is }
    }

    fn all(feed: LoaderSpec) -> Vec<Batch> {
        thread::scope(|scope| DataLoader::start(scope, feed).unwrap().collect::<Result<_>>()).unwrap()
    }

    /// Waits until `done`, for at most ten seconds.
    fn settle(done: impl Fn() -> bool) {
        let clock = Instant::now();
        while !done() && clock.elapsed() < Duration::from_secs(10) {
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn batches_come_in_the_order_asked_for_with_the_same_bytes_on_any_number_of_threads() {
        let rows = Arc::new(Rows { pause: Duration::from_micros(200), ..Rows::default() });
        let set = set(&rows, 20);
        let order: Vec<usize> = (0..23).map(|place| place * 7 % 20).collect();
        let twice = |values: &mut [f32]| values.iter_mut().for_each(|v| *v *= 2.0);
        let expected: Vec<Batch> = order
            .chunks(5)
            .map(|rows| Batch {
                rows: rows.to_vec(),
                inputs: rows.iter().flat_map(|&r| (0..DIMS).map(move |c| 2.0 * (r as f32 + c as f32 / 10.0))).collect(),
                targets: vec![1.0; rows.len()],
            })
            .collect();
        for (threads, ahead) in [(1, 1), (2, 1), (4, 3), (9, 2)] {
            let batches = all(LoaderSpec { threads, ahead, prepare: &twice, ..feed(&set, &order, 5) });
            assert_eq!(batches, expected, "{threads} threads, {ahead} ahead");
        }
        assert!(all(feed(&set, &[], 5)).is_empty());
    }

    #[test]
    fn an_example_is_that_of_the_epoch() {
        struct Epochs;
        impl ExampleGenerator for Epochs {
            fn example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()> {
                out.fill((100 * epoch + row) as f32);
                targets[0] /= (row + 1) as f32;
                Ok(())
            }
        }
        let set = set(&Arc::default(), 4).with_generator(Arc::new(Epochs));
        let batches = all(LoaderSpec { epoch: 3, ..feed(&set, &[2, 0], 2) });
        assert_eq!(batches[0].inputs, [[302.0; DIMS], [300.0; DIMS]].concat());
        assert_eq!(batches[0].targets, [1.0 / 3.0, 1.0], "targets begin with the labels and are the example's own");
        assert_eq!(worker_threads(&set), rayon::current_num_threads());
    }

    #[test]
    fn the_error_of_a_clip_is_that_of_its_batch_and_of_several_the_first() {
        let rows = Arc::new(Rows { faulty: vec![3, 5, 4], pause: Duration::from_micros(100), ..Rows::default() });
        let set = set(&rows, 9);
        let order: Vec<usize> = (0..9).collect();
        for threads in [1, 4] {
            thread::scope(|scope| {
                let mut feeder = DataLoader::start(scope, LoaderSpec { threads, ..feed(&set, &order, 3) }).unwrap();
                assert_eq!(feeder.next().unwrap().unwrap().rows, [0, 1, 2]);
                assert_eq!(feeder.next().unwrap().unwrap_err().to_string(), "row 3 is torn");
                assert_eq!(feeder.next().unwrap().unwrap().rows, [6, 7, 8]);
                assert!(feeder.next().is_none());
            });
        }
    }

    #[test]
    fn a_consumer_that_leaves_stops_the_threads_at_the_clip_in_hand() {
        let rows = Arc::new(Rows { pause: Duration::from_millis(2), ..Rows::default() });
        let set = set(&rows, 1000);
        let order: Vec<usize> = (0..1000).collect();
        thread::scope(|scope| {
            let mut feeder = DataLoader::start(scope, LoaderSpec { ahead: 1000, ..feed(&set, &order, 2) }).unwrap();
            feeder.next().unwrap().unwrap();
        });
        // Nothing else would stop them before the last clip.
        let read = rows.read.load(Ordering::SeqCst);
        assert!(read < 500, "{read} of 1000 clips were read");
    }

    #[test]
    fn no_clip_is_read_further_ahead_than_allowed() {
        let rows = Arc::new(Rows::default());
        let set = set(&rows, 60);
        let order: Vec<usize> = (0..60).collect();
        thread::scope(|scope| {
            let mut feeder = DataLoader::start(scope, LoaderSpec { ahead: 3, ..feed(&set, &order, 4) }).unwrap();
            for handed in 0..15 {
                let allowed = 60.min(4 * (handed + 3));
                let read = || rows.read.load(Ordering::SeqCst);
                settle(|| read() == allowed);
                // Long enough for one clip too many to show.
                thread::sleep(Duration::from_millis(2));
                assert_eq!(read(), allowed, "after {handed} batches");
                feeder.next().unwrap().unwrap();
            }
            assert!(feeder.next().is_none());
        });
    }

    #[test]
    fn memory_that_comes_back_is_used_again() {
        let set = set(&Arc::default(), 40);
        let order: Vec<usize> = (0..39).collect();
        let mut places = std::collections::HashSet::new();
        thread::scope(|scope| {
            let mut feeder = DataLoader::start(scope, feed(&set, &order, 2)).unwrap();
            while let Some(batch) = feeder.next() {
                let Batch { rows, inputs, .. } = batch.unwrap();
                assert_eq!(inputs.len(), rows.len() * DIMS);
                places.insert(inputs.as_ptr() as usize);
                feeder.recycle(inputs);
            }
        });
        // Two ahead, one in hand, and one that came back a moment too late.
        assert!(places.len() <= 4, "20 batches lay in {} places", places.len());
    }

    #[test]
    fn waiting_is_counted_and_work_between_batches_is_not() {
        let rows = Arc::new(Rows { pause: Duration::from_millis(5), ..Rows::default() });
        let set = set(&rows, 12);
        let order: Vec<usize> = (0..12).map(|place| place * 3 % 12).collect();
        thread::scope(|scope| {
            let begun = Instant::now();
            let mut feeder = DataLoader::start(scope, LoaderSpec { threads: 1, ..feed(&set, &order, 2) }).unwrap();
            feeder.by_ref().for_each(|batch| drop(batch.unwrap()));
            let (waited, passed) = (feeder.waited(), begun.elapsed());
            // Nothing but waiting for readings of 5 ms, of which the first may have begun before.
            assert!(waited >= Duration::from_millis(50) && waited <= passed, "{waited:?} of {passed:?}");
            let mut feeder = DataLoader::start(scope, LoaderSpec { ahead: 6, ..feed(&set, &order, 2) }).unwrap();
            settle(|| rows.read.load(Ordering::SeqCst) == 24);
            feeder.next().unwrap().unwrap();
            let before = feeder.waited();
            thread::sleep(Duration::from_millis(200));
            feeder.next().unwrap().unwrap();
            assert!(feeder.waited() - before < Duration::from_millis(200), "{before:?}, then {:?}", feeder.waited());
        });
    }

    #[test]
    fn a_full_global_pool_neither_starves_nor_locks() {
        let rows = Arc::new(Rows { pause: Duration::from_micros(50), ..Rows::default() });
        let set = set(&rows, 64);
        let order: Vec<usize> = (0..64).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        // The only thread of the pool consumes, and computes on the pool between batches, as a network on the CPU does.
        let sum: f32 = pool.install(|| {
            thread::scope(|scope| {
                let feeder = DataLoader::start(scope, feed(&set, &order, 4)).unwrap();
                feeder.map(|batch| batch.unwrap().inputs.par_iter().sum::<f32>()).sum()
            })
        });
        let expected: f32 = (0..64).flat_map(|r| (0..DIMS).map(move |c| r as f32 + c as f32 / 10.0)).sum();
        assert!((sum - expected).abs() < 0.1, "{sum}, not {expected}");
    }

    #[test]
    fn a_thread_that_panics_is_an_error_and_no_endless_wait() {
        let rows = Arc::new(Rows { panics: Some(3), ..Rows::default() });
        let set = set(&rows, 40);
        let order: Vec<usize> = (0..40).collect();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            thread::scope(|scope| {
                let mut feeder = DataLoader::start(scope, feed(&set, &order, 2)).unwrap();
                let error = feeder.find_map(Result::err).expect("the batch of row 3 is never whole");
                assert!(error.to_string().contains("panicked"), "{error}");
            });
        }));
        assert!(ended.is_err(), "the scope passes the panic on");
    }
}
