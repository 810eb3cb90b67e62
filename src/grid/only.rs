//! `--only`: which points of a grid are meant.

use super::candidate::Candidate;
use super::table::word;

/// Whether all of `wanted` hold for a point: `KEY=VALUE`, where KEY is the end of an axis, or a part of its name.
pub fn is_meant(candidate: &Candidate, wanted: &[String]) -> bool {
    wanted.iter().all(|wanted| holds(candidate, wanted))
}

fn holds(candidate: &Candidate, wanted: &str) -> bool {
    let pair = wanted.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
    let is_key = |key: &str, axis: &str| axis == key || axis.ends_with(&format!(".{key}"));
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
