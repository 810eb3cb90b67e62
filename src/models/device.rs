//! What networks compute on.

/// A device by the name that people give it.
#[derive(Clone, Debug)]
pub struct Device {
    burn: burn::tensor::Device,
    name: String,
}

impl Device {
    /// The CPU: always there.
    pub fn cpu() -> Device {
        Device { burn: burn::tensor::Device::flex(), name: "cpu".to_owned() }
    }

    /// For tensors; `.autodiff()` of it for training.
    pub fn burn(&self) -> burn::tensor::Device {
        self.burn.clone()
    }

    /// `cpu`, `cuda:0`, `wgpu:0`.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn is_cpu(&self) -> bool {
        self.name == "cpu"
    }
}
