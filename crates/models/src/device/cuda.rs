//! NVIDIA GPUs through CUDA. `cudarc` and `cubecl` open the CUDA libraries on demand and panic if one is missing, so each is
//! checked first.

use cudarc::driver::result::{self as driver, DriverError};
use cudarc::driver::sys;

use super::{DetectedDevice, Device};

pub(super) fn detect() -> Result<Vec<DetectedDevice>, String> {
    // SAFETY: opening NVIDIA's libraries runs their initializers, as in every program that links them.
    let (has_driver, has_compiler) = unsafe { (sys::is_culib_present(), cudarc::nvrtc::sys::is_culib_present()) };
    if !has_driver {
        return Err("libcuda is not found (it comes with NVIDIA's driver; a container needs `--gpus all`)".to_owned());
    }
    if !has_compiler {
        return Err(
            "libnvrtc is not found (it comes with the CUDA toolkit; LD_LIBRARY_PATH can name its folder)".to_owned()
        );
    }
    if cubecl_cuda::install::cuda_path().is_none() {
        return Err("the headers of the CUDA toolkit are not found (CUDA_PATH can name its folder)".to_owned());
    }
    driver::init().map_err(driver_error)?;
    let version = version().map_err(driver_error)?;
    let count = driver::device::get_count().map_err(driver_error)?;
    if count == 0 {
        return Err("the driver reports no GPU (CUDA_VISIBLE_DEVICES can hide one)".to_owned());
    }
    (0..count).map(|index| describe(index, &version).map_err(driver_error)).collect()
}

fn driver_error(error: DriverError) -> String {
    let words = error.error_string().ok().and_then(|words| words.to_str().ok());
    format!("the driver reports `{}`", words.unwrap_or("unknown error"))
}

/// The CUDA version that the driver supports, and on Linux the driver's own version.
fn version() -> Result<String, DriverError> {
    let mut version = 0;
    // SAFETY: the pointer is to a live integer.
    unsafe { sys::cuDriverGetVersion(&mut version).result()? };
    let cuda = format!("CUDA {}.{}", version / 1000, version % 1000 / 10);
    let module = std::fs::read_to_string("/sys/module/nvidia/version");
    Ok(module.map_or(cuda.clone(), |module| format!("NVIDIA {}, {cuda}", module.trim())))
}

fn describe(index: i32, driver: &str) -> Result<DetectedDevice, DriverError> {
    let handle = driver::device::get(index)?;
    // SAFETY: the handle comes from the driver.
    let memory = unsafe { driver::device::total_mem(handle)? };
    let device = Device {
        burn: burn::tensor::Device::cuda(index),
        name: format!("cuda:{index}"),
        hardware: Some(driver::device::get_name(handle)?),
    };
    Ok(DetectedDevice { device, driver: driver.to_owned(), memory_bytes: Some(memory as u64), is_software: false })
}
