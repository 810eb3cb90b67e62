//! Progress output on stderr: a bar on a terminal, a plain line every few seconds elsewhere, nothing with `--quiet`.
//!
//! Nothing here writes to stdout, which is for data.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle, WeakProgressBar};

use crate::text::for_terminal;

/// The interval of plain lines without a terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The interval in which a bar shows its time again.
const REDRAW_EVERY: Duration = Duration::from_secs(1);

/// Jobs shorter than this print no line.
const MIN_REPORTED: Duration = Duration::from_millis(300);

/// The bars of this process. Whatever else is written to stderr suspends them, so that no line is torn. (`MultiProgress` panics in
/// `suspend` after the terminal is closed.)
static BARS: Mutex<Vec<WeakProgressBar>> = Mutex::new(Vec::new());

/// How progress and messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printer {
    /// A bar that is redrawn, on a terminal.
    Bars,
    /// A line every few seconds.
    Lines,
    /// Nothing (`--quiet`).
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

    /// The width of the terminal; none in a log.
    pub fn width(self) -> Option<usize> {
        let term = console::Term::stderr();
        (self == Printer::Bars).then(|| term.size_checked()).flatten().map(|(_, columns)| columns.into())
    }

    /// Starts a job of `total` steps.
    pub fn start(self, what: &str, total: usize) -> Progress {
        self.start_with(what, total, pace)
    }

    /// Starts a job whose steps may take very different times: those that are done say nothing about the time left.
    pub fn start_uneven(self, what: &str, total: usize) -> Progress {
        self.start_with(what, total, |_, _, elapsed| so_far(elapsed))
    }

    fn start_with(self, what: &str, total: usize, pace: Pace) -> Progress {
        let bar = match self {
            Printer::Bars => ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr()),
            _ => ProgressBar::hidden(),
        };
        bar.set_style(
            ProgressStyle::with_template("{msg:14} {bar:30} {pos}/{len}  {pace}")
                .expect("the template is fixed")
                .with_key("pace", move |state: &ProgressState, out: &mut dyn fmt::Write| {
                    let _ = write!(out, "{}", pace(state.pos() as usize, total, state.elapsed()));
                }),
        );
        bar.set_message(what.to_owned());
        if self == Printer::Bars {
            BARS.lock().unwrap_or_else(PoisonError::into_inner).push(bar.downgrade());
        }
        let job = Arc::new(Job {
            what: what.to_owned(),
            total,
            pace,
            done: AtomicUsize::new(0),
            bar,
            started: Instant::now(),
        });
        let ticker = (self != Printer::Quiet).then(|| Ticker::start(self, &job));
        Progress { printer: self, job, ticker }
    }
}

/// Prints a line to stderr, above any bar and without escape sequences that names may contain. Errors are ignored, so that the work
/// continues after a pipe or terminal is closed.
pub fn eprint_line(line: &str) {
    let _ = writeln!(AboveBars, "{}", for_terminal(line));
}

/// The bars that are drawn, in the order of their start. Forgets the others.
fn drawn_bars() -> Vec<ProgressBar> {
    let mut bars = BARS.lock().unwrap_or_else(PoisonError::into_inner);
    bars.retain(|bar| bar.upgrade().is_some_and(|bar| !bar.is_finished()));
    bars.iter().filter_map(WeakProgressBar::upgrade).collect()
}

/// Writes while none of the bars is drawn.
fn suspending(bars: &[ProgressBar], write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
    match bars.split_first() {
        None => write(),
        Some((first, others)) => first.suspend(|| suspending(others, write)),
    }
}

/// Stderr above any bar.
#[derive(Clone, Copy, Debug)]
pub struct AboveBars;

impl Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        suspending(&drawn_bars(), &mut || io::stderr().write_all(bytes))
    }

    fn write_fmt(&mut self, text: fmt::Arguments) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A running job.
pub struct Progress {
    printer: Printer,
    job: Arc<Job>,
    ticker: Option<Ticker>,
}

struct Job {
    what: String,
    total: usize,
    pace: Pace,
    done: AtomicUsize,
    bar: ProgressBar,
    started: Instant,
}

impl Progress {
    /// Counts one finished step.
    pub fn step(&self) {
        self.job.done.fetch_add(1, Ordering::Relaxed);
        self.job.bar.inc(1);
    }

    /// Removes the bar and prints the duration, unless the job was very short.
    pub fn finish(self) {
        drop(self.ticker);
        self.job.bar.finish_and_clear();
        let took = self.job.started.elapsed();
        if took >= MIN_REPORTED {
            self.printer.message(&format!("{}: {} in {}", self.job.what, self.job.total, seconds(took)));
        }
    }
}

