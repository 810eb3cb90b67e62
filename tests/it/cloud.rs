//! Recordings and features by URL: an S3 server on this machine (moto) and a web server, beside the same files in a folder.
//!
//! moto runs in a process of its own. A proxy between it and the program counts the downloads, and cuts connections.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::test_dir::{TestDir, text};

const EXPERIMENT: &str = r#"
[data]
kind = "folder"
root = "set/IRMAS-TrainingData"
[audio]
sample_rate = 16000
clip_seconds = 2.0
[split]
kind = "holdout"
validation = 0.25
test = 0.25
[features.mel]
n_mels = 16
[features.contrast]
[models.knn]
[models.logistic]
[evaluate]
bootstrap = 50
"#;

const URL: &str = "data.root=s3://recordings/some/set";

/// moto, which ends with the test.
struct Moto {
    process: Child,
    port: u16,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Moto {
    fn start() -> Moto {
        let program = std::env::var_os("TIMBRE_MOTO").expect("TIMBRE_MOTO names moto_server: make test-cloud");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let moto = Moto { process, port };
        let clock = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(clock.elapsed() < Duration::from_secs(60), "moto does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    /// moto checks no signature.
    fn request(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let status = text(&answer).split(' ').nth(1).map(str::to_owned).unwrap_or_default();
        assert!(status.starts_with('2'), "{method} {path}: {}", text(&answer));
        answer
    }

    fn create_bucket(&self, name: &str) {
        self.request("PUT", &format!("/{name}"), b"");
    }

    /// Every file below a folder.
    fn upload(&self, folder: &Path, prefix: &str) -> usize {
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let key = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                files += self.upload(&entry.path(), &key);
            } else {
                let escaped = key.replace('[', "%5B").replace(']', "%5D");
                self.request("PUT", &format!("/{escaped}"), &fs::read(entry.path()).unwrap());
                files += 1;
            }
        }
        files
    }
}

/// Passes connections on, one request each, counts the downloads of objects, and cuts as many of them as it is told to.
struct Proxy {
    port: u16,
    downloads: Arc<Mutex<Vec<String>>>,
    uploads: Arc<AtomicUsize>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Proxy { port, downloads: Arc::default(), uploads: Arc::default(), cuts: Arc::default() };
        let (downloads, uploads, cuts) = (proxy.downloads.clone(), proxy.uploads.clone(), proxy.cuts.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (downloads, uploads, cuts) = (downloads.clone(), uploads.clone(), cuts.clone());
                std::thread::spawn(move || pass(client, to, &downloads, &uploads, &cuts));
            }
        });
        proxy
    }

    /// The objects that were downloaded since the last call.
    fn downloads(&self) -> Vec<String> {
        std::mem::take(&mut *self.downloads.lock().unwrap())
    }
}

fn pass(
    client: TcpStream,
    to: u16,
    downloads: &Mutex<Vec<String>>,
    uploads: &AtomicUsize,
    cuts: &AtomicUsize,
) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_lowercase();
        if let Some(number) = lower.strip_prefix("content-length:") {
            length = number.trim().parse().ok()?;
        }
        if line == "\r\n" {
            head += "Connection: close\r\n\r\n";
            break;
        }
        if !lower.starts_with("connection:") {
            head += &line;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let path = head.split(' ').nth(1)?.to_owned();
    let is_download = head.starts_with("GET") && !path.contains('?');
    if is_download {
        downloads.lock().unwrap().push(path);
    }
    if head.starts_with("PUT") {
        uploads.fetch_add(1, Ordering::Relaxed);
    }
    let mut server = TcpStream::connect(("127.0.0.1", to)).ok()?;
    server.write_all(head.as_bytes()).ok()?;
    server.write_all(&body).ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).ok()?;
    let is_cut =
        is_download && cuts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let mut client = client;
    client.write_all(if is_cut { &answer[..answer.len() / 2] } else { &answer }).ok()?;
    client.shutdown(Shutdown::Both).ok()
}

struct Cloud {
    moto: Moto,
    proxy: Proxy,
    dir: TestDir,
    recordings: usize,
}

