//! Data sets with one folder per class.

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use timbre_inputs::data::folder::{Folder, LabelFiles};
use timbre_inputs::data::{CommonKeys, DataDirs, DataKind, DataSet, DataSpec, MissingData, Subset, describe};

use crate::test_dir::test_data;

fn tree(files: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join("set").join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"not audio").unwrap();
    }
    dir
}

fn load(dir: &TempDir, spec: Folder) -> anyhow::Result<DataSet> {
    let spec = Folder { common: CommonKeys { root: Some("set".into()), ..CommonKeys::default() }, ..spec };
    spec.load(&DataDirs { data_dir: dir.path().to_owned(), cache_dir: dir.path().join("cache") })
}

#[test]
fn classes_are_folders_and_only_recordings_count() {
    let dir =
        tree(&["b/deep/1.flac", "a/1.WAV", "a/._1.wav", "a/notes.txt", "readme.md", "preview.wav", "empty/x.txt"]);
    let set = load(&dir, Folder::default()).unwrap();
    assert_eq!(set.classes.names(), ["a", "b"]);
    let ids: Vec<_> = set.records.iter().map(|r| (r.id.as_str(), r.labels[0], r.subset)).collect();
    assert_eq!(ids, [("a/1.WAV", 0, Subset::Training), ("b/deep/1.flac", 1, Subset::Training)]);
    assert_ne!(set.records[0].group, set.records[1].group, "every file is its own song");
}

#[test]
fn audio_files_in_formats_that_are_not_read_are_counted() {
    let dir = tree(&["a/1.wav", "a/2.W64", "b/deep/3.wv", "b/4.wv", "b/5.txt", "b/6.flac"]);
    let set = load(&dir, Folder::default()).unwrap();
    assert_eq!(set.records.len(), 2);
    assert!(set.notes.iter().any(|note| note.contains("not read: 1 .w64, 2 .wv")), "{:?}", set.notes);
    assert!(load(&tree(&["a/1.wav"]), Folder::default()).unwrap().notes.is_empty());
    let error = format!("{:#}", load(&tree(&["a/1.wv"]), Folder::default()).unwrap_err());
    assert!(error.contains("only audio files in formats that are not read: 1 .wv"), "{error}");
}

