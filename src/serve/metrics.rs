//! What the server has done, for Prometheus (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use super::responses::Took;
use super::state::AppState;
use crate::inference::{BatchStats, Prediction};

/// Upper ends of the buckets of durations, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Default)]
pub struct Metrics {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By route and status.
    requests: BTreeMap<(&'static str, u16), u64>,
    durations: BTreeMap<&'static str, Durations>,
    recordings: u64,
    audio_seconds: f64,
    /// Receiving, waiting, decoding, features, model.
    stages: [f64; 5],
}

const STAGES: [&str; 5] = ["receive", "wait", "decode", "features", "model"];

#[derive(Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

impl Metrics {
    pub fn answered(&self, route: &'static str, status: u16, took: Duration) {
        let mut inner = self.inner.lock().expect("nobody panics while counting");
        *inner.requests.entry((route, status)).or_default() += 1;
        let durations = inner.durations.entry(route).or_default();
        let seconds = took.as_secs_f64();
        durations.sum += seconds;
        durations.count += 1;
        if let Some(bucket) = BUCKETS.iter().position(|end| seconds <= *end) {
            durations.buckets[bucket] += 1;
        }
    }

    pub fn heard(&self, heard: &Prediction, took: &Took) {
        let mut inner = self.inner.lock().expect("nobody panics while counting");
        inner.recordings += 1;
        inner.audio_seconds += heard.seconds;
        let stages = [took.receive, took.wait, took.decode, took.features, took.model];
        inner.stages.iter_mut().zip(stages).for_each(|(sum, stage)| *sum += stage);
    }
}

/// The text of `/metrics`.
pub fn text(state: &AppState) -> String {
    let mut out = Text(String::new());
    let build = [("version", env!("CARGO_PKG_VERSION"))];
    out.family("timbre_build_info", "gauge", "The program.").line("timbre_build_info", &build, 1.0);
    let (places, jobs) = state.in_use();
    for (name, help, value) in [
        ("timbre_places", "Recordings that may be received, wait or be heard at once.", state.limits.places),
        ("timbre_places_in_use", "Recordings that are being received, wait or are heard.", places),
        ("timbre_jobs", "Recordings that may be heard at once.", state.limits.jobs),
        ("timbre_jobs_in_use", "Recordings that are being heard.", jobs),
        ("timbre_ready", "1 until the server is told to stop.", usize::from(state.is_open())),
    ] {
        out.family(name, "gauge", help).line(name, &[], value as f64);
    }
    if let Some(bytes) = resident_bytes() {
        let name = "process_resident_memory_bytes";
        out.family(name, "gauge", "Resident memory.").line(name, &[], bytes);
    }
    type Count = fn(&BatchStats) -> u64;
    let per_model: [(&str, &str, Count); 3] = [
        ("timbre_model_windows_total", "Windows or clips that a model was asked about.", |batch_stats| {
            batch_stats.windows
        }),
        ("timbre_model_questions_total", "Questions about windows of one recording.", |batch_stats| {
            batch_stats.questions
        }),
        ("timbre_model_batches_total", "Batches in which the questions were asked.", |batch_stats| batch_stats.batches),
    ];
    for (name, help, count) in per_model {
        out.family(name, "counter", help);
        for voice in state.voices.iter().filter(|voice| !voice.is_ensemble()) {
            out.line(name, &[("model", &voice.id)], count(&voice.lead().batch_stats()) as f64);
        }
    }
    let inner = state.metrics.inner.lock().expect("nobody panics while counting");
    let heard = [
        ("timbre_recordings_total", "Recordings that were heard.", inner.recordings as f64),
        ("timbre_audio_seconds_total", "Their length in seconds.", inner.audio_seconds),
    ];
    for (name, help, value) in heard {
        out.family(name, "counter", help).line(name, &[], value);
    }
    let name = "timbre_stage_seconds_total";
    out.family(name, "counter", "Seconds a stage, of recordings that were heard.");
    for (stage, seconds) in STAGES.into_iter().zip(inner.stages) {
        out.line(name, &[("stage", stage)], seconds);
    }
    let name = "timbre_requests_total";
    out.family(name, "counter", "Requests by route and status.");
    for ((route, status), count) in &inner.requests {
        out.line(name, &[("route", *route), ("status", &status.to_string())], *count as f64);
    }
    out.family("timbre_request_seconds", "histogram", "From the head of a request to the head of its answer.");
    for (route, durations) in &inner.durations {
        let mut below = 0;
        for (end, count) in BUCKETS.iter().zip(durations.buckets) {
            below += count;
            out.line("timbre_request_seconds_bucket", &[("route", *route), ("le", &end.to_string())], below as f64);
        }
        let count = durations.count as f64;
        out.line("timbre_request_seconds_bucket", &[("route", route), ("le", "+Inf")], count);
        out.line("timbre_request_seconds_sum", &[("route", route)], durations.sum);
        out.line("timbre_request_seconds_count", &[("route", route)], count);
    }
    out.0
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> &mut Text {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> = labels.iter().map(|(name, text)| format!("{name}=\"{}\"", escaped(text))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// Of this process; nothing where the system does not tell.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_numbers_plain() {
        let mut out = Text(String::new());
        out.family("a_total", "counter", "Help.").line("a_total", &[("b", "c\"d\\e\nf"), ("g", "h")], 3.0);
        out.line("a_total", &[], 0.25);
        let expected =
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{b=\"c\\\"d\\\\e\\nf\",g=\"h\"} 3\na_total 0.25\n";
        assert_eq!(out.0, expected);
    }
}
