//! Shortens the values of keys for tables.

use timbre_core::text::cut;

/// Characters of a value in a column of a table.
pub const CELL: usize = 24;

/// The values of one key, without quotes and cut to `widest` characters. Beginnings and ends that all values share are cut first.
pub fn short_values(values: &[Option<String>], widest: usize) -> Vec<String> {
    let plain: Vec<Option<&str>> = values.iter().map(|value| value.as_deref().map(unquoted)).collect();
    let present: Vec<Vec<char>> = plain.iter().flatten().map(|value| value.chars().collect()).collect();
    let shared = if present.iter().all(|value| value.len() <= widest) { (0, 0) } else { shared(&present) };
    plain.into_iter().map(|value| value.map_or("–".to_owned(), |value| cut(&without(value, shared), widest))).collect()
}

/// The length of the common beginning and of the common end of all values.
fn shared(values: &[Vec<char>]) -> (usize, usize) {
    let Some(first) = values.first() else { return (0, 0) };
    let shortest = values.iter().map(Vec::len).min().unwrap_or(0);
    let same = |at: &dyn Fn(&[char]) -> char| values.iter().all(|value| at(value) == at(first));
    let head = (0..shortest).take_while(|&n| same(&|value| value[n])).count();
    let tail = (0..shortest - head).take_while(|&n| same(&|value| value[value.len() - 1 - n])).count();
    (head, tail)
}

/// The value without most of the common beginning and end. A few of these characters stay, as context.
fn without(value: &str, (head, tail): (usize, usize)) -> String {
    const LEFT: usize = 4;
    let n = value.chars().count();
    let (from, to) = (head.saturating_sub(LEFT), n - tail.saturating_sub(LEFT));
    let inner: String = value.chars().skip(from).take(to - from).collect();
    format!("{}{inner}{}", if from > 0 { "…" } else { "" }, if to < n { "…" } else { "" })
}

/// A TOML string without its quotes, unless they are needed to read it. Other values stay as they are.
fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner
        .filter(|inner| !inner.is_empty() && !inner.contains(['"', '\\', '|', '–']) && inner.trim() == *inner)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_where_all_values_agree() {
        let list = |third: &str| Some(format!("[\"cel\", \"cla\", \"{third}\", \"gac\", \"gel\", \"org\", \"pia\"]"));
        let shown = short_values(&[list("flu"), None, list("xyz")], 20);
        assert_eq!(shown, ["…\", \"flu\", \"…", "–", "…\", \"xyz\", \"…"]);
    }

    #[test]
    fn strings_lose_their_quotes_unless_they_are_needed() {
        let shown = |value: &str| short_values(&[Some(value.to_owned())], 30).remove(0);
        assert_eq!(
            (shown("\"uniform\"").as_str(), shown("3").as_str(), shown("\"\"").as_str()),
            ("uniform", "3", "\"\"")
        );
        assert_eq!(shown("\"a\\nb\""), "\"a\\nb\"");
    }
}
