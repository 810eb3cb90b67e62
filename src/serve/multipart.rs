//! Finds a field in a `multipart/form-data` body (RFC 7578). The whole body is in memory, so nothing is copied.

use std::ops::Range;

/// The longest boundary that RFC 2046 allows.
const MAX_BOUNDARY: usize = 70;
/// Far more fields than a form of the page has.
const MAX_FIELDS: usize = 64;
/// The longest header block of a field.
const MAX_HEAD: usize = 8 << 10;

/// A form field with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileField {
    /// The range of its content in the body.
    pub content: Range<usize>,
    /// The file name that the client sent.
    pub file_name: Option<String>,
}

/// The boundary of a `Content-Type`; none if it is not a form.
pub fn boundary(content_type: &str) -> Option<Result<String, String>> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().to_ascii_lowercase().starts_with("multipart/") {
        return None;
    }
    let found = parameter(parameters, "boundary").filter(|b| (1..=MAX_BOUNDARY).contains(&b.len()));
    Some(found.ok_or_else(|| "its Content-Type has no boundary".to_owned()))
}

/// The first field with that name, if any. The error is a sentence.
pub fn find(body: &[u8], boundary: &str, field: &str) -> Result<Option<FileField>, String> {
    let delimiter = [b"\r\n--", boundary.as_bytes()].concat();
    // The first boundary has no line break before it if nothing precedes it.
    let mut at = match body.strip_prefix(&delimiter[2..]) {
        Some(_) => delimiter.len() - 2,
        None => position(body, &delimiter).ok_or("it does not contain its boundary")? + delimiter.len(),
    };
    for _ in 0..MAX_FIELDS {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(None);
        }
        // Spaces and tabs may follow a boundary.
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        if !rest[blanks..].starts_with(b"\r\n") {
            return Err("a boundary is not followed by a line break".to_owned());
        }
        // A field without headers starts with the empty line.
        let head_at = at + blanks;
        let head = position(&body[head_at..][..(body.len() - head_at).min(MAX_HEAD)], b"\r\n\r\n");
        let head_length = head.ok_or("the headers of a field do not end")?;
        let (name, file_name) = disposition(&body[head_at..head_at + head_length]);
        let begin = head_at + head_length + 4;
        // An empty field shares the line break after its headers with the boundary.
        let length = match body[begin - 2..].starts_with(&delimiter) {
            true => None,
            false => Some(position(&body[begin..], &delimiter).ok_or("a field does not end")?),
        };
        let content = begin..begin + length.unwrap_or(0);
        if name.as_deref() == Some(field) {
            return Ok(Some(FileField { content, file_name }));
        }
        at = length.map_or(begin - 2, |length| begin + length) + delimiter.len();
    }
    Err(format!("it has more than {MAX_FIELDS} fields"))
}

/// The name and the file name in the headers of a field.
fn disposition(head: &[u8]) -> (Option<String>, Option<String>) {
    let head = String::from_utf8_lossy(head);
    for line in head.split("\r\n") {
        let Some((key, value)) = line.split_once(':') else { continue };
        if key.trim().eq_ignore_ascii_case("content-disposition") {
            let parameters = value.split_once(';').map_or("", |(_, parameters)| parameters);
            return (parameter(parameters, "name"), parameter(parameters, "filename"));
        }
    }
    (None, None)
}

/// The value of a parameter in `a=1; b="2"`.
fn parameter(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_matches(|c: char| c == ';' || c.is_whitespace());
        let after = after.trim_start();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim_end().to_owned(), &after[end..])
            }
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value);
        }
        rest = left;
    }
}

/// The text before the closing quote, and the rest after it.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                escaped @ ('"' | '\\') => value.push(escaped),
                // Old browsers send Windows paths without escaping.
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

fn position(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|byte| *byte == first) {
        if text[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The content of a field and its file name.
    type Content = (Vec<u8>, Option<String>);

    fn found(body: &[u8], boundary: &str) -> Result<Option<Content>, String> {
        let found = find(body, boundary, "file")?;
        Ok(found.map(|field| (body[field.content].to_vec(), field.file_name)))
    }

    fn form(fields: &[(String, Option<String>, Vec<u8>)]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, file, content) in fields {
            body.extend_from_slice(format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"").as_bytes());
            if let Some(file) = file {
                body.extend_from_slice(format!("; filename=\"{file}\"\r\nContent-Type: audio/wav").as_bytes());
            }
            body.extend_from_slice(b"\r\n\r\n");
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--edge--\r\n");
        body
    }

    proptest! {
        #[test]
        fn the_first_field_of_the_name_is_found(
            fields in prop::collection::vec(
                ("file|note|f", prop::option::of("[a-z .]{0,8}"), prop::collection::vec(prop_oneof![
                    any::<u8>(), prop::sample::select(&b"\r\n--edge"[..])], 0..40)),
                0..5),
        ) {
            let body = form(&fields);
            // If a content contains the boundary, the results may differ; the parser must still stay within the body.
            let ours = found(&body, "edge");
            if fields.iter().all(|(_, _, content)| position(content, b"--edge").is_none()) {
                let expected = fields.iter().find(|(name, ..)| name == "file");
                prop_assert_eq!(ours.clone().unwrap(), expected.map(|(_, file, content)| (content.clone(), file.clone())));
            }
        }

        #[test]
        fn any_body_is_parsed_or_refused(body in prop::collection::vec(prop::sample::select(&b"\r\n--edg:;=\" \tfile"[..]), 0..120)) {
            let _ = found(&body, "edge");
            let _ = boundary(&String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn quotes_spaces_and_empty_fields_are_parsed() {
        let body = b"preamble\r\n--e \t\r\ncontent-disposition:form-data; NAME=file; filename=\"a \\\"b\\\"; c.wav\"\r\n\r\n\r\n--e--";
        assert_eq!(found(body, "e").unwrap(), Some((vec![], Some("a \"b\"; c.wav".to_owned()))));
        let body = b"--e\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n--e\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nx\r\n--e--";
        assert_eq!(found(body, "e").unwrap(), Some((b"x".to_vec(), None)));
        assert_eq!(found(b"--e--", "e").unwrap(), None);
    }

    #[test]
    fn errors_are_sentences() {
        for (body, says) in [
            (&b""[..], "does not contain its boundary"),
            (b"--other\r\n", "does not contain its boundary"),
            (b"--edge", "not followed by a line break"),
            (b"--edge\r\nname", "do not end"),
            (b"--edge\r\nA: b\r\n\r\ncontent", "a field does not end"),
        ] {
            let sentence = found(body, "edge").unwrap_err();
            assert!(sentence.contains(says), "{sentence}");
        }
        assert!(found(&form(&vec![("x".to_owned(), None, vec![]); 65]), "edge").unwrap_err().contains("more than 64"));
    }

    #[test]
    fn the_boundary_may_be_quoted() {
        let of = |kind: &str| boundary(kind).map(|found| found.ok());
        assert_eq!(of("multipart/form-data; charset=x; boundary=--a"), Some(Some("--a".into())));
        assert_eq!(of("Multipart/Form-Data;boundary=\"a b\""), Some(Some("a b".into())));
        assert_eq!((of("multipart/form-data"), of("audio/wav; boundary=a")), (Some(None), None));
        assert_eq!(of(&format!("multipart/form-data; boundary={}", "a".repeat(71))), Some(None));
    }
}
