//! A server, and a client over plain TCP.

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

/// A process of `timbre serve` on a free port.
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
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server in this process with changed limits. It ends with the process.
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

/// The same model, predicting windows.
pub fn in_windows(trained: &Trained) -> Predictor {
    let predictor = predictor(trained);
    let window = predictor.window_or_default();
    predictor.with_windows(window).unwrap()
}

pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads everything that the server sends until it closes the connection.
    pub fn read(mut stream: TcpStream) -> Response {
        let mut bytes = Vec::new();
        // The server may reset the connection after refusing a request.
        let _ = stream.read_to_end(&mut bytes);
        let split = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{:?}", text(&bytes)));
        let head = text(&bytes[..split]).to_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head, body: bytes[split + 4..].to_vec() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{} {}", self.head, text(&self.body)))
    }

    /// The detail of a problem, after checking its form.
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
    write!(stream, "{head}\r\nHost: localhost\r\nConnection: close\r\n").unwrap();
    stream
}

/// A request without a body; `headers` end with a line break each.
pub fn send(address: SocketAddr, method: &str, path: &str, headers: &str) -> Response {
    let mut stream = open(address, &format!("{method} {path} HTTP/1.1"));
    write!(stream, "{headers}\r\n").unwrap();
    Response::read(stream)
}

pub fn get(address: SocketAddr, path: &str) -> Response {
    send(address, "GET", path, "")
}

pub fn post_to(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> Response {
    let mut stream = open(address, &format!("POST {path} HTTP/1.1"));
    write!(stream, "{headers}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    // The server may refuse before it has read everything.
    let _ = stream.write_all(body);
    Response::read(stream)
}

pub fn post(address: SocketAddr, headers: &str, body: &[u8]) -> Response {
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

/// Codes and confidences of a response.
pub fn shares(response: &Response) -> Vec<(String, f32)> {
    assert_eq!(response.status, 200, "{}", text(&response.body));
    let response = response.json();
    let all = response["instruments"].as_array().unwrap();
    all.iter().map(|one| (one["code"].as_str().unwrap().into(), one["confidence"].as_f64().unwrap() as f32)).collect()
}

/// The prediction of the model itself.
pub fn expected(predictor: &Predictor, path: &Path) -> Vec<(String, f32)> {
    let prediction = predictor.predict_file(path).unwrap();
    prediction.ranked(predictor.classes()).into_iter().map(|(class, p)| (class.to_owned(), p)).collect()
}

/// The decided codes of a response.
pub fn decided(response: &Value) -> Vec<String> {
    let all = response["instruments"].as_array().unwrap().iter();
    all.filter(|one| one["decided"] == true).map(|one| one["code"].as_str().unwrap().to_owned()).collect()
}

/// A value of `/metrics`.
pub fn measured(address: SocketAddr, name: &str) -> f64 {
    let metrics = text(&get(address, "/metrics").body);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}")).parse().unwrap()
}
