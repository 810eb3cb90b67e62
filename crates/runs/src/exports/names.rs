//! Names that MLflow takes: letters, digits, `_`, `-`, `.` and spaces, of 250 characters at most, in parts between slashes, each
//! the name of a file. A part that has to be changed carries eight digits of its hash, so that two names never become one.

/// The longest part; several make a name, and a file name ends at 255 bytes.
const LONGEST: usize = 72;

/// A key of its parts.
pub fn key(parts: &[&str]) -> String {
    parts.iter().map(|part| part_of(part)).collect::<Vec<_>>().join("/")
}

fn part_of(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    let is_fine = !name.is_empty()
        && name.len() <= LONGEST
        && name.chars().all(plain)
        && name.chars().any(|c| c != '.')
        && !name.starts_with(' ')
        && !name.ends_with(' ');
    if is_fine {
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
    fn plain_names_stay_and_others_say_what_they_were() {
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
        fn any_name_is_taken_and_no_two_become_one(a in any::<String>(), b in "\\PC{0,90}") {
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
