//! Dynamic batching of inference requests: concurrent requests of several recordings are predicted in one batch.
//!
//! One thread runs the model. Requests queue while it is busy, and everything in the queue goes into the next batch, so no
//! request waits for others to arrive. Each request gets the same bits as in a batch of its own.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::pipeline::{ClipFeatures, InferencePipeline};

/// Requests that fit in the queue. The sender of one more blocks.
const QUEUE: usize = 64;

/// Batches whose windows may be in the queue or in the model at once; more must wait. Bounds the memory for their features.
const BATCHES_IN_FLIGHT: usize = 4;

pub(super) struct MicroBatcher {
    queue: SyncSender<Request>,
    counts: Arc<Counts>,
    in_flight: Arc<InFlight>,
    most_in_flight: usize,
}

/// The number of windows in the queue or in the model.
#[derive(Default)]
struct InFlight {
    windows: Mutex<usize>,
    became_less: Condvar,
}

impl InFlight {
    /// Waits until there is room for `windows`. A request that is larger than `most` waits until it is alone.
    fn enter(&self, windows: usize, most: usize) {
        let now = self.windows.lock().expect("no holder panics");
        let is_full = |now: &mut usize| *now > 0 && *now + windows > most;
        *self.became_less.wait_while(now, is_full).expect("no holder panics") += windows;
    }

    fn leave(&self, windows: usize) {
        *self.windows.lock().expect("no holder panics") -= windows;
        self.became_less.notify_all();
    }
}

/// Rows of probabilities: computed, or on their way from the model.
pub(super) enum Rows {
    Ready(Vec<f32>),
    Pending(Receiver<Result<Vec<f32>>>),
}

impl Rows {
    /// Waits for the model.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self {
            Rows::Ready(rows) => Ok(rows),
            Rows::Pending(result) => result.recv().context("the model returned nothing")?,
        }
    }
}

/// Windows, or the clip, of one recording.
struct Request {
    clips: Vec<ClipFeatures>,
    response: SyncSender<Result<Vec<f32>>>,
}

#[derive(Default)]
struct Counts {
    windows: AtomicU64,
    requests: AtomicU64,
    batches: AtomicU64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchStats {
    /// Windows or clips.
    pub windows: u64,
    /// Requests; each belongs to one recording.
    pub requests: u64,
    /// Batches, at most one per request.
    pub batches: u64,
}

impl MicroBatcher {
    /// A batch holds up to `batch_size` windows or clips; a request with more has a batch of its own.
    pub fn new(pipeline: Arc<InferencePipeline>, n_classes: usize, batch_size: usize) -> Result<MicroBatcher> {
        let (queue, requests) = sync_channel(QUEUE);
        let (counts, in_flight) = (Arc::new(Counts::default()), Arc::new(InFlight::default()));
        let predict = move |clips| pipeline.predict(clips, n_classes);
        let worker = Worker { predict, n_classes, batch_size, counts: counts.clone(), in_flight: in_flight.clone() };
        // The thread ends when the queue is dropped.
        let thread = thread::Builder::new().name("batcher".to_owned());
        thread.spawn(move || worker.run(&requests)).context("cannot start the thread that runs the model")?;
        Ok(MicroBatcher { queue, counts, in_flight, most_in_flight: BATCHES_IN_FLIGHT * batch_size })
    }

    /// Queues a request. Waits only for a place in the queue.
    pub fn submit(&self, clips: Vec<ClipFeatures>) -> Result<Rows> {
        self.in_flight.enter(clips.len(), self.most_in_flight);
        let (response, result) = sync_channel(1);
        self.queue
            .send(Request { clips, response })
            .map_err(|_| anyhow!("the thread that runs the model has ended"))?;
        Ok(Rows::Pending(result))
    }

    pub fn stats(&self) -> BatchStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { windows, requests, batches } = &*self.counts;
        BatchStats { windows: read(windows), requests: read(requests), batches: read(batches) }
    }
}

/// The state of the thread.
struct Worker<F> {
    predict: F,
    n_classes: usize,
    batch_size: usize,
    counts: Arc<Counts>,
    in_flight: Arc<InFlight>,
}

