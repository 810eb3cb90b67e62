//! Progress output on stderr: a bar on a terminal, a plain line every few seconds elsewhere, nothing with `--quiet`.
//!
//! Nothing here writes to stdout, which is for data.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::text::for_terminal;

/// The interval of plain lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Jobs shorter than this print no line.
const MIN_REPORTED: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printer {
    Bars,
    Lines,
    Quiet,
}

impl Printer {
    /// Bars on a terminal, lines in a log.
    pub fn new(quiet: bool) -> Printer {
        match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Printer::Quiet,
            (false, true) => Printer::Bars,
            (false, false) => Printer::Lines,
        }
    }

    /// Prints a message, above any bar.
    pub fn message(self, sentence: &str) {
        if self != Printer::Quiet {
            eprint_line(sentence);
        }
    }

    /// Starts a job of `total` steps.
    pub fn start(self, what: &str, total: usize) -> Progress {
        let bar = match self {
            Printer::Bars => ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr()),
            _ => ProgressBar::hidden(),
        };
        bar.set_style(
            ProgressStyle::with_template("{msg:14} {bar:30} {pos}/{len}  {eta} left").expect("the template is fixed"),
        );
        bar.set_message(what.to_owned());
        let now = Instant::now();
        Progress {
            printer: self,
            what: what.to_owned(),
            total,
            bar,
            state: Mutex::new(State { done: 0, printed: now }),
            started: now,
        }
    }
}

/// Prints a line to stderr, without escape sequences that names may contain. Errors are ignored, so that the work continues
/// after a pipe or terminal is closed.
pub fn eprint_line(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", for_terminal(line));
}

/// A running job.
pub struct Progress {
    printer: Printer,
    what: String,
    total: usize,
    bar: ProgressBar,
    state: Mutex<State>,
    started: Instant,
}

struct State {
    done: usize,
    printed: Instant,
}

impl Progress {
    /// Counts one finished step.
    pub fn step(&self) {
        self.bar.inc(1);
        let mut state = self.state.lock().expect("no step panics while it counts");
        state.done += 1;
        if self.printer == Printer::Lines && state.printed.elapsed() >= LINE_EVERY {
            state.printed = Instant::now();
            eprint_line(&line(&self.what, state.done, self.total, self.started.elapsed()));
        }
    }

    /// Removes the bar and prints the duration, unless the job was very short.
    pub fn finish(self) {
        self.bar.finish_and_clear();
        let took = self.started.elapsed();
        if took < MIN_REPORTED {
            return;
        }
        self.printer.message(&format!("{}: {} in {}", self.what, self.total, seconds(took)));
    }
}

fn line(what: &str, done: usize, total: usize, elapsed: Duration) -> String {
    let left = elapsed.mul_f64((total.saturating_sub(done)) as f64 / done.max(1) as f64);
    format!("{what}: {done}/{total}, about {} left", seconds(left))
}

/// `36 ms`, `0.42 s`, `31 s`, `4 min 05 s`.
pub fn seconds(time: Duration) -> String {
    let s = time.as_secs_f64();
    match s {
        s if s < 0.0995 => format!("{:.*} ms", usize::from(s < 0.00995), 1000.0 * s),
        s if s < 10.0 => format!("{s:.2} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_has_the_time_left() {
        assert_eq!(line("features", 25, 100, Duration::from_secs(10)), "features: 25/100, about 30 s left");
        assert_eq!(line("features", 0, 4, Duration::from_secs(1)), "features: 0/4, about 4.00 s left");
    }

    #[test]
    fn long_durations_are_in_minutes() {
        assert_eq!(seconds(Duration::from_millis(420)), "0.42 s");
        assert_eq!(seconds(Duration::from_secs(245)), "4 min 05 s");
    }
}
