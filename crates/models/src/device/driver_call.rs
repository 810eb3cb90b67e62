//! Questions to drivers, which may answer with a panic, or not at all.

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The first kernel of a process can take a driver some seconds; nothing that works takes this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// The thread that asks.
const THREAD: &str = "device question";
/// Of a panic's message: enough to search for it.
const LONGEST: usize = 240;

/// One question at a time: the Vulkan loader crashes when instances come and go on several threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The answer, or a sentence about what went wrong. While it waits, panics print nothing: they are what the sentence tells.
pub(super) fn call_driver<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let first_panic = Arc::new(Mutex::new(None));
    let heard = Arc::clone(&first_panic);
    let before = Arc::new(panic::take_hook());
    let elsewhere = Arc::clone(&before);
    panic::set_hook(Box::new(move |panic| {
        if !is_of_a_device() {
            return elsewhere(panic);
        }
        // What a library's own thread says first is the cause; what comes of it on this side is not.
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get_or_insert_with(|| short(panic.payload_as_str().unwrap_or("it panicked without a word")));
    }));
    let answer = answer_in_time(question);
    drop(panic::take_hook());
    panic::set_hook(Arc::try_unwrap(before).unwrap_or_else(|in_use| Box::new(move |panic| in_use(panic))));
    let first_panic = first_panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    match answer {
        Ok(answer) => answer.map_err(|why| first_panic.map_or(short(&why), broken)),
        Err(why) => Err(first_panic.map_or(why, broken)),
    }
}

/// Threads of the program itself have other names, but for rayon's, which rest meanwhile; cubecl names its own DS and a number,
/// or not at all.
fn is_of_a_device() -> bool {
    std::thread::current().name().is_none_or(|name| name == THREAD || name.starts_with("DS"))
}

fn broken(message: String) -> String {
    format!("its library broke off: {message}")
}

/// The answer, if there is one: a driver that hangs is left behind with its thread.
fn answer_in_time<T: Send + 'static>(
    question: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<Result<T, String>, String> {
    let (sender, answer) = mpsc::channel();
    let ask = move || {
        let answer = panic::catch_unwind(AssertUnwindSafe(question));
        // Nobody listens any more once patience has run out.
        let _ = sender.send(answer);
    };
    std::thread::Builder::new()
        .name(THREAD.to_owned())
        .spawn(ask)
        .map_err(|error| format!("no thread could be started to ask it: {error}"))?;
    match answer.recv_timeout(PATIENCE) {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err("it panicked".to_owned()),
        Err(RecvTimeoutError::Timeout) => Err(format!("it did not answer within {} seconds", PATIENCE.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("it ended without an answer".to_owned()),
    }
}

/// The first line that says something.
fn short(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_comes_back_and_an_error_is_its_first_line() {
        assert_eq!(call_driver(|| Ok(7)), Ok(7));
        assert_eq!(call_driver(|| Err::<(), _>("\n  no driver \nbacktrace".to_owned())), Err("no driver".to_owned()));
    }

    #[test]
    fn a_panic_is_a_sentence_also_when_a_thread_of_the_library_panicked_first() {
        let lost = || -> Result<(), String> { panic!("libcuda.so is {}", "missing") };
        assert_eq!(call_driver(lost), Err(broken("libcuda.so is missing".to_owned())));
        let second_hand = || -> Result<(), String> {
            std::thread::spawn(|| panic!("no compiler")).join().map_err(|_| ()).expect("the kernel was compiled");
            Ok(())
        };
        assert_eq!(call_driver(second_hand), Err(broken("no compiler".to_owned())));
    }

    #[test]
    fn other_threads_still_panic_aloud_and_are_not_blamed_on_the_device() {
        let meanwhile = || {
            let other = std::thread::Builder::new().name("other".to_owned()).spawn(|| panic!("of another thread"));
            other.unwrap().join().map_err(|_| ()).unwrap_err();
            Err::<(), _>("no driver".to_owned())
        };
        assert_eq!(call_driver(meanwhile), Err("no driver".to_owned()));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "é".repeat(LONGEST + 5);
        assert_eq!(short(&long).chars().count(), LONGEST + 1);
        assert_eq!(short(""), "it said nothing");
    }
}