impl<F: Fn(Vec<ClipFeatures>) -> Result<Vec<f32>>> Worker<F> {
    fn run(&self, queue: &Receiver<Request>) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| queue.recv().ok()) {
            let mut windows = first.clips.len();
            let mut batch = vec![first];
            while let Ok(request) = queue.try_recv() {
                if windows + request.clips.len() > self.batch_size {
                    next = Some(request);
                    break;
                }
                windows += request.clips.len();
                batch.push(request);
            }
            // Clips without a fixed length have features of different shapes; a batch has one shape.
            let mut by_shape: BTreeMap<Vec<[usize; 2]>, Vec<Request>> = BTreeMap::new();
            for request in batch {
                by_shape.entry(shape(&request.clips)).or_default().push(request);
            }
            by_shape.into_values().for_each(|requests| self.run_batch(requests));
        }
    }

    fn run_batch(&self, requests: Vec<Request>) {
        let sizes: Vec<usize> = requests.iter().map(|request| request.clips.len()).collect();
        let (responses, clips): (Vec<_>, Vec<_>) = requests.into_iter().map(|r| (r.response, r.clips)).unzip();
        self.counts.requests.fetch_add(responses.len() as u64, Ordering::Relaxed);
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.counts.windows.fetch_add(sizes.iter().sum::<usize>() as u64, Ordering::Relaxed);
        let result = self.predict_guarded(clips.into_iter().flatten().collect());
        self.in_flight.leave(sizes.iter().sum());
        let mut start = 0;
        for (response, size) in responses.iter().zip(sizes) {
            let part = match &result {
                Ok(rows) => Ok(rows[start * self.n_classes..(start + size) * self.n_classes].to_vec()),
                Err(error) => Err(anyhow!("{error:#}")),
            };
            start += size;
            // A cancelled request has dropped its receiver.
            let _ = response.send(part);
        }
    }

    /// Turns a panic into an error, so that the thread keeps running.
    fn predict_guarded(&self, clips: Vec<ClipFeatures>) -> Result<Vec<f32>> {
        catch_unwind(AssertUnwindSafe(|| (self.predict)(clips)))
            .unwrap_or_else(|_| Err(anyhow!("the model failed on the features of this recording")))
    }
}

fn shape(clips: &[ClipFeatures]) -> Vec<[usize; 2]> {
    clips.first().into_iter().flatten().map(|matrix| [matrix.rows, matrix.cols]).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use timbre_inputs::features::FeatureMatrix;

    /// A clip with one feature: a row of `columns` equal values.
    fn clip(columns: usize, value: f32) -> ClipFeatures {
        vec![FeatureMatrix { rows: 1, cols: columns, values: vec![value; columns] }]
    }

    fn request(clips: Vec<ClipFeatures>) -> (Request, Receiver<Result<Vec<f32>>>) {
        let (response, result) = sync_channel(1);
        (Request { clips, response }, result)
    }

    /// Queues all requests, runs the worker, and returns the results and the batch sizes.
    fn run(clips: Vec<Vec<ClipFeatures>>, batch_size: usize) -> (Vec<Result<Vec<f32>>>, Vec<usize>) {
        let (queue, queued) = sync_channel(QUEUE);
        let (requests, results): (Vec<_>, Vec<_>) = clips.into_iter().map(request).unzip();
        let in_flight = Arc::new(InFlight::default());
        for request in requests {
            in_flight.enter(request.clips.len(), usize::MAX);
            queue.send(request).unwrap();
        }
        drop(queue);
        let (sizes, batches) = channel();
        let predict = |clips: Vec<ClipFeatures>| {
            sizes.send(clips.len()).unwrap();
            let columns = clips[0][0].cols;
            assert!(clips.iter().all(|clip| clip[0].cols == columns), "one shape");
            assert!(columns != 13, "a panic of the model");
            Ok(clips.iter().flat_map(|clip| [clip[0].values[0], columns as f32]).collect())
        };
        Worker { predict, n_classes: 2, batch_size, counts: Arc::default(), in_flight: in_flight.clone() }.run(&queued);
        assert_eq!(*in_flight.windows.lock().unwrap(), 0, "every window has left");
        drop(sizes);
        (results.iter().map(|result| result.recv().unwrap()).collect(), batches.iter().collect())
    }

    #[test]
    fn queued_requests_share_a_batch_and_each_gets_its_own_rows() {
        let clips = vec![vec![clip(3, 1.0)], vec![clip(3, 2.0), clip(3, 3.0)], vec![clip(3, 4.0)]];
        let (results, batches) = run(clips.clone(), 16);
        let results: Vec<Vec<f32>> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(results, [vec![1.0, 3.0], vec![2.0, 3.0, 3.0, 3.0], vec![4.0, 3.0]]);
        assert_eq!(batches, [4]);
        assert_eq!(run(clips, 2).1, [1, 2, 1], "the batch size is respected");
    }

    #[test]
    fn windows_wait_for_room_and_a_large_request_until_it_is_alone() {
        let in_flight = Arc::new(InFlight::default());
        in_flight.enter(9, 4);
        let (entered, order) = channel();
        let waiting = [3, 2].map(|windows| {
            let (in_flight, entered) = (in_flight.clone(), entered.clone());
            thread::spawn(move || {
                in_flight.enter(windows, 4);
                entered.send(windows).unwrap();
            })
        });
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(order.try_recv().is_err(), "nothing fits beside the large request");
        in_flight.leave(9);
        let first = order.recv().unwrap();
        thread::sleep(std::time::Duration::from_millis(20));
        assert!(order.try_recv().is_err(), "3 and 2 do not fit into 4");
        in_flight.leave(first);
        assert_eq!(order.recv().unwrap(), 5 - first);
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_batch_has_one_shape_and_a_panic_fails_only_its_batch() {
        let (results, batches) = run(vec![vec![clip(3, 1.0)], vec![clip(13, 2.0)], vec![clip(3, 4.0)]], 16);
        assert_eq!(batches, [2, 1]);
        assert_eq!(results[2].as_ref().unwrap(), &[4.0, 3.0]);
        assert!(results[1].as_ref().unwrap_err().to_string().contains("failed"));
    }
}
