//! Mean and standard deviation of a score over replicates, such as the seeds of a run.

/// The mean; None without values.
///
/// ```
/// use timbre_evaluation::metrics::replicates::{deviation, mean};
///
/// assert_eq!((mean(&[1.0, 3.0]), deviation(&[1.0, 3.0])), (Some(2.0), Some(2.0_f64.sqrt())));
/// assert_eq!((mean(&[]), deviation(&[1.0])), (None, None));
/// ```
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample standard deviation; None for a single value.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// The metric whose interval bound a column is: `accuracy` for `accuracy_low`.
pub fn metric_of_interval_bound(column: &str) -> Option<&str> {
    column.strip_suffix("_low").or_else(|| column.strip_suffix("_high"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_values_have_no_mean_and_one_value_has_no_deviation() {
        assert_eq!((mean(&[]), deviation(&[])), (None, None));
        assert_eq!((mean(&[3.0]), deviation(&[3.0])), (Some(3.0), None));
        assert_eq!((mean(&[1.0, 2.0, 6.0]), deviation(&[1.0, 2.0, 6.0])), (Some(3.0), Some(7f64.sqrt())));
    }

    #[test]
    fn one_seed_has_no_deviation() {
        assert_eq!(deviation(&[0.5]), None);
        assert!((deviation(&[0.5, 0.7]).unwrap() - 0.02f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_bound_of_an_interval_names_its_metric() {
        assert_eq!(metric_of_interval_bound("f1_micro_low"), Some("f1_micro"));
        assert_eq!(metric_of_interval_bound("accuracy_high"), Some("accuracy"));
        assert_eq!(metric_of_interval_bound("accuracy"), None);
    }
}