impl Cloud {
    /// A project with a demo set in a folder, and the same files in a bucket.
    fn new() -> Cloud {
        let dir = TestDir::with(&[("x.toml", EXPERIMENT)]);
        dir.done(&["data", "make", "demo", "--clips-per-class", "6", "--out", "data/set", "-q"]);
        let moto = Moto::start();
        moto.create_bucket("recordings");
        let folder = dir.path("data/set/IRMAS-TrainingData");
        let recordings = moto.upload(&folder, "recordings/some/set");
        let proxy = Proxy::start(moto.port);
        Cloud { moto, proxy, dir, recordings }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.dir.command(arguments);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", self.proxy.port))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-east-1");
    }

    fn run(&self, more: &[&str]) -> serde_json::Value {
        let output =
            self.command(&[&["run", "x.toml", "--device", "cpu", "--json", "-q"], more].concat()).output().unwrap();
        assert!(output.status.success(), "{more:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The files of the only mirror of a cache.
    fn mirror(&self, cache: &str) -> PathBuf {
        let mut mirrors = fs::read_dir(self.dir.path(cache).join("mirror")).unwrap().flatten();
        mirrors.next().unwrap().path().join("files")
    }

    fn assert_equal_tables(&self, one: &str, other: &str) {
        for file in ["results.csv", "predictions.parquet", "recordings.csv"] {
            let [one, other] = [one, other].map(|runs| self.dir.bytes(&format!("{runs}/x/latest/{file}")));
            assert!(one == other, "{file} differs");
        }
    }
}

fn signature(cloud: &Cloud, runs: &str) -> serde_json::Value {
    let record: serde_json::Value =
        serde_json::from_slice(&cloud.dir.bytes(&format!("{runs}/x/latest/run.json"))).unwrap();
    record["signature"].clone()
}

fn ended_with(output: &Output, code: i32, words: &[&str]) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    assert!(!said.contains("Generic") && said.lines().count() < 5, "one sentence: {said}");
}

#[test]
#[ignore = "needs moto's server: make test-cloud"]
fn a_run_on_a_bucket_has_the_bytes_of_one_on_a_folder_and_downloads_once() {
    let cloud = Cloud::new();
    cloud.run(&["--runs", "one", "--cache", "cache-of-one"]);
    assert!(cloud.proxy.downloads().is_empty());
    cloud.run(&["--runs", "two", "--cache", "cache", "--set", URL]);
    cloud.assert_equal_tables("one", "two");
    assert_eq!(signature(&cloud, "one"), signature(&cloud, "two"));
    assert_eq!(cloud.proxy.downloads().len(), cloud.recordings);

    cloud.run(&["--runs", "three", "--cache", "cache", "--set", URL]);
    cloud.assert_equal_tables("one", "three");
    assert_eq!(cloud.proxy.downloads(), [""; 0]);

    // Another recording under the same name.
    let (first, second) = {
        let mut found = fs::read_dir(cloud.dir.path("data/set/IRMAS-TrainingData/cel")).unwrap().flatten();
        (found.next().unwrap().path(), found.next().unwrap().path())
    };
    fs::copy(&second, &first).unwrap();
    let name = first.file_name().unwrap().to_str().unwrap().replace('[', "%5B").replace(']', "%5D");
    cloud.moto.request("PUT", &format!("/recordings/some/set/cel/{name}"), &fs::read(&second).unwrap());
    cloud.run(&["--runs", "four", "--cache", "cache-of-one"]);
    cloud.run(&["--runs", "five", "--cache", "cache", "--set", URL]);
    cloud.assert_equal_tables("four", "five");
    assert_eq!(cloud.proxy.downloads().len(), 1);
    assert_ne!(signature(&cloud, "one"), signature(&cloud, "five"));
}

