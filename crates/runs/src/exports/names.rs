//! Maps names to names that MLflow accepts: letters, digits, `_`, `-`, `.` and spaces, at most 250 characters, in parts between
//! slashes; each part is a file name. A changed part ends with eight digits of its hash, so that two names stay distinct.

/// The maximum length of a part. A name has several parts, and a file name at most 255 bytes.
const LONGEST: usize = 72;

/// Joins parts to a key.
pub fn key(parts: &[&str]) -> String {
    parts.iter().map(|part| part_of(part)).collect::<Vec<_>>().join("/")
}

fn part_of(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    let is_valid = !name.is_empty()
        && name.len() <= LONGEST
        && name.chars().all(plain)
        && name.chars().any(|c| c != '.')
        && !name.starts_with(' ')
        && !name.ends_with(' ');
    if is_valid {
        return name.to_owned();
    }
    let mapped: String = name.chars().map(|c| if plain(c) && c != ' ' { c } else { '_' }).take(LONGEST - 9).collect();
    let digits = blake3::hash(name.as_bytes()).to_hex();
    format!("{mapped}-{}", &digits[..8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_names_are_kept_and_others_get_a_hash() {
        assert_eq!(key(&["test", "f1_micro"]), "test/f1_micro");
        assert_eq!(key(&["models.knn.k"]), "models.knn.k");
        assert!(key(&["+"]).starts_with("_-"));
        for name in ["", ".", "..", "../../etc/passwd", "a/b", "a\nb", "žica", " a"] {
            let key = key(&[name]);
            assert!(!key.contains('/') && key != "." && key != ".." && key.len() >= 9, "{name:?}: {key}");
        }
    }

    proptest! {
        #[test]
        fn every_name_becomes_valid_and_stays_distinct(a in any::<String>(), b in "\\PC{0,90}") {
            for name in [&a, &b] {
                let key = key(&[name]);
                prop_assert!(key.len() <= LONGEST && !key.is_empty() && key.trim() == key);
                prop_assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || "_-. ".contains(c)));
                prop_assert!(key.chars().any(|c| c != '.'));
            }
            prop_assert!(a == b || key(&[&a]) != key(&[&b]));
        }
    }
}
