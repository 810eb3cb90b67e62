//! The log of a training: a line for each epoch, and facts at the end.

use std::time::Duration;

use super::early_stopping::Monitor;
use crate::Epoch;
use timbre_core::progress::seconds;

/// `epoch 3/20: loss 0.412 · validation loss 0.398 · f1_macro 0.712 · * best · 312 clips/s · data wait 3 % · 2 min 05 s left`.
pub fn line(history: &[Epoch], epochs: usize, monitor: &Monitor, left: Duration) -> String {
    let Some(last) = history.last() else { return String::new() };
    let mut parts = vec![format!("epoch {}/{epochs}: loss {}", last.epoch, number(last.train_loss))];
    if !last.metrics.is_empty() {
        let loss = last.validation_loss.map_or("not finite".to_owned(), number);
        parts.push(format!("validation loss {loss}"));
    }
    if let Some((name, value)) = monitor.metric(last) {
        parts.push(format!("{name} {value:.4}"));
    }
    if last.best {
        parts.push("* best".to_owned());
    }
    parts.push(format!("{} clips/s", count(last.clips_per_second)));
    parts.push(format!("data wait {:.0} %", 100.0 * last.waited));
    if last.epoch < epochs {
        parts.push(format!("{} left", seconds(left)));
    }
    parts.join(" · ")
}

/// Scientific notation for the huge losses of a training that diverges.
fn number(loss: f64) -> String {
    if loss.abs() < 1e5 { format!("{loss:.4}") } else { format!("{loss:.3e}") }
}

/// At least three significant digits.
fn count(number: f64) -> String {
    match number {
        n if n < 10.0 => format!("{n:.2}"),
        n if n < 100.0 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

/// Facts about a finished training.
pub struct Notes<'a> {
    pub parameters: u64,
    pub epochs: usize,
    /// The epoch (from 0) whose weights are used, if they were kept.
    pub best: Option<usize>,
    pub device: &'a str,
    pub steps: u64,
    pub waited: Option<f64>,
    pub found: Option<f64>,
    pub resumed: Option<usize>,
    pub ended: String,
}

impl Notes<'_> {
    pub fn into_pairs(self) -> Vec<(String, String)> {
        let notes = [
            ("parameters", Some(self.parameters.to_string())),
            ("epochs", Some(self.epochs.to_string())),
            ("best epoch", self.best.map(|best| (best + 1).to_string())),
            ("steps", Some(self.steps.to_string())),
            ("device", Some(self.device.to_owned())),
            ("learning rate found", self.found.map(|rate| format!("{rate:.3e}"))),
            ("data wait", self.waited.map(|share| format!("{:.1} %", 100.0 * share))),
            ("resumed after epoch", self.resumed.map(|epoch| epoch.to_string())),
            ("stopped because", Some(self.ended)),
        ];
        notes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_evaluation::metrics::DecisionRule;

    #[test]
    fn a_huge_loss_is_short_too() {
        assert_eq!([0.41234, 99_999.5, 3.0358841649298e22].map(number), ["0.4123", "99999.5000", "3.036e22"]);
    }

    #[test]
    fn a_line_shows_losses_metric_speed_and_time_left() {
        let epoch = Epoch {
            epoch: 3,
            learning_rate: 0.1,
            train_loss: 0.41234,
            validation_loss: Some(0.39876),
            metrics: [("f1_macro".to_owned(), 0.7123)].into_iter().collect(),
            best: true,
            seconds: 12.0,
            clips_per_second: 312.4,
            waited: 0.031,
        };
        let monitor = Monitor::new("f1_macro", None, &DecisionRule::default(), true).unwrap();
        let text = line(std::slice::from_ref(&epoch), 20, &monitor, Duration::from_secs(125));
        assert_eq!(
            text,
            "epoch 3/20: loss 0.4123 · validation loss 0.3988 · f1_macro 0.7123 · * best · 312 clips/s · data wait 3 % · \
             2 min 05 s left"
        );
        let bare = Epoch { validation_loss: None, metrics: Default::default(), best: false, ..epoch };
        let monitor = Monitor::new("loss", None, &DecisionRule::default(), false).unwrap();
        let text = line(&[bare], 3, &monitor, Duration::ZERO);
        assert_eq!(text, "epoch 3/3: loss 0.4123 · 312 clips/s · data wait 3 %");
    }
}
