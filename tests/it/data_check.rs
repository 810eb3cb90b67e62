//! `timbre data check`, and the near-duplicate search on recordings after real transformations.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;
use timbre_inputs::audit::near_duplicates;
use timbre_inputs::data::demo::{self, Demo};
use timbre_inputs::data::walk::files_below;
use timbre_signal::audio::wav_write::{write_f32, write_pcm16};
use timbre_signal::audio::{DecodeLimits, Recording, ResampleFilter, decode_file, resample};
use timbre_signal::dsp::acoustic_fingerprint::AcousticFingerprint;
use timbre_signal::dsp::codec;

use crate::test_dir::{TestDir, test_data, text};

const RATE: u32 = 22050;

/// Two seconds of plucked notes; each seed plays another tune.
fn tune(seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let mut samples = vec![0.0f32; 2 * RATE as usize];
    for note in samples.chunks_mut(RATE as usize / 5) {
        let (pitch, colour) = (150.0 * 2f64.powf(2.5 * random()), random());
        for (n, sample) in note.iter_mut().enumerate() {
            let t = n as f64 / f64::from(RATE);
            let tone: f64 =
                (1..6).map(|k| colour.powi(k) * (std::f64::consts::TAU * pitch * f64::from(k) * t).sin()).sum();
            *sample = (0.4 * (1.0 - colour) * tone * (-6.0 * t).exp()) as f32 + 0.001 * (random() as f32 - 0.5);
        }
    }
    samples
}

fn whole(samples: &[f32]) -> Vec<i16> {
    samples.iter().map(|x| (x * 32767.0).round() as i16).collect()
}

/// A folder set with every kind of fault; `train` and `test` are its subsets.
fn faulty() -> TestDir {
    let dir = TestDir::new();
    let put = |name: &str, samples: &[f32], rate: u32| {
        let path = dir.path("data/birds").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        write_pcm16(&path, &whole(samples), 1, rate).unwrap();
    };
    fs::create_dir_all(dir.path("data")).unwrap();
    fs::write(
        dir.path("data/birds.toml"),
        "kind = \"folder\"\npart_folders = true\ngroup = '^(.)'\n[about.counts]\nrecordings = 12\ntraining = 9\nclasses = { owl = 8 }\n",
    )
    .unwrap();
    (0..4).for_each(|n| put(&format!("train/owl/{n}x.wav"), &tune(n), RATE));
    put("train/owl/same.wav", &tune(0), RATE);
    put("train/wren/wrong.wav", &tune(1), RATE);
    let exact: Vec<f32> = whole(&tune(2)).iter().map(|x| f32::from(*x) / 32768.0).collect();
    write_f32(&dir.path("data/birds/train/wren/2float.wav"), &exact, RATE).unwrap();
    let softer: Vec<f32> = tune(3).iter().map(|x| 0.2 * x).collect();
    put("test/owl/3soft.wav", &resample(&softer, RATE, 16000, ResampleFilter::BlackmanHarris), 16000);
    put("test/wren/quiet.wav", &tune(5).iter().map(|x| 0.001 * x).collect::<Vec<_>>(), RATE);
    put("test/wren/Clipped.wav", &tune(6).iter().map(|x| (9.0 * x).clamp(-0.9, 0.9)).collect::<Vec<_>>(), RATE);
    put("test/wren/Short.wav", &tune(7)[..2000], RATE);
    fs::write(dir.path("data/birds/test/wren/broken.wav"), b"RIFF").unwrap();
    dir
}

#[test]
fn a_check_finds_every_kind_of_fault() {
    let dir = faulty();
    let output = dir.timbre(&["data", "check", "birds", "--html", "check.html"]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{printed}{}", text(&output.stderr));
    for line in [
        "unusable  test/wren/broken.wav: not_audio: ",
        "quiet     test/wren/quiet.wav: peak -76.3 dB, RMS -",
        "clipped   test/wren/Clipped.wav: ",
        "short     test/wren/Short.wav: 0.09 s, and half of the recordings have 2.00 s\n",
        "the same  train/owl/0x.wav = train/owl/same.wav, in different songs\n",
        "the same  train/owl/1x.wav = train/wren/wrong.wav, with different labels, in different songs\n",
        "samples   train/owl/2x.wav = train/wren/2float.wav, with different labels\n",
        "similar   test/owl/3soft.wav ~ train/owl/3x.wav: ",
        "song      3: 2 subsets: 1 in training, 1 in testing\n",
        "counts    7 training recordings; published are 9\n",
        "counts    6 recordings of owl; published are 8\n",
        "labels    1.00 a recording, 50.0% of the classes; from 6 of owl to 6 of wren, 1.0 to 1\n",
        "12 recordings: 1 unusable, 2 groups of identical files, 1 pair that shares sound\n",
    ] {
        assert!(printed.contains(line), "{line:?} in\n{printed}");
    }
    assert!(
        printed.lines().any(|line| line.starts_with("similar ") && line.ends_with(", in different subsets")),
        "{printed}"
    );
    let page = dir.read("check.html");
    assert!(page.contains("Clipped recordings") && page.contains("train/wren/wrong.wav"));
}

#[test]
fn findings_are_data_and_denied_ones_have_an_exit_code() {
    let dir = faulty();
    fs::remove_file(dir.path("data/birds/test/wren/broken.wav")).unwrap();
    let output = dir.done(&["data", "check", "birds", "--json"]);
    let audit: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&audit["recordings"], &audit["labels"]["classes"][1]), (&11.into(), &"wren".into()));
    let of = |kind: &str| -> Vec<&Value> {
        audit["findings"].as_array().unwrap().iter().filter(|finding| finding["kind"] == kind).collect()
    };
    assert_eq!(of("identical").len(), 2);
    assert_eq!(of("near_duplicate")[0]["also"], serde_json::json!(["other_subset"]));
    let code = |deny: &str| dir.timbre(&["data", "check", "birds", "-q", "--deny", deny]).status.code();
    assert_eq!(
        [code("unusable"), code("unused_file"), code("other_labels"), code("all"), code("quiet,unusable")]
            .map(Option::unwrap),
        [0, 0, 8, 8, 8]
    );
    let misspelt = dir.timbre(&["data", "check", "birds", "--deny", "quite"]);
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(text(&misspelt.stderr).contains("near_duplicate"), "{}", text(&misspelt.stderr));
}