#[test]
#[ignore = "needs moto's server: make test-cloud"]
fn a_connection_that_is_cut_in_an_object_leaves_no_broken_file() {
    let cloud = Cloud::new();
    // Each download fails, whatever is tried.
    cloud.proxy.cuts.store(usize::MAX, Ordering::Relaxed);
    let run = ["run", "x.toml", "-q", "--device", "cpu", "--runs", "two", "--cache", "cache", "--set", URL];
    let failed = cloud.command(&run).output().unwrap();
    assert_eq!(failed.status.code(), Some(2), "{}", text(&failed.stderr));
    assert!(text(&failed.stderr).contains("s3://recordings/some/set"), "{}", text(&failed.stderr));
    let mirror = cloud.mirror("cache");
    let sizes = |folder: &Path| {
        let files = fs::read_dir(folder).unwrap().flatten();
        let files = files.flat_map(|class| fs::read_dir(class.path()).unwrap().flatten());
        files.map(|file| file.metadata().unwrap().len()).collect::<Vec<_>>()
    };
    assert!(sizes(&mirror).iter().all(|&bytes| bytes == 0), "names only");
    // A few are cut: other attempts complete them.
    cloud.proxy.cuts.store(5, Ordering::Relaxed);
    cloud.run(&["--runs", "two", "--cache", "cache", "--set", URL]);
    cloud.run(&["--runs", "one", "--cache", "cache-of-one"]);
    cloud.assert_equal_tables("one", "two");
    let beside = fs::read_dir(mirror.parent().unwrap()).unwrap().flatten().map(|entry| entry.file_name());
    let mut beside: Vec<_> = beside.collect();
    beside.sort();
    assert_eq!(beside, ["files", "objects.jsonl"], "no part of a file is left");
}

