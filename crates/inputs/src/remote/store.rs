//! Object stores through `object_store`, without its futures: buckets and web servers as lists of objects, downloads, and uploads.
//!
//! Credentials come from the environment, as each provider's own tools read them. Every error is a sentence.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, ClientConfigKey, Error, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    RetryConfig,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::Url;
use super::journal::Version;
use timbre_core::{error::UserError, files::TEMP_PREFIX};

/// Downloads at once: enough to hide the time to the first byte of each.
const AT_ONCE: usize = 16;

/// Attempts of a download whose connection is cut off, beside the retries of single requests.
const ATTEMPTS: usize = 3;

/// A bucket or web server, and a prefix in it.
#[derive(Clone, Debug)]
pub struct Store {
    pub url: Url,
    inner: Arc<dyn ObjectStore>,
}

/// A download: the object by its key below the URL, its version, and the file that it becomes.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub key: String,
    pub version: Version,
    pub file: PathBuf,
}

/// The threads of all transfers, started by the first.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Fails if another part of the process chose one before, which then serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("the threads of transfers can be started")
    })
}

impl Store {
    /// Connects to nothing yet.
    pub fn open(url: &Url) -> Result<Store> {
        let _entered = runtime().enter();
        let inner = built(url).map_err(|error| {
            let sentence = format!("cannot use {url}: {}: {}", innermost(&error), credentials_of(url));
            anyhow::Error::from(UserError::usage(sentence))
        })?;
        Ok(Store { url: url.clone(), inner })
    }

    #[cfg(test)]
    pub fn of(url: &str, inner: Arc<dyn ObjectStore>) -> Store {
        Store { url: Url::parse(url).unwrap().unwrap(), inner }
    }

    /// Every object below the URL, by its key below it.
    pub fn list(&self) -> Result<Vec<(String, Version)>> {
        let prefix = self.key("")?;
        let found: Result<Vec<ObjectMeta>, Error> =
            runtime().block_on(self.inner.list(Some(&prefix).filter(|prefix| !prefix.is_root())).try_collect());
        let found = found.map_err(|error| match self.url.is_web() {
            true if !is_unreachable(&error) => self.fail(format!(
                "{} is a web server that does not list its files: use `kind = \"manifest\"` with a table that names them, or a bucket",
                self.url
            )),
            _ => self.explain(&error, None),
        })?;
        let below = |meta: ObjectMeta| {
            let key = meta.location.as_ref();
            let below = match prefix.is_root() {
                true => Some(key),
                false => key.strip_prefix(prefix.as_ref()).and_then(|rest| rest.strip_prefix('/')),
            };
            Some((below?.to_owned(), version_of(&meta)))
        };
        Ok(found.into_iter().filter_map(below).collect())
    }

    /// The versions of these objects, in their order; None for those that are not there.
    pub fn heads(&self, keys: &[&str]) -> Result<Vec<Option<Version>>> {
        let one = |key: &str| {
            let (inner, key) = (self.inner.clone(), self.key(key));
            async move {
                match inner.head(&key?).await {
                    Ok(meta) => Ok(Some(version_of(&meta))),
                    Err(Error::NotFound { source, .. }) if !is_missing_bucket(&source.to_string()) => Ok(None),
                    Err(error) => Err(self.explain(&error, None)),
                }
            }
        };
        runtime().block_on(futures_util::stream::iter(keys.iter().map(|key| one(key))).buffered(AT_ONCE).try_collect())
    }

    /// Downloads objects, several at once. Each appears under its name when it is complete, and `done` is called after it.
    pub fn download(
        &self,
        wanted: Vec<Wanted>,
        temporary: &Path,
        mut done: impl FnMut(&Wanted) -> Result<()>,
    ) -> Result<()> {
        let mut wanted = wanted.into_iter();
        runtime().block_on(async {
            // Those that are left are stopped when an error drops the set.
            let mut running = JoinSet::new();
            loop {
                while running.len() < AT_ONCE
                    && let Some(next) = wanted.next()
                {
                    let (store, temporary) = (self.clone(), temporary.to_owned());
                    running.spawn(async move { store.fetch(&next, &temporary).await.map(|()| next) });
                }
                match running.join_next().await {
                    Some(ended) => done(&ended.context("a download was stopped")??)?,
                    None => return Ok(()),
                }
            }
        })
    }

