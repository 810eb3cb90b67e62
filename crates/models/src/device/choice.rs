//! What a person asks for, and what is taken: decided from what was found, so that every case can be tested without it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::{Backend, DetectedDevice, Device};

/// What a person asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The first real GPU that works, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// Without a number: the first that works.
    Gpu(Backend, Option<usize>),
}

/// The word after `--device` names no device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` names no device: write auto, cpu, cuda, wgpu, or one GPU by its number, such as cuda:1 or wgpu:0")]
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

/// What was asked for by name is not there, or does not work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot compute on {choice}: {why}; `timbre doctor` lists the devices, --device cpu is always there")]
pub struct DeviceUnavailable {
    pub choice: DeviceChoice,
    pub why: String,
}

/// What is computed on, and a sentence that says why.
#[derive(Clone, Debug)]
pub struct SelectedDevice {
    pub device: Device,
    pub message: String,
}

impl DeviceChoice {
    /// Looks at what there is and tries it out: opens a GPU, which takes a second.
    pub fn choose(self) -> Result<SelectedDevice, DeviceUnavailable> {
        self.choose_among(&Backend::detect, &|found| found.device.works())
    }

    fn choose_among(self, look: &Look, works: &Works) -> Result<SelectedDevice, DeviceUnavailable> {
        match self {
            DeviceChoice::Cpu => {
                Ok(SelectedDevice { device: Device::cpu(), message: "computing on the CPU, as asked".to_owned() })
            }
            DeviceChoice::Gpu(backend, number) => {
                let found =
                    asked_for(backend, number, look, works).map_err(|why| DeviceUnavailable { choice: self, why })?;
                let remark = if found.is_software { ": a software renderer, slower than --device cpu" } else { "" };
                Ok(SelectedDevice { message: format!("computing on {found}{remark}"), device: found.device })
            }
            DeviceChoice::Auto => {
                let mut missed = Vec::new();
                for backend in Backend::ALL {
                    match first_real(backend, look, works) {
                        Ok(found) => {
                            let sentence = format!("computing on {found}{}", because(&missed));
                            return Ok(SelectedDevice { device: found.device, message: sentence });
                        }
                        Err(why) => missed.push(why),
                    }
                }
                Ok(SelectedDevice {
                    device: Device::cpu(),
                    message: format!("computing on the CPU{}", because(&missed)),
                })
            }
        }
    }
}

/// Everything that there is beside the CPU, each device tried out.
pub struct DeviceInventory {
    pub backends: Vec<(Backend, Result<Vec<ProbedDevice>, String>)>,
}

