//! The recording of a request, received within limits: of bytes, of time, and of the memory that all requests share.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Limits;
use super::multipart;
use super::problem::Problem;

/// How long the rest of a refused body is read and thrown away: a browser that is cut off while it sends shows no answer.
const HEAR_OUT: Duration = Duration::from_secs(5);
/// The memory that bodies share is counted in pieces of so many bytes.
pub const PIECE: usize = 1 << 10;

/// A recording that was sent, and its share of the memory.
pub struct Upload {
    body: Vec<u8>,
    recording: Range<usize>,
    extension: Option<String>,
    _share: Share,
}

impl Upload {
    /// The bytes of the file, and the extension of its name if it has one.
    pub fn recording(&self) -> (&[u8], Option<&str>) {
        (&self.body[self.recording.clone()], self.extension.as_deref())
    }
}

/// The body as a whole, or the field `file` of a form; with `form_only` nothing else than a form.
pub async fn receive(
    headers: &HeaderMap,
    mut body: Body,
    form_only: bool,
    limits: &Limits,
    memory: &Arc<Semaphore>,
) -> Result<Upload, Problem> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let encoding = text(header::CONTENT_ENCODING).unwrap_or("identity");
    if !encoding.eq_ignore_ascii_case("identity") {
        let detail = "a compressed body is not read here: send the recording as it is";
        return Err(refuse(unsupported(detail), headers, body).await);
    }
    let boundary = multipart::boundary(text(header::CONTENT_TYPE).unwrap_or_default());
    if form_only && boundary.is_none() {
        let detail = "send a form (multipart/form-data) with the recording in its field `file`";
        return Err(refuse(unsupported(detail), headers, body).await);
    }
    let mut share = Share { memory: memory.clone(), held: None };
    let received = match timeout(limits.body, read(&mut body, limits, &mut share)).await {
        Ok(received) => received,
        Err(_) => Err(Problem::too_slow()),
    };
    let body = match received {
        Ok(bytes) => bytes,
        Err(problem) if problem.comes_early() => return Err(refuse(problem, headers, body).await),
        Err(problem) => return Err(problem),
    };
    let Some(boundary) = boundary else {
        return Ok(Upload { recording: 0..body.len(), body, extension: None, _share: share });
    };
    let boundary = boundary.map_err(|why| Problem::bad_form(&why))?;
    let found = multipart::find(&body, &boundary, "file").map_err(|why| Problem::bad_form(&why))?;
    let Some(field) = found else {
        let detail = "the form has no field `file`: send the recording in it";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_form", detail));
    };
    let extension =
        field.file_name.as_deref().and_then(|name| Path::new(name).extension()?.to_str()).map(str::to_owned);
    Ok(Upload { body, recording: field.content, extension, _share: share })
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_body", detail)
}

async fn read(body: &mut Body, limits: &Limits, share: &mut Share) -> Result<Vec<u8>, Problem> {
    // No memory is set aside for what a head promises: only for what has come.
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(Problem::too_large(limits.bytes));
    }
    let mut bytes = Vec::new();
    loop {
        match timeout(limits.pause, body.frame()).await {
            Err(_) => return Err(Problem::too_slow()),
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(_))) => {
                let detail = "the recording broke off before its end: send it again";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "broken_off", detail));
            }
            Ok(Some(Ok(frame))) => {
                let piece = frame.into_data().unwrap_or_default();
                if bytes.len() + piece.len() > limits.bytes {
                    return Err(Problem::too_large(limits.bytes));
                }
                if !share.grow(bytes.len() + piece.len()) {
                    return Err(Problem::full());
                }
                bytes.extend_from_slice(&piece);
            }
        }
    }
}

/// A part of the memory for bodies, given back when it is dropped.
struct Share {
    memory: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// False if there is no more.
    fn grow(&mut self, bytes: usize) -> bool {
        let have = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(PIECE).saturating_sub(have);
        let Ok(got) = self.memory.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) else {
            return false;
        };
        match &mut self.held {
            Some(held) => held.merge(got),
            None => self.held = Some(got),
        }
        true
    }
}

/// Hears a refused client out, unless it has asked before it sends (`Expect: 100-continue`).
pub async fn refuse(problem: Problem, head: &HeaderMap, mut body: Body) -> Problem {
    if !head.contains_key(header::EXPECT) {
        let _ = timeout(HEAR_OUT, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_memory_and_give_it_back() {
        let memory = Arc::new(Semaphore::new(10));
        let share = || Share { memory: memory.clone(), held: None };
        let (mut one, mut other) = (share(), share());
        assert!(one.grow(1) && one.grow(2) && one.grow(PIECE));
        assert_eq!(memory.available_permits(), 9, "small pieces count by their bytes");
        assert!(other.grow(9 * PIECE) && !one.grow(PIECE + 1) && !other.grow(10 * PIECE));
        drop(other);
        assert!(one.grow(10 * PIECE));
        drop(one);
        assert_eq!(memory.available_permits(), 10);
    }
}
