use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::data::{DataKind, Subset, describe};

fn tiny() -> Demo {
    Demo { clips_per_class: 2, test_recordings: 6, excerpts_per_song: 2, ..Demo::default() }
}

/// Relative path to content.
fn contents(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = crate::data::walk::files_below(root).unwrap();
    files.into_iter().map(|file| (file.names.join("/"), fs::read(&file.path).unwrap())).collect()
}

fn hash(contents: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in contents {
        hasher.update(name.as_bytes());
        hasher.update(bytes);
    }
    hasher.finalize().to_hex().to_string()
}

#[test]
fn the_bytes_are_the_same_on_every_machine_and_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| write(&tiny(), &dir.path().join(name), &|| Ok(()))).unwrap();
        contents(&dir.path().join(name))
    };
    let one = made("one", 1);
    assert!(one == made("three", 3), "the number of threads shows in the bytes");
    assert_eq!(
        hash(&one),
        "712f99d8073acc263fff68fc4f7653dad68c30fbc092050dbcf3ed4fc8bc4609",
        "the set sounds different: raise VERSION and pin the new hash"
    );
}

#[test]
fn shifted_testing_recordings_differ_and_training_clips_stay_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str, shifted: bool| {
        let spec = Demo { clips_per_class: 1, test_recordings: 2, shifted, ..Demo::default() };
        write(&spec, &dir.path().join(name), &|| Ok(())).unwrap();
        contents(&dir.path().join(name))
    };
    let (plain, shifted) = (made("plain", false), made("shifted", true));
    assert!(plain.keys().eq(shifted.keys()));
    for (name, content) in &plain {
        let testing_sound = name.starts_with("IRMAS-TestingData") && name.ends_with(".wav");
        assert_eq!(*content != shifted[name], testing_sound, "{name}");
    }
}

#[test]
fn clips_have_the_length_of_real_ones_and_are_neither_silent_nor_clipped_nor_offset() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("set");
    let calls = AtomicUsize::new(0);
    let step = || {
        calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let summary = write(&tiny(), &root, &step).unwrap();
    assert_eq!((summary.training_clips, summary.testing_recordings), (22, 6));
    assert_eq!((calls.into_inner(), tiny().recordings()), (28, 28));
    let mut bytes = 0;
    for (name, content) in contents(&root).into_iter().filter(|(name, _)| name.ends_with(".wav")) {
        bytes += content.len() as u64;
        if name.starts_with("IRMAS-TrainingData") {
            assert_eq!(content.len(), 44 + 4 * 132_299, "{name}");
        }
        let samples: Vec<f64> =
            content[44..].chunks_exact(2).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect();
        let peak = samples.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        assert!((0.2..0.999).contains(&peak), "{name} peaks at {peak}");
        let mean = samples.iter().sum::<f64>() / samples.len() as f64;
        assert!(mean.abs() < 0.01, "{name} is offset by {mean}");
        for second in samples.chunks(2 * 44100).filter(|second| second.len() > 44100) {
            let power = second.iter().map(|x| x * x).sum::<f64>() / second.len() as f64;
            assert!(power.sqrt() > 0.003, "{name} has a second at {:.1} dB", 10.0 * power.log10());
        }
    }
    assert_eq!(bytes, summary.bytes);
}

#[test]
fn the_set_is_made_once_in_the_cache_and_loads_as_irmas() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = DataDirs { data_dir: dir.path().join("data"), cache_dir: dir.path().join("cache") };
    let spec = tiny();
    let folder = generated::cache_folder(&spec, &dirs).unwrap();
    // The partial sets of a killed process and of one at work, and a folder of somebody else.
    let name = folder.file_name().unwrap().to_string_lossy();
    let beside = |ending: &str| dirs.cache_dir.join(format!(".{name}.{ending}"));
    let [left, at_work, other] = ["partial-abc", "partial-def", "backup"].map(beside);
    [&left, &at_work, &other].into_iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
    let lock = fs::File::open(&at_work).unwrap();
    lock.lock().unwrap();
    let set = spec.load(&dirs).unwrap();
    assert!(!left.exists() && at_work.exists() && other.exists(), "only the first is gone");
    let made = fs::metadata(folder.join("IRMAS-TrainingData")).unwrap().modified().unwrap();
    assert_eq!(set, spec.load(&dirs).unwrap());
    assert_eq!(made, fs::metadata(folder.join("IRMAS-TrainingData")).unwrap().modified().unwrap());
    let counts = describe(&set);
    assert_eq!(counts.recordings, 28);
    assert!(counts.classes.iter().all(|class| class.training == 2));
    let testing: Vec<_> = set.records.iter().filter(|record| record.subset == Subset::Testing).collect();
    assert_eq!(testing.len(), 6);
    assert_eq!(testing.iter().map(|r| &r.group).collect::<std::collections::BTreeSet<_>>().len(), 3, "three songs");
    assert_eq!(set.records.iter().filter(|r| r.tags.contains_key("genre")).count(), 22);
}

#[test]
fn the_set_can_be_listed_before_it_is_generated() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = DataDirs { data_dir: dir.path().join("data"), cache_dir: dir.path().join("cache") };
    let some = Demo { classes: Some(vec!["voi".into(), "cel".into()]), training_share_of_test: 0.4, ..tiny() };
    for spec in [tiny(), some] {
        let planned = spec.load_planned(&dirs).unwrap();
        assert!(!generated::is_in_place(&spec, &dirs).unwrap(), "nothing was generated");
        assert_eq!(planned, spec.load(&dirs).unwrap());
        assert_eq!(planned, spec.load_planned(&dirs).unwrap());
        fs::remove_dir_all(&dirs.cache_dir).unwrap();
    }
}

#[test]
fn concurrent_processes_generate_one_set() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = DataDirs { data_dir: dir.path().join("data"), cache_dir: dir.path().join("cache") };
    let spec = Demo { clips_per_class: 1, test_recordings: 0, ..Demo::default() };
    let sets: Vec<DataSet> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(|| spec.load(&dirs).unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(sets.windows(2).all(|pair| pair[0] == pair[1]));
    let left: Vec<_> = fs::read_dir(&dirs.cache_dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the set and its lock: {left:?}");
}

#[test]
fn a_folder_with_content_is_kept_and_a_root_is_not_generated() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine.txt"), "x").unwrap();
    assert!(write(&tiny(), dir.path(), &|| Ok(())).unwrap_err().to_string().contains("already"));
    let dirs = DataDirs { data_dir: dir.path().to_owned(), cache_dir: dir.path().join("cache") };
    let error = Demo { common: CommonKeys { root: Some("made".into()), ..CommonKeys::default() }, ..tiny() }
        .load(&dirs)
        .unwrap_err();
    assert!(error.downcast_ref::<MissingData>().is_some());
}

#[test]
fn only_keys_that_change_the_sound_give_another_folder() {
    let dirs = DataDirs { data_dir: "d".into(), cache_dir: "c".into() };
    let folder = |spec: Demo| generated::cache_folder(&spec, &dirs).unwrap();
    let plain = folder(Demo::default());
    let common = CommonKeys { limit_per_class: Some(3), name: Some("x".into()), ..CommonKeys::default() };
    assert_eq!(plain, folder(Demo { common, ..Demo::default() }));
    assert_ne!(plain, folder(Demo { seed: 2, ..Demo::default() }));
    assert_ne!(plain, folder(Demo { clips_per_class: 41, ..Demo::default() }));
    assert_ne!(plain, folder(Demo { shifted: true, ..Demo::default() }));
}