/// A device, and whether it works.
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

    /// What would be computed on, without looking again.
    pub fn choose(&self, choice: DeviceChoice) -> Result<SelectedDevice, DeviceUnavailable> {
        let of = |backend: Backend| &self.backends.iter().find(|(b, _)| *b == backend).expect("all were asked").1;
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

fn because(missed: &[String]) -> String {
    if missed.is_empty() { String::new() } else { format!(": {}", missed.join("; ")) }
}

/// The first GPU of a backend that works and is one.
fn first_real(backend: Backend, look: &Look, works: &Works) -> Result<DetectedDevice, String> {
    let all = look(backend).map_err(|why| format!("no {}, as {why}", backend.name()))?;
    let real: Vec<&DetectedDevice> = all.iter().filter(|found| !found.is_software).collect();
    match all.first() {
        Some(renderer) if real.is_empty() => Err(format!("{renderer} is only a software renderer")),
        _ => first_working(&real, works),
    }
}

/// What `cuda` or `cuda:1` means. Without a number, a software renderer is taken where there is nothing else.
fn asked_for(backend: Backend, number: Option<usize>, look: &Look, works: &Works) -> Result<DetectedDevice, String> {
    let all = look(backend)?;
    match number {
        Some(number) => match all.get(number) {
            Some(found) => first_working(&[found], works),
            None => {
                let names: Vec<String> = all.iter().map(DetectedDevice::to_string).collect();
                Err(format!("there is only {}", names.join(" and ")))
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

    /// A machine whose CUDA and wgpu devices are these, of which the named ones fail.
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
    fn a_word_is_a_choice_and_a_choice_is_its_word() {
        for word in ["auto", "cpu", "cuda", "cuda:0", "cuda:12", "wgpu", "wgpu:3"] {
            assert_eq!(word.parse::<DeviceChoice>().unwrap().to_string(), word);
        }
        assert_eq!("wgpu:1".parse(), Ok(DeviceChoice::Gpu(Backend::Wgpu, Some(1))));
        assert_eq!(DeviceChoice::default(), DeviceChoice::Auto);
    }

    #[test]
    fn another_word_is_refused_with_what_can_be_written() {
        for word in ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "auto:1", "cuda:0:1", "mps"] {
            let error = word.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{word}`")) && error.contains("cuda:1"), "{error}");
        }
    }

    #[test]
    fn auto_takes_the_first_real_gpu_that_works() {
        let (cuda, wgpu) = ([gpu("cuda:0", "A", false), gpu("cuda:1", "B", false)], [gpu("wgpu:0", "C", false)]);
        let (name, sentence) = choose("auto", Ok(&cuda), Ok(&wgpu), &[]).unwrap();
        assert_eq!((name.as_str(), sentence.as_str()), ("cuda:0", "computing on cuda:0 (A, 3.0 GiB)"));
        assert_eq!(choose("auto", Ok(&cuda), Ok(&wgpu), &["cuda:0"]).unwrap().0, "cuda:1");
        let (name, sentence) = choose("auto", Ok(&cuda), Ok(&wgpu), &["cuda:0", "cuda:1"]).unwrap();
        assert_eq!(name, "wgpu:0");
        assert!(sentence.contains("cuda:1 (B, 3.0 GiB) does not work (out of order)"), "{sentence}");
    }

    #[test]
    fn auto_never_takes_a_software_renderer_and_says_why_it_is_the_cpu() {
        let wgpu = [gpu("wgpu:0", "llvmpipe", true)];
        let (name, sentence) = choose("auto", Err("libcuda is not found"), Ok(&wgpu), &[]).unwrap();
        assert_eq!(name, "cpu");
        assert_eq!(
            sentence,
            "computing on the CPU: no cuda, as libcuda is not found; wgpu:0 (llvmpipe, 3.0 GiB) is only a software renderer"
        );
        let both = [gpu("wgpu:0", "llvmpipe", true), gpu("wgpu:1", "C", false)];
        assert_eq!(choose("auto", Err("-"), Ok(&both), &[]).unwrap().0, "wgpu:1");
    }

    #[test]
    fn a_named_gpu_is_taken_or_the_error_says_what_there_is() {
        let cuda = [gpu("cuda:0", "A", false), gpu("cuda:1", "B", false)];
        let wgpu = [gpu("wgpu:0", "llvmpipe", true), gpu("wgpu:1", "C", false)];
        assert_eq!(choose("cuda:1", Ok(&cuda), Ok(&wgpu), &[]).unwrap().0, "cuda:1");
        assert_eq!(choose("wgpu", Ok(&cuda), Ok(&wgpu), &[]).unwrap().0, "wgpu:1");
        let (name, sentence) = choose("wgpu", Ok(&cuda), Ok(&wgpu), &["wgpu:1"]).unwrap();
        assert!(name == "wgpu:0" && sentence.contains("software"), "{sentence}");
        let error = choose("cuda:2", Ok(&cuda), Ok(&wgpu), &[]).unwrap_err();
        assert!(error.starts_with("cannot compute on cuda:2: there is only cuda:0 (A, 3.0 GiB) and cuda:1"), "{error}");
        let error = choose("cuda:0", Ok(&cuda), Ok(&wgpu), &["cuda:0"]).unwrap_err();
        assert!(error.contains("cuda:0 (A, 3.0 GiB) does not work (out of order)"), "{error}");
        let error = choose("cuda", Err("libcuda is not found"), Ok(&wgpu), &[]).unwrap_err();
        assert!(error.starts_with("cannot compute on cuda: libcuda is not found; `timbre doctor`"), "{error}");
    }

    #[test]
    fn the_cpu_is_there_and_works_and_nothing_else_is_asked_about_it() {
        let chosen =
            DeviceChoice::Cpu.choose_among(&|_| panic!("the CPU was asked for"), &|_| panic!("it needs no trial"));
        assert!(chosen.unwrap().device.is_cpu());
        assert_eq!(Device::cpu().works(), Ok(()));
    }
}
