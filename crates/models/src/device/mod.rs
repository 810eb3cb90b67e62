//! Devices for networks: which exist, which one is used and why not a better one.
//!
//! The CPU (burn's `flex`) always works. `cuda` and `wgpu` are cargo features whose drivers are detected at run time. A missing
//! library, an error and a panic of a driver all become a sentence. A device works if a small sum is right on it: kernels are
//! compiled and run on threads of their library, and failures there can come back as zeros.

mod choice;
#[cfg(feature = "cuda")]
mod cuda;
mod driver_call;
mod failure;
#[cfg(feature = "wgpu")]
mod wgpu;

use std::fmt;

use anyhow::ensure;
use burn::tensor::{DType, Tensor};

use crate::hyperparameters::Precision;

pub use choice::{DeviceChoice, DeviceInventory, DeviceUnavailable, ProbedDevice, SelectedDevice, UnknownDevice};

pub use failure::DeviceFailure;
pub(crate) use failure::{guarded, read};

use driver_call::call_driver;

/// The precision of the factors of an f32 matrix product on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatmulPrecision {
    /// Full f32.
    F32,
    /// The device may round them to eleven significant bits.
    Tf32,
}

/// A device and its name.
#[derive(Clone, Debug)]
pub struct Device {
    burn: burn::tensor::Device,
    name: String,
    hardware: Option<String>,
}

impl Device {
    /// The CPU, which always exists.
    pub fn cpu() -> Device {
        Device { burn: burn::tensor::Device::flex(), name: "cpu".to_owned(), hardware: None }
    }

    /// burn's device for tensors; use its `.autodiff()` for training.
    pub fn burn(&self) -> burn::tensor::Device {
        self.burn.clone()
    }

    /// `cpu`, `cuda:0`, `wgpu:0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The manufacturer's name of a GPU; None for the CPU.
    pub fn hardware(&self) -> Option<&str> {
        self.hardware.as_deref()
    }

    pub fn is_cpu(&self) -> bool {
        self.name == "cpu"
    }

    /// The precision of the factors of a matrix product: `cuda` uses tensor cores that round them (TF32) where they are faster.
    pub fn precision(&self) -> MatmulPrecision {
        if self.name.starts_with(Backend::Cuda.name()) { MatmulPrecision::Tf32 } else { MatmulPrecision::F32 }
    }

    /// Fails if networks cannot be trained in this precision here.
    pub fn ensure_computes(&self, precision: Precision) -> anyhow::Result<()> {
        let is_possible = precision == Precision::F32 || self.is_cpu() || self.burn.supports_dtype(DType::BF16);
        ensure!(is_possible, "{} does not compute with bf16; write `precision = \"f32\"`", self.name);
        Ok(())
    }

    /// Computes a small sum and compares it.
    pub fn works(&self) -> Result<(), String> {
        let burn = self.burn();
        call_driver(move || {
            let sum = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &burn) * 3.0 + 0.5;
            let found: Vec<f32> =
                sum.try_into_vec_as().map_err(|error| failure::cause(&error.to_string()).to_owned())?;
            match found == [3.5, 6.5, 9.5, 12.5] {
                true => Ok(()),
                false => Err(format!("3 * [1, 2, 3, 4] + 0.5 gave {found:?}")),
            }
        })
    }
}

/// A GPU backend; each is a cargo feature with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Cuda,
    Wgpu,
}

impl Backend {
    /// In the order of preference.
    pub const ALL: [Backend; 2] = [Backend::Cuda, Backend::Wgpu];

    pub fn name(self) -> &'static str {
        match self {
            Backend::Cuda => "cuda",
            Backend::Wgpu => "wgpu",
        }
    }

    /// The reason for a backend that is not built in.
    fn not_built_in(self) -> String {
        format!("not built in; rebuild with `make … DEVICE={}`", self.name())
    }

    pub fn is_compiled_in(self) -> bool {
        match self {
            Backend::Cuda => cfg!(feature = "cuda"),
            Backend::Wgpu => cfg!(feature = "wgpu"),
        }
    }

    /// The devices in the order of their numbers, or why there is none.
    pub fn detect(self) -> Result<Vec<DetectedDevice>, String> {
        match self {
            #[cfg(feature = "cuda")]
            Backend::Cuda => call_driver(cuda::detect),
            #[cfg(feature = "wgpu")]
            Backend::Wgpu => call_driver(wgpu::detect),
            #[allow(unreachable_patterns)] // Unreachable if every backend is built in.
            left_out => Err(left_out.not_built_in()),
        }
    }
}

/// A device of a GPU backend, as its driver describes it.
#[derive(Clone, Debug)]
pub struct DetectedDevice {
    pub device: Device,
    pub driver: String,
    pub memory_bytes: Option<u64>,
    /// A CPU that emulates a GPU (llvmpipe, SwiftShader): useful for tests, slower than the CPU itself.
    pub is_software: bool,
}

/// `cuda:0 (NVIDIA H100, 79.6 GiB)`
impl fmt::Display for DetectedDevice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} ({}", self.device.name, self.device.hardware().unwrap_or("unnamed"))?;
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
    fn on_this_machine_every_backend_has_devices_or_a_reason() {
        for backend in Backend::ALL {
            match backend.detect() {
                Ok(found) => assert!(backend.is_compiled_in() && !found.is_empty(), "{found:?}"),
                Err(why) if backend.is_compiled_in() => assert!(!why.contains("not built in"), "{why}"),
                Err(why) => assert!(why.contains(&format!("DEVICE={}", backend.name())), "{why}"),
            }
        }
        let chosen = DeviceInventory::probe().choose(DeviceChoice::Auto).unwrap();
        assert_eq!(DeviceChoice::Auto.choose().unwrap().message, chosen.message);
        assert!(chosen.message.starts_with("using "), "{}", chosen.message);
        assert_eq!(chosen.device.works(), Ok(()));
    }
}
