//! The points that wait for a worker, and what is known of those that are through.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::point::Candidate;

pub struct Line<'a> {
    pub total: usize,
    pub queue: Mutex<VecDeque<&'a Candidate<'a>>>,
    left: Mutex<Left>,
    pub quit: AtomicBool,
    pub error: Mutex<Option<anyhow::Error>>,
}

struct Left {
    points: usize,
    /// Of the points that were run.
    seconds: f64,
    ran: usize,
}

impl<'a> Line<'a> {
    pub fn of(candidates: &[&'a Candidate<'a>]) -> Line<'a> {
        Line {
            total: candidates.len(),
            queue: Mutex::new(candidates.iter().copied().collect()),
            left: Mutex::new(Left { points: candidates.len(), seconds: 0.0, ran: 0 }),
            quit: AtomicBool::new(false),
            error: Mutex::new(None),
        }
    }

    /// Counts a point; returns how many are left.
    pub fn ended(&self, took: Duration, ran: bool) -> usize {
        let mut left = self.left.lock().expect("no worker panics");
        left.points -= 1;
        if ran {
            left.seconds += took.as_secs_f64();
            left.ran += 1;
        }
        left.points
    }

    /// How many points were run here.
    pub fn ran(&self) -> usize {
        self.left.lock().expect("no worker panics").ran
    }

    /// How long a point takes.
    pub fn pace(&self) -> Option<Duration> {
        let left = self.left.lock().expect("no worker panics");
        (left.ran > 0).then(|| Duration::from_secs_f64(left.seconds / left.ran as f64))
    }
}
