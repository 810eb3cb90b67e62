//! The HTTP API.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use timbre::inference::Predictor;

use crate::test_dir::text;
use crate::test_server::*;

#[test]
fn recordings_are_predicted_from_raw_bodies_and_forms_concurrently() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL]);
    let predictor = predictor(&trained);
    let paths: Vec<_> =
        ["cel", "flu", "voi", "sax"].iter().map(|class| trained.recordings_of(class)[0].clone()).collect();
    std::thread::scope(|scope| {
        for path in paths.iter().chain(&paths).chain(&paths) {
            let (address, predictor) = (server.address, &predictor);
            scope.spawn(move || {
                let (bytes, expected) = (std::fs::read(path).unwrap(), expected(predictor, path));
                assert_eq!(shares(&post(address, "", &bytes)), expected);
                let name = path.file_name().unwrap().to_str().unwrap();
                let form = form("file", name, &bytes);
                assert_eq!(shares(&post(address, FORM, &form)), expected);
                let codes = post_to(address, LUMEN, FORM, &form).json();
                assert_eq!(codes, json!([expected[0].0]), "single label: the most likely class");
            });
        }
    });
    let response = post(server.address, "", &std::fs::read(&paths[0]).unwrap()).json();
    assert_eq!(
        (&response["schema"], &response["hears"], &response["timeline"]),
        (&json!(2), &json!("clip"), &Value::Null)
    );
    assert_eq!(response["used"], json!({ "start": 0.0, "seconds": response["seconds"], "share": 1.0 }));
    let song = below(&trained.recordings()).into_iter().find(|path| path.to_string_lossy().contains("TestingData"));
    let long = post(server.address, "", &std::fs::read(song.unwrap()).unwrap()).json();
    let (whole, used) = (long["seconds"].as_f64().unwrap(), &long["used"]);
    assert!(whole > 4.0 && used["seconds"] == 3.0, "{long}");
    assert!((used["start"].as_f64().unwrap() - (whole - 3.0) / 2.0).abs() < 1e-3, "{used}");
    assert!((used["share"].as_f64().unwrap() - 3.0 / whole).abs() < 1e-6, "{used}");
    assert_eq!(response["model"]["id"], "tiny:fft.logistic.s1");
    assert!(response["seconds"].as_f64().unwrap() > 1.0 && response["timings"]["decode"].is_f64());
    let one = &response["instruments"].as_array().unwrap().iter().find(|one| one["code"] == "cel").unwrap();
    assert_eq!(one["name"], "cello");
    // 12 raw bodies, 12 forms, 12 requests of the other route, and two more; one model request each.
    let count = |name: &str| measured(server.address, name);
    assert_eq!(count("timbre_recordings_total"), 38.0);
    assert_eq!(count("timbre_requests_total{route=\"/api/v1/predict\",status=\"200\"}"), 26.0);
    let model = "{model=\"tiny:fft.logistic.s1\"}";
    assert_eq!(count(&format!("timbre_model_questions_total{model}")), 38.0);
    assert!(count(&format!("timbre_model_batches_total{model}")) <= 38.0);
    assert_eq!((count("timbre_jobs_in_use"), count("timbre_places_in_use")), (0.0, 0.0));
}

/// The WAVE files below a folder, sorted by name.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    let is_wav = |path: &Path| path.extension().is_some_and(|extension| extension == "wav");
    let found = entries.into_iter().map(|path| if path.is_dir() { below(&path) } else { vec![path] });
    found.flatten().filter(|path| is_wav(path)).collect()
}

