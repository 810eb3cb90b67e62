//! Limits of the server under load and attack.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::test_server::*;

#[test]
fn invalid_bodies_are_refused_with_a_message_and_do_not_stop_the_server() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL]);
    let letter = b"Dear reader, this is no recording, whatever its name says.";
    for (headers, body, status, says) in [
        ("", &letter[..], 422, "not a supported audio file"),
        (FORM, &form("file", "song.wav", letter), 422, "not a supported audio file"),
        ("", b"", 422, "empty"),
        (FORM, b"", 400, "form"),
        (FORM, b"--edge\r\nnonsense", 400, "form"),
        ("Content-Type: multipart/form-data\r\n", &form("file", "a", letter), 400, "form"),
        (FORM, &form("other", "a.wav", letter), 400, "no field `file`"),
        ("Content-Encoding: gzip\r\n", letter, 415, "as it is"),
    ] {
        let response = post(server.address, headers, body);
        assert_eq!(response.status, status, "{}", text(&response.body));
        assert!(response.problem().contains(says), "{}", response.problem());
    }
    for (path, headers, status, says) in [
        ("/api/v1/predict?cutoff=2", "", 400, "from 0 to 1"),
        ("/api/v1/predict?cuttoff=0.5", "", 400, "the parameters are model, cutoff, fraction, timeline"),
        ("/api/v1/predict?model=bagpipes", "", 400, "the models are tiny:fft.logistic.s1"),
        ("/api/v1/predict?fraction=0.3", "", 400, "one clip"),
        ("/lumen/api/processFile/?timeline=false", FORM, 400, "unknown parameter `timeline`"),
        ("/lumen/api/processFile/", "", 415, "field `file`"),
    ] {
        let response = post_to(server.address, path, headers, letter);
        assert_eq!(response.status, status, "{path}: {}", text(&response.body));
        assert!(response.problem().contains(says), "{path}: {}", response.problem());
    }
    // A damaged recording is predicted or refused, never an error of the server.
    let good = std::fs::read(&trained.recordings_of("pia")[0]).unwrap();
    for i in 0..60usize {
        let mut bytes = good.clone();
        bytes[i] ^= 0xff;
        bytes.truncate(good.len() / 60 * (i + 1));
        let response = post(server.address, "", &bytes);
        assert!([200, 422].contains(&response.status), "{i}: {}", text(&response.body));
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
fn a_body_that_is_too_large_is_refused_before_and_while_it_is_sent() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL]);
    for claimed in [(64u64 << 20) + 1, 4 << 30, u64::MAX / 2] {
        let mut stream = open(server.address, "POST /api/v1/predict HTTP/1.1");
        write!(stream, "Content-Length: {claimed}\r\nExpect: 100-continue\r\n\r\n").unwrap();
        let response = Response::read(stream);
        assert_eq!(response.status, 413);
        assert!(response.problem().contains("64 MiB"));
    }
    // Without a length, the limit applies while receiving; the client can finish sending and read the response.
    let address = with_limits(predictor(&trained), |limits| limits.bytes = 1 << 20);
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Transfer-Encoding: chunked\r\n\r\n").unwrap();
    for _ in 0..40 {
        stream.write_all(b"10000\r\n").unwrap();
        stream.write_all(&vec![7; 1 << 16]).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let response = Response::read(stream);
    assert_eq!(response.status, 413);
    assert!(response.problem().contains("1 MiB"));
    let just = post(address, "", &vec![7; 1 << 20]);
    assert_eq!(just.status, 422, "the limit itself is allowed");
    // All bodies together have a limit.
    let address = with_limits(predictor(&trained), |limits| limits.memory = 1 << 20);
    let full = post(address, "", &vec![7; (1 << 20) + 1]);
    assert!(full.status == 503 && full.head.contains("retry-after: 2"), "{}", full.head);
    assert_eq!(post(address, "", &vec![7; 1 << 20]).status, 422, "the memory is released");
}

