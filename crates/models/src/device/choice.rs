//! Chooses a device: from the user's choice and the detected devices, so that every case can be tested without them.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Backend, DetectedDevice, Device};

/// The device that the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first GPU that works and is no software renderer, otherwise the CPU.
    #[default]
    Auto,
    Cpu,
    /// A GPU backend and a device number; without a number the first device that works.
    Gpu(Backend, Option<usize>),
}

/// The argument of `--device` is not a device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not a device: write auto, cpu, cuda, wgpu, or one GPU by its number, such as cuda:1 or wgpu:0")]
pub struct UnknownDevice(String);

impl FromStr for DeviceChoice {
    type Err = UnknownDevice;

    fn from_str(word: &str) -> Result<DeviceChoice, UnknownDevice> {
        let unknown = || UnknownDevice(word.to_owned());
        let (name, number) = match word.split_once(':') {
            Some((name, number)) => (name, Some(number.parse().map_err(|_| unknown())?)),
            None => (word, None),
        };
        match (name, number) {
            ("auto", None) => Ok(DeviceChoice::Auto),
            ("cpu", None) => Ok(DeviceChoice::Cpu),
            _ => match Backend::ALL.into_iter().find(|backend| backend.name() == name) {
                Some(backend) => Ok(DeviceChoice::Gpu(backend, number)),
                None => Err(unknown()),
            },
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            DeviceChoice::Auto => write!(f, "auto"),
            DeviceChoice::Cpu => write!(f, "cpu"),
            DeviceChoice::Gpu(backend, None) => write!(f, "{}", backend.name()),
            DeviceChoice::Gpu(backend, Some(number)) => write!(f, "{}:{number}", backend.name()),
        }
    }
}

/// The requested device is missing or does not work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("device {choice} is unavailable: {why}; `timbre doctor` lists the devices, --device cpu always works")]
pub struct DeviceUnavailable {
    pub choice: DeviceChoice,
    pub why: String,
}

/// The chosen device, and a message that says why.
#[derive(Clone, Debug)]
pub struct SelectedDevice {
    pub device: Device,
    pub message: String,
}

impl DeviceChoice {
    /// Detects devices and tests them. Opening a GPU takes about a second.
    pub fn choose(self) -> Result<SelectedDevice, DeviceUnavailable> {
        self.choose_among(&Backend::detect, &|found| found.device.works())
    }

    fn choose_among(self, look: &Look, works: &Works) -> Result<SelectedDevice, DeviceUnavailable> {
        match self {
            DeviceChoice::Cpu => {
                Ok(SelectedDevice { device: Device::cpu(), message: "using the CPU, as requested".to_owned() })
            }
            DeviceChoice::Gpu(backend, number) => {
                let found =
                    requested(backend, number, look, works).map_err(|why| DeviceUnavailable { choice: self, why })?;
                // llvmpipe ends every loop of a shader after 65,535 rounds: see docs/devices.md.
                let remark = if found.is_software {
                    ": a software renderer, for tests: slower than --device cpu, and sums of more than 262,140 values are wrong"
                } else {
                    ""
                };
                Ok(SelectedDevice { message: format!("using {found}{remark}"), device: found.device })
            }
            DeviceChoice::Auto => {
                let mut missed = Vec::new();
                for backend in Backend::ALL {
                    match first_real(backend, look, works) {
                        Ok(found) => {
                            let message = format!("using {found}{}", reasons(&missed));
                            return Ok(SelectedDevice { device: found.device, message });
                        }
                        Err(why) => missed.push(why),
                    }
                }
                Ok(SelectedDevice { device: Device::cpu(), message: format!("using the CPU{}", reasons(&missed)) })
            }
        }
    }
}

/// All GPUs, each of them tested.
pub struct DeviceInventory {
    pub backends: Vec<(Backend, Result<Vec<ProbedDevice>, String>)>,
}

/// A device, and the result of its test.
pub struct ProbedDevice {
    pub found: DetectedDevice,
    pub works: Result<(), String>,
}

impl DeviceInventory {
    pub fn probe() -> DeviceInventory {
        let tried = |found: DetectedDevice| ProbedDevice { works: found.device.works(), found };
        let look = |backend: Backend| (backend, backend.detect().map(|all| all.into_iter().map(tried).collect()));
        DeviceInventory { backends: Backend::ALL.map(look).into() }
    }