#[test]
fn the_timeline_and_its_rule_reproduce_the_decisions() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL, "--windows"]);
    let predictor = in_windows(&trained);
    let song =
        below(&trained.recordings()).into_iter().find(|path| path.to_string_lossy().contains("TestingData")).unwrap();
    let bytes = std::fs::read(&song).unwrap();
    let response = post(server.address, "", &bytes);
    assert_eq!(shares(&response), expected(&predictor, &song), "to the bit");
    let response = response.json();
    let prediction = predictor.predict_file(&song).unwrap();
    let windows = prediction.windows.as_ref().unwrap();
    let timeline = &response["timeline"];
    assert_eq!((&timeline["window"], &timeline["hop"]), (&json!(3.0), &json!(1.0)));
    assert_eq!(timeline["starts"], json!(windows.starts));
    assert_eq!(timeline["borders"].as_array().unwrap().len(), windows.starts.len() + 1);
    let rows: Vec<Vec<f32>> = windows.rows_of(0).map(<[f32]>::to_vec).collect();
    let received: Vec<Vec<f32>> = serde_json::from_value(timeline["probabilities"].clone()).unwrap();
    assert_eq!(received, rows, "to the bit");
    assert_eq!(timeline["codes"], json!(predictor.classes().names()));
    // With a threshold and a fraction, the decisions follow from the rows of the timeline.
    for (cutoff, fraction) in [(0.05, 0.1), (0.2, 0.26), (0.5, 0.0), (0.9, 0.9)] {
        let path = format!("{PREDICT}?cutoff={cutoff}&fraction={fraction}&timeline=false");
        let requested = post_to(server.address, &path, "", &bytes).json();
        assert_eq!((&requested["timeline"], &requested["rule"]["aggregate"]), (&Value::Null, &json!("vote")));
        let votes = |class: usize| rows.iter().filter(|row| row[class] > cutoff as f32).count();
        let share = |class: usize| votes(class) as f64 / rows.len() as f64;
        let names = predictor.classes().names();
        let mut own: Vec<String> =
            (0..names.len()).filter(|class| share(*class) > fraction).map(|class| names[class].clone()).collect();
        let mut theirs = decided(&requested);
        own.sort();
        theirs.sort();
        assert_eq!(theirs, own, "{cutoff} {fraction}");
    }
    // With a threshold alone, every class that reaches it is decided, also by a single-label model.
    let requested = post_to(server.address, &format!("{PREDICT}?cutoff=0"), "", &bytes).json();
    assert_eq!(decided(&requested).len(), 11);
    assert_eq!(decided(&response).len(), 1);
}

#[test]
fn models_are_chosen_by_id_and_weighted_into_an_ensemble() {
    let trained = Trained::tiny();
    let names = ["tiny/latest:fft.average.s1=1", "tiny/latest:fft.logistic.s1=3"];
    let server = Server::start(&trained, &names);
    let [average, logistic] = ["fft.average.s1", "fft.logistic.s1"]
        .map(|model| Predictor::open(&trained.runs(), &format!("tiny/latest:{model}")).unwrap());
    let path = &trained.recordings_of("gac")[0];
    let bytes = std::fs::read(path).unwrap();
    let models = get(server.address, "/api/v1/models").json();
    assert_eq!(models["default"], "ensemble");
    let ids: Vec<&Value> = models["models"].as_array().unwrap().iter().map(|model| &model["id"]).collect();
    assert_eq!(ids, ["ensemble", "tiny:fft.average.s1", "tiny:fft.logistic.s1"]);
    let members = json!([
        { "id": "tiny:fft.average.s1", "weight": 0.25 }, { "id": "tiny:fft.logistic.s1", "weight": 0.75 }
    ]);
    assert_eq!(models["models"][0]["members"], members);
    assert_eq!((&models["models"][0]["data"], &models["models"][1]["data"]), (&Value::Null, &json!("demo")));
    let quality = models["models"][2]["quality"].as_array().unwrap();
    assert!(quality.iter().any(|row| row["split"] == "test" && row["metrics"]["accuracy"].is_f64()), "{quality:?}");
    let baselines = models["models"][2]["baselines"].as_array().unwrap();
    let commonest = baselines.iter().find(|row| row["name"] == "commonest" && row["split"] == "test").unwrap();
    assert!(commonest["metrics"]["accuracy"].is_f64(), "{baselines:?}");
    // The confusions are those of confusion.csv: a model that is not perfect has some.
    let confusions = models["models"][2]["confusions"].as_array().unwrap();
    let accuracy = quality.iter().find(|row| row["split"] == "test").unwrap()["metrics"]["accuracy"].as_f64().unwrap();
    let of_test: Vec<&Value> = confusions.iter().filter(|one| one["split"] == "test").collect();
    assert_eq!(of_test.is_empty(), accuracy == 1.0, "{accuracy} {confusions:?}");
    assert!(of_test.iter().all(|one| one["truth"] != one["decided"] && one["n"].as_u64() > Some(0)), "{confusions:?}");
    for (id, own) in [("tiny:fft.average.s1", &average), ("tiny%3Afft.logistic.s1", &logistic)] {
        let response = post_to(server.address, &format!("{PREDICT}?model={id}"), "", &bytes);
        assert_eq!(shares(&response), expected(own, path), "{id}");
    }
    let [a, b] = [&average, &logistic].map(|one| one.predict_file(path).unwrap().probabilities);
    let response = post(server.address, "", &bytes);
    for (code, share) in shares(&response) {
        let class = average.classes().index(&code).unwrap();
        assert!((share - (0.25 * a[class] + 0.75 * b[class])).abs() < 1e-6, "{code}");
    }
    assert_eq!(response.json()["model"]["model"], "ensemble");
    // Invalid weights, and a model that is named twice.
    for (names, says) in [
        (&["tiny/latest:fft.average.s1=1"][..], "two models or more"),
        (&["tiny/latest:fft.average.s1=0", "tiny/latest:fft.logistic.s1=0"], "more than 0"),
        (&[MODEL, MODEL], "named twice"),
        (&[MODEL, "--allow-origin", "music.example"], "expected scheme, host and port"),
    ] {
        let output = trained.timbre(&[&["serve", "--addr", "127.0.0.1:0"], names].concat());
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains(says), "{}", text(&output.stderr));
    }
}

