//! Failures of a GPU while a network runs on it become errors.
//!
//! burn queues its operations and reports a failure when values are read, or panics on the thread that queues or on one of its
//! own. [`read`] reads values, [`guarded`] runs work and turns both kinds of failure into a [`DeviceFailure`]. Panics of Timbre's
//! own code stay panics.

use std::cell::Cell;
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Mutex, Once, PoisonError};
use std::thread;

use anyhow::Result;
use burn::tensor::Tensor;

use super::Device;

/// The crates between a tensor and a GPU. A panic in one of them is a failure of the device.
const DEVICE_CRATES: [&str; 6] = ["burn-", "cubecl-", "cudarc-", "wgpu-", "naga-", "ash-"];

/// How out-of-memory errors are worded by cubecl, CUDA and Vulkan.
const OUT_OF_MEMORY: [&str; 5] =
    ["out of device memory", "out of memory", "out_of_memory", "allocate buffer of size", "can't allocate"];

/// The longest part of a panic message to show: enough to search for it.
const LONGEST: usize = 240;

/// The messages of panics of the device crates that are not reported yet.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// Whether this thread is within `call_driver`; then every panic is one of the driver.
    static CALLS_DRIVER: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is within [`guarded`].
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Whether code outside the device crates has panicked on this thread since [`guarded`] began.
    static OWN_PANIC: Cell<bool> = const { Cell::new(false) };
}

/// A GPU failed while a network ran on it.
#[derive(Debug)]
pub struct DeviceFailure {
    /// Name and hardware of the device.
    device: String,
    batch_size: usize,
    reason: String,
}

impl std::error::Error for DeviceFailure {}

impl fmt::Display for DeviceFailure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let DeviceFailure { device, batch_size, reason } = self;
        let lowercase = reason.to_lowercase();
        if OUT_OF_MEMORY.iter().any(|words| lowercase.contains(words)) {
            write!(f, "{device} has too little free memory for batches of {batch_size} clips ({reason}); ")?;
            return match batch_size / 2 {
                0 => write!(f, "--device cpu uses the memory of the machine"),
                half => write!(f, "try `batch_size = {half}`, or --device cpu"),
            };
        }
        write!(f, "{device} failed: {reason}; `timbre doctor` tests the devices, --device cpu always works")
    }
}

/// The payload of the panic with which [`read`] ends work on a device.
struct ReadFailed(String);

/// The values of a tensor, row-major. If the device has failed, the work that [`guarded`] runs ends here.
pub fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap_or_else(|error| panic::panic_any(ReadFailed(error.to_string())))
}

/// Runs work on a device, in batches of that size. Failures of a GPU become errors.
pub fn guarded<T>(device: &Device, batch_size: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if device.is_cpu() {
        return work();
    }
    record_panics();
    OWN_PANIC.set(false);
    let was_guarded = IS_GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    IS_GUARDED.set(was_guarded);
    let payload = match result {
        Ok(result) => return result,
        Err(payload) => payload,
    };
    // cubecl continues the panic of its own thread on this one. The first recorded panic is the cause; later ones are consequences.
    let first_panic = take_panic().filter(|_| !OWN_PANIC.get());
    let reason = match (payload.downcast::<ReadFailed>(), first_panic) {
        (Ok(failed), _) => failed.0,
        (Err(_), Some(message)) => message,
        (Err(other), None) => panic::resume_unwind(other),
    };
    let device = match device.hardware() {
        Some(hardware) => format!("{} ({hardware})", device.name()),
        None => device.name().to_owned(),
    };
    Err(DeviceFailure { device, batch_size, reason: short(cause(&reason)) }.into())
}