    /// The device for that choice, from this inventory.
    pub fn choose(&self, choice: DeviceChoice) -> Result<SelectedDevice, DeviceUnavailable> {
        let of =
            |backend: Backend| &self.backends.iter().find(|(b, _)| *b == backend).expect("every backend was probed").1;
        let look = |backend| {
            of(backend).as_ref().map(|all| all.iter().map(|t| t.found.clone()).collect()).map_err(Clone::clone)
        };
        let works = |found: &DetectedDevice| {
            let tried = self.backends.iter().flat_map(|(_, all)| all.iter().flatten());
            tried.filter(|t| t.found.device.name == found.device.name).map(|t| t.works.clone()).next().unwrap_or(Ok(()))
        };
        choice.choose_among(&look, &works)
    }
}

type Look<'a> = dyn Fn(Backend) -> Result<Vec<DetectedDevice>, String> + 'a;
type Works<'a> = dyn Fn(&DetectedDevice) -> Result<(), String> + 'a;

/// Why a better device was not chosen. Backends that are not built in share one phrase.
fn reasons(missed: &[String]) -> String {
    let is_left_out = |backend: &Backend| missed.contains(&backend.not_built_in());
    let left_out: Vec<&str> = Backend::ALL.into_iter().filter(is_left_out).map(Backend::name).collect();
    let is_other = |why: &&String| Backend::ALL.iter().all(|backend| **why != backend.not_built_in());
    let mut reasons: Vec<String> = missed.iter().filter(is_other).cloned().collect();
    if !left_out.is_empty() {
        reasons.push(format!("built without {}", left_out.join(", ")));
    }
    if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join("; ")) }
}

/// The first GPU of a backend that works and is no software renderer.
fn first_real(backend: Backend, look: &Look, works: &Works) -> Result<DetectedDevice, String> {
    let named = |why| if why == backend.not_built_in() { why } else { format!("{}: {why}", backend.name()) };
    let all = look(backend).map_err(named)?;
    let real: Vec<&DetectedDevice> = all.iter().filter(|found| !found.is_software).collect();
    match all.first() {
        Some(renderer) if real.is_empty() => Err(format!("{renderer} is only a software renderer")),
        _ => first_working(&real, works),
    }
}

/// The device for `cuda` or `cuda:1`. Without a number a software renderer is used if there is no other device.
fn requested(backend: Backend, number: Option<usize>, look: &Look, works: &Works) -> Result<DetectedDevice, String> {
    let all = look(backend)?;
    match number {
        Some(number) => match all.get(number) {
            Some(found) => first_working(&[found], works),
            None => {
                let names: Vec<String> = all.iter().map(DetectedDevice::to_string).collect();
                Err(format!("only {} exist", names.join(" and ")))
            }
        },
        None => {
            let (software, real): (Vec<&DetectedDevice>, Vec<&DetectedDevice>) =
                all.iter().partition(|found| found.is_software);
            first_working(&[real, software].concat(), works)
        }
    }
}