/// A WAVE file of 8 bits; a sawtooth.
fn wav(channels: u16, sample_rate: u32, frames: u32, claimed: Option<u32>) -> Vec<u8> {
    let data = frames * u32::from(channels);
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend(claimed.unwrap_or(36 + data).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    bytes.extend(1u16.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(sample_rate.to_le_bytes());
    bytes.extend((sample_rate * u32::from(channels)).to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(8u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend(claimed.unwrap_or(data).to_le_bytes());
    bytes.extend((0..data).map(|n| (n % 100) as u8 + 78));
    bytes
}

/// A FLAC file of a constant value: a few bytes per second.
fn flac(seconds: u64, declares: bool) -> Vec<u8> {
    const BLOCK: u64 = 65_535;
    let crc = |bytes: &[u8], bits: u32, poly: u32| {
        bytes.iter().fold(0u32, |crc, byte| {
            (0..8).fold(crc ^ (u32::from(*byte) << (bits - 8)), |crc, _| {
                let high = (crc >> (bits - 1)) & 1;
                ((crc << 1) ^ (high * poly)) & (u32::MAX >> (32 - bits))
            })
        })
    };
    let frames = seconds * 44_100 / BLOCK;
    let mut bytes = b"fLaC\x80\0\0\x22".to_vec();
    bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]);
    let total = if declares { frames * BLOCK } else { 0 };
    bytes.extend(((44_100u64 << 44) | (15 << 36) | total).to_be_bytes());
    bytes.extend([0; 16]);
    for n in 0..frames {
        let mut frame = vec![0xff, 0xf8, 0x70, 0x08];
        match n {
            0..0x80 => frame.push(n as u8),
            0x80..0x800 => frame.extend([0xc0 | (n >> 6) as u8, 0x80 | (n & 63) as u8]),
            _ => frame.extend([0xe0 | (n >> 12) as u8, 0x80 | ((n >> 6) & 63) as u8, 0x80 | (n & 63) as u8]),
        }
        frame.extend((BLOCK as u16 - 1).to_be_bytes());
        frame.push(crc(&frame, 8, 7) as u8);
        frame.extend([0, 3, 0xe8]);
        frame.extend((crc(&frame, 16, 0x8005) as u16).to_be_bytes());
        bytes.extend(frame);
    }
    bytes
}

#[test]
fn long_recordings_many_channels_and_false_lengths_are_refused() {
    let trained = Trained::tiny();
    let of_clips = with_limits(predictor(&trained), |limits| limits.clip_seconds = 20.0);
    let of_windows = with_limits(in_windows(&trained), |limits| limits.seconds = 20.0);
    let hours = flac(36_000, true);
    assert!(hours.len() < 400_000, "{} bytes", hours.len());
    for address in [of_clips, of_windows] {
        for (bytes, code) in [
            (&hours, "too_long"),
            (&flac(36_000, false), "too_long"),
            (&wav(1, 1000, 20_001, None), "too_long"),
            (&wav(65, 8000, 100, None), "too_many_channels"),
        ] {
            let response = post(address, "", bytes);
            assert_eq!((response.status, &response.json()["code"]), (422, &code.into()), "{}", response.problem());
        }
        let falsely_long = post(address, "", &wav(1, 8000, 100, Some(u32::MAX - 9))).json();
        assert_eq!((&falsely_long["seconds"], falsely_long["cut_off"].is_object()), (&0.0125.into(), true));
        assert_eq!(post(address, "", &flac(10, true)).status, 200, "a valid file");
        assert_eq!(post(address, "", &flac(10, false)).status, 200);
        assert_eq!(post(address, "", &wav(1, 1000, 20_000, None)).status, 200, "the limit itself is allowed");
        assert_eq!(post(address, "", &wav(64, 8000, 100, None)).status, 200);
    }
}

#[test]
fn a_prediction_is_cancelled_when_its_client_disconnects() {
    let trained = Trained::tiny();
    let address = with_limits(in_windows(&trained), |limits| limits.jobs = 1);
    let long = wav(1, 1000, 3_000_000, None);
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    write!(stream, "Content-Length: {}\r\n\r\n", long.len()).unwrap();
    stream.write_all(&long).unwrap();
    let windows = || measured(address, "timbre_model_windows_total{model=\"tiny:fft.logistic.s1\"}");
    let busy = || measured(address, "timbre_jobs_in_use");
    while windows() == 0.0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    // A request that waits is cancelled too.
    let mut waiting = open(address, "POST /api/v1/predict HTTP/1.1");
    write!(waiting, "Content-Length: {}\r\n\r\n", long.len()).unwrap();
    waiting.write_all(&long).unwrap();
    drop(waiting);
    drop(stream);
    while busy() > 0.0 || measured(address, "timbre_places_in_use") > 0.0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(windows() < 2998.0, "all {} windows were predicted", windows());
    let path = &trained.recordings_of("tru")[0];
    assert_eq!(shares(&post(address, "", &std::fs::read(path).unwrap())), expected(&in_windows(&trained), path));
}

#[test]
fn a_full_server_responds_with_retry_after() {
    let trained = Trained::tiny();
    let address = with_limits(predictor(&trained), |limits| limits.places = 1);
    let path = &trained.recordings_of("tru")[0];
    let bytes = std::fs::read(path).unwrap();
    let begin = || {
        let mut slow = open(address, "POST /api/v1/predict HTTP/1.1");
        write!(slow, "Content-Length: {}\r\n\r\n", bytes.len()).unwrap();
        slow.write_all(&bytes[..100]).unwrap();
        slow
    };
    let mut slow = begin();
    // The slow request takes the place soon after its head is sent; a short request may have taken it first.
    let full = loop {
        let response = post(address, "", b"RIFF");
        if response.status != 422 {
            break response;
        }
        if is_answered(&slow) {
            slow = begin();
        }
    };
    assert_eq!(full.status, 503);
    assert!(full.head.contains("retry-after: 2") && full.problem().contains("again"));
    assert_eq!(get(address, "/healthz").status, 200);
    slow.write_all(&bytes[100..]).unwrap();
    let expected = expected(&predictor(&trained), path);
    assert_eq!(shares(&Response::read(slow)), expected);
    assert_eq!(shares(&post(address, "", &bytes)), expected);
}

/// Whether a response has arrived, without waiting.
fn is_answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let answered = stream.peek(&mut [0]).is_ok();
    stream.set_nonblocking(false).unwrap();
    answered
}

#[test]
fn connections_without_a_request_delay_nobody() {
    let trained = Trained::tiny();
    let address = with_limits(predictor(&trained), |limits| limits.connections = 16);
    let path = &trained.recordings_of("tru")[0];
    let bytes = std::fs::read(path).unwrap();
    // A request in progress is not interrupted.
    let mut upload = open(address, "POST /api/v1/predict HTTP/1.1");
    write!(upload, "Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", bytes.len()).unwrap();
    let mut go_on = [0; 25];
    upload.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on[..12], b"HTTP/1.1 100");
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let dripping: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
            stream
        })
        .collect();
    let kept_alive: Vec<TcpStream> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            stream.read_exact(&mut [0; 15]).unwrap();
            stream
        })
        .collect();
    let clock = std::time::Instant::now();
    assert_eq!(get(address, "/healthz").status, 200);
    assert!(clock.elapsed() < Duration::from_secs(3), "{:?}", clock.elapsed());
    upload.write_all(&bytes).unwrap();
    assert_eq!(shares(&Response::read(upload)), expected(&predictor(&trained), path));
    drop((silent, dripping, kept_alive));
}