    async fn fetch(&self, wanted: &Wanted, temporary: &Path) -> Result<()> {
        let mut attempt = 1;
        loop {
            match self.fetch_once(wanted, temporary).await {
                Err(FetchError::Store(error)) if attempt < ATTEMPTS && is_passing(&error) => attempt += 1,
                Err(FetchError::CutOff { .. }) if attempt < ATTEMPTS => attempt += 1,
                Err(FetchError::Store(Error::NotFound { source, .. })) if !is_missing_bucket(&source.to_string()) => {
                    let url = self.shown(&wanted.key);
                    return Err(
                        self.fail(format!("{url} was there when its folder was listed, and is gone: run again"))
                    );
                }
                Err(FetchError::Store(Error::Precondition { .. })) => {
                    let url = self.shown(&wanted.key);
                    return Err(self.fail(format!("{url} was changed after its folder was listed: run again")));
                }
                Err(FetchError::Store(error)) => return Err(self.explain(&error, Some(&wanted.key))),
                Err(FetchError::CutOff { bytes }) => {
                    let (url, all) = (self.shown(&wanted.key), wanted.version.size);
                    return Err(
                        self.fail(format!("{url} ended after {bytes} of {all} bytes, {ATTEMPTS} times: run again"))
                    );
                }
                Err(FetchError::Disk(error)) => return Err(error),
                Ok(()) => return Ok(()),
            }
            tokio::time::sleep(Duration::from_millis(200) * attempt as u32).await;
        }
    }

    async fn fetch_once(&self, wanted: &Wanted, temporary: &Path) -> Result<(), FetchError> {
        let key = self.key(&wanted.key).map_err(FetchError::Disk)?;
        let options = GetOptions { if_match: wanted.version.etag.clone(), ..GetOptions::default() };
        let mut pieces = self.inner.get_opts(&key, options).await.map_err(FetchError::Store)?.into_stream();
        let fail = || format!("cannot write {}: is the disk full?", wanted.file.display());
        let on_disk = |error: std::io::Error| FetchError::Disk(anyhow::Error::new(error).context(fail()));
        let mut part = new_file(temporary).map_err(on_disk)?;
        let mut bytes = 0;
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(FetchError::Store)?;
            part.write_all(&piece).map_err(on_disk)?;
            bytes += piece.len() as u64;
        }
        if bytes != wanted.version.size {
            return Err(FetchError::CutOff { bytes });
        }
        part.as_file().sync_data().map_err(on_disk)?;
        part.persist(&wanted.file).map_err(|error| on_disk(error.error))?;
        Ok(())
    }

    /// Writes an object unless it exists. Whether it was written: of several that write at once, one does.
    pub fn create(&self, key: &str, bytes: Vec<u8>) -> Result<bool> {
        let at = self.key(key)?;
        let options = PutMode::Create.into();
        match runtime().block_on(self.inner.put_opts(&at, PutPayload::from(bytes), options)) {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => Err(self.explain(&error, Some(key))),
        }
    }

    /// [`create`](Self::create) from a file.
    pub fn create_from(&self, key: &str, file: &Path) -> Result<bool> {
        self.create(key, std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?)
    }

    fn key(&self, below: &str) -> Result<Key> {
        let path = [self.url.path.as_str(), below].into_iter().filter(|part| !part.is_empty());
        let path = path.collect::<Vec<_>>().join("/");
        Key::parse(&path)
            .map_err(|_| self.fail(format!("{}://{}/{path} is no name of a file", self.url.scheme, self.url.host)))
    }

    fn shown(&self, key: &str) -> String {
        format!("{}/{key}", self.url)
    }

    fn fail(&self, sentence: String) -> anyhow::Error {
        UserError::usage(sentence).into()
    }

    /// The sentence of an error: what is missing, and what to do.
    fn explain(&self, error: &Error, key: Option<&str>) -> anyhow::Error {
        let (url, text) = (&self.url, all_causes(error));
        let whole = key.map_or_else(|| url.to_string(), |key| self.shown(key));
        let sentence = match error {
            _ if is_missing_bucket(&text) => format!("{url}: there is no bucket `{}`", url.host),
            Error::NotFound { .. } => format!("{whole} does not exist"),
            Error::InvalidPath { source } => format!("{url} has an object that cannot be a file: {source}"),
            _ if asks_machine_for_credentials(&text) => {
                format!("no credentials for {url}: {}", credentials_of(url))
            }
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
                format!("access to {whole} is denied ({}): {}", innermost(error), credentials_of(url))
            }
            _ if is_unreachable(error) => {
                format!("no connection to the server of {url}: {}. {}", innermost(error), endpoint_of(url))
            }
            _ => format!("cannot use {whole}: {}", innermost(error)),
        };
        self.fail(sentence.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

enum FetchError {
    Store(Error),
    CutOff { bytes: u64 },
    Disk(anyhow::Error),
}

/// A temporary file that is removed unless it is named, and locked, so that no other process takes it for a leftover.
fn new_file(folder: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o666);
    let part = tempfile::Builder::new().prefix(TEMP_PREFIX).permissions(permissions).tempfile_in(folder)?;
    let _ = File::try_lock(part.as_file());
    Ok(part)
}

