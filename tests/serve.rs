//! The server from outside, over plain TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use timbre::predictor::Predictor;
use timbre::serve::{Limits, serve_on};

mod trained_support;

use trained_support::{Trained, text};

const MODEL: &str = "tiny/latest:fft.logistic.s1";

/// `timbre serve` on a port of its own.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(trained: &Trained) -> Server {
        let mut command = trained.command(&["serve", MODEL, "--addr", "127.0.0.1:0"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Server { address: address.parse().unwrap(), child }
    }

    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(told.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server in this process, with limits that a test can reach. It ends with the test.
fn with_limits(trained: &Trained, change: impl FnOnce(&mut Limits)) -> SocketAddr {
    let mut limits = Limits::default();
    change(&mut limits);
    let predictor = Predictor::open(&trained.runs(), MODEL).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve_on(listener, predictor, limits, std::future::pending()).await;
        });
    });
    address
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    /// Everything that the server sends until it closes the connection.
    fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // A refused sender may find its connection reset after the answer.
        let _ = stream.read_to_end(&mut bytes);
        let split = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{:?}", text(&bytes)));
        let head = text(&bytes[..split]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[split + 4..].to_vec() }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {}", self.head, text(&self.body)))
    }

    /// The sentence of a problem, after a look at its form.
    fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && problem["code"].is_string());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

fn open(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{head}\r\nHost: here\r\nConnection: close\r\n").unwrap();
    stream
}

fn get(address: SocketAddr, path: &str) -> Answer {
    let mut stream = open(address, &format!("GET {path} HTTP/1.1"));
    stream.write_all(b"\r\n").unwrap();
    Answer::read(stream)
}

fn post(address: SocketAddr, headers: &str, body: &[u8]) -> Answer {
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    write!(stream, "{headers}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    // The server may refuse before it has read everything.
    let _ = stream.write_all(body);
    Answer::read(stream)
}

fn form(field: &str, file: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--edge\r\n\
         Content-Disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\nContent-Type: audio/wav\r\n\r\n"
    );
    [head.as_bytes(), bytes, b"\r\n--edge--\r\n"].concat()
}

const FORM: &str = "Content-Type: multipart/form-data; boundary=edge\r\n";

fn shares(answer: &Answer) -> Vec<(String, f32)> {
    assert_eq!(answer.status, 200, "{}", text(&answer.body));
    let answer = answer.json();
    let classes = answer["classes"].as_array().unwrap();
    classes.iter().map(|c| (c["code"].as_str().unwrap().into(), c["probability"].as_f64().unwrap() as f32)).collect()
}

fn expected(trained: &Trained, path: &Path) -> Vec<(String, f32)> {
    let predictor = Predictor::open(&trained.runs(), MODEL).unwrap();
    let heard = predictor.hear_file(path).unwrap();
    heard.ranked(predictor.classes()).into_iter().map(|(class, p)| (class.to_owned(), p)).collect()
}

#[test]
fn a_recording_is_heard_raw_in_a_form_and_by_many_at_once() {
    let trained = Trained::tiny();
    let server = Server::start(&trained);
    let paths: Vec<_> =
        ["cel", "flu", "voi", "sax"].iter().map(|class| trained.recordings_of(class)[0].clone()).collect();
    std::thread::scope(|scope| {
        for path in paths.iter().chain(&paths) {
            let (address, trained) = (server.address, &trained);
            scope.spawn(move || {
                let (bytes, expected) = (std::fs::read(path).unwrap(), expected(trained, path));
                assert_eq!(shares(&post(address, "", &bytes)), expected);
                let name = path.file_name().unwrap().to_str().unwrap();
                assert_eq!(shares(&post(address, FORM, &form("file", name, &bytes))), expected);
            });
        }
    });
    let answer = post(server.address, "", &std::fs::read(&paths[0]).unwrap()).json();
    assert_eq!((&answer["schema"], &answer["model"]["model"]), (&1.into(), &"fft.logistic.s1".into()));
    assert!(answer["seconds"].as_f64().unwrap() > 1.0 && answer["timings"]["decode"].is_f64());
}

