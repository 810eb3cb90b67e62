//! Receives the recording of a request within limits on bytes, time, and the memory that all requests reserve.

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

/// How long the rest of a refused body is read and discarded: a browser that is cut off while sending shows no response.
const DISCARD_BODY: Duration = Duration::from_secs(5);
/// Bytes per permit of the reserved memory.
pub const MEMORY_UNIT: usize = 1 << 10;

/// A received recording, with its reservation of the shared memory.
pub struct Upload {
    body: Vec<u8>,
    recording: Range<usize>,
    extension: Option<String>,
    _reservation: MemoryReservation,
}

impl Upload {
    /// The bytes of the file and the extension of its name, if any.
    pub fn recording(&self) -> (&[u8], Option<&str>) {
        (&self.body[self.recording.clone()], self.extension.as_deref())
    }
}

/// Receives the body, or the field `file` of a form. With `form_only`, only a form is accepted.
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
        let detail = "a compressed body is not supported: send the recording as it is";
        return Err(refuse(unsupported(detail), headers, body).await);
    }
    let boundary = multipart::boundary(text(header::CONTENT_TYPE).unwrap_or_default());
    if form_only && boundary.is_none() {
        let detail = "send a form (multipart/form-data) with the recording in its field `file`";
        return Err(refuse(unsupported(detail), headers, body).await);
    }
    let mut reservation = MemoryReservation { memory: memory.clone(), permits: None };
    let received = match timeout(limits.body, read(&mut body, limits, &mut reservation)).await {
        Ok(received) => received,
        Err(_) => Err(Problem::too_slow()),
    };
    let body = match received {
        Ok(bytes) => bytes,
        Err(problem) if problem.precedes_body_end() => return Err(refuse(problem, headers, body).await),
        Err(problem) => return Err(problem),
    };
    let Some(boundary) = boundary else {
        return Ok(Upload { recording: 0..body.len(), body, extension: None, _reservation: reservation });
    };
    let boundary = boundary.map_err(|why| Problem::bad_form(&why))?;
    let found = multipart::find(&body, &boundary, "file").map_err(|why| Problem::bad_form(&why))?;
    let Some(field) = found else {
        let detail = "the form has no field `file`: send the recording in it";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_form", detail));
    };
    let extension =
        field.file_name.as_deref().and_then(|name| Path::new(name).extension()?.to_str()).map(str::to_owned);
    Ok(Upload { body, recording: field.content, extension, _reservation: reservation })
}

fn unsupported(detail: &str) -> Problem {
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_body", detail)
}

async fn read(body: &mut Body, limits: &Limits, reservation: &mut MemoryReservation) -> Result<Vec<u8>, Problem> {
    // Memory is reserved only for bytes that have arrived, never for a declared length.
    if body.size_hint().lower() > limits.bytes as u64 {
        return Err(Problem::too_large(limits.bytes));
    }
    let mut bytes = Vec::new();
    loop {
        match timeout(limits.pause, body.frame()).await {
            Err(_) => return Err(Problem::too_slow()),
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(_))) => {
                let detail = "the upload ended before the end of the recording: send it again";
                return Err(Problem::new(StatusCode::BAD_REQUEST, "broken_off", detail));
            }
            Ok(Some(Ok(frame))) => {
                let data = frame.into_data().unwrap_or_default();
                if bytes.len() + data.len() > limits.bytes {
                    return Err(Problem::too_large(limits.bytes));
                }
                if !reservation.grow(bytes.len() + data.len()) {
                    return Err(Problem::full());
                }
                bytes.extend_from_slice(&data);
            }
        }
    }
}

/// A part of the memory for bodies, released on drop.
struct MemoryReservation {
    memory: Arc<Semaphore>,
    permits: Option<OwnedSemaphorePermit>,
}

impl MemoryReservation {
    /// Grows the reservation to `bytes`; false if the memory is exhausted.
    fn grow(&mut self, bytes: usize) -> bool {
        let have = self.permits.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(MEMORY_UNIT).saturating_sub(have);
        let Ok(more) = self.memory.clone().try_acquire_many_owned(u32::try_from(more).unwrap_or(u32::MAX)) else {
            return false;
        };
        match &mut self.permits {
            Some(permits) => permits.merge(more),
            None => self.permits = Some(more),
        }
        true
    }
}

/// Discards the rest of the body of a refused request, unless the client waits for permission to send it
/// (`Expect: 100-continue`).
pub async fn refuse(problem: Problem, head: &HeaderMap, mut body: Body) -> Problem {
    if !head.contains_key(header::EXPECT) {
        let _ = timeout(DISCARD_BODY, async { while let Some(Ok(_)) = body.frame().await {} }).await;
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_share_the_memory_and_release_it() {
        let memory = Arc::new(Semaphore::new(10));
        let reserve = || MemoryReservation { memory: memory.clone(), permits: None };
        let (mut one, mut other) = (reserve(), reserve());
        assert!(one.grow(1) && one.grow(2) && one.grow(MEMORY_UNIT));
        assert_eq!(memory.available_permits(), 9, "small bodies round up to one unit");
        assert!(other.grow(9 * MEMORY_UNIT) && !one.grow(MEMORY_UNIT + 1) && !other.grow(10 * MEMORY_UNIT));
        drop(other);
        assert!(one.grow(10 * MEMORY_UNIT));
        drop(one);
        assert_eq!(memory.available_permits(), 10);
    }
}
