use std::collections::BTreeSet;

use super::*;
use crate::data::folder::Folder;
use crate::data::table::Table;
use crate::data::walk::files_below;

const RATE: u32 = 16000;

/// Classes with the frequency that each plays.
const TONES: [(&str, f64); 4] = [("cello", 200.0), ("flute", 500.0), ("oboe", 1100.0), ("viola", 2300.0)];

/// Solo recordings of 1.5 s in a folder a class: `GENRE-SONG-TAKE.wav`, in two genres.
fn solos(dir: &Path, songs: usize) -> DataDirs {
    let mut table = "path,label,song,genre\n".to_owned();
    for (class, hertz) in TONES {
        fs::create_dir_all(dir.join("solo").join(class)).unwrap();
        for (song, take) in (0..songs).flat_map(|song| [(song, 1), (song, 2)]) {
            let genre = ["jazz", "folk"][song % 2];
            let path = format!("{class}/{genre}-{song}-{take}.wav");
            // Half a second of silence on both sides of the tone.
            let sample = |i: u32| {
                if (8000..32000).contains(&i) {
                    f64::from(i) * hertz * std::f64::consts::TAU / f64::from(RATE)
                } else {
                    0.0
                }
            };
            let samples: Vec<i16> = (0..40000).map(|i| (sample(i).sin() * 9000.0) as i16).collect();
            write_pcm16(&dir.join("solo").join(&path), &samples, 1, RATE).unwrap();
            writeln!(table, "{path},{class},{class} {song},{genre}").unwrap();
        }
    }
    fs::write(dir.join("solo/solo.csv"), table).unwrap();
    DataDirs { data_dir: dir.to_owned(), cache_dir: dir.join("cache") }
}

fn spec() -> Combined {
    let source =
        json!({ "kind": "manifest", "path": "solo/solo.csv", "columns": { "group": "song", "tags": ["genre"] } });
    Combined {
        sets: vec![serde_json::from_value(source).unwrap()],
        training: 12,
        testing: 6,
        pools: 3,
        sample_rate: RATE,
        ..Combined::default()
    }
}

/// The rows of `label_times.csv`: path, label, start, end, gain, sources.
fn times(folder: &Path) -> Vec<[String; 6]> {
    let table = Table::read(&folder.join(TIMES)).unwrap();
    let rows = table.texts(["path", "label", "start", "end", "gain_db", "sources"]).unwrap();
    rows.into_iter().map(|(_, row)| row).collect()
}

/// The level of a frequency, in decibels of full scale: the median over blocks of 0.1 s, because the phase jumps where recordings are joined.
fn level(samples: &[f64], hertz: f64) -> f64 {
    let turn = |i: usize| i as f64 * hertz * std::f64::consts::TAU / f64::from(RATE);
    let of_block = |block: &[f64]| {
        let sum = |f: fn(f64) -> f64| block.iter().enumerate().map(|(i, x)| x * f(turn(i))).sum::<f64>();
        let amplitude = 2.0 * sum(f64::sin).hypot(sum(f64::cos)) / block.len() as f64;
        20.0 * amplitude.max(1e-9).log10()
    };
    let mut levels: Vec<f64> = samples.chunks_exact(1600).map(of_block).collect();
    levels.sort_by(f64::total_cmp);
    levels[levels.len() / 2]
}