#[test]
fn a_recording_behind_a_fan_of_links_counts_once() {
    let dir = tree(&["a/1.wav", "b/fan25/x.wav"]);
    let fan = |n: usize| dir.path().join(format!("set/b/fan{n:02}"));
    // 2^25 paths lead to the recording.
    for n in 0..25 {
        fs::create_dir(fan(n)).unwrap();
        for link in ["l", "r"] {
            std::os::unix::fs::symlink(fan(n + 1), fan(n).join(link)).unwrap();
        }
    }
    let set = load(&dir, Folder::default()).unwrap();
    assert_eq!(set.records.iter().map(|r| r.labels[0]).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn songs_and_folds_are_taken_from_the_file_name() {
    let dir = tree(&["a/1-77-A.wav", "a/2-78-A.wav", "b/1-77-B.wav"]);
    let spec = Folder { fold: Some(r"^(\d)-".into()), group: Some(r"^\d-(\d+)".into()), ..Folder::default() };
    let set = load(&dir, spec.clone()).unwrap();
    let seen: Vec<_> = set.records.iter().map(|r| (r.group.as_str(), r.fold.as_deref().unwrap())).collect();
    assert_eq!(seen, [("77", "1"), ("78", "2"), ("77", "1")]);
    fs::write(dir.path().join("set/a/odd.wav"), b"").unwrap();
    let fault = format!("{:#}", load(&dir, spec).unwrap_err());
    assert!(fault.contains("odd.wav") && fault.contains("group"), "{fault}");
}

#[test]
fn an_invalid_expression_or_one_without_a_group_is_a_fault() {
    let faults = |group: &str| Folder { group: Some(group.into()), ..Folder::default() }.faults();
    assert!(faults(r"^(\d+)").is_empty());
    assert!(
        faults("(")
            .first()
            .is_some_and(|fault| fault.key == "group" && fault.sentence.contains("not a regular expression"))
    );
    assert!(faults(r"^\d+").first().is_some_and(|fault| fault.sentence.contains("capture group")));
    assert_eq!(Folder { classes: Some(vec![]), ..Folder::default() }.faults()[0].key, "classes");
}

#[test]
fn subsets_may_be_the_topmost_folders() {
    let files = ["train/a/1.wav", "train/b/1.wav", "val/a/2.wav", "test/b/3.wav"];
    let dir = tree(&files);
    let set = load(&dir, Folder { part_folders: true, ..Folder::default() }).unwrap();
    let counts = describe(&set);
    let class = |i: usize| (counts.classes[i].training, counts.classes[i].validation, counts.classes[i].testing);
    assert_eq!((class(0), class(1)), ((1, 1, 0), (1, 0, 1)));
    assert_eq!(set.records[0].id, "test/b/3.wav");
    let fault = format!("{:#}", load(&dir, Folder::default()).unwrap_err());
    assert!(fault.contains("part_folders = true"), "{fault}");
    fs::create_dir(dir.path().join("set/extra")).unwrap();
    let fault = format!("{:#}", load(&dir, Folder { part_folders: true, ..Folder::default() }).unwrap_err());
    assert!(fault.contains("extra"), "{fault}");
}

#[test]
fn the_class_list_selects_and_orders() {
    let dir = tree(&["a/1.wav", "b/1.wav", "c/1.wav"]);
    let with =
        |classes: &[&str]| Folder { classes: Some(classes.iter().map(|c| (*c).into()).collect()), ..Folder::default() };
    let set = load(&dir, with(&["c", "a"])).unwrap();
    assert_eq!(set.classes.names(), ["c", "a"]);
    assert_eq!(set.records.iter().map(|r| r.labels[0]).collect::<Vec<_>>(), [1, 0]);
    let fault = format!("{:#}", load(&dir, with(&["a", "d"])).unwrap_err());
    assert!(fault.contains("d;") && fault.contains("a, b, c"), "{fault}");
}

#[test]
fn a_class_name_with_a_semicolon_is_refused() {
    let dir = tree(&["a;b/1.wav", "a/1.wav", "b/1.wav"]);
    let fault = format!("{:#}", load(&dir, Folder::default()).unwrap_err());
    assert!(fault.contains("`a;b`") && fault.contains("rename"), "{fault}");
}

#[test]
fn label_files_beside_the_recordings_name_any_number_of_classes() {
    let dir = tree(&["train/x/1.wav", "train/2.flac", "test/3.wav", "train/readme.txt"]);
    let write = |name: &str, text: &str| fs::write(dir.path().join("set").join(name), text).unwrap();
    write("train/x/1.txt", "gel\t\r\nvoi\t\r\n\n");
    write("train/2.txt", "0.5\t2.25\tgrand piano\n3\t4\tvoi\n5\t6\tvoi\n");
    write("test/3.txt", "");
    let spec = Folder { part_folders: true, label_files: Some(LabelFiles::Txt), ..Folder::default() };
    let set = load(&dir, spec.clone()).unwrap();
    assert_eq!(set.classes.names(), ["gel", "grand piano", "voi"]);
    let seen: Vec<_> = set.records.iter().map(|r| (r.id.as_str(), &r.labels[..], r.subset)).collect();
    assert_eq!(
        seen,
        [
            ("test/3.wav", &[][..], Subset::Testing),
            ("train/2.flac", &[1, 2], Subset::Training),
            ("train/x/1.wav", &[0, 2], Subset::Training)
        ]
    );
    write("train/lost.txt", "voi");
    write("train/4.wav", "");
    let fault = format!("{:#}", load(&dir, spec).unwrap_err());
    assert!(fault.contains("have no label file (NAME.txt beside NAME.wav) (1):\n  train/4.wav"), "{fault}");
    assert!(fault.contains("label files have no recording (1):\n  train/lost.txt"), "{fault}");
    let both = Folder { classes: Some(vec!["a".into()]), label_files: Some(LabelFiles::Txt), ..Folder::default() };
    assert_eq!(both.faults()[0].key, "classes");
}

#[test]
fn jams_files_give_the_values_of_their_tags() {
    let dir = tree(&["1.wav", "2.wav"]);
    let write = |name: &str, text: &str| fs::write(dir.path().join("set").join(name), text).unwrap();
    let new = r#"{"annotations": [
        {"namespace": "tag_open", "data": [{"time": 0.0, "duration": 3.0, "value": "piano", "confidence": 1.0}]},
        {"namespace": "beat", "data": [{"time": 0.0, "value": 1}]}]}"#;
    let old = r#"{"annotations": [{"namespace": "tag_medleydb_instruments", "data": {"value": ["violin", "piano"]}}]}"#;
    write("1.jams", new);
    write("2.jams", old);
    let spec = Folder { label_files: Some(LabelFiles::Jams), ..Folder::default() };
    let set = load(&dir, spec.clone()).unwrap();
    assert_eq!(set.classes.names(), ["piano", "violin"]);
    assert_eq!(set.records.iter().map(|r| r.labels.to_vec()).collect::<Vec<_>>(), [vec![0], vec![0, 1]]);
    write("2.jams", "{}");
    assert!(format!("{:#}", load(&dir, spec).unwrap_err()).contains("2.wav: 2: it has no annotations"));
}

#[test]
fn a_missing_or_empty_folder_is_missing_data() {
    let dir = tree(&["a/notes.txt"]);
    assert!(load(&dir, Folder::default()).unwrap_err().downcast_ref::<MissingData>().is_some());
    fs::remove_dir_all(dir.path().join("set")).unwrap();
    let error = load(&dir, Folder::default()).unwrap_err();
    assert!(error.downcast_ref::<MissingData>().is_some() && error.to_string().contains("DATA=demo"), "{error}");
}

#[test]
#[ignore = "needs TIMBRE_TEST_DATA=DIR with an excerpt of Medley-solos-DB in medley_solos: make test-peers"]
fn the_excerpt_of_medley_solos_db_loads_in_its_official_split() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(home.join("data/medley_solos.toml")).unwrap();
    let spec: DataSpec = toml::from_str(&text).unwrap();
    let dirs = DataDirs { data_dir: test_data(), cache_dir: home.join("data/.cache") };
    let set = spec.as_kind().load(&dirs).unwrap();
    let counts = describe(&set);
    assert_eq!(counts.parts.iter().map(|p| p.recordings).collect::<Vec<_>>(), [80, 9, 8]);
    assert_eq!(set.classes.len(), 8);
}