#[test]
fn the_page_the_models_and_the_health_are_there_under_a_strict_policy() {
    let trained = Trained::tiny();
    let server = Server::start(&trained);
    for path in ["/", "/page.js", "/page.css", "/healthz", "/api/v1/models", "/nowhere"] {
        let answer = get(server.address, path);
        assert_eq!(answer.status, if path == "/nowhere" { 404 } else { 200 }, "{path}");
        assert!(answer.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{path}");
        assert!(answer.head.contains("x-content-type-options: nosniff"), "{path}");
    }
    let page = text(&get(server.address, "/").body);
    assert!(
        !page.contains("http:") && !page.contains("https:") && !page.contains("<style") && !page.contains("onclick")
    );
    let models = get(server.address, "/api/v1/models").json();
    assert_eq!(models["models"][0]["classes"].as_array().unwrap().len(), 11);
    assert_eq!(models["models"][0]["clip_seconds"], 3.0);
    assert!(get(server.address, "/nowhere").problem().contains("the page is at /"));
    let wrong = get(server.address, "/api/v1/predict");
    assert_eq!(wrong.status, 405);
    assert!(wrong.problem().contains("POST"));
}

#[test]
fn what_is_no_recording_is_refused_with_a_sentence_and_stops_nobody() {
    let trained = Trained::tiny();
    let server = Server::start(&trained);
    let letter = b"Dear reader, this is no recording, whatever its name says.";
    for (headers, body, status, says) in [
        ("", &letter[..], 422, "no audio format"),
        (FORM, &form("file", "song.wav", letter), 422, "no audio format"),
        ("", b"", 422, "empty"),
        (FORM, b"", 400, "form"),
        (FORM, b"--edge\r\nnonsense", 400, "form"),
        ("Content-Type: multipart/form-data\r\n", &form("file", "a", letter), 400, "form"),
        (FORM, &form("other", "a.wav", letter), 400, "no field `file`"),
    ] {
        let answer = post(server.address, headers, body);
        assert_eq!(answer.status, status, "{}", text(&answer.body));
        assert!(answer.problem().contains(says), "{}", answer.problem());
    }
    // A recording with damage at many places: heard or refused, never an error of the server.
    let good = std::fs::read(&trained.recordings_of("pia")[0]).unwrap();
    for i in 0..60usize {
        let mut bytes = good.clone();
        bytes[i] ^= 0xff;
        bytes.truncate(good.len() / 60 * (i + 1));
        let answer = post(server.address, "", &bytes);
        assert!([200, 422].contains(&answer.status), "{i}: {}", text(&answer.body));
    }
    for nonsense in
        ["\r\n\r\n", "GET\r\n\r\n", "POST /api/v1/predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "\0\u{1}\u{2}"]
    {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(nonsense.as_bytes()).unwrap();
    }
    assert_eq!(get(server.address, "/healthz").body, b"ok\n");
}

#[test]
fn too_large_a_body_is_refused_before_and_while_it_is_sent() {
    let trained = Trained::tiny();
    let server = Server::start(&trained);
    let mut stream = open(server.address, "POST /api/v1/predict HTTP/1.1");
    write!(stream, "Content-Length: {}\r\nExpect: 100-continue\r\n\r\n", (64 << 20) + 1).unwrap();
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 413);
    assert!(answer.problem().contains("64 MiB"));
    // Without a length, the limit is met on the way; the client that sends on is heard out and reads the answer.
    let address = with_limits(&trained, |limits| limits.bytes = 1 << 20);
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Transfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..40 {
        stream.write_all(b"10000\r\n").unwrap();
        stream.write_all(&vec![7; 1 << 16]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let answer = Answer::read(stream);
    assert_eq!(answer.status, 413);
    assert!(answer.problem().contains("1 MiB"));
    let just = post(address, "", &vec![7; 1 << 20]);
    assert_eq!(just.status, 422, "the limit itself is allowed");
}

#[test]
fn when_all_places_are_taken_a_client_is_told_to_come_again() {
    let trained = Trained::tiny();
    let address = with_limits(&trained, |limits| limits.places = 1);
    let path = &trained.recordings_of("tru")[0];
    let bytes = std::fs::read(path).unwrap();
    let begin = || {
        let mut slow = open(address, "POST /api/v1/predict HTTP/1.1");
        write!(slow, "Content-Length: {}\r\n\r\n", bytes.len()).unwrap();
        slow.write_all(&bytes[..100]).unwrap();
        slow
    };
    let mut slow = begin();
    // The place is taken when the head has been read: soon, but not at once; and one of the short ones that ask meanwhile may
    // have had it just then.
    let full = loop {
        let answer = post(address, "", b"RIFF");
        if answer.status != 422 {
            break answer;
        }
        if is_answered(&slow) {
            slow = begin();
        }
    };
    assert_eq!(full.status, 503);
    assert!(full.head.contains("retry-after: 2") && full.problem().contains("again"));
    assert_eq!(get(address, "/healthz").status, 200);
    slow.write_all(&bytes[100..]).unwrap();
    assert_eq!(shares(&Answer::read(slow)), expected(&trained, path));
    assert_eq!(shares(&post(address, "", &bytes)), expected(&trained, path));
}

/// Whether something has come back, without waiting for it.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let answered = stream.peek(&mut [0]).is_ok();
    stream.set_nonblocking(false).unwrap();
    answered
}

#[test]
fn slow_senders_are_let_go() {
    let trained = Trained::tiny();
    let address = with_limits(&trained, |limits| {
        limits.head = Duration::from_millis(300);
        limits.pause = Duration::from_millis(300);
        limits.body = Duration::from_millis(1200);
    });
    // Half a head: the connection ends without an answer, or with 408.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server closes, long before a minute is over");
    // A connection that is kept and says nothing more ends, too.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    stream.read_to_end(&mut rest).expect("the server closes, long before a minute is over");
    // A body that stops, and one that drips.
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Content-Length: 1000\r\n\r\nRIFF").unwrap();
    assert_eq!(Answer::read(stream).status, 408);
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Content-Length: 1000\r\n\r\n").unwrap();
    let dripping = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut stream = dripping;
        while stream.write_all(b"R").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(Answer::read(stream).status, 408);
    // Who breaks off gets no answer, and nobody else notices.
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Content-Length: 1000\r\n\r\nRIFF").unwrap();
    drop(stream);
    assert_eq!(get(address, "/healthz").status, 200);
}

#[test]
fn told_to_stop_the_server_finishes_what_is_in_hand() {
    let trained = Trained::tiny();
    let path = &trained.recordings_of("vio")[0];
    let (bytes, expected) = (std::fs::read(path).unwrap(), expected(&trained, path));
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::start(&trained);
        let mut stream = open(server.address, "POST /api/v1/predict HTTP/1.1");
        // The server asks for the body when the request is in hand.
        write!(stream, "Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", bytes.len()).unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on[..12], b"HTTP/1.1 100");
        stream.write_all(&bytes[..1000]).unwrap();
        server.signal(signal);
        while TcpStream::connect(server.address).is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
        stream.write_all(&bytes[1000..]).unwrap();
        assert_eq!(shares(&Answer::read(stream)), expected, "{signal}");
        assert!(server.child.wait().unwrap().success(), "{signal}");
    }
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let trained = Trained::tiny();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = trained.timbre(&["serve", MODEL, "--addr", &address]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--addr"), "{}", text(&output.stderr));
    trained.truncate("tiny/latest/models/fft.logistic.s1/model.safetensors");
    let output = trained.timbre(&["serve", MODEL, "--addr", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("--fresh") && output.stdout.is_empty(), "{}", text(&output.stderr));
}
