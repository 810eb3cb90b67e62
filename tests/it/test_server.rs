//! A server and a client over plain TCP.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use timbre::inference::Predictor;
use timbre::serve::{AccessPolicy, Limits, Service, serve_on};

pub use crate::trained_model::{Trained, text};

pub const MODEL: &str = "tiny/latest:fft.logistic.s1";
pub const PREDICT: &str = "/api/v1/predict";
pub const LUMEN: &str = "/lumen/api/processFile/";

/// `timbre serve` on a port of its own.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
}

impl Server {
    pub fn start(trained: &Trained, arguments: &[&str]) -> Server {
        Server::spawn(trained.command(&[&["serve", "--addr", "127.0.0.1:0"], arguments].concat()))
    }

    pub fn spawn(mut command: Command) -> Server {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line:?}"));
        Server { address: address.parse().unwrap(), child }
    }

    pub fn signal(&self, name: &str) {
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
pub fn with_limits(predictor: Predictor, change: impl FnOnce(&mut Limits)) -> SocketAddr {
    let mut limits = Limits::default();
    change(&mut limits);
    let service = Service::new(vec![(predictor, None)], limits, AccessPolicy::default()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve_on(listener, service, std::future::pending()).await;
        });
    });
    address
}

pub fn predictor(trained: &Trained) -> Predictor {
    Predictor::open(&trained.runs(), MODEL).unwrap()
}

/// The same model, which hears all of a recording.
pub fn in_windows(trained: &Trained) -> Predictor {
    let predictor = predictor(trained);
    let window = predictor.window_or_default();
    predictor.with_windows(window).unwrap()
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// Everything that the server sends until it closes the connection.
    pub fn read(mut stream: TcpStream) -> Answer {
        let mut bytes = Vec::new();
        // A refused sender may find its connection reset after the answer.
        let _ = stream.read_to_end(&mut bytes);
        let split = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{:?}", text(&bytes)));
        let head = text(&bytes[..split]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: bytes[split + 4..].to_vec() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {}", self.head, text(&self.body)))
    }

    /// The sentence of a problem, after a look at its form.
    pub fn problem(&self) -> String {
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["type"], "about:blank");
        assert!(problem["title"].is_string() && problem["code"].is_string());
        problem["detail"].as_str().unwrap().to_owned()
    }
}

pub fn open(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{head}\r\nHost: here\r\nConnection: close\r\n").unwrap();
    stream
}

/// A request without a body; `headers` end with a line break each.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = open(address, &format!("{method} {path} HTTP/1.1"));
    write!(stream, "{headers}\r\n").unwrap();
    Answer::read(stream)
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "")
}

pub fn post_to(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Answer {
    let mut stream = open(address, &format!("POST {path} HTTP/1.1"));
    write!(stream, "{headers}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    // The server may refuse before it has read everything.
    let _ = stream.write_all(body);
    Answer::read(stream)
}

pub fn post(address: SocketAddr, headers: &str, body: &[u8]) -> Answer {
    post_to(address, PREDICT, headers, body)
}

pub fn form(field: &str, file: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "--edge\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\nhello\r\n--edge\r\n\
         Content-Disposition: form-data; name=\"{field}\"; filename=\"{file}\"\r\nContent-Type: audio/wav\r\n\r\n"
    );
    [head.as_bytes(), bytes, b"\r\n--edge--\r\n"].concat()
}

pub const FORM: &str = "Content-Type: multipart/form-data; boundary=edge\r\n";

/// Codes and confidences of an answer.
pub fn shares(answer: &Answer) -> Vec<(String, f32)> {
    assert_eq!(answer.status, 200, "{}", text(&answer.body));
    let answer = answer.json();
    let all = answer["instruments"].as_array().unwrap();
    all.iter().map(|one| (one["code"].as_str().unwrap().into(), one["confidence"].as_f64().unwrap() as f32)).collect()
}

/// What the model itself says.
pub fn expected(predictor: &Predictor, path: &Path) -> Vec<(String, f32)> {
    let heard = predictor.predict_file(path).unwrap();
    heard.ranked(predictor.classes()).into_iter().map(|(class, p)| (class.to_owned(), p)).collect()
}

/// The codes of an answer that are decided.
pub fn decided(answer: &Value) -> Vec<String> {
    let all = answer["instruments"].as_array().unwrap().iter();
    all.filter(|one| one["decided"] == true).map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

/// The value of a line of `/metrics`.
pub fn measured(address: SocketAddr, name: &str) -> f64 {
    let metrics = text(&get(address, "/metrics").body);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}
