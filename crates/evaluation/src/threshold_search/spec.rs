//! The keys of `[evaluate.search]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metrics::{Metric, decision_scores};
use timbre_core::registry::Fault;

/// Search for threshold and window fraction. It is tuned on one named split and needs no model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SearchSpec {
    /// The thresholds to try: "FROM..TO/STEP" with both ends included, or one number. Default: `"0.02..0.98/0.02"`.
    pub cutoff: String,
    /// The window fractions to try, with votes of windows; same format as `cutoff`. Default: `"0.02..0.90/0.02"`.
    pub window_fraction: String,
    /// The split to tune on: "validation", or "test" together with `on_test = true`. Default: `validation`.
    pub tune_on: TuneOn,
    /// Confirms `tune_on = "test"`. A score on the recordings that the thresholds were tuned on says nothing about other recordings.
    /// Default: false.
    pub on_test: bool,
    /// The metric to optimize, a metric of decisions. Default: the metric of `[evaluate]`, or `f1_micro` if that one needs no
    /// threshold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
    /// Also search one threshold per class, starting from the best common one. Default: false.
    pub per_class: bool,
    /// Resamples of whole songs that estimate the optimism of the chosen score; 0: none. Default: 200.
    #[schemars(range(min = 0, max = 100000))]
    pub resamples: usize,
}

/// The split to tune on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TuneOn {
    /// The validation split.
    #[default]
    Validation,
    /// The test split, for comparison with numbers that were tuned on it. Needs `on_test = true`.
    Test,
}

impl TuneOn {
    /// The name of the split.
    pub fn name(self) -> &'static str {
        match self {
            TuneOn::Validation => "validation",
            TuneOn::Test => "test",
        }
    }
}

impl Default for SearchSpec {
    fn default() -> Self {
        SearchSpec {
            cutoff: "0.02..0.98/0.02".to_owned(),
            window_fraction: "0.02..0.90/0.02".to_owned(),
            tune_on: TuneOn::default(),
            on_test: false,
            metric: None,
            per_class: false,
            resamples: 200,
        }
    }
}

/// More values on an axis are taken for a typing error.
const MOST: usize = 2000;

/// The grid is shown as one picture, which is unreadable beyond this many points.
const MOST_POINTS: usize = 250_000;

impl SearchSpec {
    /// The metric to optimize, given the headline metric of `[evaluate]`.
    pub fn metric(&self, headline: Metric) -> Metric {
        let searchable = |metric: &Metric| decision_scores::position(metric.name()).is_some();
        self.metric.or(Some(headline).filter(searchable)).unwrap_or(Metric::F1Micro)
    }

    /// The thresholds to try, ascending. Panics if [`Self::faults`] has one for the key.
    pub fn cutoffs(&self) -> Vec<f64> {
        parse_axis(&self.cutoff).expect("checked")
    }

    /// The window fractions to try, ascending. Panics if [`Self::faults`] has one for the key.
    pub fn window_fractions(&self) -> Vec<f64> {
        parse_axis(&self.window_fraction).expect("checked")
    }

    /// Invalid keys, each with a sentence.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, sentence: String| faults.push(Fault::new(key, sentence));
        for (key, text, below_one) in
            [("cutoff", &self.cutoff, false), ("window_fraction", &self.window_fraction, true)]
        {
            match parse_axis(text) {
                Err(sentence) => fault(key, sentence),
                Ok(values) => {
                    let last = values[values.len() - 1];
                    if values[0] < 0.0 || last > 1.0 || (below_one && last >= 1.0) {
                        let range = if below_one { "from 0 to below 1" } else { "from 0 to 1" };
                        fault(key, format!("`{text}` is out of range: write values {range}"));
                    }
                }
            }
        }
        if let (Ok(cutoffs), Ok(fractions)) = (parse_axis(&self.cutoff), parse_axis(&self.window_fraction))
            && cutoffs.len() * fractions.len() > MOST_POINTS
        {
            let points = cutoffs.len() * fractions.len();
            fault(
                "cutoff",
                format!("thresholds × window fractions are {points} points; at most {MOST_POINTS} are allowed"),
            );
        }
        if self.tune_on == TuneOn::Test && !self.on_test {
            fault(
                "tune_on",
                "thresholds tuned on the test split have no valid score on it: tune on \"validation\", or write \
                 `on_test = true` as well; every table then states it"
                    .to_owned(),
            );
        }
        if let Some(metric) = self.metric.filter(|metric| decision_scores::position(metric.name()).is_none()) {
            let sentence = format!(
                "`{}` is not a metric of decisions; choose one of {}",
                metric.name(),
                decision_scores::NAMES.join(", ")
            );
            fault("metric", sentence);
        }
        faults
    }
}

