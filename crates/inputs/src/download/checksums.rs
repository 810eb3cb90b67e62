//! Compares a file with the checksums of its publisher.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result, bail};
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha2::digest::DynDigest;

use super::check_stop;
use crate::data::AboutFile;

/// Reads the file once for all of its checksums; returns the result as a sentence. Without a published checksum, the sentence has its SHA-256.
pub fn verify(file: &AboutFile, path: &Path, stop: &AtomicBool) -> Result<String> {
    let published: Vec<(&str, &str)> = file.checksums().map(|(name, _, sum)| (name, sum)).collect();
    let mut hashers: Vec<Box<dyn DynDigest>> = match &published[..] {
        [] => vec![hasher("sha256")],
        published => published.iter().map(|(name, _)| hasher(name)).collect(),
    };
    let context = || format!("read {}", path.display());
    let mut input = File::open(path).with_context(context)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        check_stop(stop)?;
        match input.read(&mut buffer).with_context(context)? {
            0 => break,
            read => hashers.iter_mut().for_each(|hasher| hasher.update(&buffer[..read])),
        }
    }
    let sums: Vec<String> = hashers.into_iter().map(|hasher| hexadecimal(&hasher.finalize())).collect();
    if published.is_empty() {
        return Ok(format!("the publisher gives no checksum (sha256 {})", sums[0]));
    }
    for ((name, expected), found) in published.iter().zip(&sums) {
        if !expected.eq_ignore_ascii_case(found) {
            bail!(
                "{}: the {name} is {found} instead of {expected}: the file was damaged on its way, or its publisher changed it",
                file.name
            );
        }
    }
    let names: Vec<&str> = published.iter().map(|(name, _)| *name).collect();
    Ok(format!("{} is right", names.join(", ")))
}

fn hasher(name: &str) -> Box<dyn DynDigest> {
    match name {
        "md5" => Box::new(Md5::default()),
        "sha1" => Box::new(Sha1::default()),
        _ => Box::new(Sha256::default()),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksums_of_abc_are_those_of_the_standards() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "abc").unwrap();
        // RFC 1321; FIPS 180-2.
        let mut about = AboutFile {
            name: "abc".into(),
            md5: Some("900150983cd24fb0d6963f7d28e17f72".into()),
            sha1: Some("A9993E364706816ABA3E25717850C26C9CD0D89D".into()),
            sha256: Some("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".into()),
            ..AboutFile::default()
        };
        let verify = |about: &AboutFile| verify(about, file.path(), &AtomicBool::new(false));
        assert_eq!(verify(&about).unwrap(), "md5, sha1, sha256 is right");
        about.sha1 = Some("A9993E364706816ABA3E25717850C26C9CD0D89E".into());
        let error = verify(&about).unwrap_err().to_string();
        assert!(error.contains("abc: the sha1 is a9993e36"), "{error}");
        let unknown = verify(&AboutFile::default()).unwrap();
        assert!(unknown.contains("sha256 ba7816bf"), "{unknown}");
    }
}
