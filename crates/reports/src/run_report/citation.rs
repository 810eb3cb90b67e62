//! What a run cost, and how to cite it: sentences to copy into a paper.

use timbre_core::{
    progress::duration,
    text::{count, escape_xml},
};

use super::conclusion::{ADVICE, Conclusion, ConclusionKind};
use super::report_data::ReportData;
use crate::page::paragraph;
use timbre_runs::tables::resampled;

/// Time and memory in a line; empty for an unfinished run.
pub fn cost(run: &ReportData) -> String {
    let record = &run.record;
    let seconds = |stage: &str| record.seconds.get(stage).copied().filter(|seconds| seconds.is_finite());
    let Some(total) = seconds("total") else { return String::new() };
    let stages = ["data", "features", "models"].into_iter().filter_map(|stage| Some((stage, seconds(stage)?)));
    let stages: Vec<String> = stages.map(|(stage, seconds)| format!("{stage} {}", duration(seconds))).collect();
    let of_stages = if stages.is_empty() { String::new() } else { format!(" ({})", stages.join(", ")) };
    let threads = record.environment["threads"].as_u64().and_then(|threads| usize::try_from(threads).ok());
    let on = threads.map_or(String::new(), |threads| format!(" on {}", count(threads, "thread")));
    let memory = record.peak_memory.map_or(String::new(), |bytes| format!(", at most {} of memory", mib(bytes)));
    let fits: usize = run.ranked.iter().map(|own| own.rows.len()).sum();
    let reused = record.reused.as_ref().map_or(0, |from| from.trials.len());
    let reused = if reused > 0 { format!(", {reused} of them reused") } else { String::new() };
    let cached = match record.cache.hits {
        0 => String::new(),
        hits => format!("; {hits} of {} features were in the cache", hits + record.cache.misses),
    };
    paragraph(&format!(
        "Cost: {}{on}{of_stages}{memory}, for {}{reused}{cached}.",
        duration(total),
        count(fits, "trial")
    ))
}

fn mib(bytes: u64) -> String {
    match bytes as f64 / f64::from(1 << 20) {
        mib if mib < 1024.0 => format!("{mib:.0} MiB"),
        mib => format!("{:.1} GiB", mib / 1024.0),
    }
}

/// The section: the result in a sentence with its numbers, how they were obtained, and what identifies the run.
pub fn html(run: &ReportData, conclusion: &Conclusion) -> String {
    let record = &run.record;
    let result = match conclusion.kind {
        ConclusionKind::Unknown => return String::new(),
        _ => {
            format!("{} {}", conclusion.sentence, conclusion.choice.as_deref().unwrap_or_default()).replace(ADVICE, "")
        }
    };
    let resamples = run.experiment.evaluate.bootstrap;
    let intervals = match resamples {
        0 => String::new(),
        _ => format!(
            " Intervals: percentile bootstrap over {} with {resamples} resamples, paired with the baseline.",
            resampled(run.has_no_songs)
        ),
    };
    let version = record.environment["timbre"].as_str().unwrap_or(env!("CARGO_PKG_VERSION"));
    let text = format!(
        "On {}: {}{intervals} Timbre {version}, experiment {}, signature {}.",
        record.data.name,
        result.trim_end(),
        record.experiment,
        record.signature
    );
    format!(
        "{}<blockquote>{}</blockquote>\n{}",
        paragraph("To copy into a paper or an issue:"),
        escape_xml(&text),
        paragraph(
            "config.resolved.toml and recordings.csv of the run folder let others repeat the run. Cite the data set, too: \
             `timbre data describe` prints how."
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_in_the_unit_that_is_easy_to_read() {
        assert_eq!((mib(3 << 20), mib(5 << 29)), ("3 MiB".to_owned(), "2.5 GiB".to_owned()));
    }
}