/// The values of `"0.30..0.80/0.02"`: the doubles nearest to the decimals, 0.56 and not 0.5600000000000001.
pub fn parse_axis(text: &str) -> Result<Vec<f64>, String> {
    let wrong = || format!("`{text}`: expected \"FROM..TO/STEP\", such as \"0.30..0.80/0.02\", or one number");
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (text, None),
    };
    let (from, to) = match (range.split_once(".."), step) {
        (Some((from, to)), Some(_)) => (from, to),
        (None, None) => (range, range),
        _ => return Err(wrong()),
    };
    let parts = [from, to, step.unwrap_or("1")].map(str::trim);
    let decimals = parts.iter().map(|part| part.split_once('.').map_or(0, |(_, after)| after.len())).max().unwrap_or(0);
    let is_decimal = |part: &str| {
        let plain = |c: char| c.is_ascii_digit() || c == '.';
        part.chars().all(plain) && part.parse::<f64>().is_ok()
    };
    if decimals > 9 || !parts.iter().all(|part| is_decimal(part) && part.len() < 14) {
        return Err(wrong());
    }
    let unit = 10f64.powi(decimals as i32);
    let [from, to, step] = parts.map(|part| (part.parse::<f64>().expect("a decimal") * unit).round() as u64);
    if step == 0 || to < from {
        return Err(format!("`{text}`: write the smaller number first and a step above 0"));
    }
    let count = (to - from) / step + 1;
    if count > MOST as u64 {
        return Err(format!("`{text}` has {count} values; at most {MOST} are allowed"));
    }
    Ok((0..count).map(|i| (from + i * step) as f64 / unit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_includes_both_ends_and_the_numbers_as_written() {
        assert_eq!(parse_axis("0.5..0.6/0.02").unwrap(), [0.5, 0.52, 0.54, 0.56, 0.58, 0.6]);
        let fine = parse_axis("0.30..0.80/0.001").unwrap();
        assert!(
            fine.len() == 501
                && fine.iter().enumerate().all(|(i, v)| *v == format!("0.{}", 300 + i).parse::<f64>().unwrap())
        );
        assert_eq!(parse_axis("0..1/0.4").unwrap(), [0.0, 0.4, 0.8]);
        assert_eq!(parse_axis("0.56").unwrap(), [0.56]);
        for wrong in
            ["", "a..b/c", "0.3..0.8", "0.8..0.3/0.1", "0..1/0", "0.3/0.1", "0..1/0.00001", "-1..1/0.5", "nan", "1e3"]
        {
            assert!(parse_axis(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_search_on_the_test_split_is_a_fault_unless_confirmed() {
        let spec = SearchSpec { tune_on: TuneOn::Test, ..SearchSpec::default() };
        assert_eq!(spec.faults().iter().map(|f| f.key.as_str()).collect::<Vec<_>>(), ["tune_on"]);
        assert!(SearchSpec { on_test: true, ..spec }.faults().is_empty());
        let spec = SearchSpec {
            cutoff: "0..2/0.5".into(),
            window_fraction: "0.5..1/0.5".into(),
            metric: Some(Metric::Lrap),
            ..SearchSpec::default()
        };
        assert_eq!(
            spec.faults().iter().map(|f| f.key.as_str()).collect::<Vec<_>>(),
            ["cutoff", "window_fraction", "metric"]
        );
        assert!(SearchSpec::default().faults().is_empty());
        let huge =
            SearchSpec { cutoff: "0..1/0.001".into(), window_fraction: "0..0.9/0.001".into(), ..SearchSpec::default() };
        assert_eq!(huge.faults().len(), 1);
    }

    #[test]
    fn a_headline_metric_without_threshold_is_replaced_by_micro_f1() {
        let spec = SearchSpec::default();
        assert_eq!(spec.metric(Metric::Lrap), Metric::F1Micro);
        assert_eq!(spec.metric(Metric::Hamming), Metric::Hamming);
        assert_eq!(SearchSpec { metric: Some(Metric::F1Macro), ..spec }.metric(Metric::Hamming), Metric::F1Macro);
    }
}