#[test]
#[ignore = "needs moto's server: make test-cloud"]
fn two_processes_at_once_share_a_mirror_and_a_third_downloads_nothing() {
    let cloud = Cloud::new();
    let start = |runs: &str| {
        let run = ["run", "x.toml", "-q", "--device", "cpu", "--runs", runs, "--cache", "cache", "--set", URL];
        cloud.command(&run).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    for process in [start("two"), start("three")] {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    cloud.assert_equal_tables("two", "three");
    cloud.proxy.downloads();
    cloud.run(&["--runs", "four", "--cache", "cache", "--set", URL]);
    assert_eq!(cloud.proxy.downloads(), [""; 0]);
    cloud.assert_equal_tables("two", "four");
}

#[test]
#[ignore = "needs moto's server: make test-cloud"]
fn a_shard_downloads_its_own_recordings() {
    let cloud = Cloud::new();
    let mut seen = Vec::new();
    for shard in ["0/2", "1/2"] {
        let cache = format!("cache-{}", &shard[..1]);
        let features =
            ["features", "x.toml", "-q", "--shard", shard, "--cache", &cache, "--parts", "parts", "--set", URL];
        let output = cloud.command(&features).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        let own = cloud.proxy.downloads();
        assert!(!own.is_empty() && own.len() < cloud.recordings);
        seen.extend(own);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), cloud.recordings);
}

#[test]
#[ignore = "needs moto's server: make test-cloud"]
fn features_that_one_machine_computed_another_finds_in_the_bucket() {
    let cloud = Cloud::new();
    cloud.moto.create_bucket("features");
    let shared = ["--cache", "s3://features/of/us"];
    cloud.run(&["--runs", "one", "--cache", "cache-of-one"]);
    let first = cloud.run(&[&["--runs", "two"], &shared[..]].concat());
    assert!(first["cache"]["misses"].as_u64() > Some(0));
    let uploads = cloud.proxy.uploads.load(Ordering::Relaxed);
    assert!(uploads > 0);
    // Another machine has another folder in front.
    fs::rename(cloud.dir.path("data/.cache"), cloud.dir.path("cache-of-the-first")).unwrap();
    let second = cloud.run(&[&["--runs", "three"], &shared[..]].concat());
    assert_eq!(second["cache"]["misses"], 0);
    assert_eq!(cloud.proxy.uploads.load(Ordering::Relaxed), uploads, "nothing new to share");
    assert!(!cloud.proxy.downloads().is_empty());
    cloud.assert_equal_tables("one", "two");
    cloud.assert_equal_tables("one", "three");
    let third = cloud.run(&[&["--runs", "four"], &shared[..]].concat());
    assert_eq!((third["cache"]["misses"].as_u64(), cloud.proxy.downloads().len()), (Some(0), 0));
}

#[test]
#[ignore = "needs moto's server: make test-cloud"]
fn what_is_missing_in_the_cloud_is_a_sentence() {
    let cloud = Cloud::new();
    let run = |more: &[&str], change: &dyn Fn(&mut Command)| {
        let mut command = cloud.command(&[&["run", "x.toml", "-q", "--device", "cpu"], more].concat());
        change(&mut command);
        command.output().unwrap()
    };
    let same = |_: &mut Command| {};
    ended_with(&run(&["--set", "data.root=s3://other/set"], &same), 2, &["there is no bucket `other`"]);
    ended_with(&run(&["--set", "data.root=s3://recordings/no"], &same), 2, &["no object is below s3://recordings/no"]);
    ended_with(&run(&["--set", "data.root=ftp://host/no"], &same), 2, &["unknown scheme"]);
    ended_with(&run(&["--cache", "https://host/no"], &same), 2, &["nothing can be written to it"]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unplugged = |command: &mut Command| {
        command.env("AWS_ENDPOINT_URL", format!("http://{nobody}"));
    };
    ended_with(&run(&["--set", URL], &unplugged), 2, &["no connection to the server of s3://", "AWS_ENDPOINT_URL"]);
    let no_credentials = |command: &mut Command| {
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
        // The machine has none either.
        command.env("AWS_METADATA_ENDPOINT", format!("http://{nobody}"));
    };
    ended_with(&run(&["--set", URL], &no_credentials), 2, &["no credentials", "AWS_ACCESS_KEY_ID"]);
}

#[test]
#[ignore = "needs Python: make test-cloud"]
fn a_table_on_a_web_server_names_its_recordings() {
    let dir = TestDir::with(&[("x.toml", EXPERIMENT)]);
    dir.done(&["data", "make", "demo", "--clips-per-class", "6", "--out", "data/set", "-q"]);
    let root = dir.path("data/set/IRMAS-TrainingData");
    let mut table = "path,label\n".to_owned();
    for class in fs::read_dir(&root).unwrap().flatten() {
        for file in fs::read_dir(class.path()).unwrap().flatten() {
            let (class, file) = (class.file_name(), file.file_name());
            table += &format!("{0}/{1},{0}\n", class.to_str().unwrap(), file.to_str().unwrap());
        }
    }
    fs::write(root.join("labels.csv"), table).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()])
        .current_dir(&root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let clock = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(clock.elapsed() < Duration::from_secs(60), "the web server does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
    let local = "data.path=set/IRMAS-TrainingData/labels.csv";
    let remote = format!("data.path=http://127.0.0.1:{port}/labels.csv");
    let listed = format!("data.root=http://127.0.0.1:{port}/");
    let manifest = EXPERIMENT
        .replace("kind = \"folder\"\nroot = \"set/IRMAS-TrainingData\"", "kind = \"manifest\"\npath = \"x.csv\"");
    fs::write(dir.path("table.toml"), manifest).unwrap();
    let attempts = [("one", local), ("two", remote.as_str())].map(|(runs, set)| {
        dir.timbre(&["run", "table.toml", "--device", "cpu", "-q", "--runs", runs, "--cache", runs, "--set", set])
    });
    let folder = dir.timbre(&["run", "x.toml", "--device", "cpu", "-q", "--set", &listed]);
    server.kill().unwrap();
    server.wait().unwrap();
    for output in attempts {
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for file in ["results.csv", "recordings.csv"] {
        let [one, two] = ["one", "two"].map(|runs| dir.bytes(&format!("{runs}/table/latest/{file}")));
        assert!(one == two, "{file} differs");
    }
    ended_with(&folder, 2, &["web server that does not list its files", "kind = \"manifest\""]);
}

#[test]
#[ignore = "needs moto's server: make test-cloud"]
fn predict_reads_recordings_of_a_bucket() {
    let cloud = Cloud::new();
    cloud.run(&["--set", "save_models=true"]);
    let predict = |what: &str| {
        let output = cloud.command(&["predict", "x", what, "-q", "--format", "csv"]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let folder = predict("data/set/IRMAS-TrainingData/cel");
    let bucket = predict("s3://recordings/some/set/cel");
    assert_eq!(folder.replace("data/set/IRMAS-TrainingData/", "s3://recordings/some/set/"), bucket);
    let name = bucket.lines().nth(1).unwrap().split(',').next().unwrap().trim_matches('"').to_owned();
    let one = predict(&name);
    assert_eq!(one.lines().nth(1), bucket.lines().nth(1));
}
