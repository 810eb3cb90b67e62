//! `timbre doctor` and `--device`, on any machine.

use std::process::{Command, Output};

use serde_json::Value;

fn timbre(folder: &std::path::Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_timbre"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("TIMBRE_CACHE")
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn doctor_finds_a_working_cpu_and_a_reason_for_every_missing_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let output = timbre(folder.path(), &["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["schema"], &report["status"]), (&1.into(), &"ok".into()));
    assert_eq!(report["environment"]["timbre"], env!("CARGO_PKG_VERSION"));
    let devices = report["devices"].as_array().unwrap();
    assert_eq!((&devices[0]["name"], &devices[0]["works"]), (&"cpu".into(), &true.into()));
    let backends = report["backends"].as_array().unwrap();
    assert_eq!(backends.iter().map(|b| b["name"].as_str().unwrap()).collect::<Vec<_>>(), ["cuda", "wgpu"]);
    for backend in backends {
        let name = backend["name"].as_str().unwrap();
        let of = |device: &Value| device["name"].as_str().unwrap().starts_with(&format!("{name}:"));
        match backend["why_none"].as_str() {
            Some(why) => assert!(why.len() > 20 && !devices.iter().any(of), "{backend}"),
            None => assert!(backend["compiled_in"] == true && devices.iter().any(of), "{backend}"),
        }
        if backend["compiled_in"] == false {
            assert!(backend["why_none"].as_str().unwrap().contains(&format!("DEVICE={name}")), "{backend}");
        }
    }
    for device in devices {
        assert_eq!(device["works"] == true, device["why_not"].is_null(), "{device}");
    }
    let auto = devices.iter().find(|device| device["name"] == report["auto"]["device"]).unwrap();
    assert_eq!((&auto["works"], &auto["software"]), (&true.into(), &false.into()));
    let demo = report["data"].as_array().unwrap().iter().find(|set| set["name"] == "demo").unwrap();
    assert_eq!(demo["here"], true);
    assert_eq!(report["cache"]["features"], 0);
    for disk in report["disk"].as_array().unwrap() {
        assert!(disk["free_bytes"].as_u64().unwrap() > 0, "{disk}");
    }
}

#[test]
fn the_text_output_has_one_fact_per_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = timbre(folder.path(), &["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let lines: Vec<&str> = text(&output.stdout).lines().collect();
    for subject in ["timbre ", "cpu ", "device cpu ", "device auto ", "data demo ", "cache ", "disk for runs "] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(subject)).count(), 1, "{subject}: {lines:?}");
    }
    assert!(lines.iter().any(|line| line.contains("using ")), "{lines:?}");
    assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "looking leaves nothing behind");
}

#[test]
fn an_unknown_device_name_is_a_usage_error_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    let commands: [&[&str]; 3] =
        [&["run", "quickstart"], &["predict", "quickstart/latest", "a.wav"], &["serve", "quickstart/latest"]];
    for command in commands {
        let output = timbre(folder.path(), &[command, &["--device", "gpu"]].concat());
        let sentence = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{sentence}");
        assert!(sentence.contains("`gpu` is not a device") && sentence.contains("cuda:1"), "{sentence}");
    }
}

#[test]
fn a_missing_gpu_is_a_usage_error_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    // More than any machine has.
    for device in ["cuda:4000", "wgpu:4000"] {
        let output = timbre(folder.path(), &["run", "quickstart", "--device", device]);
        let sentence = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{sentence}");
        assert!(sentence.contains(&format!("device {device} is unavailable: ")), "{sentence}");
        assert!(sentence.contains("timbre doctor") && !sentence.contains("panicked"), "{sentence}");
    }
    assert!(!folder.path().join("runs").exists(), "nothing was begun");
}
