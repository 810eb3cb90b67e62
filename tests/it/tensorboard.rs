//! Event files for TensorBoard, read back by an independent reader and by TensorBoard itself.

use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use timbre_models::Epoch;
use timbre_runs::exports::tensorboard;

fn epoch(number: usize) -> Epoch {
    let x = number as f64;
    Epoch {
        epoch: number,
        learning_rate: 1e-3 / x,
        train_loss: 1.0 / x,
        validation_loss: (number != 2).then_some(1.25 / x),
        metrics: IndexMap::from([("accuracy".to_owned(), 1.0 - 0.5 / x), ("f1_macro".to_owned(), 0.9 - 0.5 / x)]),
        best: true,
        seconds: 2.5,
        clips_per_second: 100.0 + x,
        waited: 0.01 * x,
    }
}

fn epochs(n: usize) -> Vec<Epoch> {
    (1..=n).map(epoch).collect()
}

/// (step, wall time, tag, value) of each scalar.
type Scalar = (u64, f64, String, f32);

/// Reads an event file strictly by the format; panics on any deviation.
fn read(path: &Path) -> Vec<Scalar> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut scalars = Vec::new();
    let mut first = true;
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        assert_eq!(rest[8..12], checksum(&rest[..8]), "the checksum of a length");
        let event = &rest[12..12 + length];
        assert_eq!(rest[12 + length..16 + length], checksum(event), "the checksum of an event");
        rest = &rest[16 + length..];
        let fields = fields(event);
        let one = |number: u64| fields.iter().find(|(field, _)| *field == number).map(|(_, value)| value);
        let Some(Value::Eight(wall_time)) = one(1) else { panic!("an event has a wall time") };
        if first {
            assert_eq!(one(3), Some(&Value::Bytes(b"brain.Event:2".to_vec())));
            first = false;
            continue;
        }
        let Some(Value::Varint(step)) = one(2) else { panic!("an event has a step") };
        let Some(Value::Bytes(summary)) = one(5) else { panic!("an event has a summary") };
        for (field, value) in self::fields(summary) {
            let Value::Bytes(scalar) = value else { panic!("a summary is a list of values") };
            assert_eq!(field, 1);
            let [(1, Value::Bytes(tag)), (2, Value::Four(value))] = &self::fields(&scalar)[..] else {
                panic!("a value is a tag and a number")
            };
            let tag = String::from_utf8(tag.clone()).unwrap();
            scalars.push((*step, f64::from_le_bytes(*wall_time), tag, f32::from_le_bytes(*value)));
        }
    }
    assert!(!first, "there is a first record");
    scalars
}

#[derive(Debug, PartialEq)]
enum Value {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(Vec<u8>),
    Four([u8; 4]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0).expect("a varint ends");
    let value = bytes[..=end].iter().rev().fold(0, |value, byte| value * 128 + u64::from(byte & 0x7f));
    *bytes = &bytes[end + 1..];
    value
}

fn fields(mut message: &[u8]) -> Vec<(u64, Value)> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key % 8 {
            0 => 0,
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (bytes, rest) = message.split_at(length);
        message = rest;
        let value = match key % 8 {
            0 => Value::Varint(varint(&mut message)),
            1 => Value::Eight(bytes.try_into().unwrap()),
            2 => Value::Bytes(bytes.to_vec()),
            _ => Value::Four(bytes.try_into().unwrap()),
        };
        found.push((key / 8, value));
    }
    found
}

/// CRC-32C by long division, then masked.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |bit| u32::from(byte >> bit & 1))) {
        let carry = (crc ^ bit) & 1;
        crc = (crc >> 1) ^ (carry * 0x82f6_3b78);
    }
    let crc = !crc;
    (crc.rotate_right(15).wrapping_add(0xa282_ead8)).to_le_bytes()
}

fn expected(epochs: &[Epoch]) -> Vec<(u64, String, f32)> {
    let of = |e: &Epoch| {
        let mut rows = vec![("loss/train".to_owned(), e.train_loss)];
        rows.extend(e.validation_loss.map(|loss| ("loss/validation".to_owned(), loss)));
        rows.extend(e.metrics.iter().map(|(name, value)| (format!("metrics/{name}"), *value)));
        rows.push(("learning_rate".to_owned(), e.learning_rate));
        rows.push(("speed/clips_per_second".to_owned(), e.clips_per_second));
        rows.push(("speed/waited".to_owned(), e.waited));
        rows.into_iter().map(|(tag, value)| (e.epoch as u64, tag, value as f32)).collect::<Vec<_>>()
    };
    epochs.iter().flat_map(of).collect()
}

fn without_times(scalars: Vec<Scalar>) -> Vec<(u64, String, f32)> {
    scalars.into_iter().map(|(step, _, tag, value)| (step, tag, value)).collect()
}

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mel.resnet18.s1/events.out.tfevents.timbre");
    (folder, path)
}

