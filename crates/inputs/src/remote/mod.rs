//! Recordings by URL: a local folder mirrors what is in a bucket or on a web server, and everything else reads that folder.
//!
//! A root such as `s3://bucket/prefix` stands for the folder `mirror/…/files` in the cache. [`list`] asks the server once per process what is
//! there: tables and label files are downloaded at once, and each recording gets an empty file in its place, so that a data set can be
//! loaded without its recordings. [`Downloads`] then brings those that are to be read. Only `store.rs` knows `object_store`; without the
//! cargo feature `cloud` a URL is an error that says so.

use std::path::{Path, PathBuf};

use anyhow::Result;

use timbre_core::error::UserError;

#[cfg(feature = "cloud")]
mod journal;
#[cfg(feature = "cloud")]
mod mirror;
#[cfg(feature = "cloud")]
pub(crate) mod store;
mod usage;

pub use usage::{MirrorUsage, mirrors, remove_mirrors_before};

/// The schemes of URLs.
pub const SCHEMES: [&str; 5] = ["s3", "gs", "az", "http", "https"];

/// The folder of all mirrors in the cache.
const MIRRORS: &str = "mirror";

/// A URL in its parts, without a `/` at either end of the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url {
    pub scheme: &'static str,
    /// The bucket or container, or the host with its port.
    pub host: String,
    /// As the server knows it: of a web server, without `%20` and the like.
    pub path: String,
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)?;
        if self.path.is_empty() { Ok(()) } else { write!(f, "/{}", self.path) }
    }
}

/// Whether a location is a URL: it then is no path.
pub fn is_url(location: &str) -> bool {
    let is_word = |scheme: &str| scheme.len() > 1 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    location.split_once("://").is_some_and(|(scheme, _)| is_word(scheme))
}

impl Url {
    /// None if it is a path; an error is a sentence about a URL that cannot be used.
    pub fn parse(location: &str) -> Option<Result<Url, String>> {
        let (scheme, rest) = location.split_once("://").filter(|_| is_url(location))?;
        Some(Self::of_parts(scheme, rest).map_err(|why| format!("{} {why}", without_user(location))))
    }

    fn of_parts(scheme: &str, rest: &str) -> Result<Url, String> {
        let Some(scheme) = SCHEMES.into_iter().find(|known| *known == scheme.to_lowercase()) else {
            return Err(format!("has an unknown scheme: a URL begins with {}://", SCHEMES.join("://, ")));
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        if host.is_empty() {
            return Err(format!("names no {}", if scheme.starts_with("http") { "host" } else { "bucket" }));
        }
        if host.contains('@') {
            return Err("has a user name: credentials belong into the environment, not into a URL".to_owned());
        }
        let is_web = scheme.starts_with("http");
        if is_web && path.contains(['?', '#']) {
            return Err("has a query, and the files below it have URLs without one".to_owned());
        }
        let path = match is_web {
            true => percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned(),
            false => path.to_owned(),
        };
        let path = path.trim_matches('/').to_owned();
        if !path.is_empty() && path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err("has an empty name, `.` or `..` in its path".to_owned());
        }
        Ok(Url { scheme, host: host.to_owned(), path })
    }

    /// Whether it is a web server, which does not list its files.
    pub fn is_web(&self) -> bool {
        self.scheme.starts_with("http")
    }

    /// The URL of the folder in which this file lies, and the name of the file.
    pub fn split_name(&self) -> (Url, &str) {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        (Url { path: folder.to_owned(), ..self.clone() }, name)
    }

    /// The folder that mirrors this URL: a readable name, and a hash that makes it unique.
    pub fn mirror(&self, cache: &Path) -> PathBuf {
        cache.join(MIRRORS).join(self.folder_name()).join("files")
    }

    fn folder_name(&self) -> String {
        let text = self.to_string();
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' };
        let readable: String = text.replace("://", "-").chars().map(plain).take(80).collect();
        format!("{readable}-{}", &blake3::hash(text.as_bytes()).to_hex()[..8])
    }
}

/// The location without a user name and password, for a message.
fn without_user(location: &str) -> String {
    let (scheme, rest) = location.split_once("://").unwrap_or(("", location));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit_once('@').map_or(host, |(_, host)| host))
}

