//! Questions of several recordings, asked of one model at once: a device is worth its price only in batches.
//!
//! One thread asks. While it waits for the model, questions gather; whatever has gathered goes into the next batch, so nobody
//! waits for company. The answers are the bits that each question gets alone.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context, Result, anyhow};

use super::pipeline::{ClipFeatures, InferencePipeline};

/// Questions that may wait; whoever asks one more waits with it.
const WAITING: usize = 64;

pub(super) struct MicroBatcher {
    give: SyncSender<Question>,
    counts: Arc<Counts>,
}

struct Question {
    clips: Vec<ClipFeatures>,
    answer: SyncSender<Result<Vec<f32>>>,
}

#[derive(Default)]
struct Counts {
    windows: AtomicU64,
    questions: AtomicU64,
    batches: AtomicU64,
}

/// What a model was asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchStats {
    /// Windows or clips.
    pub windows: u64,
    /// Of one recording each.
    pub questions: u64,
    /// How often the model was asked: no more often than there were questions.
    pub batches: u64,
}

impl MicroBatcher {
    /// Asks about `batch_size` windows or clips at once, or about one question that has more.
    pub fn new(voices: Arc<InferencePipeline>, n_classes: usize, batch_size: usize) -> Result<MicroBatcher> {
        let (give, take) = sync_channel(WAITING);
        let counts = Arc::new(Counts::default());
        let asking =
            Asking { ask: move |clips| voices.ask(clips, n_classes), n_classes, batch_size, counts: counts.clone() };
        // It ends when nobody can ask any more.
        let thread = thread::Builder::new().name("asking".to_owned());
        thread.spawn(move || asking.run(&take)).context("cannot start the thread that asks the model")?;
        Ok(MicroBatcher { give, counts })
    }

    pub fn ask(&self, clips: Vec<ClipFeatures>) -> Result<Vec<f32>> {
        let (answer, heard) = sync_channel(1);
        self.give.send(Question { clips, answer }).map_err(|_| anyhow!("the model is asked no more"))?;
        heard.recv().context("the model gives no answer")?
    }

    pub fn batch_stats(&self) -> BatchStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { windows, questions, batches } = &*self.counts;
        BatchStats { windows: read(windows), questions: read(questions), batches: read(batches) }
    }
}

/// What the thread does.
struct Asking<F> {
    ask: F,
    n_classes: usize,
    batch_size: usize,
    counts: Arc<Counts>,
}

impl<F: Fn(Vec<ClipFeatures>) -> Result<Vec<f32>>> Asking<F> {
    fn run(&self, questions: &Receiver<Question>) {
        let mut next = None;
        while let Some(first) = next.take().or_else(|| questions.recv().ok()) {
            let mut windows = first.clips.len();
            let mut batch = vec![first];
            while let Ok(more) = questions.try_recv() {
                if windows + more.clips.len() > self.batch_size {
                    next = Some(more);
                    break;
                }
                windows += more.clips.len();
                batch.push(more);
            }
            // Clips of recordings of any length have features of any shape.
            let mut alike: BTreeMap<Vec<[usize; 2]>, Vec<Question>> = BTreeMap::new();
            for question in batch {
                alike.entry(shape(&question.clips)).or_default().push(question);
            }
            alike.into_values().for_each(|questions| self.answer(questions));
        }
    }

    fn answer(&self, questions: Vec<Question>) {
        let counts: Vec<usize> = questions.iter().map(|question| question.clips.len()).collect();
        let (answers, clips): (Vec<_>, Vec<_>) = questions.into_iter().map(|q| (q.answer, q.clips)).unzip();
        self.counts.questions.fetch_add(answers.len() as u64, Ordering::Relaxed);
        self.counts.batches.fetch_add(1, Ordering::Relaxed);
        self.counts.windows.fetch_add(counts.iter().sum::<usize>() as u64, Ordering::Relaxed);
        let said = self.guarded(clips.into_iter().flatten().collect());
        let mut at = 0;
        for (answer, count) in answers.iter().zip(counts) {
            let one = match &said {
                Ok(said) => Ok(said[at * self.n_classes..(at + count) * self.n_classes].to_vec()),
                Err(error) => Err(anyhow!("{error:#}")),
            };
            at += count;
            // Who has left misses it.
            let _ = answer.send(one);
        }
    }

    /// The thread outlives what it asks.
    fn guarded(&self, clips: Vec<ClipFeatures>) -> Result<Vec<f32>> {
        catch_unwind(AssertUnwindSafe(|| (self.ask)(clips)))
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

    /// A clip whose one feature is a row of so many numbers.
    fn clip(columns: usize, value: f32) -> ClipFeatures {
        vec![FeatureMatrix { rows: 1, cols: columns, values: vec![value; columns] }]
    }

    fn question(clips: Vec<ClipFeatures>) -> (Question, Receiver<Result<Vec<f32>>>) {
        let (answer, heard) = sync_channel(1);
        (Question { clips, answer }, heard)
    }

    /// Answers all of these, which have gathered, and gives the answers and the sizes of the batches.
    fn answered(clips: Vec<Vec<ClipFeatures>>, batch_size: usize) -> (Vec<Result<Vec<f32>>>, Vec<usize>) {
        let (give, take) = sync_channel(WAITING);
        let (questions, heard): (Vec<_>, Vec<_>) = clips.into_iter().map(question).unzip();
        questions.into_iter().for_each(|question| give.send(question).unwrap());
        drop(give);
        let (sizes, batches) = channel();
        let ask = |clips: Vec<ClipFeatures>| {
            sizes.send(clips.len()).unwrap();
            let columns = clips[0][0].cols;
            assert!(clips.iter().all(|clip| clip[0].cols == columns), "one shape");
            assert!(columns != 13, "a panic of the model");
            Ok(clips.iter().flat_map(|clip| [clip[0].values[0], columns as f32]).collect())
        };
        Asking { ask, n_classes: 2, batch_size, counts: Arc::default() }.run(&take);
        drop(sizes);
        (heard.iter().map(|heard| heard.recv().unwrap()).collect(), batches.iter().collect())
    }

    #[test]
    fn what_has_gathered_is_asked_at_once_and_everybody_gets_the_own_answer() {
        let clips = vec![vec![clip(3, 1.0)], vec![clip(3, 2.0), clip(3, 3.0)], vec![clip(3, 4.0)]];
        let (answers, batches) = answered(clips.clone(), 16);
        let answers: Vec<Vec<f32>> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, [vec![1.0, 3.0], vec![2.0, 3.0, 3.0, 3.0], vec![4.0, 3.0]]);
        assert_eq!(batches, [4]);
        assert_eq!(answered(clips, 2).1, [1, 2, 1], "no more at once than is allowed");
    }

    #[test]
    fn other_shapes_are_asked_by_themselves_and_a_panic_is_the_answer_of_its_batch_alone() {
        let (answers, batches) = answered(vec![vec![clip(3, 1.0)], vec![clip(13, 2.0)], vec![clip(3, 4.0)]], 16);
        assert_eq!(batches, [2, 1]);
        assert_eq!(answers[2].as_ref().unwrap(), &[4.0, 3.0]);
        assert!(answers[1].as_ref().unwrap_err().to_string().contains("failed"));
    }
}
