//! Evenly spaced values from one number to another.

use anyhow::{Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Evenly spaced values from `from` to `to`, both included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RangeSpec {
    /// The first value.
    pub from: f64,
    /// The last value.
    pub to: f64,
    /// The number of values. May be omitted on an axis of a grid that draws its points, which then takes any value in the range.
    #[serde(default)]
    #[schemars(range(min = 2, max = 10000))]
    pub steps: Option<usize>,
    /// Logarithmic spacing: each value is the same multiple of the previous one. Default: false.
    #[serde(default)]
    pub log: bool,
}

impl RangeSpec {
    /// What is wrong with the ends.
    pub fn fault(&self) -> Option<&'static str> {
        match self {
            _ if self.log && self.from <= 0.0 => Some("a logarithmic range needs 0 < from < to"),
            _ if self.from >= self.to && self.log => Some("a logarithmic range needs 0 < from < to"),
            _ if self.from >= self.to => Some("a range needs from < to"),
            _ => None,
        }
    }

    /// The values in order, each once; rounding to whole numbers can make two equal.
    pub fn values(&self, whole: bool) -> Result<Vec<Value>> {
        if let Some(fault) = self.fault() {
            bail!("the range from {} to {} is empty: {fault}", self.from, self.to);
        }
        let steps = self.steps.unwrap_or(0);
        ensure!(steps >= 2, "a range needs `steps`, the number of its values, of 2 or more");
        let mut values: Vec<Value> = (0..steps)
            .map(|step| between(self.from, self.to, self.log, step as f64 / (steps - 1) as f64))
            .map(|value| if whole { json!(value.round() as i64) } else { json!(value) })
            .collect();
        values.dedup();
        Ok(values)
    }
}

/// The value at a fraction of the range, rounded to a readable number.
pub fn between(from: f64, to: f64, log: bool, share: f64) -> f64 {
    if share <= 0.0 {
        return from;
    }
    if share >= 1.0 {
        return to;
    }
    let exact = if log { (from.ln() + share * (to.ln() - from.ln())).exp() } else { from + share * (to - from) };
    rounded(exact).clamp(from, to)
}

/// Rounds to six significant digits: 0.001, not 0.0010000000000000002.
fn rounded(number: f64) -> f64 {
    format!("{number:.5e}").parse().expect("a number that was written as one")
}
