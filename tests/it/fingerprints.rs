//! The numbers of every stage on fixed inputs belong to its version: see `crates/inputs/src/fingerprint.rs`, which has the
//! features and augmentations beside it.
//!
//! Models have no fingerprint: the blocks of their matrix products, and with them the order of the sums, depend on the caches of the
//! processor. Golden numbers with a tolerance stand for them.

#[path = "../../crates/inputs/src/fingerprint.rs"]
mod fingerprint;

use std::path::{Path, PathBuf};

use fingerprint::Fingerprint;
use serde_json::json;
use timbre_core::{
    labels::{Labels, Task},
    seed::{Seed, uniform},
};
use timbre_evaluation::aggregation::{self, Aggregate};
use timbre_evaluation::metrics::{self, DecisionRule, probability_scores};
use timbre_evaluation::predictions::{Predictions, WindowPredictions};
use timbre_evaluation::threshold_search::{self, ThresholdGrid};
use timbre_inputs::augment::copies::{FixedCopy, NoClips};
use timbre_inputs::augment::{AugmentContext, AugmentSpec, Chain, chain};
use timbre_inputs::data::{ClipRecord, DataDirs, DataSpec, Subset, demo, split};
use timbre_inputs::features::FeatureSpec;
use timbre_inputs::features::cache::{FeatureCache, content_hashes::hash_file};
use timbre_inputs::features::extraction::{self, Extraction, ExtractionInput};
use timbre_signal::audio::{self, AudioSpec, Crop, Recording, wav_write};
use timbre_signal::windows::{self, Short, WindowSpec};

use crate::test_dir::TestDir;

fn noise(n: usize) -> Vec<f32> {
    let mut rng = Seed::new(7).rng();
    (0..n).map(|_| uniform(&mut rng) as f32).collect()
}

fn le_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// All files below a folder, in the order of their paths.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

fn decoding() -> Fingerprint {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let spec = AudioSpec { sample_rate: 22050, clip_seconds: Some(0.2), crop: Crop::Start, ..AudioSpec::default() };
    let mut bytes = Vec::new();
    for folder in ["audio", "opus"] {
        for path in files_below(&golden.join(folder)) {
            // Some of the files test refusals.
            if let Ok(clip) = audio::load_file(&path, None, &spec) {
                bytes.extend(path.file_name().unwrap().as_encoded_bytes());
                bytes.extend(le_bytes(&clip.samples));
            }
        }
    }
    Fingerprint::new("decoding", audio::VERSION, &bytes)
}

fn sliding_windows() -> Fingerprint {
    let mut bytes = Vec::new();
    for short in [Short::Pad, Short::Repeat] {
        let spec = WindowSpec { seconds: 0.3, hop: 0.1, short };
        for samples in [100, 3000, 12_345] {
            let recording = noise(samples);
            for start in spec.starts(samples, 8000) {
                bytes.extend((start as u64).to_le_bytes());
                bytes.extend(le_bytes(&spec.cut(&recording, start, 8000)));
            }
        }
    }
    Fingerprint::new("windows", windows::VERSION, &bytes)
}

/// Clips of three classes in songs of three.
fn records() -> Vec<ClipRecord> {
    let record = |i: usize| {
        let labels = if i.is_multiple_of(7) { vec![i % 3, 3] } else { vec![i % 3] };
        ClipRecord {
            group: format!("song {}", i / 3),
            subset: if i < 60 { Subset::Training } else { Subset::Testing },
            fold: Some(format!("{}", i / 3 % 4)),
            ..ClipRecord::new(format!("{i:03}"), format!("{i:03}.wav"), labels)
        }
    };
    (0..90).map(record).collect()
}

fn splits() -> Fingerprint {
    let records = records();
    let specs = [
        json!({ "kind": "holdout", "test": 0.2, "validation": 0.1 }),
        json!({ "kind": "official", "validation": 0.2 }),
        json!({ "kind": "folds", "test": ["1"], "validation": ["2"] }),
    ];
    let mut bytes = Vec::new();
    for spec in specs {
        let spec = serde_json::from_value(spec).unwrap();
        let splits = split::split(&records.iter().collect::<Vec<_>>(), 4, &spec, Seed::new(3), 3).unwrap();
        bytes.extend(format!("{:?}", [splits.train, splits.validation, splits.test]).into_bytes());
    }
    Fingerprint::new("splits", split::VERSION, &bytes)
}