/// The folder of a `root`, or the file of a `path`, as the configuration names it: below `data_dir`, or in a mirror in the cache.
pub fn local(location: &str, data_dir: &Path, cache: &Path) -> PathBuf {
    match Url::parse(location) {
        Some(Ok(url)) => url.mirror(cache),
        // An invalid URL is a fault of the configuration, which comes first.
        Some(Err(_)) | None => data_dir.join(location),
    }
}

/// The error of a program that was built without `cloud`.
pub(crate) fn without_cloud(url: &Url) -> anyhow::Error {
    let sentence = format!(
        "{url}: this program was built without `cloud`, which reads and writes URLs: `cargo build --release --features cloud`"
    );
    UserError::usage(sentence).into()
}

#[cfg(not(feature = "cloud"))]
mod absent {
    use super::*;

    pub fn list(url: &Url, _cache: &Path) -> Result<()> {
        Err(without_cloud(url))
    }

    pub fn list_named<'n>(url: &Url, _cache: &Path, _names: impl IntoIterator<Item = &'n str>) -> Result<()> {
        Err(without_cloud(url))
    }

    pub fn file(url: &Url, _cache: &Path) -> Result<PathBuf> {
        Err(without_cloud(url))
    }

    /// A folder as a message names it.
    pub fn shown(folder: &Path) -> String {
        folder.display().to_string()
    }

    /// Nothing: without `cloud` there is no mirror.
    pub struct Downloads;

    impl Downloads {
        pub fn of(_paths: &[&Path]) -> Downloads {
            Downloads
        }

        pub fn len(&self) -> usize {
            0
        }

        pub fn is_empty(&self) -> bool {
            true
        }

        pub fn run(self, _step: impl FnMut() -> Result<()>) -> Result<()> {
            Ok(())
        }
    }
}

#[cfg(not(feature = "cloud"))]
pub use absent::{Downloads, file, list, list_named, shown};
#[cfg(feature = "cloud")]
pub use mirror::{Downloads, file, list, list_named, shown};

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(location: &str) -> Result<Url, String> {
        Url::parse(location).expect("a URL")
    }

    #[test]
    fn a_url_has_a_scheme_a_host_and_a_path() {
        let url = parsed("s3://bucket/some/prefix/").unwrap();
        assert_eq!((url.scheme, url.host.as_str(), url.path.as_str()), ("s3", "bucket", "some/prefix"));
        assert_eq!(url.to_string(), "s3://bucket/some/prefix");
        assert_eq!(parsed("http://host:8080/my%20set").unwrap().path, "my set");
        assert_eq!(parsed("s3://bucket/my%20set").unwrap().path, "my%20set", "a key is what it is");
        assert!(["data/set", "/data", "C://data", "a/b://c"].iter().all(|path| Url::parse(path).is_none()));
    }

    #[test]
    fn urls_that_cannot_be_used_have_a_sentence() {
        for (url, word) in [
            ("ftp://host/x", "unknown scheme"),
            ("s3:///x", "names no bucket"),
            ("https://", "names no host"),
            ("https://me:secret@host/x", "user name"),
            ("https://host/x?y=1", "query"),
            ("s3://bucket/a/../b", "`..`"),
        ] {
            let sentence = parsed(url).unwrap_err();
            assert!(sentence.contains(word) && !sentence.contains("secret"), "{sentence}");
        }
    }

    #[test]
    fn different_urls_have_different_mirrors() {
        let mirror = |url: &str| parsed(url).unwrap().mirror(Path::new("cache"));
        assert_eq!(mirror("s3://bucket/a"), mirror("s3://bucket/a/"));
        assert_ne!(mirror("s3://bucket/a/b"), mirror("s3://bucket/a_b"));
        assert!(mirror("s3://bucket/a").starts_with("cache/mirror"));
    }

    #[cfg(not(feature = "cloud"))]
    #[test]
    fn without_the_feature_a_url_is_an_error_that_names_it() {
        let url = parsed("s3://bucket/a").unwrap();
        let sentence = list(&url, Path::new("cache")).unwrap_err().to_string();
        assert!(sentence.contains("built without `cloud`") && sentence.contains("--features cloud"), "{sentence}");
    }
}