/// Shows a job that takes its time even while no step ends: a redrawn bar every second, or a line every few seconds.
struct Ticker {
    /// Disconnected when the job ends.
    over: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(printer: Printer, job: &Arc<Job>) -> Ticker {
        let (over, is_over) = mpsc::channel::<()>();
        let job = job.clone();
        let tick = move || {
            let every = if printer == Printer::Bars { REDRAW_EVERY } else { LINE_EVERY };
            while is_over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                match printer {
                    Printer::Bars => job.bar.tick(),
                    _ => eprint_line(&job.line()),
                }
            }
        };
        // Without a thread the job has no lines.
        Ticker { over: Some(over), thread: thread::Builder::new().name("progress".to_owned()).spawn(tick).ok() }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Job {
    fn line(&self) -> String {
        let done = self.done.load(Ordering::Relaxed);
        format!("{}: {done}/{}, {}", self.what, self.total, (self.pace)(done, self.total, self.started.elapsed()))
    }
}

/// What a running job says of its time: from the steps that are done, all steps, and the time so far.
type Pace = fn(usize, usize, Duration) -> String;

fn so_far(elapsed: Duration) -> String {
    format!("{} so far", seconds(elapsed))
}

/// The rate and the time left; before the first step, the time so far.
fn pace(done: usize, total: usize, elapsed: Duration) -> String {
    if done == 0 {
        return so_far(elapsed);
    }
    let left = elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64);
    let per_second = done as f64 / elapsed.as_secs_f64().max(1e-9);
    let rate = match per_second {
        rate if rate >= 10.0 => format!("{rate:.0}/s, "),
        rate if rate >= 1.0 => format!("{rate:.1}/s, "),
        _ => String::new(),
    };
    format!("{rate}{}", time_left(left))
}

/// `about 31 s left`: a guess, so not shorter than a second.
pub fn time_left(left: Duration) -> String {
    match left.as_secs_f64().ceil().max(1.0) {
        seconds if seconds < 10.0 => format!("about {seconds} s left"),
        seconds => format!("about {} left", duration(seconds)),
    }
}

/// [`duration`] of a measured time.
pub fn seconds(time: Duration) -> String {
    duration(time.as_secs_f64())
}

/// A time for people, with two significant digits up to ten seconds: `0.4 ms`, `36 ms`, `0.42 s`, `4.2 s`, `31 s`, `4 min 05 s`,
/// `2 h 05 min`.
pub fn duration(seconds: f64) -> String {
    let (whole, minutes) = (seconds.round() as u64, (seconds / 60.0).round() as u64);
    match seconds {
        s if s < 0.0995 => format!("{:.*} ms", usize::from(s < 0.00995), 1000.0 * s),
        s if s < 0.995 => format!("{s:.2} s"),
        s if s < 9.95 => format!("{s:.1} s"),
        _ if whole < 120 => format!("{whole} s"),
        _ if whole < 3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_shows_its_rate_and_the_time_left_and_before_the_first_step_the_time_so_far() {
        assert_eq!(pace(25, 100, Duration::from_secs(10)), "2.5/s, about 30 s left");
        assert_eq!(pace(3, 4, Duration::from_secs(90)), "about 30 s left");
        assert_eq!(pace(900, 1000, Duration::from_secs(3)), "300/s, about 1 s left");
        assert_eq!(pace(0, 4, Duration::from_secs(12)), "12 s so far");
    }

    #[test]
    fn models_that_are_fitted_promise_no_time_for_the_others() {
        let job = Printer::Quiet.start_uneven("models", 3);
        job.step();
        let line = job.job.line();
        assert!(line.starts_with("models: 1/3, ") && line.ends_with(" so far"), "{line}");
    }

    #[test]
    fn a_message_above_bars_is_written_once_and_finished_bars_are_forgotten() {
        let (first, second) = (Printer::Bars.start("first", 2), Printer::Bars.start("second", 2));
        first.step();
        let mut written = 0;
        let bars = drawn_bars();
        suspending(&bars, &mut || {
            written += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!((written, bars.len()), (1, 2));
        first.finish();
        assert_eq!(drawn_bars().len(), 1);
        // A job that failed never finishes.
        drop((second, bars));
        assert_eq!(drawn_bars().len(), 0);
    }

    #[test]
    fn durations_have_two_significant_digits_and_long_ones_whole_seconds_or_minutes() {
        assert_eq!([0.000_4, 0.0123, 0.4234, 4.234].map(duration), ["0.4 ms", "12 ms", "0.42 s", "4.2 s"]);
        assert_eq!([9.96, 12.34, 119.7, 245.4].map(duration), ["10 s", "12 s", "2 min 00 s", "4 min 05 s"]);
        assert_eq!([3599.6, 7499.0, 90_061.0].map(duration), ["1 h 00 min", "2 h 05 min", "25 h 01 min"]);
    }

    #[test]
    fn the_time_left_is_in_whole_seconds() {
        assert_eq!(
            [0.02, 8.3, 300.0].map(|s| time_left(Duration::from_secs_f64(s))),
            ["about 1 s left", "about 9 s left", "about 5 min 00 s left"]
        );
    }
}
