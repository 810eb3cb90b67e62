//! `--only`: selects points of a sweep.

use super::point::SweepPoint;
use timbre_core::suggest;
use timbre_runs::sweep_table::{cell_text, short_names};

/// Whether a point matches all of `wanted`: `KEY=VALUE`, where KEY is an axis or its end, or a part of the name of the point.
pub fn matches(point: &SweepPoint, wanted: &[String]) -> bool {
    wanted.iter().all(|wanted| matches_one(point, wanted))
}

/// The message when no point matches.
pub fn why_none_matches(points: &[SweepPoint], wanted: &[String]) -> String {
    let axes: Vec<&str> = points[0].values.keys().map(String::as_str).collect();
    // A part of a name can contain `=` too.
    let is_part = |wanted: &str| points.iter().any(|point| point.name.contains(wanted));
    for wanted in wanted {
        if let Some((key, _)) = wanted.split_once('=').filter(|_| !is_part(wanted))
            && !axes.iter().any(|axis| is_key(key.trim(), axis))
        {
            return format!("the grid has no axis `{0}`: {1}", key.trim(), help(key.trim(), &axes));
        }
    }
    let names: Vec<&str> = points.iter().take(5).map(|point| point.name.as_str()).collect();
    let more = if points.len() > names.len() { ", …" } else { "" };
    format!("no point matches; the points are: {}{more}", names.join(", "))
}

/// Suggests axes, by their whole names or by their ends.
fn help(key: &str, axes: &[&str]) -> String {
    let ends = short_names(axes);
    let known = if key.contains('.') { axes } else { &ends };
    suggest::help(key, known.iter().copied(), "Axes here")
}

fn is_key(key: &str, axis: &str) -> bool {
    axis == key || axis.ends_with(&format!(".{key}"))
}

fn matches_one(point: &SweepPoint, wanted: &str) -> bool {
    let pair = wanted.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    if let Some((key, value)) = pair
        && point.values.keys().any(|axis| is_key(key, axis))
    {
        return point.values.iter().any(|(axis, own)| is_key(key, axis) && is_equal(&cell_text(Some(own)), value));
    }
    point.name.contains(wanted)
}

/// Numbers are compared by value: 1e-3 equals 0.001.
fn is_equal(own: &str, wanted: &str) -> bool {
    own == wanted || matches!((own.parse::<f64>(), wanted.parse::<f64>()), (Ok(own), Ok(wanted)) if own == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        assert!(is_equal("0.001", "1e-3") && is_equal("3", "3.0") && is_equal("a", "a"));
        assert!(!is_equal("0.001", "0.01") && !is_equal("true", "1"));
    }
}