#[test]
fn responses_have_security_headers_and_no_file_of_the_machine_is_served() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL]);
    for path in ["/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/api/v1/models", "/nowhere"] {
        let response = get(server.address, path);
        assert_eq!(response.status, if path == "/nowhere" { 404 } else { 200 }, "{path}");
        assert!(response.head.contains("content-security-policy: default-src 'none'; script-src 'self'"), "{path}");
        assert!(response.head.contains("x-content-type-options: nosniff"), "{path}");
        assert!(!response.head.contains("access-control-allow-origin"), "{path}");
    }
    let page = text(&get(server.address, "/").body);
    assert!(
        !page.contains("http:") && !page.contains("https:") && !page.contains("<style") && !page.contains("onclick")
    );
    let models = get(server.address, "/api/v1/models").json();
    assert_eq!(models["models"][0]["classes"][0], json!({ "code": "cel", "name": "cello" }));
    assert_eq!(models["models"][0]["clip_seconds"], 3.0);
    assert_eq!(models["limits"]["bytes"], 64 << 20);
    for path in [
        "/../Cargo.toml",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/runs/tiny/latest/run.json",
        "/%00",
        "/page/index.html",
    ] {
        assert_eq!(get(server.address, path).status, 404, "{path}");
    }
    assert!(get(server.address, "/nowhere").problem().contains("the page is at /"));
    let browser = send(server.address, "GET", "/nowhere", "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n");
    let page = text(&browser.body);
    assert!(browser.status == 404 && browser.head.contains("content-type: text/html"), "{}", browser.head);
    assert!(page.contains("<h1>There is no page at this address</h1>") && page.contains("href=\"/\""), "{page}");
    let wrong = get(server.address, PREDICT);
    assert_eq!((wrong.status, wrong.head.contains("allow: post")), (405, true), "{}", wrong.head);
    assert!(wrong.problem().contains("POST"));
}

