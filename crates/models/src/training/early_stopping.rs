//! Early stopping: which value is monitored, which epoch is the best, and when patience ends. Pure functions of the history.

use anyhow::{Result, ensure};

use crate::Epoch;
use crate::hyperparameters::LOSS;
use timbre_evaluation::metrics::{self, DecisionRule};

/// The value that decides which epoch is best, and when to stop.
#[derive(Clone, Debug, PartialEq)]
pub struct Monitor {
    monitored: Monitored,
    patience: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
enum Monitored {
    TrainLoss,
    ValidationLoss,
    Metric(String),
}

impl Monitor {
    /// Fails with the known names if `name` is unknown. Without a validation subset the training loss is monitored in any case.
    pub fn new(
        name: &str,
        patience: Option<usize>,
        decision_rule: &DecisionRule,
        has_validation: bool,
    ) -> Result<Monitor> {
        let metrics = decision_rule.metrics();
        ensure!(
            name == LOSS || metrics.iter().any(|metric| metric == name),
            "`monitor = \"{name}\"` is not a metric of this task: write \"{LOSS}\" or one of {}",
            metrics.join(", ")
        );
        let monitored = match (has_validation, name) {
            (false, _) => Monitored::TrainLoss,
            (true, LOSS) => Monitored::ValidationLoss,
            (true, metric) => Monitored::Metric(metric.to_owned()),
        };
        Ok(Monitor { monitored, patience })
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        match &self.monitored {
            Monitored::TrainLoss => "training loss",
            Monitored::ValidationLoss => "validation loss",
            Monitored::Metric(name) => name,
        }
    }

    /// Whether a metric is monitored, and not a loss.
    pub fn is_metric(&self) -> bool {
        matches!(self.monitored, Monitored::Metric(_))
    }

    /// The monitored metric, which is shown beside the losses.
    pub fn metric<'a>(&'a self, epoch: &'a Epoch) -> Option<(&'a str, f64)> {
        match &self.monitored {
            Monitored::Metric(name) => Some((name, self.value(epoch))),
            _ => None,
        }
    }

    pub fn value(&self, epoch: &Epoch) -> f64 {
        match &self.monitored {
            Monitored::TrainLoss => epoch.train_loss,
            Monitored::ValidationLoss => epoch.validation_loss.unwrap_or(f64::NAN),
            Monitored::Metric(name) => epoch.metrics.get(name).copied().unwrap_or(f64::NAN),
        }
    }

    /// Lower is better for losses, and for metrics that are losses; higher is better for other metrics. NaN is worse than any
    /// number.
    pub fn is_better(&self, value: f64, than: f64) -> bool {
        match self.monitored {
            _ if value.is_nan() => false,
            _ if than.is_nan() => true,
            Monitored::TrainLoss | Monitored::ValidationLoss => value < than,
            Monitored::Metric(ref name) if metrics::is_loss(name) => value < than,
            Monitored::Metric(_) => value > than,
        }
    }

    /// The index of the best epoch, the first of equal ones.
    pub fn best(&self, history: &[Epoch]) -> Option<usize> {
        let better = |at: usize, than: usize| self.is_better(self.value(&history[at]), self.value(&history[than]));
        (0..history.len()).reduce(|best, at| if better(at, best) { at } else { best })
    }

    /// Whether there was no improvement for `patience` epochs.
    pub fn is_exhausted(&self, history: &[Epoch]) -> bool {
        match (self.patience, self.best(history)) {
            (Some(patience), Some(best)) => history.len() - 1 - best >= patience,
            _ => false,
        }
    }

    pub fn values(&self, history: &[Epoch]) -> Vec<f64> {
        history.iter().map(|epoch| self.value(epoch)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::labels::Task;

    fn history(losses: &[f64], accuracies: &[f64]) -> Vec<Epoch> {
        let epoch = |(i, (&loss, &accuracy)): (usize, (&f64, &f64))| Epoch {
            epoch: i + 1,
            learning_rate: 0.1,
            train_loss: -loss,
            validation_loss: Some(loss),
            metrics: [("accuracy".to_owned(), accuracy)].into_iter().collect(),
            best: false,
            seconds: 1.0,
            clips_per_second: 1.0,
            waited: 0.0,
        };
        losses.iter().zip(accuracies).enumerate().map(epoch).collect()
    }

    fn monitor(name: &str, patience: usize, has_validation: bool) -> Monitor {
        Monitor::new(name, Some(patience), &DecisionRule::default(), has_validation).unwrap()
    }

    #[test]
    fn a_lower_loss_and_a_higher_metric_are_better() {
        let history = history(&[3.0, 1.0, 2.0, 1.0], &[0.2, 0.1, 0.5, 0.5]);
        assert_eq!(monitor("loss", 9, true).best(&history), Some(1));
        assert_eq!(monitor("accuracy", 9, true).best(&history), Some(2));
        // Without a validation subset it is the training loss, here the negative.
        assert_eq!(monitor("accuracy", 9, false).best(&history), Some(0));
        assert_eq!(monitor("loss", 9, true).best(&[]), None);
        let log_loss = monitor("log_loss", 9, true);
        assert!(log_loss.is_better(0.5, 0.75) && !log_loss.is_better(0.75, 0.5));
    }

    #[test]
    fn patience_counts_the_epochs_since_the_best() {
        let history = history(&[3.0, 1.0, 2.0, 1.0, 4.0], &[0.0; 5]);
        let monitor = monitor("loss", 2, true);
        assert!(!monitor.is_exhausted(&history[..3]));
        assert!(monitor.is_exhausted(&history[..4]));
        assert!(!Monitor { patience: None, ..monitor }.is_exhausted(&history));
    }

    #[test]
    fn nan_is_never_the_best() {
        let history = history(&[f64::NAN, 5.0, f64::NAN], &[0.0; 3]);
        assert_eq!(monitor("loss", 2, true).best(&history), Some(1));
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_names() {
        for (task, other, own) in
            [(Task::SingleLabel, "hamming", "balanced_accuracy"), (Task::MultiLabel, "accuracy", "f1_samples")]
        {
            let decision_rule = DecisionRule { task, ..DecisionRule::default() };
            let sentence = Monitor::new(other, None, &decision_rule, true).unwrap_err().to_string();
            assert!(sentence.contains(other) && sentence.contains("\"loss\"") && sentence.contains(own), "{sentence}");
        }
    }
}
