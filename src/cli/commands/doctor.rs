//! `timbre doctor`: show what the program finds on this machine, for support questions.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;
use serde_json::Value;

use super::cache::size;
use super::data::{self, Availability};
use super::{ExitStatus, machine, print, print_data, settings};
use crate::cli::args::GlobalArgs;
use crate::execution::run::environment;
use timbre_core::text::count;
use timbre_inputs::features::cache;
use timbre_models::device::{Backend, Device, DeviceChoice, DeviceInventory, ProbedDevice};

/// The version of the `--json` format.
const SCHEMA: u32 = 1;

/// All facts; unknown ones are null.
#[derive(Serialize)]
struct Report {
    schema: u32,
    /// Whether the CPU works; nothing else is required.
    status: &'static str,
    profile: &'static str,
    /// As in `run.json`: version, commit of the folder, host, CPU, cores.
    environment: Value,
    simd: Vec<&'static str>,
    memory_bytes: Option<u64>,
    memory_free_bytes: Option<u64>,
    backends: Vec<BackendReport>,
    devices: Vec<DeviceReport>,
    /// The device of `--device auto`, and why.
    auto: Auto,
    data: Vec<SetReport>,
    cache: CacheReport,
    disk: Vec<DiskReport>,
}

#[derive(Serialize)]
struct BackendReport {
    name: &'static str,
    compiled_in: bool,
    /// Why it offers no device, if so.
    why_none: Option<String>,
}

#[derive(Serialize)]
struct DeviceReport {
    name: String,
    hardware: Option<String>,
    driver: Option<String>,
    memory_bytes: Option<u64>,
    software: bool,
    works: bool,
    why_not: Option<String>,
}

#[derive(Serialize)]
struct Auto {
    device: String,
    sentence: String,
}

#[derive(Serialize)]
struct SetReport {
    name: String,
    kind: &'static str,
    here: bool,
    recordings: Option<usize>,
    fault: Option<String>,
}

#[derive(Serialize)]
struct CacheReport {
    folder: PathBuf,
    features: usize,
    packs: usize,
    bytes: u64,
    fault: Option<String>,
}

#[derive(Serialize)]
struct DiskReport {
    what: &'static str,
    folder: PathBuf,
    free_bytes: Option<u64>,
}