#[test]
fn tokens_and_origins_are_checked() {
    let trained = Trained::tiny();
    let mut command =
        trained.command(&["serve", MODEL, "--addr", "127.0.0.1:0", "--allow-origin", "https://music.example"]);
    command.env("TIMBRE_TOKEN", "s3cret");
    let server = Server::spawn(command);
    let address = server.address;
    let token = "Authorization: Bearer s3cret\r\n";
    for path in ["/api/v1/models", "/metrics"] {
        for wrong in
            ["", "Authorization: Bearer s3cre\r\n", "Authorization: Basic s3cret\r\n", "Authorization: s3cret\r\n"]
        {
            let response = send(address, "GET", path, wrong);
            assert_eq!(response.status, 401, "{path} {wrong}");
            assert!(response.head.contains("www-authenticate: bearer") && response.problem().contains("Bearer"));
        }
        assert_eq!(send(address, "GET", path, token).status, 200);
    }
    assert_eq!(post(address, "", b"RIFF").status, 401);
    assert_eq!(post_to(address, LUMEN, FORM, &form("file", "a.wav", b"x")).status, 401);
    for open in ["/", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(get(address, open).status, 200, "{open}");
    }
    // Allowed are the server's own page and the pages of an allowed origin.
    let preflight = "Origin: https://music.example\r\nAccess-Control-Request-Method: POST\r\n";
    let response = send(address, "OPTIONS", PREDICT, preflight);
    assert_eq!(response.status, 204);
    for header in ["access-control-allow-origin: https://music.example", "access-control-allow-headers: authorization"]
    {
        assert!(response.head.contains(header), "{}", response.head);
    }
    let body = std::fs::read(&trained.recordings_of("org")[0]).unwrap();
    let from = |origin: &str| post(address, &format!("{token}Origin: {origin}\r\n"), &body);
    let allowed = from("https://music.example");
    assert_eq!(allowed.status, 200);
    assert!(allowed.head.contains("access-control-allow-origin: https://music.example"));
    assert_eq!(from("http://localhost").status, 200, "the host of the request itself");
    assert_eq!(from("https://localhost").status, 200, "behind a proxy");
    for other in
        ["file://localhost", "https://evil.example", "null", "https://music.example.evil", "http://music.example"]
    {
        let refused = from(other);
        assert_eq!(refused.status, 403, "{other}");
        assert!(!refused.head.contains("access-control-allow-origin") && refused.problem().contains("--allow-origin"));
    }
    let response = send(address, "OPTIONS", PREDICT, &preflight.replace("music", "evil"));
    assert!(response.status >= 400 && !response.head.contains("access-control-allow"), "{}", response.head);
}

#[test]
fn every_origin_is_allowed_on_request_and_never_together_with_a_token() {
    let trained = Trained::tiny();
    let arguments = ["serve", MODEL, "--addr", "127.0.0.1:0", "--allow-origin", "*"];
    let server = Server::spawn(trained.command(&arguments));
    let response = send(server.address, "GET", "/api/v1/models", "Origin: https://anyone.example\r\n");
    assert_eq!(response.status, 200);
    assert!(response.head.contains("access-control-allow-origin: *\r\n"), "{}", response.head);
    let mut command = trained.command(&arguments);
    let output = command.env("TIMBRE_TOKEN", "s3cret").output().unwrap();
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("TIMBRE_TOKEN is set"), "{error}");
}

#[test]
fn the_index_of_the_api_lists_every_endpoint() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL]);
    let index = get(server.address, "/api/v1/").json();
    let endpoints = index["endpoints"].as_array().unwrap();
    assert!(endpoints.iter().any(|one| one["method"] == "POST" && one["path"] == PREDICT));
    for one in endpoints.iter().filter(|one| one["method"] == "GET") {
        assert_eq!(get(server.address, one["path"].as_str().unwrap()).status, 200, "{one}");
    }
}

#[test]
fn a_browser_that_keeps_a_file_of_the_page_does_not_get_it_again_until_it_changes() {
    use std::io::Write;
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL]);
    let first = get(server.address, "/page.js");
    let tag = first.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().trim();
    assert!(first.head.contains("cache-control: no-cache") && !first.body.is_empty(), "{}", first.head);
    let again = |kept: &str| {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        write!(
            stream,
            "GET /page.js HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {kept}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        Response::read(stream)
    };
    let same = again(tag);
    assert!(same.status == 304 && same.body.is_empty() && same.head.contains("nosniff"), "{}", same.head);
    assert_eq!(again("\"another\"").body, first.body);
    assert!(get(server.address, "/api/v1/models").head.contains("cache-control: no-store"));
}

#[test]
fn files_of_the_page_are_compressed_for_browsers_that_ask_for_it() {
    let trained = Trained::tiny();
    let server = Server::start(&trained, &[MODEL]);
    let plain = get(server.address, "/page.js");
    let gzipped = send(server.address, "GET", "/page.js", "Accept-Encoding: gzip, br\r\n");
    assert!(gzipped.head.contains("content-encoding: gzip") && gzipped.body.len() < plain.body.len() / 2);
    assert!(gzipped.head.contains("vary: origin, accept-encoding") && !plain.head.contains("content-encoding"));
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(&gzipped.body[..]).read_to_end(&mut text).unwrap();
    assert_eq!(text, plain.body);
}

