//! GPUs of any manufacturer through wgpu: Vulkan, OpenGL where Vulkan finds none, Metal on a Mac.

use burn::tensor::DeviceType;
use wgpu::{AdapterInfo, Instance, InstanceDescriptor};

use super::{DetectedDevice, Device};

pub(super) fn detect() -> Result<Vec<DetectedDevice>, String> {
    let adapters = adapters()?;
    if adapters.is_empty() {
        return Err(
            "neither Vulkan nor OpenGL has a driver (on Debian install libvulkan1 and mesa-vulkan-drivers, or the GPU's \
                    own)"
                .to_owned(),
        );
    }
    let devices: Vec<burn::tensor::Device> = burn::tensor::Device::enumerate(DeviceType::Wgpu).into_iter().collect();
    if devices.len() != adapters.len() {
        return Err(format!("its drivers reported {} devices and then {}", adapters.len(), devices.len()));
    }
    let found = adapters.into_iter().zip(devices).enumerate();
    Ok(found.map(|(index, (adapter, burn))| describe(index, adapter, burn)).collect())
}

/// The adapters in the order in which burn numbers its devices: those of the first interface that finds a GPU, otherwise of the
/// first that finds anything. Of several software renderers burn can address only the first.
fn adapters() -> Result<Vec<AdapterInfo>, String> {
    let interfaces: &[wgpu::Backend] = match cfg!(target_os = "macos") {
        true => &[wgpu::Backend::Metal],
        false => &[wgpu::Backend::Vulkan, wgpu::Backend::Dx12, wgpu::Backend::Gl],
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| format!("cannot start a runtime to query it: {error}"))?;
    let is_cpu = |adapter: &AdapterInfo| adapter.device_type == wgpu::DeviceType::Cpu;
    let mut only_software = Vec::new();
    for &interface in interfaces {
        let descriptor =
            InstanceDescriptor { backends: interface.into(), ..InstanceDescriptor::new_without_display_handle() };
        let instance = Instance::new(descriptor);
        let adapters = runtime.block_on(instance.enumerate_adapters(interface.into()));
        let mut adapters: Vec<AdapterInfo> = adapters.iter().map(wgpu::Adapter::get_info).collect();
        if adapters.iter().any(|adapter| !is_cpu(adapter)) {
            let mut renderers = 0;
            adapters.retain(|adapter| {
                renderers += usize::from(is_cpu(adapter));
                !is_cpu(adapter) || renderers == 1
            });
            return Ok(adapters);
        }
        if only_software.is_empty() {
            adapters.truncate(1);
            only_software = adapters;
        }
    }
    Ok(only_software)
}

fn describe(index: usize, adapter: AdapterInfo, burn: burn::tensor::Device) -> DetectedDevice {
    let is_software = adapter.device_type == wgpu::DeviceType::Cpu || renders_in_software(&adapter.name);
    let driver = [adapter.backend.to_string(), adapter.driver, adapter.driver_info];
    let driver: Vec<String> = driver.into_iter().filter(|word| !word.is_empty()).collect();
    let device = Device { burn, name: format!("wgpu:{index}"), hardware: Some(adapter.name) };
    DetectedDevice { device, driver: driver.join(", "), memory_bytes: None, is_software }
}

/// Some drivers do not report that they run on the CPU, but their names show it.
fn renders_in_software(name: &str) -> bool {
    let name = name.to_lowercase();
    ["llvmpipe", "lavapipe", "softpipe", "swiftshader", "basic render"].iter().any(|known| name.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_renderers_are_recognized_by_their_names() {
        for name in
            ["llvmpipe (LLVM 15.0.6, 256 bits)", "SwiftShader Device (LLVM 10.0.0)", "Microsoft Basic Render Driver"]
        {
            assert!(renders_in_software(name), "{name}");
        }
        for name in ["NVIDIA H100 80GB HBM3", "AMD Radeon RX 7900 XTX (RADV NAVI31)", "Intel(R) Iris(R) Xe Graphics"] {
            assert!(!renders_in_software(name), "{name}");
        }
    }

    #[test]
    fn devices_are_numbered_in_order_or_there_is_a_reason() {
        match super::super::Backend::Wgpu.detect() {
            Ok(found) => {
                for (index, found) in found.iter().enumerate() {
                    assert_eq!(found.device.name(), format!("wgpu:{index}"));
                    assert!(found.device.hardware().is_some() && !found.driver.is_empty(), "{found:?}");
                }
            }
            Err(why) => assert!(why.contains("driver"), "{why}"),
        }
    }
}