pub fn doctor(common: &GlobalArgs, json: bool) -> Result<ExitStatus> {
    let report = examine(common)?;
    if json {
        print_data(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        print(&text(&report))?;
    }
    Ok(if report.status == "ok" { ExitStatus::Done } else { ExitStatus::Failed })
}

fn examine(common: &GlobalArgs) -> Result<Report> {
    let survey = DeviceInventory::probe();
    let auto = survey.choose(DeviceChoice::Auto)?;
    let cpu = DeviceReport {
        name: Device::cpu().name().to_owned(),
        hardware: None,
        driver: None,
        memory_bytes: None,
        software: false,
        works: true,
        why_not: None,
    }
    .with_result(Device::cpu().works());
    let memory = machine::memory();
    let home = settings(common, false).cache;
    let disk =
        |what, folder: &Path| DiskReport { what, folder: folder.to_owned(), free_bytes: machine::free_disk(folder) };
    Ok(Report {
        schema: SCHEMA,
        status: if cpu.works { "ok" } else { "the CPU does not work" },
        profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        environment: environment::describe(None),
        simd: machine::simd(),
        memory_bytes: memory.map(|(all, _)| all),
        memory_free_bytes: memory.map(|(_, free)| free),
        backends: survey
            .backends
            .iter()
            .map(|(backend, found)| backend_report(*backend, found.as_ref().err()))
            .collect(),
        devices: std::iter::once(cpu)
            .chain(survey.backends.iter().flat_map(|(_, found)| found.iter().flatten()).map(device_report))
            .collect(),
        auto: Auto { device: auto.device.name().to_owned(), sentence: auto.message },
        data: data::data_set_statuses(common).into_iter().map(set_report).collect(),
        cache: cache_report(home.join("features")),
        disk: vec![disk("runs", &common.runs), disk("cache", &home)],
    })
}

fn backend_report(backend: Backend, why_none: Option<&String>) -> BackendReport {
    BackendReport { name: backend.name(), compiled_in: backend.is_compiled_in(), why_none: why_none.cloned() }
}

fn device_report(ProbedDevice { found, works }: &ProbedDevice) -> DeviceReport {
    DeviceReport {
        name: found.device.name().to_owned(),
        hardware: found.device.hardware().map(str::to_owned),
        driver: Some(found.driver.clone()),
        memory_bytes: found.memory_bytes,
        software: found.is_software,
        works: true,
        why_not: None,
    }
    .with_result(works.clone())
}

impl DeviceReport {
    fn with_result(self, works: Result<(), String>) -> DeviceReport {
        DeviceReport { works: works.is_ok(), why_not: works.err(), ..self }
    }
}

fn set_report(set: data::DataSetStatus) -> SetReport {
    let (here, recordings, fault) = match set.here {
        Availability::Generated => (true, None, None),
        Availability::Recordings(n) => (true, Some(n), None),
        Availability::Missing => (false, None, None),
        Availability::Faulty(why) => (false, None, Some(why)),
    };
    SetReport { name: set.name, kind: set.kind, here, recordings, fault }
}

fn cache_report(folder: PathBuf) -> CacheReport {
    let usage = if folder.is_dir() { cache::usage(&folder) } else { Ok(cache::Usage::default()) };
    let fault = usage.as_ref().err().map(|error| format!("{error:#}"));
    let usage = usage.unwrap_or_default();
    CacheReport { folder, features: usage.records, packs: usage.packs, bytes: usage.bytes, fault }
}

/// The text output: one fact per line, subject first.
fn text(report: &Report) -> String {
    let word = |key: &str| report.environment[key].as_str().unwrap_or("unknown").to_owned();
    let commit = match (report.environment["commit"].as_str(), report.environment["dirty"].as_bool()) {
        (Some(commit), Some(true)) => format!("; commit {commit}, with changes"),
        (Some(commit), _) => format!("; commit {commit}"),
        (None, _) => String::new(),
    };
    let mut lines = vec![
        ("timbre".to_owned(), format!("{}, {} build{commit}", word("timbre"), report.profile)),
        ("machine".to_owned(), format!("{}, {} {}", word("host"), word("os"), word("arch"))),
        (
            "cpu".to_owned(),
            format!("{}, {} cores, {}", word("cpu"), report.environment["cores"], report.simd.join(" ")),
        ),
    ];
    if let (Some(all), Some(free)) = (report.memory_bytes, report.memory_free_bytes) {
        lines.push(("memory".to_owned(), format!("{}, {} free", size(all), size(free))));
    }
    lines.extend(report.devices.iter().map(|device| (format!("device {}", device.name), device_line(device))));
    let missing = report.backends.iter().filter_map(|b| Some((format!("device {}", b.name), b.why_none.as_ref()?)));
    lines.extend(missing.map(|(subject, why)| (subject, format!("none: {why}"))));
    lines.push(("device auto".to_owned(), report.auto.sentence.clone()));
    lines.extend(report.data.iter().map(|set| (format!("data {}", set.name), set_line(set))));
    let cache = &report.cache;
    let fault = cache.fault.as_ref().map(|why| format!("; it cannot be read: {why}")).unwrap_or_default();
    let folder = cache.folder.display();
    lines.push((
        "cache".to_owned(),
        format!(
            "{folder}: {} in {}, {}{fault}",
            count(cache.features, "feature"),
            count(cache.packs, "pack"),
            size(cache.bytes)
        ),
    ));
    for disk in &report.disk {
        let free = disk.free_bytes.map_or("an unknown amount".to_owned(), size);
        lines.push((format!("disk for {}", disk.what), format!("{}: {free} free", disk.folder.display())));
    }
    let width = lines.iter().map(|(subject, _)| subject.chars().count()).max().unwrap_or(0);
    lines.into_iter().map(|(subject, fact)| format!("{subject:<width$}  {fact}\n")).collect()
}

fn device_line(device: &DeviceReport) -> String {
    let works = match &device.why_not {
        None => "works".to_owned(),
        Some(why) => format!("does not work: {why}"),
    };
    let software = device.software.then(|| "a software renderer, for tests".to_owned());
    let facts = [device.hardware.clone(), device.memory_bytes.map(size), device.driver.clone(), software, Some(works)];
    facts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn set_line(set: &SetReport) -> String {
    match (set.here, set.recordings, &set.fault) {
        (_, _, Some(why)) => format!("{}, faulty: {why}", set.kind),
        (true, Some(n), _) => format!("{}, {}", set.kind, count(n, "recording")),
        (true, None, _) => format!("{}, generated on first use", set.kind),
        (false, ..) => format!("{}, missing: timbre data describe {} shows where to get it", set.kind, set.name),
    }
}