#[test]
fn slow_clients_are_disconnected() {
    let trained = Trained::tiny();
    let address = with_limits(predictor(&trained), |limits| {
        limits.head = Duration::from_millis(300);
        limits.pause = Duration::from_millis(300);
        limits.body = Duration::from_millis(1200);
    });
    // Half a head: the connection ends without an response, or with 408.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the server closes, long before a minute is over");
    // An idle kept-alive connection is closed.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n").unwrap();
    stream.read_to_end(&mut rest).expect("the server closes, long before a minute is over");
    // A body that stops, and one that drips.
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Content-Length: 1000\r\n\r\nRIFF").unwrap();
    assert_eq!(Response::read(stream).status, 408);
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Content-Length: 1000\r\n\r\n").unwrap();
    let dripping = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut stream = dripping;
        while stream.write_all(b"R").is_ok() {
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!(Response::read(stream).status, 408);
    // A client that sends requests but reads no responses is disconnected when the buffers are full.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    let closed = loop {
        if let Err(error) = stream.write_all(b"GET /openapi.json HTTP/1.1\r\nHost: here\r\n\r\n") {
            break error;
        }
    };
    assert_ne!(closed.kind(), std::io::ErrorKind::WouldBlock, "the server closes, long before a minute is over");
    // A client that disconnects does not affect others.
    let mut stream = open(address, "POST /api/v1/predict HTTP/1.1");
    stream.write_all(b"Content-Length: 1000\r\n\r\nRIFF").unwrap();
    drop(stream);
    assert_eq!(get(address, "/healthz").status, 200);
}