#[test]
fn a_server_is_reached_only_under_names_of_its_machine() {
    use std::io::Write;
    let trained = Trained::tiny();
    let status = |address, head: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
        Response::read(stream)
    };
    let from = |address, host: &str| {
        status(address, &format!("GET /api/v1/models HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n"))
    };
    let server = Server::start(&trained, &[MODEL]);
    let address = server.address;
    for own in ["localhost", "LocalHost:80", "127.0.0.1", "[::1]:8080", &address.to_string()] {
        assert_eq!(from(address, own).status, 200, "{own}");
    }
    // A page whose name leads to this machine.
    for other in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil", "[::2]", ""] {
        let refused = from(address, other);
        assert_eq!(refused.status, 421, "{other}");
        assert!(refused.problem().contains("--allow-host") && refused.head.contains("nosniff"));
    }
    let get = "GET /healthz HTTP/1.1\r\n";
    let absolute = "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n";
    assert_eq!(status(address, absolute).status, 421);
    assert_eq!(status(address, get).status, 400, "no host");
    assert_eq!(status(address, &format!("{get}Host: localhost\r\nHost: localhost\r\n")).status, 400, "two hosts");
    assert_eq!(status(address, "GET /healthz HTTP/1.0\r\n").status, 200, "a simple health check");
    let server = Server::start(&trained, &[MODEL, "--allow-host", "music.example"]);
    let hosts = ["music.example", "Music.Example:443", "localhost", "evil.example"];
    assert_eq!(hosts.map(|host| from(server.address, host).status), [200, 200, 200, 421]);
    // A page of another name does not know the token.
    let mut command = trained.command(&["serve", MODEL, "--addr", "127.0.0.1:0"]);
    command.env("TIMBRE_TOKEN", "s3cret");
    let server = Server::spawn(command);
    assert_eq!(from(server.address, "evil.example").status, 401);
    let wrong = trained.timbre(&["serve", MODEL, "--addr", "127.0.0.1:0", "--allow-host", "http://music.example"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong.stderr));
}

#[test]
fn a_token_that_is_empty_or_cannot_be_sent_stops_the_server() {
    use std::os::unix::ffi::OsStrExt;
    let trained = Trained::tiny();
    for token in [&b""[..], b"sec\xff", b" x", b"x\n", "é".as_bytes()] {
        let mut command = trained.command(&["serve", MODEL, "--addr", "127.0.0.1:0"]);
        let output = command.env("TIMBRE_TOKEN", std::ffi::OsStr::from_bytes(token)).output().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{token:?}");
        assert!(text(&output.stderr).contains("TIMBRE_TOKEN"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_server_that_is_started_with_nohup_survives_its_terminal() {
    let trained = Trained::tiny();
    let program = trained.command(&[]).get_program().to_owned();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(program);
    command.args(["serve", MODEL, "--addr", "127.0.0.1:0"]).current_dir(trained.path("."));
    let server = Server::spawn(command);
    server.signal("-HUP");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(get(server.address, "/healthz").status, 200);
}

#[test]
fn on_a_signal_the_server_finishes_the_requests_in_progress() {
    use std::io::{Read, Write};
    let trained = Trained::tiny();
    let path = &trained.recordings_of("vio")[0];
    let (bytes, expected) = (std::fs::read(path).unwrap(), expected(&predictor(&trained), path));
    for signal in ["-TERM", "-INT", "-HUP"] {
        let mut server = Server::start(&trained, &[MODEL]);
        let mut stream = open(server.address, "POST /api/v1/predict HTTP/1.1");
        // `100 Continue` shows that the request is in progress.
        write!(stream, "Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", bytes.len()).unwrap();
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(&go_on[..12], b"HTTP/1.1 100");
        stream.write_all(&bytes[..1000]).unwrap();
        server.signal(signal);
        while std::net::TcpStream::connect(server.address).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        stream.write_all(&bytes[1000..]).unwrap();
        assert_eq!(shares(&Response::read(stream)), expected, "{signal}");
        assert!(server.child.wait().unwrap().success(), "{signal}");
    }
}

#[test]
fn a_server_that_cannot_start_reports_the_reason() {
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