#[test]
fn every_epoch_is_read_back_with_its_step_and_time() {
    let (_folder, path) = fresh();
    tensorboard::write(&path, &epochs(200)).unwrap();
    let scalars = read(&path);
    let times: Vec<f64> = scalars.iter().filter(|s| s.2 == "loss/train").map(|s| s.1).collect();
    assert!(times.windows(2).all(|pair| (pair[1] - pair[0] - 2.5).abs() < 1e-6));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((times[199] - now).abs() < 60.0, "the last epoch ended now: {} at {now}", times[199]);
    assert_eq!(without_times(scalars), expected(&epochs(200)));
}

#[test]
fn a_file_that_grows_epoch_by_epoch_only_grows() {
    let (_folder, path) = fresh();
    let mut before = Vec::new();
    for n in 1..6 {
        tensorboard::write(&path, &epochs(n)).unwrap();
        let now = fs::read(&path).unwrap();
        assert!(now.starts_with(&before) && now.len() > before.len(), "epoch {n}");
        before = now;
        tensorboard::write(&path, &epochs(n)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before, "written again");
    }
}

#[test]
fn a_reader_with_the_file_open_sees_it_grow() {
    use std::io::Read;
    let (_folder, path) = fresh();
    tensorboard::write(&path, &epochs(1)).unwrap();
    let mut reader = fs::File::open(&path).unwrap();
    let mut seen = Vec::new();
    reader.read_to_end(&mut seen).unwrap();
    tensorboard::write(&path, &epochs(2)).unwrap();
    reader.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, fs::read(&path).unwrap());
}

#[test]
fn after_a_resume_no_step_occurs_twice() {
    let (_folder, path) = fresh();
    tensorboard::write(&path, &epochs(5)).unwrap();
    let begun = read(&path)[0].1;
    // Killed in epoch 6 with the last checkpoint at epoch 3; the repeated epochs took another time.
    let mut history = epochs(3);
    tensorboard::write(&path, &history).unwrap();
    assert_eq!(without_times(read(&path)), expected(&history));
    history.push(Epoch { seconds: 9.0, ..epoch(4) });
    tensorboard::write(&path, &history).unwrap();
    let scalars = read(&path);
    assert_eq!(scalars[0].1, begun, "the file keeps its start time");
    assert_eq!(without_times(scalars), expected(&history));
}

#[test]
fn a_truncated_or_foreign_file_is_repaired() {
    let (_folder, path) = fresh();
    tensorboard::write(&path, &epochs(3)).unwrap();
    let whole = fs::read(&path).unwrap();
    for truncated in 60..whole.len() {
        fs::write(&path, &whole[..truncated]).unwrap();
        tensorboard::write(&path, &epochs(3)).unwrap();
        assert!(fs::read(&path).unwrap() == whole, "truncated after {truncated} bytes");
    }
    for foreign in [b"".as_slice(), b"something else", &whole[..30]] {
        fs::write(&path, foreign).unwrap();
        tensorboard::write(&path, &epochs(3)).unwrap();
        assert_eq!(without_times(read(&path)), expected(&epochs(3)));
    }
}

/// Needs `TIMBRE_PEERS`: a virtual environment with `tensorboard` (`benches/peers/requirements.txt`).
#[test]
#[ignore = "needs TensorBoard: make test-peers"]
fn tensorboard_loads_the_same_scalars() {
    let peers = std::env::var_os("TIMBRE_PEERS").expect("TIMBRE_PEERS names a virtual environment");
    let (folder, path) = fresh();
    tensorboard::write(&path, &epochs(4)).unwrap();
    tensorboard::write(&path, &epochs(7)).unwrap();
    let script = r#"
import json, sys
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
runs = EventMultiplexer().AddRunsFromDirectory(sys.argv[1])
runs.Reload()
print(json.dumps([
    [run, scalar.step, tag, scalar.value]
    for run, kinds in runs.Runs().items()
    for tag in kinds["scalars"] + kinds["tensors"]
    for scalar in runs.Scalars(run, tag)
]))
"#;
    let output = std::process::Command::new(PathBuf::from(peers).join("bin/python"))
        .args(["-c", script])
        .arg(folder.path())
        .output()
        .expect("TIMBRE_PEERS has a bin/python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut loaded: Vec<(String, u64, String, f32)> = serde_json::from_slice(&output.stdout).unwrap();
    let mut wanted: Vec<(String, u64, String, f32)> = expected(&epochs(7))
        .into_iter()
        .map(|(step, tag, value)| ("mel.resnet18.s1".to_owned(), step, tag, value))
        .collect();
    let by_step_and_tag =
        |a: &(String, u64, String, f32), b: &(String, u64, String, f32)| (a.1, &a.2).cmp(&(b.1, &b.2));
    loaded.sort_by(by_step_and_tag);
    wanted.sort_by(by_step_and_tag);
    assert_eq!(loaded, wanted);
}