fn demo_set(folder: &Path) -> Fingerprint {
    let keys = json!({ "kind": "demo", "clips_per_class": 1, "test_recordings": 2, "shifted": true });
    let spec: DataSpec = serde_json::from_value(keys.clone()).unwrap();
    let DataSpec::Demo(set) = &spec else { panic!("the demo set") };
    demo::write(set, folder, &|| Ok(())).unwrap();
    let mut bytes = Vec::new();
    for path in files_below(folder) {
        bytes.extend(path.strip_prefix(folder).unwrap().as_os_str().as_encoded_bytes());
        bytes.extend(std::fs::read(&path).unwrap());
    }
    Fingerprint::new("demo", spec.as_kind().version(), &bytes)
}

/// Mixtures of the recordings of the demo set.
fn combined_set(folder: &Path) -> Fingerprint {
    let solo = json!({ "kind": "demo", "clips_per_class": 3, "test_recordings": 0 });
    let keys = json!({ "kind": "combined", "sets": [solo], "training": 3, "testing": 2, "seconds": [0.5, 1.0] });
    let spec: DataSpec = serde_json::from_value(keys).unwrap();
    let dirs = DataDirs { data_dir: folder.into(), cache_dir: folder.join("cache") };
    let mut set = spec.load(&dirs).unwrap();
    set.records.sort_by(|a, b| a.id.cmp(&b.id));
    let mut bytes = Vec::new();
    for clip in &set.records {
        bytes.extend(format!("{} {} {:?} ", clip.id, clip.group, clip.labels.to_vec()).into_bytes());
        bytes.extend(std::fs::read(&clip.path).unwrap());
    }
    Fingerprint::new("combined", spec.as_kind().version(), &bytes)
}

/// A chain that changes lengths, waveforms and images, in three epochs of two clips.
fn augmentation_chain() -> Fingerprint {
    let specs = json!([
        { "kind": "time_mask", "p": 0.8 },
        { "kind": "gain", "p": 0.5 },
        { "kind": "time_stretch", "from_epoch": 2 },
        { "kind": "pitch_shift", "p": 0.7 },
    ]);
    let specs: Vec<AugmentSpec> = serde_json::from_value(specs).unwrap();
    let chain = Chain::select(&specs, None);
    let audio = AudioSpec { sample_rate: 8000, clip_seconds: Some(0.5), ..AudioSpec::default() };
    let recording = Recording { samples: noise(12_345), sample_rate: 11_025, channels: 1 };
    let pool = NoClips::default();
    let mut bytes = Vec::new();
    for (epoch, row) in (0..3).flat_map(|epoch| [(epoch, 0), (epoch, 1)]) {
        let context = AugmentContext { sample_rate: 8000, samples: 4000, row, pool: &pool };
        let draws = chain.draw(Seed::new(5).child(epoch).child(row), epoch, &context).unwrap();
        bytes.extend(serde_json::to_vec(&draws).unwrap());
        let (on_waveform, _) = chain::split_by_stage(&draws);
        let clip = chain::augmented_clip(&recording, &audio, None, on_waveform, &mut [0.0], &pool).unwrap();
        bytes.extend(le_bytes(&clip));
    }
    Fingerprint::new("chain", chain::VERSION, &bytes)
}

/// Two features of a recording, of its windows and of two copies of it.
fn extracted_features(folder: &Path) -> Fingerprint {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join("noise.wav");
    wav_write::write_f32(&path, &noise(30_000), 22_050).unwrap();
    let specs = ["centroid", "mfcc"].map(|kind| {
        let spec: FeatureSpec = serde_json::from_value(json!({ "kind": kind, "n_fft": 512 })).unwrap();
        (kind.to_owned(), spec)
    });
    let augment: Vec<AugmentSpec> = serde_json::from_value(json!([{ "kind": "gain", "copies": 2 }])).unwrap();
    let audio = AudioSpec { sample_rate: 16_000, clip_seconds: Some(1.0), ..AudioSpec::default() };
    let window = WindowSpec { seconds: 0.5, hop: 0.4, short: Short::Pad };
    let copies = FixedCopy::all(&augment).unwrap();
    let extraction =
        Extraction::new(&audio, specs.iter().map(|(name, spec)| (name, spec)), Some(window), copies).unwrap();
    let content = Ok(hash_file(&path).unwrap());
    let record = ClipRecord::new("noise.wav".to_owned(), path, vec![0]);
    let input = ExtractionInput { record: &record, content: &content, clip: true, windows: true, copies: true };
    let cache = FeatureCache::open(&folder.join("cache")).unwrap();
    let (mut found, _) = extraction.run(&[input], &cache, &Default::default(), || {}).unwrap();
    let found = found.pop().unwrap().unwrap();
    let mut bytes = Vec::new();
    for matrix in found.clip.iter().chain(&found.copies) {
        let mut values = vec![0.0; matrix.dims()];
        matrix.read(0..values.len(), &mut values).unwrap();
        bytes.extend(le_bytes(&values));
    }
    for windows in &found.windows {
        for (window, start) in windows.starts().iter().enumerate() {
            let mut values = vec![0.0; windows.shape().iter().product()];
            windows.read(window, 0..values.len(), &mut values).unwrap();
            bytes.extend(format!("{start} ").into_bytes());
            bytes.extend(le_bytes(&values));
        }
    }
    Fingerprint::new("extraction", extraction::VERSION, &bytes)
}

