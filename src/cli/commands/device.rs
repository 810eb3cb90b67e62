//! The device of the networks of an experiment.

use timbre_core::progress::Printer;
use timbre_experiment::{ExpandedGrid, Experiment};
use timbre_models::device::{Device, DeviceChoice, DeviceUnavailable};

pub(super) fn first_rounds(expanded: &ExpandedGrid) -> impl Iterator<Item = &Experiment> {
    expanded.points.iter().map(|point| &point.rounds[0].experiment)
}

/// The device for the networks of one or more experiments. Without networks no device is opened, unless a GPU is requested by
/// name: it must exist then.
pub(super) fn choose<'a>(
    mut experiments: impl Iterator<Item = &'a Experiment>,
    device: DeviceChoice,
    printer: Printer,
) -> Result<Device, DeviceUnavailable> {
    let is_network = |experiment: &Experiment| experiment.models.values().any(|spec| spec.as_network().is_some());
    let has_networks = experiments.any(is_network);
    let is_named = matches!(device, DeviceChoice::Gpu(..));
    if !has_networks && !is_named {
        return Ok(Device::cpu());
    }
    let chosen = device.choose()?;
    if has_networks {
        printer.message(&chosen.message);
    } else {
        printer.message(&format!("no model is a network: all models use the CPU, not {device}"));
    }
    Ok(chosen.device)
}
