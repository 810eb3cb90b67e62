//! `timbre data get`, from a server on loopback that cuts, stalls, lies and sends hostile archives.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Cursor, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;

use crate::test_dir::{TestDir, text};

/// A file of the server, and how it is sent.
#[derive(Clone, Default)]
struct Served {
    bytes: Vec<u8>,
    /// The connection ends after so many bytes of the body, once.
    cut_after: Option<usize>,
    /// It does not end before this is false.
    stalls: bool,
    without_ranges: bool,
    redirect: Option<&'static str>,
}

struct FileServer {
    address: SocketAddr,
    files: Arc<Mutex<BTreeMap<String, Served>>>,
    /// `GET a.zip bytes=100-`.
    requests: Arc<Mutex<Vec<String>>>,
}

impl FileServer {
    fn start(files: &[(&str, Served)]) -> FileServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = FileServer {
            address: listener.local_addr().unwrap(),
            files: Arc::new(Mutex::new(files.iter().map(|(n, f)| ((*n).to_owned(), f.clone())).collect())),
            requests: Arc::default(),
        };
        let (files, requests) = (server.files.clone(), server.requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (files, requests) = (files.clone(), requests.clone());
                // A client that goes away is no fault of the server.
                std::thread::spawn(move || drop(answer(stream, &files, &requests)));
            }
        });
        server
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn set(&self, name: &str, change: impl FnOnce(&mut Served)) {
        change(self.files.lock().unwrap().get_mut(name).unwrap());
    }

    /// The requests for content since the last call.
    fn downloads(&self) -> Vec<String> {
        let all = std::mem::take(&mut *self.requests.lock().unwrap());
        all.into_iter().filter(|line| line.starts_with("GET")).collect()
    }
}

