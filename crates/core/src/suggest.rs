//! "Did you mean": the known names nearest to an unknown one.

use crate::text::one_line;

/// The names in `known` with the smallest edit distance to `wrong`; empty if all are too far away.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let folded = fold(wrong);
    let mut best = usize::MAX;
    let mut names = Vec::new();
    for name in known {
        // One edit in a short name, one for every three letters of a longer one.
        let longer = name.chars().count().max(wrong.chars().count());
        let allowed = ((longer + 1) / 3).max(1);
        // Case and dashes do not count: `Sample-Rate` means `sample_rate`.
        let distance = if fold(name) == folded { 0 } else { strsim::damerau_levenshtein(wrong, name) };
        if distance > allowed || distance > best || names.contains(&name) {
            continue;
        }
        if distance < best {
            best = distance;
            names.clear();
        }
        names.push(name);
    }
    names
}

fn fold(name: &str) -> String {
    name.to_lowercase().replace(['-', ' '], "_")
}

/// The suggestions for `wrong` and all known names: ``did you mean `n_mels`? Keys here: n_mels, n_fft``.
pub fn help<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>, what: &str) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let mut near = nearest(wrong, known.iter().copied());
    if near.is_empty() && wrong.len() > 1 {
        // `f1` for `f1_macro`.
        near = known.iter().copied().filter(|name| name.starts_with(wrong)).collect();
    }
    const SHOWN: usize = 32;
    let all = match known.len() {
        0 => format!("{what}: none"),
        1..=SHOWN => format!("{what}: {}", known.join(", ")),
        _ => format!("{what}: {}, …", known[..SHOWN].join(", ")),
    };
    one_line(&if near.is_empty() { lower_first(&all) } else { format!("did you mean {}? {all}", quoted(&near)) })
}

/// Within a sentence: ``unknown key `kk`: keys here: …``.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// `` `a` or `b` ``
pub fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_matched_and_a_distant_one_is_not() {
        let keys = ["n_mels", "n_fft", "hop_length", "k"];
        assert_eq!(nearest("n_mel", keys), ["n_mels"]);
        assert_eq!(nearest("n_fftt", keys), ["n_fft"]);
        assert_eq!(nearest("hop_lenght", keys), ["hop_length"]);
        assert_eq!(nearest("Hop-Length", keys), ["hop_length"]);
        assert_eq!(nearest("kk", keys), ["k"]);
        assert!(help("hop", keys, "Keys here").starts_with("did you mean `hop_length`? Keys here: n_mels"));
        assert!(nearest("window", keys).is_empty());
        assert_eq!(help("window", keys, "Keys here"), "keys here: n_mels, n_fft, hop_length, k");
    }

    #[test]
    fn all_equally_near_names_are_suggested() {
        assert_eq!(nearest("f_mix", ["f_min", "f_max", "n_fft"]), ["f_min", "f_max"]);
        assert!(help("f_mix", ["f_min", "f_max"], "Keys here").starts_with("did you mean `f_min` or `f_max`? Keys"));
    }
}