fn first_working(found: &[&DetectedDevice], works: &Works) -> Result<DetectedDevice, String> {
    let mut failures = Vec::new();
    for &candidate in found {
        match works(candidate) {
            Ok(()) => return Ok(candidate.clone()),
            Err(why) => failures.push(format!("{candidate} does not work ({why})")),
        }
    }
    Err(failures.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, hardware: &str, is_software: bool) -> DetectedDevice {
        let device = Device { name: name.to_owned(), hardware: Some(hardware.to_owned()), ..Device::cpu() };
        DetectedDevice { device, driver: "1.0".to_owned(), memory_bytes: Some(3 << 30), is_software }
    }

    /// A machine with these CUDA and wgpu devices, of which the ones in `broken` fail their test.
    fn choose(
        choice: &str,
        cuda: Result<&[DetectedDevice], &str>,
        wgpu: Result<&[DetectedDevice], &str>,
        broken: &[&str],
    ) -> Result<(String, String), String> {
        let look = |backend| match backend {
            Backend::Cuda => cuda.map(<[DetectedDevice]>::to_vec).map_err(str::to_owned),
            Backend::Wgpu => wgpu.map(<[DetectedDevice]>::to_vec).map_err(str::to_owned),
        };
        let works = |found: &DetectedDevice| match broken.contains(&found.device.name()) {
            true => Err("out of order".to_owned()),
            false => Ok(()),
        };
        let chosen = choice.parse::<DeviceChoice>().unwrap().choose_among(&look, &works);
        chosen.map(|chosen| (chosen.device.name, chosen.message)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_choice_is_parsed_and_displayed_as_the_same_word() {
        for word in ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "wgpu", "wgpu:3"] {
            assert_eq!(word.parse::<DeviceChoice>().unwrap().to_string(), word);
        }
        assert_eq!("wgpu:1".parse(), Ok(DeviceChoice::Gpu(Backend::Wgpu, Some(1))));
        assert_eq!(DeviceChoice::default(), DeviceChoice::Auto);
    }

    #[test]
    fn any_other_word_is_refused_with_the_valid_ones() {
        for word in ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "cuda:0:1", "mps"] {
            let error = word.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{word}`")) && error.contains("cuda:1"), "{error}");
        }
    }

    #[test]
    fn auto_takes_the_first_real_gpu_that_works() {
        let (cuda, wgpu) = ([gpu("cuda:0", "A", false), gpu("cuda:1", "B", false)], [gpu("wgpu:0", "C", false)]);
        let (name, message) = choose("auto", Ok(&cuda), Ok(&wgpu), &[]).unwrap();
        assert_eq!((name.as_str(), message.as_str()), ("cuda:0", "using cuda:0 (A, 3.0 GiB)"));
        assert_eq!(choose("auto", Ok(&cuda), Ok(&wgpu), &["cuda:0"]).unwrap().0, "cuda:1");
        let (name, message) = choose("auto", Ok(&cuda), Ok(&wgpu), &["cuda:0", "cuda:1"]).unwrap();
        assert_eq!(name, "wgpu:0");
        assert!(message.contains("cuda:1 (B, 3.0 GiB) does not work (out of order)"), "{message}");
    }

    #[test]
    fn auto_never_takes_a_software_renderer_and_explains_why_it_uses_the_cpu() {
        let wgpu = [gpu("wgpu:0", "llvmpipe", true)];
        let (name, message) = choose("auto", Err("libcuda is not found"), Ok(&wgpu), &[]).unwrap();
        assert_eq!(name, "cpu");
        assert_eq!(
            message,
            "using the CPU (cuda: libcuda is not found; wgpu:0 (llvmpipe, 3.0 GiB) is only a software renderer)"
        );
        let both = [gpu("wgpu:0", "llvmpipe", true), gpu("wgpu:1", "C", false)];
        assert_eq!(choose("auto", Err("-"), Ok(&both), &[]).unwrap().0, "wgpu:1");
    }

    #[test]
    fn a_named_gpu_is_used_or_the_error_lists_the_devices() {
        let cuda = [gpu("cuda:0", "A", false), gpu("cuda:1", "B", false)];
        let wgpu = [gpu("wgpu:0", "llvmpipe", true), gpu("wgpu:1", "C", false)];
        assert_eq!(choose("cuda:1", Ok(&cuda), Ok(&wgpu), &[]).unwrap().0, "cuda:1");
        assert_eq!(choose("wgpu", Ok(&cuda), Ok(&wgpu), &[]).unwrap().0, "wgpu:1");
        let (name, message) = choose("wgpu", Ok(&cuda), Ok(&wgpu), &["wgpu:1"]).unwrap();
        assert!(name == "wgpu:0" && message.contains("software"), "{message}");
        let error = choose("cuda:2", Ok(&cuda), Ok(&wgpu), &[]).unwrap_err();
        assert!(error.starts_with("device cuda:2 is unavailable: only cuda:0 (A, 3.0 GiB) and cuda:1"), "{error}");
        let error = choose("cuda:0", Ok(&cuda), Ok(&wgpu), &["cuda:0"]).unwrap_err();
        assert!(error.contains("cuda:0 (A, 3.0 GiB) does not work (out of order)"), "{error}");
        let error = choose("cuda", Err("libcuda is not found"), Ok(&wgpu), &[]).unwrap_err();
        assert!(error.starts_with("device cuda is unavailable: libcuda is not found; `timbre doctor`"), "{error}");
    }

    #[test]
    fn the_cpu_always_works_and_needs_no_detection() {
        let chosen =
            DeviceChoice::Cpu.choose_among(&|_| panic!("no detection is needed"), &|_| panic!("no test is needed"));
        assert!(chosen.unwrap().device.is_cpu());
        assert_eq!(Device::cpu().works(), Ok(()));
    }
}