/// A named transformation of a recording to other samples and their rate.
type Transformation = (&'static str, fn(&[f32], u32) -> (Vec<f32>, u32));

const TRANSFORMATIONS: [Transformation; 7] = [
    ("gain -15 dB", |x, rate| (x.iter().map(|x| 0.178 * x).collect(), rate)),
    ("resampled to 16 kHz", |x, rate| (resample(x, rate, 16000, ResampleFilter::SoxrHq), 16000)),
    ("resampled to 8 kHz", |x, rate| (resample(x, rate, 8000, ResampleFilter::BlackmanHarris), 8000)),
    ("codec, 128 kbit/s", |x, rate| (coded(x, 128.0, rate), rate)),
    ("codec, 64 kbit/s", |x, rate| (coded(x, 64.0, rate), rate)),
    ("without the first 0.7 s", |x, rate| (x[(0.7 * f64::from(rate)) as usize..].to_vec(), rate)),
    ("22 kHz, 96 kbit/s, louder", |x, rate| {
        let louder: Vec<f32> = x.iter().map(|x| 1.5 * x).collect();
        (coded(&resample(&louder, rate, 22050, ResampleFilter::BlackmanHarris), 96.0, 22050), 22050)
    }),
];

fn coded(samples: &[f32], kilobits: f64, rate: u32) -> Vec<f32> {
    let mut samples = samples.to_vec();
    codec::encode_decode(&mut samples, kilobits, rate);
    samples
}

/// The name of a change, and the share of the changed recordings that are found.
type Recall = (&'static str, f64);

/// Adds every transformation of every recording. Returns the share of the transformed ones that are found as near duplicates of
/// their originals, by transformation, and the pairs of different originals that are found.
fn searched(paths: &[PathBuf]) -> (Vec<Recall>, Vec<(usize, usize)>) {
    let fingerprints = |path: &PathBuf| -> Vec<AcousticFingerprint> {
        let Recording { samples, sample_rate, .. } = decode_file(path, None, DecodeLimits::NONE).unwrap();
        let original = AcousticFingerprint::of(&samples, sample_rate);
        let others = TRANSFORMATIONS.iter().map(|(_, transform)| {
            let (samples, rate) = transform(&samples, sample_rate);
            AcousticFingerprint::of(&samples, rate)
        });
        std::iter::once(original).chain(others).collect()
    };
    let all: Vec<Vec<AcousticFingerprint>> = paths.par_iter().map(fingerprints).collect();
    let versions = TRANSFORMATIONS.len() + 1;
    let flat: Vec<&AcousticFingerprint> = all.iter().flatten().collect();
    let found = near_duplicates(&flat);
    let place = |n: usize| (n / versions, n % versions);
    let mut recalled = vec![0; versions];
    let mut others: BTreeSet<(usize, usize)> = BTreeSet::new();
    for pair in &found {
        match (place(pair.first), place(pair.second)) {
            ((one, 0), (other, version)) if one == other => recalled[version] += 1,
            ((one, _), (other, _)) if one != other => drop(others.insert((one, other))),
            _ => {}
        }
    }
    let share = |(n, (name, _)): (usize, &Transformation)| (*name, recalled[n + 1] as f64 / paths.len() as f64);
    (TRANSFORMATIONS.iter().enumerate().map(share).collect(), others.into_iter().collect())
}

fn recordings_below(folder: &Path) -> Vec<PathBuf> {
    let files = files_below(folder).unwrap();
    let is_audio = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wav" || ending == "flac");
    files.into_iter().map(|file| file.path).filter(is_audio).collect()
}

#[test]
fn near_copies_of_generated_recordings_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("demo");
    // One excerpt of each song: excerpts of one song may share sound.
    let spec = Demo { clips_per_class: 5, test_recordings: 0, excerpts_per_song: 1, ..Demo::default() };
    demo::write(&spec, &root, &|| Ok(())).unwrap();
    let paths = recordings_below(&root);
    assert_eq!(paths.len(), 55);
    let (recall, others) = searched(&paths);
    // Synthetic tones without noise lose more bits to a codec than real ones.
    assert!(recall.iter().all(|(_, share)| *share >= 0.9), "{recall:?}");
    assert!(others.is_empty(), "{others:?}");
}

#[test]
#[ignore = "needs TIMBRE_TEST_DATA=DIR with an excerpt of Medley-solos-DB in medley_solos: make test-peers"]
fn near_copies_of_recordings_of_medley_solos_are_found() {
    let folder = test_data().join("medley_solos");
    // The simulated codec is slow.
    let paths: Vec<PathBuf> = recordings_below(&folder).into_iter().step_by(3).collect();
    assert!(paths.len() >= 30, "{}", paths.len());
    let (recall, others) = searched(&paths);
    assert!(recall.iter().all(|(_, share)| *share >= 0.95), "{recall:?}");
    // Some clips of one solo overlap.
    let solo = |path: &Path| path.parent().unwrap().to_owned();
    assert!(others.iter().all(|(a, b)| solo(&paths[*a]) == solo(&paths[*b])), "{others:?}");
    assert!(others.len() <= 3, "{others:?}");
}
