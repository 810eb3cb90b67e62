//! The origin of a data set: title, licence, and the files to download.

use std::path::{Component, Path};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PublishedCounts;
use timbre_core::registry::Fault;

/// The origin of a data set, shown by `timbre data` and when the set is not on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct About {
    /// Full name of the set, with its makers and year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Licence of the recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Page to download it from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// How to cite it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub citation: Option<String>,
    /// Size on disk, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Files to download, with their checksums.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<AboutFile>,
    /// How to put the files in place, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obtain: Option<String>,
    /// Numbers of recordings as published, with which `timbre data check` compares what is on disk.
    #[serde(skip_serializing_if = "PublishedCounts::is_empty")]
    pub counts: PublishedCounts,
}

/// A file of a data set as published, which `timbre data get` downloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AboutFile {
    /// The name of the file. `.zip`, `.tar`, `.tar.gz` and `.tgz` are unpacked; `.zip.001`, `.zip.002` and so on are joined before. Any other file is kept as
    /// it is.
    pub name: String,
    /// Its address (http or https). Without one, `timbre data get` says how the set can be obtained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its size in bytes. Default: what the server says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its MD5 checksum, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// Its SHA-1 checksum, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha1: Option<String>,
    /// Its SHA-256 checksum, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The folder of the set into which it goes. Default: the set's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub into: Option<String>,
    /// A folder at the top of the archive that is left out: its content goes into the folder of the set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<String>,
}

impl AboutFile {
    /// The checksums that the publisher gives, with their names and lengths in hexadecimal digits.
    pub fn checksums(&self) -> impl Iterator<Item = (&'static str, usize, &str)> {
        let all = [("md5", 32, &self.md5), ("sha1", 40, &self.sha1), ("sha256", 64, &self.sha256)];
        all.into_iter().filter_map(|(name, digits, sum)| Some((name, digits, sum.as_deref()?)))
    }
}

impl About {
    /// Whether every published file has an address.
    pub fn can_be_downloaded(&self) -> bool {
        !self.files.is_empty() && self.files.iter().all(|file| file.url.is_some())
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        for file in &self.files {
            let mut fault = |sentence: String| faults.push(Fault::new("about", sentence));
            let name = &file.name;
            if !is_below(name) || name.contains(['/', '\\']) {
                fault(format!("`files` has {name:?}, which is no name of a file"));
            }
            if file.url.as_ref().is_some_and(|url| !is_web_address(url)) {
                fault(format!("the address of {name} does not start with https:// or http://"));
            }
            for folder in [&file.into, &file.top].into_iter().flatten().filter(|folder| !is_below(folder)) {
                fault(format!("{folder:?} of {name} is no folder below another"));
            }
            for (kind, digits, sum) in file.checksums() {
                if sum.len() != digits || !sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    fault(format!("the {kind} of {name} does not have {digits} hexadecimal digits"));
                }
            }
        }
        faults
    }
}

/// Whether curl may be given this address.
pub fn is_web_address(url: &str) -> bool {
    ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) && !url.contains(char::is_whitespace)
}

fn is_below(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_folders_addresses_and_checksums_of_files_are_checked() {
        let good = AboutFile {
            name: "a.zip".into(),
            url: Some("https://x.org/a.zip".into()),
            md5: Some("0123456789abcdef0123456789ABCDEF".into()),
            into: Some("audio/wav".into()),
            ..AboutFile::default()
        };
        let faults = |file: AboutFile| About { files: vec![file], ..About::default() }.faults();
        assert_eq!(faults(good.clone()), []);
        let bad = AboutFile {
            name: "../a.zip".into(),
            url: Some("file:///etc/passwd".into()),
            md5: Some("0123".into()),
            into: Some("/tmp".into()),
            ..good
        };
        let sentences: Vec<String> = faults(bad).into_iter().map(|fault| fault.sentence).collect();
        assert_eq!(sentences.len(), 4, "{sentences:?}");
        for (sentence, word) in sentences.iter().zip(["no name", "https://", "no folder", "32 hexadecimal"]) {
            assert!(sentence.contains(word), "{sentence}");
        }
    }
}
