//! `--only`: which points of a grid are meant.

use super::point::Candidate;
use super::table::{self, word};
use timbre_experiment::suggest;

/// Whether all of `wanted` hold for a point: `KEY=VALUE`, where KEY is the end of an axis, or a part of its name.
pub fn is_meant(candidate: &Candidate, wanted: &[String]) -> bool {
    wanted.iter().all(|wanted| holds(candidate, wanted))
}

/// Why nothing is left of the points.
pub fn none_is_meant(candidates: &[Candidate], wanted: &[String]) -> String {
    let axes: Vec<&str> = candidates[0].values.keys().map(String::as_str).collect();
    // A part of a name can hold an `=`, too.
    let is_part = |wanted: &str| candidates.iter().any(|candidate| candidate.name.contains(wanted));
    for wanted in wanted {
        if let Some((key, _)) = wanted.split_once('=').filter(|_| !is_part(wanted))
            && !axes.iter().any(|axis| is_key(key.trim(), axis))
        {
            return format!("the grid has no axis `{0}`: {1}", key.trim(), help(key.trim(), &axes));
        }
    }
    let names: Vec<&str> = candidates.iter().take(5).map(|candidate| candidate.name.as_str()).collect();
    let more = if candidates.len() > names.len() { ", …" } else { "" };
    format!("no point of the grid is meant; there are: {}{more}", names.join(", "))
}

/// Axes are near by their whole names and by their ends.
fn help(key: &str, axes: &[&str]) -> String {
    let ends = table::short_names(axes);
    let known = if key.contains('.') { axes } else { &ends };
    suggest::help(key, known.iter().copied(), "Axes here")
}

fn is_key(key: &str, axis: &str) -> bool {
    axis == key || axis.ends_with(&format!(".{key}"))
}

fn holds(candidate: &Candidate, wanted: &str) -> bool {
    let pair = wanted.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    if let Some((key, value)) = pair
        && candidate.values.keys().any(|axis| is_key(key, axis))
    {
        return candidate.values.iter().any(|(axis, own)| is_key(key, axis) && same(&word(Some(own)), value));
    }
    candidate.name.contains(wanted)
}

/// Numbers are equal however they are written: 1e-3 is 0.001.
fn same(own: &str, wanted: &str) -> bool {
    own == wanted || matches!((own.parse::<f64>(), wanted.parse::<f64>()), (Ok(own), Ok(wanted)) if own == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        assert!(same("0.001", "1e-3") && same("3", "3.0") && same("a", "a"));
        assert!(!same("0.001", "0.01") && !same("true", "1"));
    }
}
