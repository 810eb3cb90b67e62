//! Fingerprints in tests: hashes of the numbers that every kind gives on fixed noise, stored with the version of the kind.
//!
//! Golden tests against other tools have tolerances, so they miss a changed summation order; results and cached features of
//! before and after the change would then be mixed. A fingerprint sees every bit. Fourier transforms choose their instructions
//! by processor, so the stored hashes are those of x86-64 with AVX2 and FMA.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The numbers of one kind.
pub struct Fingerprint {
    kind: String,
    version: u32,
    hash: String,
}

impl Fingerprint {
    pub fn new(kind: &str, version: u32, bytes: &[u8]) -> Fingerprint {
        Fingerprint { kind: kind.to_owned(), version, hash: blake3::hash(bytes).to_hex()[..32].to_owned() }
    }
}

/// Compares with `tests/golden/fingerprints/NAME.txt`. `TIMBRE_BLESS=1` stores fingerprints of new kinds and new versions;
/// a changed hash under an old version always fails.
pub fn check(name: &str, found: impl Iterator<Item = Fingerprint>) {
    #[cfg(target_arch = "x86_64")]
    assert!(
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
        "fingerprints are those of a processor with AVX2 and FMA"
    );
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("tests/golden"));
    let folder =
        golden.into_iter().find(|golden| golden.is_dir()).expect("a folder of golden numbers").join("fingerprints");
    let file = folder.join(format!("{name}.txt"));
    let stored = fs::read_to_string(&file).unwrap_or_default();
    let entry = |line: &str| -> Option<(String, (u32, String))> {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), (words.next()?.parse().ok()?, words.next()?.to_owned())))
    };
    let known: BTreeMap<String, (u32, String)> = stored.lines().filter_map(entry).collect();
    let (mut text, mut changed) = (String::new(), Vec::new());
    for Fingerprint { kind, version, hash } in found {
        if known.get(&kind).is_some_and(|(known, old)| *known == version && *old != hash) {
            changed.push(kind.clone());
        }
        text.push_str(&format!("{kind} {version} {hash}\n"));
    }
    assert!(changed.is_empty(), "the numbers of {} changed: raise the version, then bless", changed.join(", "));
    if std::env::var_os("TIMBRE_BLESS").is_some() {
        fs::write(&file, &text).unwrap();
    } else {
        assert!(
            text == stored,
            "kinds or versions of {name} changed: run the test with TIMBRE_BLESS=1 and commit the file"
        );
    }
}
