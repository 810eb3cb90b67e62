//! Reads the weights of any file: tensors that the file can hold, or an error.
//!
//! The first byte of the input chooses between PyTorch's formats and safetensors.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use timbre_models::networks::pretrained;

fuzz_target!(|bytes: &[u8]| {
    let Some((first, bytes)) = bytes.split_first() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join(if first % 2 == 0 { "weights.pth" } else { "weights.safetensors" });
    fs::write(&path, bytes).expect("room");
    if let Ok(tensors) = pretrained::read(&path) {
        let numbers: usize = tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        // Half precision has two bytes per number.
        assert!(2 * numbers <= 16 * bytes.len(), "{numbers} numbers in {} bytes", bytes.len());
    }
});
