//! Metrics of the server for Prometheus (text format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::time::Duration;

use super::responses::RequestTimings;
use crate::inference::{BatchStats, Prediction};
use timbre_runs::memory;

/// Upper bounds of the histogram buckets, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Default)]
pub struct Metrics {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Requests by route and status.
    requests: BTreeMap<(&'static str, u16), u64>,
    durations: BTreeMap<&'static str, Durations>,
    recordings: u64,
    audio_seconds: f64,
    /// Seconds by stage, in the order of [`STAGES`].
    stages: [f64; STAGES.len()],
}

const STAGES: [&str; 5] = ["receive", "wait", "decode", "features", "model"];

#[derive(Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

/// What a server does now.
pub struct ServerFigures<'a> {
    pub places: usize,
    pub places_in_use: usize,
    pub jobs: usize,
    pub jobs_in_use: usize,
    pub is_open: bool,
    /// Each model with the batches that it ran.
    pub models: Vec<(&'a str, BatchStats)>,
}

impl Metrics {
    pub fn count_request(&self, route: &'static str, status: u16, took: Duration) {
        let mut inner = self.inner.lock().expect("no code panics while it holds the lock");
        *inner.requests.entry((route, status)).or_default() += 1;
        let durations = inner.durations.entry(route).or_default();
        let seconds = took.as_secs_f64();
        durations.sum += seconds;
        durations.count += 1;
        if let Some(bucket) = BUCKETS.iter().position(|end| seconds <= *end) {
            durations.buckets[bucket] += 1;
        }
    }

    pub fn count_recording(&self, prediction: &Prediction, timings: &RequestTimings) {
        let mut inner = self.inner.lock().expect("no code panics while it holds the lock");
        inner.recordings += 1;
        inner.audio_seconds += prediction.seconds;
        let stages = [timings.receive, timings.wait, timings.decode, timings.features, timings.model];
        inner.stages.iter_mut().zip(stages).for_each(|(sum, stage)| *sum += stage);
    }

    /// The text of `/metrics`.
    pub fn text(&self, server: &ServerFigures) -> String {
        let mut out = Text(String::new());
        let build = [("version", env!("CARGO_PKG_VERSION"))];
        out.family("timbre_build_info", "gauge", "The version of the program.").line("timbre_build_info", &build, 1.0);
        for (name, help, value) in [
            ("timbre_places", "Limit of recordings that are received, wait, or are predicted at once.", server.places),
            (
                "timbre_places_in_use",
                "Recordings that are being received, wait, or are being predicted.",
                server.places_in_use,
            ),
            ("timbre_jobs", "Limit of recordings that are predicted at once.", server.jobs),
            ("timbre_jobs_in_use", "Recordings that are being predicted.", server.jobs_in_use),
            ("timbre_ready", "1 until the server begins to stop.", usize::from(server.is_open)),
        ] {
            out.family(name, "gauge", help).line(name, &[], value as f64);
        }
        if let Some(bytes) = memory::resident() {
            let name = "process_resident_memory_bytes";
            out.family(name, "gauge", "Resident memory.").line(name, &[], bytes as f64);
        }
        type Count = fn(&BatchStats) -> u64;
        let per_model: [(&str, &str, Count); 3] = [
            ("timbre_model_windows_total", "Windows or clips that the model predicted.", |stats| stats.windows),
            ("timbre_model_questions_total", "Requests to the model, each with windows of one recording.", |stats| {
                stats.requests
            }),
            ("timbre_model_batches_total", "Batches that the model ran.", |stats| stats.batches),
        ];
        for (name, help, count) in per_model {
            out.family(name, "counter", help);
            for (model, stats) in &server.models {
                out.line(name, &[("model", *model)], count(stats) as f64);
            }
        }
        let inner = self.inner.lock().expect("no code panics while it holds the lock");
        let totals = [
            ("timbre_recordings_total", "Predicted recordings.", inner.recordings as f64),
            ("timbre_audio_seconds_total", "Total length of the predicted recordings in seconds.", inner.audio_seconds),
        ];
        for (name, help, value) in totals {
            out.family(name, "counter", help).line(name, &[], value);
        }
        let name = "timbre_stage_seconds_total";
        out.family(name, "counter", "Seconds in each stage, summed over predicted recordings.");
        for (stage, seconds) in STAGES.into_iter().zip(inner.stages) {
            out.line(name, &[("stage", stage)], seconds);
        }
        let name = "timbre_requests_total";
        out.family(name, "counter", "Requests by route and status.");
        for ((route, status), count) in &inner.requests {
            out.line(name, &[("route", *route), ("status", &status.to_string())], *count as f64);
        }
        out.family(
            "timbre_request_seconds",
            "histogram",
            "Seconds from the head of a request to the head of its response.",
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut out = Text(String::new());
        out.family("a_total", "counter", "Help.").line("a_total", &[("b", "c\"d\\e\nf"), ("g", "h")], 3.0);
        out.line("a_total", &[], 0.25);
        let expected =
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{b=\"c\\\"d\\\\e\\nf\",g=\"h\"} 3\na_total 0.25\n";
        assert_eq!(out.0, expected);
    }
}
