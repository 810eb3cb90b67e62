//! Calls a driver, which may panic or hang.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::failure::{self, short};

/// The first kernel of a process can take a driver some seconds; no working driver takes this long.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The name of the thread that calls the driver.
const THREAD: &str = "driver call";

/// One call at a time: the Vulkan loader crashes when instances are created and dropped on several threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The result of `call`, or a sentence about what went wrong. Panics of the driver print nothing; the sentence has them.
pub(super) fn call_driver<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    failure::record_panics();
    let result = call_with_timeout(call);
    // The first panic of a library's own thread is the cause; an error or a panic on this side is a consequence.
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(why)) | Err(why) => Err(failure::take_panic().map_or(short(&why), |message| panicked(&message))),
    }
}

fn panicked(message: &str) -> String {
    format!("its library panicked: {}", short(message))
}

/// The result, unless the driver hangs; then its thread is abandoned.
fn call_with_timeout<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<Result<T, String>, String> {
    let (sender, result) = mpsc::channel();
    let run = move || {
        failure::call_driver_on_this_thread();
        let result = panic::catch_unwind(AssertUnwindSafe(call));
        // After a timeout nobody receives the result.
        let _ = sender.send(result);
    };
    std::thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(run)
        .map_err(|error| format!("cannot start a thread to call it: {error}"))?;
    match result.recv_timeout(TIMEOUT) {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(RecvTimeoutError::Timeout) => Err(format!("it did not respond within {} seconds", TIMEOUT.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("it ended without a result".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_returned_and_an_error_is_cut_to_its_first_line() {
        assert_eq!(call_driver(|| Ok(7)), Ok(7));
        assert_eq!(call_driver(|| Err::<(), _>("\n  no driver \nbacktrace".to_owned())), Err("no driver".to_owned()));
    }

    #[test]
    fn a_panic_becomes_a_sentence() {
        let lost = || -> Result<(), String> { panic!("libcuda.so is {}", "missing") };
        assert_eq!(call_driver(lost), Err("its library panicked: libcuda.so is missing".to_owned()));
    }

    #[test]
    fn panics_of_other_threads_are_not_blamed_on_the_device() {
        let meanwhile = || {
            std::thread::spawn(|| panic!("of another thread")).join().map_err(|_| ()).unwrap_err();
            Err::<(), _>("no driver".to_owned())
        };
        assert_eq!(call_driver(meanwhile), Err("no driver".to_owned()));
    }
}
