//! Parses the query, the Content-Type and the form of any request: valid or refused, with field ranges inside the body.
//!
//! The first line of the input is the query of a URL, the second line a Content-Type, the rest the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use timbre_audio::query::PredictQuery;
use timbre_audio::multipart;

const PARAMETERS: [&str; 4] = ["model", "cutoff", "fraction", "timeline"];

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let (query, content_type) = (line(), line());
    let body = lines.next().unwrap_or_default();
    if let Ok(ask) = PredictQuery::parse(&query, &PARAMETERS) {
        assert!([ask.cutoff, ask.fraction].into_iter().flatten().all(|share| (0.0..=1.0).contains(&share)));
    }
    let boundary = match multipart::boundary(&content_type) {
        Some(Ok(boundary)) => boundary,
        _ => "edge".to_owned(),
    };
    if let Ok(Some(found)) = multipart::find(body, &boundary, "file") {
        let content = &body[found.content.clone()];
        let edge = [b"\r\n--", boundary.as_bytes()].concat();
        assert!(!content.windows(edge.len()).any(|window| window == edge), "a field ends at its boundary");
        let after = &body[found.content.end..];
        assert!(after.starts_with(&edge) || content.is_empty(), "and not before");
    }
});
