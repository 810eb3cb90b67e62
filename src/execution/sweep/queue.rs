//! The queue of sweep points that wait for a worker, and the duration of finished ones.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::point::SweepPoint;

pub struct WorkQueue<'a> {
    pub total: usize,
    pub points: Mutex<VecDeque<&'a SweepPoint<'a>>>,
    progress: Mutex<Progress>,
    pub quit: AtomicBool,
    pub error: Mutex<Option<anyhow::Error>>,
}

struct Progress {
    left: usize,
    /// The total duration of the points that were run.
    seconds: f64,
    ran: usize,
}

impl<'a> WorkQueue<'a> {
    pub fn new(points: &[&'a SweepPoint<'a>]) -> WorkQueue<'a> {
        WorkQueue {
            total: points.len(),
            points: Mutex::new(points.iter().copied().collect()),
            progress: Mutex::new(Progress { left: points.len(), seconds: 0.0, ran: 0 }),
            quit: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    /// Counts a point that has ended. Returns how many are left.
    pub fn point_ended(&self, took: Duration, ran: bool) -> usize {
        let mut progress = self.progress.lock().expect("no worker panics");
        progress.left -= 1;
        if ran {
            progress.seconds += took.as_secs_f64();
            progress.ran += 1;
        }
        progress.left
    }

    /// The number of points that this process ran.
    pub fn ran(&self) -> usize {
        self.progress.lock().expect("no worker panics").ran
    }

    /// The mean duration of a point.
    pub fn mean_duration(&self) -> Option<Duration> {
        let progress = self.progress.lock().expect("no worker panics");
        (progress.ran > 0).then(|| Duration::from_secs_f64(progress.seconds / progress.ran as f64))
    }
}