#[test]
fn mixtures_have_different_instruments_of_one_genre_exactly_when_the_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = solos(dir.path(), 6);
    let (spec, set) = (spec(), spec().load(&dirs).unwrap());
    assert_eq!(set, spec.load_planned(&dirs).unwrap());
    let folder = generated::cache_folder(&spec, &dirs).unwrap();
    let (rows, mut cardinalities) = (times(&folder), BTreeSet::new());
    let lengths = spec.planned_seconds(&dirs).unwrap();
    for record in &set.records {
        let own: Vec<&[String; 6]> = rows.iter().filter(|row| row[0] == record.id).collect();
        let bytes = fs::read(&record.path).unwrap();
        let samples: Vec<f64> =
            bytes[44..].chunks_exact(2).map(|b| f64::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect();
        assert!((samples.len() as f64 / f64::from(RATE) - lengths[&record.id]).abs() < 1e-9);
        let labels: BTreeSet<&str> = record.labels.iter().map(|&class| set.classes.name(class)).collect();
        assert_eq!(labels, own.iter().map(|row| row[1].as_str()).collect());
        let beside = fs::read_to_string(record.path.with_extension("txt")).unwrap();
        let beside: Vec<&str> = beside.lines().collect();
        assert_eq!(beside, own.iter().map(|row| format!("{}\t{}\t{}", row[2], row[3], row[1])).collect::<Vec<_>>());
        cardinalities.insert(labels.len());
        for (class, hertz) in TONES {
            let Some(row) = own.iter().find(|row| row[1] == class) else {
                assert!(level(&samples, hertz) < -55.0, "{} has no {class}", record.id);
                continue;
            };
            let at = |cell: &str| (cell.parse::<f64>().unwrap() * f64::from(RATE)).round() as usize;
            let (start, end, gain) = (at(&row[2]), at(&row[3]), row[4].parse::<f64>().unwrap());
            assert!((3 * 16000..=5 * 16000).contains(&(end - start)), "{start} to {end}");
            // A sine has a peak 3 dB above its level.
            let inside = level(&samples[start + 400..end - 400], hertz);
            assert!(
                (inside - (LEVEL_DB + gain + 3.01)).abs() < 1.0,
                "{class} in {}: {inside} dB, gain {gain}",
                record.id
            );
            assert!(start < 1600 || level(&samples[..start], hertz) < inside - 25.0, "{class} begins at {start}");
            assert!(
                samples.len() - end < 1600 || level(&samples[end..], hertz) < inside - 25.0,
                "{class} ends at {end}"
            );
            let genre = &record.tags["genre"];
            assert!(row[5].split('|').all(|source| source.starts_with(&format!("{class}/{genre}-"))), "{row:?}");
        }
        let starts: Vec<f64> = own.iter().map(|row| row[2].parse().unwrap()).collect();
        assert!(starts.contains(&0.0) && starts.iter().all(|start| *start <= 2.5), "{starts:?}");
    }
    assert_eq!(cardinalities, BTreeSet::from([2, 3, 4]));
    assert_eq!((set.records.len(), files_below(&folder).unwrap().len()), (18, 38));
    // Another reader takes the labels from the files beside the recordings.
    let folder_keys = json!({ "root": folder, "label_files": "txt", "part_folders": true });
    let same = serde_json::from_value::<Folder>(folder_keys).unwrap().load(&dirs).unwrap();
    let labels =
        |set: &DataSet| set.records.iter().map(|record| (record.labels.clone(), record.subset)).collect::<Vec<_>>();
    assert_eq!((labels(&same), &same.classes), (labels(&set), &set.classes));
}

#[test]
fn no_song_of_the_sources_is_in_two_groups_or_on_two_sides() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = solos(dir.path(), 6);
    let set = spec().load(&dirs).unwrap();
    let folder = generated::cache_folder(&spec(), &dirs).unwrap();
    let mut of_song: BTreeMap<String, BTreeSet<(String, Subset)>> = BTreeMap::new();
    for row in times(&folder) {
        let record = set.records.iter().find(|record| record.id == row[0]).unwrap();
        for source in row[5].split('|') {
            let song = source.rsplit_once('-').unwrap().0.to_owned();
            of_song.entry(song).or_default().insert((record.group.clone(), record.subset));
        }
    }
    assert!(of_song.values().all(|places| places.len() == 1), "{of_song:?}");
    let subsets: BTreeSet<Subset> = of_song.values().flatten().map(|(_, subset)| *subset).collect();
    assert_eq!(subsets, BTreeSet::from([Subset::Training, Subset::Testing]), "a pool is for testing");
    let groups: BTreeSet<&str> = set.records.iter().map(|record| record.group.as_str()).collect();
    assert_eq!(groups.len(), 3);
}

