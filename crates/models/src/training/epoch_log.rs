//! The log of a training: a line for each epoch, and facts at the end.

use std::time::Duration;

use super::early_stopping::Monitor;
use crate::Epoch;
use timbre_core::progress::seconds;

/// The table of the epochs of one training, a line at a time. Each line names the model, because trainings may run at once.
pub struct EpochTable<'a> {
    pub model: &'a str,
    pub epochs: usize,
    pub monitor: &'a Monitor,
    /// That of the terminal, if there is one: a narrow one lacks columns.
    pub width: Option<usize>,
}

/// The columns that a narrow terminal lacks, the first one first.
static OPTIONAL: [&str; 3] = ["clips/s", "left", "val loss"];
/// How much longer than its heading the time left may be.
const LONGER: usize = 6;

impl EpochTable<'_> {
    /// `mel.resnet18.s1    epoch     loss  val loss  f1_macro  best  clips/s  left`
    pub fn header(&self) -> String {
        let headings = ["epoch", "loss", "val loss", self.monitor.name(), "best", "clips/s", "left"];
        self.row(headings.map(str::to_owned))
    }

    /// The line of the last epoch. A wait for data is shown if it takes a tenth of the time or more.
    pub fn line(&self, history: &[Epoch], left: Duration) -> String {
        let Some(last) = history.last() else { return String::new() };
        let validation = match last.metrics.is_empty() {
            true => "–".to_owned(),
            false => last.validation_loss.map_or("not finite".to_owned(), number),
        };
        let mut line = self.row([
            format!("{}/{}", last.epoch, self.epochs),
            number(last.train_loss),
            validation,
            self.monitor.metric(last).map_or(String::new(), |(_, value)| format!("{value:.4}")),
            if last.best { "best" } else { "" }.to_owned(),
            count(last.clips_per_second),
            if last.epoch < self.epochs { seconds(left) } else { String::new() },
        ]);
        if last.waited >= 0.1 {
            line += &format!("  (data wait {:.0} %)", 100.0 * last.waited);
        }
        line
    }

    /// The cells in columns, as many as the terminal has room for.
    fn row(&self, [epoch, loss, validation, metric, best, speed, left]: [String; 7]) -> String {
        let name = self.monitor.name();
        let columns = [
            ("epoch", 7, epoch),
            ("loss", 7, loss),
            ("val loss", 8, validation),
            (if self.monitor.is_metric() { name } else { "" }, name.len().max(8), metric),
            ("best", 4, best),
            ("clips/s", 7, speed),
            ("left", 4, left),
        ];
        let width_without = |omitted: &[&str]| {
            let kept = columns.iter().filter(|(name, ..)| !name.is_empty() && !omitted.contains(name));
            self.model.len() + kept.map(|(_, width, _)| 2 + width).sum::<usize>() + LONGER
        };
        let fits = |omitted: &&[&str]| self.width.is_none_or(|width| width_without(omitted) <= width);
        let omitted = (0..OPTIONAL.len()).map(|n| &OPTIONAL[..n]).find(fits).unwrap_or(&OPTIONAL);
        let mut line = self.model.to_owned();
        for &(name, width, ref cell) in columns.iter().filter(|(name, ..)| !name.is_empty() && !omitted.contains(name))
        {
            line += &match name {
                "best" | "left" => format!("  {cell:width$}"),
                _ => format!("  {cell:>width$}"),
            };
        }
        line.trim_end().to_owned()
    }
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
    fn the_lines_of_a_training_name_the_model_and_stand_below_their_header() {
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
        let table = EpochTable { model: "mel.resnet18.s1", epochs: 20, monitor: &monitor, width: None };
        let line = table.line(std::slice::from_ref(&epoch), Duration::from_secs(125));
        assert_eq!(table.header(), "mel.resnet18.s1    epoch     loss  val loss  f1_macro  best  clips/s  left");
        assert_eq!(line, "mel.resnet18.s1     3/20   0.4123    0.3988    0.7123  best      312  2 min 05 s");
        let narrow = |width| {
            EpochTable { width: Some(width), ..table }.line(std::slice::from_ref(&epoch), Duration::from_secs(125))
        };
        assert_eq!(narrow(80), line);
        assert_eq!(narrow(75), "mel.resnet18.s1     3/20   0.4123    0.3988    0.7123  best  2 min 05 s");
        assert_eq!(narrow(40), "mel.resnet18.s1     3/20   0.4123    0.7123  best");
        let bare = Epoch { validation_loss: None, metrics: Default::default(), best: false, waited: 0.25, ..epoch };
        let monitor = Monitor::new("loss", None, &DecisionRule::default(), false).unwrap();
        let table = EpochTable { model: "a", epochs: 3, monitor: &monitor, width: None };
        assert_eq!(table.header(), "a    epoch     loss  val loss  best  clips/s  left");
        assert_eq!(
            table.line(&[bare], Duration::ZERO),
            "a      3/3   0.4123         –            312  (data wait 25 %)"
        );
    }
}
