//! What networks compute on: what a person asks for, what there is, what is taken and why nothing else.
//!
//! The CPU (burn's `flex`) is always there; `cuda` and `wgpu` are cargo features, and their drivers are looked for when the
//! program runs. Whatever a driver does when it is asked ends here: a missing library, an error and a panic become a sentence.
//! A device works when a small sum comes out right on it: kernels are compiled and run on threads of their library, and what
//! goes wrong there can come back as zeros.

mod driver_call;
mod choice;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "wgpu")]
mod wgpu;

use std::fmt;

use burn::tensor::Tensor;

use crate::training::device_mel::MatmulPrecision;

pub use choice::{DeviceChoice, DeviceInventory, DeviceUnavailable, ProbedDevice, SelectedDevice, UnknownDevice};

use driver_call::call_driver;

/// A device by the name that people give it.
#[derive(Clone, Debug)]
pub struct Device {
    burn: burn::tensor::Device,
    name: String,
    hardware: Option<String>,
}

impl Device {
    /// The CPU: always there.
    pub fn cpu() -> Device {
        Device { burn: burn::tensor::Device::flex(), name: "cpu".to_owned(), hardware: None }
    }

    /// For tensors; `.autodiff()` of it for training.
    pub fn burn(&self) -> burn::tensor::Device {
        self.burn.clone()
    }

    /// `cpu`, `cuda:0`, `wgpu:0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the maker calls a GPU; nothing for the CPU.
    pub fn hardware(&self) -> Option<&str> {
        self.hardware.as_deref()
    }

    pub fn is_cpu(&self) -> bool {
        self.name == "cpu"
    }

    /// What becomes of the factors of a matrix product: `cuda` takes matrix units that round them (TF32) where they are faster.
    pub fn precision(&self) -> MatmulPrecision {
        if self.name.starts_with(Backend::Cuda.name()) { MatmulPrecision::Tf32 } else { MatmulPrecision::F32 }
    }

    /// Whether a small sum comes out right.
    pub fn works(&self) -> Result<(), String> {
        let burn = self.burn();
        call_driver(move || {
            let sum = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &burn) * 3.0 + 0.5;
            let found: Vec<f32> = sum.try_into_vec_as().map_err(|error| error.to_string())?;
            match found == [3.5, 6.5, 9.5, 12.5] {
                true => Ok(()),
                false => Err(format!("three times 1, 2, 3, 4, and a half, came out as {found:?}")),
            }
        })
    }
}

/// A kind of GPU program: each is a cargo feature of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Cuda,
    Wgpu,
}

impl Backend {
    /// The better one first.
    pub const ALL: [Backend; 2] = [Backend::Cuda, Backend::Wgpu];

    pub fn name(self) -> &'static str {
        match self {
            Backend::Cuda => "cuda",
            Backend::Wgpu => "wgpu",
        }
    }

    pub fn is_compiled_in(self) -> bool {
        match self {
            Backend::Cuda => cfg!(feature = "cuda"),
            Backend::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// The devices that there are, in the order of their numbers; or why there is none.
    pub fn detect(self) -> Result<Vec<DetectedDevice>, String> {
        match self {
            #[cfg(feature = "cuda")]
            Backend::Cuda => call_driver(cuda::detect),
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => call_driver(wgpu::detect),
            #[allow(unreachable_patterns)] // Not reached where every backend is compiled in.
            left_out => {
                Err(format!("this program was built without it (make … DEVICE={} builds it in)", left_out.name()))
            }
        }
    }
}

/// A device of a GPU backend, as its driver describes it.
#[derive(Clone, Debug)]
pub struct DetectedDevice {
    pub device: Device,
    pub driver: String,
    pub memory_bytes: Option<u64>,
    /// A CPU that plays a GPU (llvmpipe, SwiftShader): for tests, slower than the CPU itself.
    pub is_software: bool,
}

/// `cuda:0 (NVIDIA H100, 79.6 GiB)`
impl fmt::Display for DetectedDevice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({}", self.device.name, self.device.hardware().unwrap_or("nameless"))?;
        if let Some(bytes) = self.memory_bytes {
            write!(f, ", {:.1} GiB", bytes as f64 / f64::from(1 << 30))?;
        }
        write!(f, ")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_this_machine_every_backend_answers_with_devices_or_a_sentence() {
        for backend in Backend::ALL {
            match backend.detect() {
                Ok(found) => assert!(backend.is_compiled_in() && !found.is_empty(), "{found:?}"),
                Err(why) if backend.is_compiled_in() => assert!(!why.contains("built without"), "{why}"),
                Err(why) => assert!(why.contains(&format!("DEVICE={}", backend.name())), "{why}"),
            }
        }
        let chosen = DeviceInventory::probe().choose(DeviceChoice::Auto).unwrap();
        assert_eq!(DeviceChoice::Auto.choose().unwrap().message, chosen.message);
        assert!(chosen.message.starts_with("computing on"), "{}", chosen.message);
        assert_eq!(chosen.device.works(), Ok(()));
    }
}