fn answer(
    stream: TcpStream,
    files: &Mutex<BTreeMap<String, Served>>,
    requests: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let mut words = first.split(' ');
    let (method, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default().trim_start_matches('/'));
    let mut range = String::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("range: ") {
            range = value.to_owned();
        }
    }
    requests.lock().unwrap().push(format!("{method} {name} {range}").trim().to_owned());
    let Some(file) = files.lock().unwrap().get(name).cloned() else {
        return write!(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    if let Some(to) = file.redirect {
        return write!(out, "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let from: usize = range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap_or(0);
    let whole = file.bytes.len();
    let body = if file.without_ranges || from == 0 {
        write!(out, "HTTP/1.1 200 OK\r\n")?;
        &file.bytes[..]
    } else if from >= whole {
        return write!(out, "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    } else {
        write!(out, "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{}/{whole}\r\n", whole - 1)?;
        &file.bytes[from..]
    };
    write!(out, "Content-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    if method == "HEAD" {
        return Ok(());
    }
    let Some(cut) = file.cut_after else { return out.write_all(body) };
    files.lock().unwrap().get_mut(name).unwrap().cut_after = None;
    out.write_all(&body[..cut])?;
    out.flush()?;
    while files.lock().unwrap()[name].stalls {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Four recordings of two classes below a folder at the top.
fn recordings() -> Vec<(String, Vec<u8>)> {
    let wav = |n: u32| {
        let mut bytes = Cursor::new(Vec::new());
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
        (0..8000u32).for_each(|i| writer.write_sample(((i * i * (2 * n + 3)) >> 3) as i16 / 4).unwrap());
        writer.finalize().unwrap();
        bytes.into_inner()
    };
    let names = ["owl/1.wav", "owl/2.wav", "jay/1.wav", "jay/2.wav"];
    names.iter().zip(0..).map(|(name, n)| (format!("birds-main/{name}"), wav(n))).collect()
}

fn zip_of(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn birds(files: &str) -> TestDir {
    let dir = TestDir::new();
    fs::create_dir(dir.path("data")).unwrap();
    let set = format!(
        "kind = \"folder\"\n[about]\ntitle = \"Birds\"\nlicence = \"CC0\"\nobtain = \"ask the birds\"\nfiles = [{files}]\n"
    );
    fs::write(dir.path("data/birds.toml"), set).unwrap();
    dir
}

/// A project with the set `birds`, whose one file is that of the server.
fn birds_of(server: &FileServer, archive: &[u8]) -> TestDir {
    let (url, sum) = (server.url(), sha256(archive));
    birds(&format!("{{ name = \"b.zip\", url = \"{url}/b.zip\", sha256 = \"{sum}\", top = \"birds-main\" }}"))
}

fn served(bytes: &[u8]) -> Served {
    Served { bytes: bytes.to_vec(), ..Served::default() }
}

fn get(dir: &TestDir, more: &[&str]) -> Output {
    dir.timbre(&[&["data", "get", "birds", "--yes"], more].concat())
}

fn ended(output: &Output, code: i32) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// What is in the folder `data`, hidden folders too.
fn data_folder(dir: &TestDir) -> Vec<String> {
    let names = fs::read_dir(dir.path("data")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_set_is_shown_and_asked_for_then_downloaded_verified_unpacked_and_checked() {
    let archive = zip_of(&recordings());
    let server = FileServer::start(&[("b.zip", served(&archive))]);
    let dir = birds_of(&server, &archive);
    let missing = ended(&dir.timbre(&["data", "check", "birds"]), 2);
    assert!(missing.contains("timbre data get birds"), "{missing}");
    let said = ended(&dir.timbre(&["data", "get", "birds"]), 2);
    assert!(said.contains("licence: CC0") && said.contains("KiB") && said.contains("pass --yes"), "{said}");
    assert_eq!((server.downloads(), data_folder(&dir)), (vec![], vec!["birds.toml".to_owned()]));
    let said = ended(&get(&dir, &[]), 0);
    for word in ["licence: CC0", "sha256 is right", "4 files", "data/birds: 4 recordings", "Next: timbre run"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(data_folder(&dir), ["birds", "birds.toml"]);
    assert_eq!(dir.bytes("data/birds/owl/2.wav"), recordings()[1].1);
    assert_eq!(server.downloads(), ["GET b.zip"]);
    assert!(ended(&get(&dir, &[]), 0).contains("is there: 4 recordings"));
    assert_eq!(server.downloads(), Vec::<String>::new());
}

#[test]
fn a_cut_download_is_continued_where_it_ended() {
    let archive = zip_of(&recordings());
    let server = FileServer::start(&[("b.zip", Served { cut_after: Some(20_000), ..served(&archive) })]);
    let dir = birds_of(&server, &archive);
    ended(&get(&dir, &["--no-check"]), 0);
    assert_eq!(server.downloads(), ["GET b.zip", "GET b.zip bytes=20000-"]);
    // A server that knows no ranges sends all of it again.
    fs::remove_dir_all(dir.path("data/birds")).unwrap();
    server.set("b.zip", |file| (file.cut_after, file.without_ranges) = (Some(20_000), true));
    ended(&get(&dir, &["--no-check"]), 0);
    assert_eq!(server.downloads(), ["GET b.zip", "GET b.zip bytes=20000-", "GET b.zip"]);
    assert_eq!(dir.bytes("data/birds/owl/2.wav"), recordings()[1].1);
}

/// Waits until the condition holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(dir: &TestDir) -> Child {
    let mut command = dir.command(&["data", "get", "birds", "--yes", "--no-check"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn kill(signal: &str, child: &mut Child) -> Option<i32> {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    child.wait().unwrap().code()
}

#[test]
fn a_stopped_or_killed_download_leaves_no_set_and_the_same_command_continues_it() {
    let archive = zip_of(&recordings());
    let stalling = Served { cut_after: Some(20_000), stalls: true, ..served(&archive) };
    let server = FileServer::start(&[("b.zip", stalling)]);
    let dir = birds_of(&server, &archive);
    let part = dir.path("data/.birds.download/b.zip.part");
    let length = || fs::metadata(&part).map_or(0, |found| found.len());
    let mut child = start(&dir);
    until("the first bytes arrive", || length() > 0);
    assert!(ended(&get(&dir, &[]), 2).contains("another process"));
    assert_eq!(kill("-TERM", &mut child), Some(75));
    let first = length();
    assert!(first > 0 && first <= 20_000 && !data_folder(&dir).contains(&"birds".to_owned()));
    // The second attempt is killed without a chance to clean up; its curl holds the lock until it ends, too.
    server.set("b.zip", |file| file.cut_after = Some(9000));
    let mut child = start(&dir);
    until("more bytes arrive", || length() > first);
    assert_eq!(kill("-KILL", &mut child), None);
    assert!(ended(&get(&dir, &[]), 2).contains("another process"), "curl still writes");
    server.set("b.zip", |file| file.stalls = false);
    until("the lock is free", || !text(&get(&dir, &["--no-check"]).stderr).contains("another process"));
    // curl writes the rest of its buffer when it ends.
    let second = first + 9000;
    assert_eq!(
        server.downloads(),
        ["GET b.zip".to_owned(), format!("GET b.zip bytes={first}-"), format!("GET b.zip bytes={second}-")]
    );
    assert_eq!(data_folder(&dir), ["birds", "birds.toml"]);
    assert_eq!(dir.bytes("data/birds/owl/2.wav"), recordings()[1].1);
}

#[test]
fn a_wrong_checksum_leaves_nothing_behind() {
    let archive = zip_of(&recordings());
    let server = FileServer::start(&[("b.zip", served(&archive))]);
    let dir = birds_of(&server, b"another file");
    let said = ended(&get(&dir, &[]), 1);
    assert!(said.contains(&format!("b.zip: the sha256 is {} instead of", sha256(&archive))), "{said}");
    assert_eq!(data_folder(&dir), ["birds.toml"]);
    // Bytes of an earlier version at the beginning: it is downloaded anew.
    let dir = birds_of(&server, &archive);
    fs::create_dir(dir.path("data/.birds.download")).unwrap();
    fs::write(dir.path("data/.birds.download/b.zip.part"), vec![0; 10_000]).unwrap();
    server.downloads();
    ended(&get(&dir, &["--no-check"]), 0);
    assert_eq!(server.downloads(), ["GET b.zip bytes=10000-", "GET b.zip"]);
}

#[test]
fn hostile_archives_and_redirections_are_refused_and_no_set_appears() {
    let mut files = recordings();
    files.push(("birds-main/../../../evil.wav".to_owned(), b"x".to_vec()));
    let climbing = zip_of(&files);
    let server = FileServer::start(&[("b.zip", served(&climbing))]);
    let dir = birds_of(&server, &climbing);
    let said = ended(&get(&dir, &[]), 1);
    assert!(said.contains("unpack b.zip") && said.contains("leads out of the archive"), "{said}");
    assert_eq!(data_folder(&dir), [".birds.download", "birds.toml"]);
    assert!(!dir.path("evil.wav").exists() && !dir.path("data/evil.wav").exists());
    let mut bomb = recordings();
    bomb.push(("birds-main/zeros".to_owned(), vec![0; 70 << 20]));
    let bomb = zip_of(&bomb);
    server.set("b.zip", |file| file.bytes.clone_from(&bomb));
    let dir = birds_of(&server, &bomb);
    assert!(ended(&get(&dir, &[]), 1).contains("swells"));
    assert_eq!(data_folder(&dir), [".birds.download", "birds.toml"]);
    server.set("b.zip", |file| file.redirect = Some("file:///etc/hostname"));
    let dir = birds_of(&server, &bomb);
    let said = ended(&get(&dir, &[]), 1);
    assert!(said.contains("file"), "{said}");
    assert_eq!(data_folder(&dir), ["birds.toml"]);
}

#[test]
fn files_that_are_there_are_verified_and_joined_and_stay() {
    let archive = zip_of(&recordings());
    let half = archive.len() / 2;
    let (one, two) = archive.split_at(half);
    let dir = birds(&format!(
        "{{ name = \"b.zip.001\", sha256 = \"{}\", top = \"birds-main\" }}, {{ name = \"b.zip.002\" }}, {{ name = \"notes.txt\", into = \"doc\" }}",
        sha256(one)
    ));
    let said = ended(&get(&dir, &[]), 2);
    assert!(said.contains("cannot be downloaded") && said.contains("ask the birds"), "{said}");
    fs::create_dir(dir.path("here")).unwrap();
    for (name, bytes) in [("b.zip.001", one), ("b.zip.002", two)] {
        fs::write(dir.path("here").join(name), bytes).unwrap();
    }
    let said = ended(&get(&dir, &["--from", "here"]), 2);
    assert!(said.contains("here has no notes.txt"), "{said}");
    fs::write(dir.path("here/b.zip.001"), two).unwrap();
    fs::write(dir.path("here/notes.txt"), "birds").unwrap();
    assert!(ended(&get(&dir, &["--from", "here"]), 1).contains("b.zip.001: the sha256 is"));
    assert_eq!(
        (data_folder(&dir), fs::read_dir(dir.path("here")).unwrap().count()),
        (vec!["birds.toml".to_owned()], 3)
    );
    fs::write(dir.path("here/b.zip.001"), one).unwrap();
    ended(&get(&dir, &["--from", "here"]), 0);
    assert_eq!(dir.bytes("data/birds/jay/1.wav"), recordings()[2].1);
    assert_eq!((dir.read("data/birds/doc/notes.txt").as_str(), data_folder(&dir).len()), ("birds", 2));
    assert_eq!(fs::read_dir(dir.path("here")).unwrap().count(), 3);
    // A mirror instead of the address of the publisher.
    let server =
        FileServer::start(&[("b.zip.001", served(one)), ("b.zip.002", served(two)), ("notes.txt", served(b"x"))]);
    fs::remove_dir_all(dir.path("data/birds")).unwrap();
    ended(&get(&dir, &["--url", &server.url()]), 0);
    assert_eq!(dir.bytes("data/birds/jay/1.wav"), recordings()[2].1);
    // A folder with something else is not touched.
    fs::remove_dir_all(dir.path("data/birds")).unwrap();
    fs::create_dir(dir.path("data/birds")).unwrap();
    fs::write(dir.path("data/birds/mine.txt"), "mine").unwrap();
    assert!(ended(&get(&dir, &["--from", "here"]), 2).contains("move it away"));
    assert_eq!(dir.read("data/birds/mine.txt"), "mine");
}

#[test]
fn sets_behind_a_form_say_how_to_get_them() {
    let dir = TestDir::new();
    for (name, word) in [("medleydb", "ask for access"), ("audioset", "YouTube"), ("philharmonia", "all-samples.zip")] {
        let said = ended(&dir.timbre(&["data", "get", name, "--yes"]), 2);
        assert!(said.contains("cannot be downloaded") && said.contains("page") && said.contains(word), "{said}");
    }
    assert!(ended(&dir.timbre(&["data", "get", "demo"]), 0).contains("on first use"));
}
