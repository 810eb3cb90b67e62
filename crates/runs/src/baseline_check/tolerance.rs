//! Tolerances (`f1_micro=0.01`) and names of metrics.

use std::str::FromStr;

use timbre_core::labels::Task;
use timbre_core::suggest;
use timbre_evaluation::metrics;

/// How much worse than the baseline a metric may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Tolerance {
    pub metric: String,
    pub by: f64,
}

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Tolerance, String> {
        let (metric, by) = text.split_once('=').ok_or("write METRIC=NUMBER, e.g. f1_micro=0.01")?;
        let metric = metric_named(metric.trim())?.to_owned();
        match by.trim().parse::<f64>() {
            Ok(by) if by.is_finite() && by >= 0.0 => Ok(Tolerance { metric, by }),
            _ => Err(format!("`{by}` is not a tolerance: write how much worse {metric} may be, 0 or more")),
        }
    }
}

/// The metric of that name, or an error with suggestions.
pub fn metric_named(word: &str) -> Result<&'static str, String> {
    known_metric(word).ok_or_else(|| {
        let mut known: Vec<&'static str> = Vec::new();
        for name in all_metrics() {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        format!("there is no metric `{word}`: {}", suggest::help(word, known, "metrics"))
    })
}

/// The metric of that name.
pub fn known_metric(word: &str) -> Option<&'static str> {
    all_metrics().find(|name| *name == word)
}

/// The metrics of both tasks; some appear twice.
fn all_metrics() -> impl Iterator<Item = &'static str> {
    metrics::names(Task::SingleLabel).chain(metrics::names(Task::MultiLabel))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tolerance_has_a_known_metric_and_a_number_of_at_least_0() {
        assert_eq!("f1_micro=0.01".parse(), Ok(Tolerance { metric: "f1_micro".into(), by: 0.01 }));
        assert_eq!("log_loss = 0".parse(), Ok(Tolerance { metric: "log_loss".into(), by: 0.0 }));
        for wrong in ["f1_micro", "f1_micro=", "f1_micro=-0.1", "f1_micro=NaN", "f1_micro=inf", "=1"] {
            assert!(wrong.parse::<Tolerance>().is_err(), "{wrong}");
        }
        assert!("acuracy=0".parse::<Tolerance>().unwrap_err().contains("did you mean `accuracy`"));
    }
}