/// Windows of twenty recordings: one to five each, of four classes.
fn window_predictions() -> WindowPredictions {
    let starts: Vec<Vec<f64>> = (0..20).map(|recording| (0..=recording % 5).map(|k| k as f64).collect()).collect();
    let windows = starts.iter().map(Vec::len).sum::<usize>();
    WindowPredictions::new(Predictions { n_classes: 4, probabilities: noise(windows * 4) }, &starts)
}

fn truth() -> Vec<Labels> {
    let classes = |i: usize| if i.is_multiple_of(3) { vec![i % 4] } else { vec![i % 4, (i + 1) % 4] };
    (0..20).map(|i| Labels::new(classes(i), Vec::new())).collect()
}

const AGGREGATES: [Aggregate; 6] =
    [Aggregate::Vote, Aggregate::Mean, Aggregate::Max, Aggregate::MeanLogits, Aggregate::Loudest, Aggregate::Attention];

fn aggregates() -> Fingerprint {
    let windows = window_predictions();
    let mut bytes = Vec::new();
    for aggregate in AGGREGATES {
        let rule = DecisionRule { task: Task::MultiLabel, aggregate, ..DecisionRule::default() };
        let decisions = rule.decide_windows(&windows);
        bytes.extend(le_bytes(&decisions.scores.probabilities));
        bytes.extend(format!("{:?}", decisions.decided).into_bytes());
    }
    Fingerprint::new("aggregation", aggregation::version(Task::MultiLabel), &bytes)
}

fn scores() -> Fingerprint {
    let predictions = Predictions { n_classes: 4, probabilities: noise(80) };
    let mut bytes = Vec::new();
    for task in [Task::SingleLabel, Task::MultiLabel] {
        let truth: Vec<Labels> = match task {
            Task::SingleLabel => truth().into_iter().map(|labels| vec![labels[0]].into()).collect(),
            Task::MultiLabel => truth(),
        };
        let train: Vec<Vec<usize>> = truth.iter().map(|labels| labels.to_vec()).collect();
        let rule = DecisionRule { task, ..DecisionRule::default() };
        let scores = rule.scores(&truth, &predictions);
        let baselines = rule.baselines(&train, &truth, 4).into_iter().map(|baseline| format!("{:?}", baseline.metrics));
        let lines = [format!("{scores:?}"), format!("{:?}", probability_scores(task, &truth, &predictions))];
        bytes.extend(lines.into_iter().chain(baselines).collect::<String>().into_bytes());
    }
    Fingerprint::new("metrics", metrics::VERSION, &bytes)
}

fn thresholds() -> Fingerprint {
    let axis = |n: usize| (1..n).map(|i| i as f64 / n as f64).collect::<Vec<_>>();
    let windows = window_predictions();
    let grid = ThresholdGrid::of_windows(&windows, &truth(), axis(20), axis(10));
    let surface = grid.surface(&[1; 20]);
    let mut bytes = Vec::new();
    for metric in 0..metrics::decision_scores::NAMES.len() {
        let scores = surface.of(metric);
        bytes.extend(scores.iter().flat_map(|score| score.to_le_bytes()));
        bytes.extend(format!("{:?}", threshold_search::best_point(&scores, 19)).into_bytes());
    }
    Fingerprint::new("threshold_search", threshold_search::VERSION, &bytes)
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "fingerprints are those of x86-64")]
fn the_numbers_of_every_stage_belong_to_its_version() {
    let dir = TestDir::new();
    let stages = [
        decoding(),
        sliding_windows(),
        splits(),
        demo_set(&dir.path("demo")),
        combined_set(&dir.path("combined")),
        augmentation_chain(),
        extracted_features(&dir.path("extraction")),
        aggregates(),
        scores(),
        thresholds(),
    ];
    fingerprint::check("stages", stages.into_iter());
}