#[test]
fn subsets_that_the_makers_declare_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = solos(dir.path(), 6);
    let table = fs::read_to_string(dir.path().join("solo/solo.csv")).unwrap();
    // Songs 4 and 5 are for testing.
    let with_split = |line: &str| match line {
        "path,label,song,genre" => format!("{line},split\n"),
        line => format!("{line},{}\n", if line.contains("-4-") || line.contains("-5-") { "test" } else { "train" }),
    };
    fs::write(dir.path().join("solo/solo.csv"), table.lines().map(with_split).collect::<String>()).unwrap();
    let columns = json!({ "group": "song", "tags": ["genre"], "split": "split" });
    let source = json!({ "kind": "manifest", "path": "solo/solo.csv", "columns": columns });
    let spec = Combined { sets: vec![serde_json::from_value(source).unwrap()], pools: 1, ..spec() };
    spec.load(&dirs).unwrap();
    for row in times(&generated::cache_folder(&spec, &dirs).unwrap()) {
        let declared = row[5].split('|').map(|source| source.contains("-4-") || source.contains("-5-"));
        assert!(declared.into_iter().all(|is_test| is_test == row[0].starts_with("testing/")), "{row:?}");
    }
}

#[test]
fn the_bytes_follow_from_spec_and_sources_with_any_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = solos(dir.path(), 3);
    let contents = |spec: &Combined, name: &str, threads: usize| {
        let into = dir.path().join(name);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| generated::write(spec, &dirs, &into, &|| Ok(()))).unwrap();
        let files = files_below(&into).unwrap();
        files.into_iter().map(|file| (file.names.join("/"), fs::read(&file.path).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let small = Combined { training: 4, testing: 0, pools: 1, ..spec() };
    let one = contents(&small, "one", 1);
    assert!(one == contents(&small, "three", 3), "the number of threads shows");
    assert!(one != contents(&Combined { seed: 2, ..small.clone() }, "other", 1));
    // A written set is read from its table, without its sources.
    let root = CommonKeys { root: Some("one".into()), ..CommonKeys::default() };
    fs::remove_dir_all(dir.path().join("solo")).unwrap();
    let set = Combined { common: root, sets: Vec::new(), ..small }.load(&dirs).unwrap();
    assert_eq!((set.records.len(), set.records[0].group.as_str()), (4, "pool-001"));
    assert!(set.records.iter().all(|record| record.labels.len() >= 2 && record.tags.contains_key("genre")));
}

#[test]
fn changed_sources_make_another_set_and_poor_ones_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let dirs = solos(dir.path(), 2);
    let small = Combined { training: 2, testing: 0, pools: 1, ..spec() };
    let before = generated::cache_folder(&small, &dirs).unwrap();
    write_pcm16(&dir.path().join("solo/oboe/jazz-0-1.wav"), &vec![0; 20000], 1, RATE).unwrap();
    assert_ne!(before, generated::cache_folder(&small, &dirs).unwrap());
    let many = Combined { instruments: [5, 6], ..small.clone() };
    let error = many.load(&dirs).unwrap_err().to_string();
    assert!(error.contains("none of the 1 pools") && error.contains("5 instruments of one `genre`"), "{error}");
    for class in TONES.map(|(class, _)| class) {
        for file in files_below(&dir.path().join("solo").join(class)).unwrap() {
            write_pcm16(&file.path, &vec![0; 20000], 1, RATE).unwrap();
        }
    }
    let error = format!("{:#}", small.load(&dirs).unwrap_err());
    assert!(
        error.contains("combine training/00000") && error.contains(": none of") && error.contains("silent"),
        "{error}"
    );
}