/// The first line that is not empty.
pub(super) fn short(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

/// The innermost cause in the text of an error of burn.
pub(super) fn cause(reason: &str) -> &str {
    let text = reason.split("Backtrace:").next().unwrap_or_default();
    text.rsplit("Caused by:").map(str::trim).find(|part| !part.is_empty()).unwrap_or(reason)
}

/// From now on, panics of the device crates are recorded. They are printed only on a thread of Timbre outside [`guarded`], where no error
/// follows them; `RUST_BACKTRACE` prints all.
pub(super) fn record_panics() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        let prints_all = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
        panic::set_hook(Box::new(move |panic| {
            let of_device = is_of_device(panic);
            OWN_PANIC.set(OWN_PANIC.get() || !of_device);
            if of_device && !panic.payload().is::<ReadFailed>() {
                let message = panic.payload_as_str().unwrap_or("it panicked without a message").to_owned();
                PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(message);
            }
            // cubecl names its threads `DS` and a number.
            let is_reported = IS_GUARDED.get()
                || CALLS_DRIVER.get()
                || thread::current().name().is_some_and(|name| name.starts_with("DS"));
            if !of_device || !is_reported || prints_all {
                before(panic);
            }
        }));
    });
}

fn is_of_device(panic: &PanicHookInfo) -> bool {
    let file = panic.location().map_or("", |location| location.file());
    CALLS_DRIVER.get() || panic.payload().is::<ReadFailed>() || is_device_crate(file)
}

/// Whether a source file belongs to one of [`DEVICE_CRATES`]; cargo keeps each in a folder named after it.
fn is_device_crate(file: &str) -> bool {
    file.split(['/', '\\']).any(|folder| DEVICE_CRATES.iter().any(|name| folder.starts_with(name)))
}

/// Marks this thread as one that calls a driver.
pub(super) fn call_driver_on_this_thread() {
    CALLS_DRIVER.set(true);
}

/// The first recorded panic. All are forgotten.
pub(super) fn take_panic() -> Option<String> {
    PANICS.lock().unwrap_or_else(PoisonError::into_inner).drain(..).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu() -> Device {
        Device { name: "cuda:0".to_owned(), hardware: Some("H100".to_owned()), ..Device::cpu() }
    }

    fn failure(work: impl FnOnce() -> Result<()>) -> String {
        guarded(&gpu(), 64, work).unwrap_err().to_string()
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "é".repeat(LONGEST + 5);
        assert_eq!(short(&long).chars().count(), LONGEST + 1);
        assert_eq!(short(""), "no message");
    }

    #[test]
    fn a_failed_read_becomes_a_sentence_with_its_innermost_cause() {
        let text = "An error happened during execution\nCaused by:\n  An error happened\nCaused by:\n  the stream is \
                    lost\nBacktrace:\nframe 1";
        assert_eq!(
            failure(|| panic::panic_any(ReadFailed(text.to_owned()))),
            "cuda:0 (H100) failed: the stream is lost; `timbre doctor` tests the devices, --device cpu always works"
        );
    }

    #[test]
    fn too_little_memory_names_a_batch_size_to_try() {
        let full = || -> Result<()> { panic::panic_any(ReadFailed("out of device memory allocating 8 bytes".into())) };
        let message = failure(full);
        assert!(message.contains("batches of 64 clips") && message.contains("`batch_size = 32`"), "{message}");
        let message = guarded(&gpu(), 1, full).unwrap_err().to_string();
        assert!(!message.contains("batch_size") && message.contains("--device cpu"), "{message}");
    }

    #[test]
    fn a_panic_of_timbres_own_code_stays_a_panic() {
        let bug = || -> Result<()> { panic!("index out of bounds") };
        let payload = panic::catch_unwind(|| guarded(&gpu(), 64, bug)).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"index out of bounds"));
        assert_eq!(guarded(&gpu(), 64, || Ok(7)).unwrap(), 7);
        assert_eq!(failure(|| anyhow::bail!("no labels")), "no labels");
    }

    #[test]
    fn panics_are_told_apart_by_the_crate_of_their_source_file() {
        for file in [
            "/home/a/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/cubecl-cuda-0.11.3/src/runtime.rs",
            r"C:\cargo\registry\src\index\burn-fusion-0.22.1\src\server.rs",
        ] {
            assert!(is_device_crate(file), "{file}");
        }
        for file in ["crates/models/src/training/learner.rs", "/rustc/1234/library/core/src/option.rs", "src/burn.rs"] {
            assert!(!is_device_crate(file), "{file}");
        }
    }
}