fn version_of(meta: &ObjectMeta) -> Version {
    Version { size: meta.size, etag: meta.e_tag.clone(), modified: meta.last_modified.timestamp_millis() }
}

/// A recording of an hour may take longer than the 30 s that a request has by default; a connection that is silent has a minute.
const TIMES: [(ClientConfigKey, &str); 2] = [(ClientConfigKey::Timeout, "1h"), (ClientConfigKey::ReadTimeout, "60s")];

fn built(url: &Url) -> Result<Arc<dyn ObjectStore>, Error> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 4,
        retry_timeout: Duration::from_secs(60),
    };
    let (text, host) = (url.to_string(), url.host.as_str());
    Ok(match url.scheme {
        "s3" => {
            let builder = AmazonS3Builder::from_env().with_url(text).with_retry(retry);
            let builder =
                TIMES.into_iter().fold(builder, |b, (key, time)| b.with_config(AmazonS3ConfigKey::Client(key), time));
            // An address that the user wrote with http is meant like that.
            let is_plain = |name: &str| std::env::var(name).is_ok_and(|endpoint| endpoint.starts_with("http://"));
            let is_plain = is_plain("AWS_ENDPOINT_URL") || is_plain("AWS_ENDPOINT_URL_S3") || is_plain("AWS_ENDPOINT");
            Arc::new(if is_plain { builder.with_allow_http(true) } else { builder }.build()?)
        }
        "gs" => {
            let builder = GoogleCloudStorageBuilder::from_env().with_url(text).with_retry(retry);
            let with = |b: GoogleCloudStorageBuilder, (key, time)| b.with_config(GoogleConfigKey::Client(key), time);
            Arc::new(TIMES.into_iter().fold(builder, with).build()?)
        }
        "az" => {
            let builder = MicrosoftAzureBuilder::from_env().with_container_name(host).with_retry(retry);
            let with = |b: MicrosoftAzureBuilder, (key, time)| b.with_config(AzureConfigKey::Client(key), time);
            Arc::new(TIMES.into_iter().fold(builder, with).build()?)
        }
        scheme => {
            let builder = HttpBuilder::new().with_url(format!("{scheme}://{host}")).with_retry(retry);
            let builder = builder.with_config(ClientConfigKey::AllowHttp, "true");
            Arc::new(TIMES.into_iter().fold(builder, |b, (key, time)| b.with_config(key, time)).build()?)
        }
    })
}

/// Where the credentials are read from.
fn credentials_of(url: &Url) -> &'static str {
    match url.scheme {
        "s3" => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_REGION, AWS_SESSION_TOKEN), or AWS_SKIP_SIGNATURE=true for a public bucket"
        }
        "gs" => {
            "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or GOOGLE_SKIP_SIGNATURE=true for a public bucket"
        }
        "az" => "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY",
        _ => "the web server wants a login, and only public files can be read",
    }
}

/// What decides the address of the server.
fn endpoint_of(url: &Url) -> String {
    let variable = match url.scheme {
        "s3" => "AWS_ENDPOINT_URL",
        _ => return "Is this machine connected?".to_owned(),
    };
    match std::env::var(variable) {
        Ok(endpoint) => format!("{variable} is {endpoint}"),
        Err(_) => format!("Is this machine connected? A server other than Amazon's is named by {variable}"),
    }
}

fn is_missing_bucket(text: &str) -> bool {
    ["NoSuchBucket", "bucket does not exist", "ContainerNotFound"].iter().any(|word| text.contains(word))
}

/// Without credentials in the environment the crates ask the machine for them, which only those of the provider answer.
fn asks_machine_for_credentials(text: &str) -> bool {
    ["169.254.169.254", "169.254.170.2", "/latest/api/token", "metadata.google.internal", "/metadata/identity"]
        .iter()
        .any(|address| text.contains(address))
}

/// Whether another attempt may end better: anything but an answer of the server.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Generic { .. }) && !asks_machine_for_credentials(&all_causes(error))
}

fn is_unreachable(error: &Error) -> bool {
    let text = all_causes(error).to_lowercase();
    [
        "connect error",
        "error trying to connect",
        "connection refused",
        "connection reset",
        "dns error",
        "timed out",
        "tcp connect",
    ]
    .iter()
    .any(|word| text.contains(word))
}

fn all_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

/// The cause of all others, which names the fault without the layers above it; of an answer in XML, its code and message.
fn innermost(error: &Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    let text = last.to_string();
    let element = |name: &str| {
        let (_, after) = text.split_once(&format!("<{name}>"))?;
        Some(after.split_once("</")?.0.to_owned())
    };
    let answer =
        element("Code").map(|code| element("Message").map_or(code.clone(), |message| format!("{code}: {message}")));
    answer.unwrap_or(text).trim().trim_end_matches('.').to_owned()
}
