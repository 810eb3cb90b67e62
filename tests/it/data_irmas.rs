//! IRMAS data sets with every form of name and every difficulty of the real set, built in temporary folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use tempfile::TempDir;
use timbre_inputs::data::irmas::{Irmas, IrmasSubset};
use timbre_inputs::data::{ClipRecord, CommonKeys, DataDirs, DataKind, DataSet, DataSpec, MissingData, Subset};

struct Tree(TempDir);

impl Tree {
    /// All four folders, each with a recording.
    fn new() -> Self {
        let tree = Tree(tempfile::tempdir().unwrap());
        tree.training("cel/[cel][cla]0001__1.wav");
        for (folder, inner) in [("1", "Part1"), ("2", "IRTestingData-Part2"), ("3", "Part3")] {
            tree.testing(&format!("{folder}/{inner}/song {folder}-1"), "gel\t\nvoi\t\n");
        }
        tree
    }

    fn write(&self, path: &str, content: &[u8]) {
        let path = self.0.path().join("irmas").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn training(&self, path: &str) {
        self.write(&format!("IRMAS-TrainingData/{path}"), b"RIFF");
    }

    fn testing(&self, stem: &str, labels: &str) {
        self.write(&format!("IRMAS-TestingData-Part{stem}.wav"), b"RIFF");
        self.write(&format!("IRMAS-TestingData-Part{stem}.txt"), labels.as_bytes());
    }

    fn load_as(&self, spec: Irmas) -> anyhow::Result<DataSet> {
        spec.load(&DataDirs { data_dir: self.0.path().to_owned(), cache_dir: self.0.path().join("cache") })
    }

    fn load(&self) -> DataSet {
        self.load_as(Irmas::default()).unwrap()
    }

    fn fault(&self) -> String {
        format!("{:#}", self.load_as(Irmas::default()).unwrap_err())
    }
}

fn find<'a>(set: &'a DataSet, end: &str) -> &'a ClipRecord {
    set.records.iter().find(|record| record.id.ends_with(end)).unwrap_or_else(|| panic!("{end} is not there"))
}

fn codes(set: &DataSet, record: &ClipRecord) -> Vec<String> {
    record.labels.iter().map(|&label| set.classes.name(label).to_owned()).collect()
}

#[test]
fn every_form_of_a_training_name_gives_class_song_genre_and_drums() {
    let tree = Tree::new();
    tree.training("cla/008__[cla][nod][cla]0058__1.wav");
    tree.training("cla/[cla][jaz_blu]0059__2.wav");
    tree.training("voi/120__[voi][dru][pop_roc]1713__3.wav");
    tree.training("org/7__[org][---][cou_fol]0730__1.wav");
    tree.training("deeper/nested/vio/[vio][lat_sou]2261__1.wav");
    tree.training("[tru][cla]1000__1.wav");
    let set = tree.load();
    assert_eq!(set.classes.names(), ["cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi"]);
    let seen = |end: &str| {
        let record = find(&set, end);
        let tag = |name: &str| record.tags.get(name).map_or("", String::as_str);
        (codes(&set, record).join(" "), record.group.clone(), tag("genre").to_owned(), tag("drums").to_owned())
    };
    let of = |class: &str, song: &str, genre: &str, drums: &str| {
        (class.to_owned(), format!("training/{song}"), genre.to_owned(), drums.to_owned())
    };
    assert_eq!(seen("0001__1.wav"), of("cel", "0001", "cla", ""));
    assert_eq!(seen("0058__1.wav"), of("cla", "0058", "cla", "no"));
    assert_eq!(seen("0059__2.wav"), of("cla", "0059", "jaz_blu", ""));
    assert_eq!(seen("1713__3.wav"), of("voi", "1713", "pop_roc", "yes"));
    assert_eq!(seen("0730__1.wav"), of("org", "0730", "cou_fol", ""));
    assert_eq!(seen("2261__1.wav"), of("vio", "2261", "lat_sou", ""));
    assert_eq!(seen("[tru][cla]1000__1.wav"), of("tru", "1000", "cla", ""));
    assert!(set.records.windows(2).all(|pair| pair[0].id.as_bytes() < pair[1].id.as_bytes()));
}

#[test]
fn a_clip_with_another_name_is_kept_if_its_folder_names_the_class() {
    let tree = Tree::new();
    tree.training("flu/my recording-1.wav");
    tree.training("flu/my recording-2.wav");
    tree.training("flu/notes.txt");
    let set = tree.load();
    assert_eq!(find(&set, "my recording-1.wav").group, find(&set, "my recording-2.wav").group);
    tree.training("somewhere/nameless.wav");
    assert!(tree.fault().contains("somewhere/nameless.wav"), "{}", tree.fault());
}

#[test]
fn label_files_may_have_tabs_crlf_a_byte_order_mark_and_blank_lines() {
    let tree = Tree::new();
    tree.testing("1/a-1", "voi\t\ngel\t\n");
    tree.testing("1/b-1", "pia\r\nsax\r\n\r\n");
    tree.testing("1/c-1", "\u{feff}cla\t\n\n");
    tree.testing("1/d-1", "tru");
    let set = tree.load();
    assert_eq!(codes(&set, find(&set, "a-1.wav")), ["gel", "voi"], "ascending");
    assert_eq!(codes(&set, find(&set, "b-1.wav")), ["pia", "sax"]);
    assert_eq!(codes(&set, find(&set, "c-1.wav")), ["cla"]);
    assert_eq!(codes(&set, find(&set, "d-1.wav")), ["tru"]);
}

#[test]
fn an_invalid_label_is_reported_with_its_file_and_line() {
    let tree = Tree::new();
    tree.testing("1/a-1", "voi\t\nviola\t\n");
    tree.testing("2/b-1", "\n");
    let fault = tree.fault();
    assert!(fault.contains("a-1.txt") && fault.contains("line 2") && fault.contains("viola"), "{fault}");
    fs::remove_file(tree.0.path().join("irmas/IRMAS-TestingData-Part1/a-1.txt")).unwrap();
    fs::remove_file(tree.0.path().join("irmas/IRMAS-TestingData-Part1/a-1.wav")).unwrap();
    assert!(tree.fault().contains("contains no instrument"), "{}", tree.fault());
}

#[test]
fn names_with_dots_brackets_and_decomposed_accents_find_their_labels() {
    let tree = Tree::new();
    let names =
        ["[1] - 03 - Alexandre Lagoya - Canarios (Sanz)-4", "04. Op. 3, No. 2. \"Allegro\" & Co. #1;-11", "no number"];
    names.iter().for_each(|name| tree.testing(&format!("1/Part1/{name}"), "gac\t\n"));
    // The recording decomposed, its labels composed.
    tree.write("IRMAS-TestingData-Part2/cafe\u{301}-2.wav", b"RIFF");
    tree.write("IRMAS-TestingData-Part2/caf\u{e9}-2.txt", b"pia\t\n");
    let set = tree.load();
    assert_eq!(find(&set, "(Sanz)-4.wav").group, "testing/[1] - 03 - Alexandre Lagoya - Canarios (Sanz)");
    assert_eq!(find(&set, "#1;-11.wav").group, "testing/04. Op. 3, No. 2. \"Allegro\" & Co. #1;");
    assert_eq!(find(&set, "no number.wav").group, "testing/no number");
    let cafe = find(&set, "caf\u{e9}-2.wav");
    assert_eq!((cafe.group.as_str(), cafe.path.exists()), ("testing/caf\u{e9}", true));
}

#[test]
fn training_and_testing_songs_with_one_name_stay_two_songs() {
    let tree = Tree::new();
    tree.testing("1/0001-1", "cel\t\n");
    let set = tree.load();
    let songs: BTreeSet<_> = set.records.iter().filter(|r| r.group.ends_with("0001")).map(|r| &r.group).collect();
    assert_eq!(songs.len(), 2);
}

#[test]
fn orphans_are_listed_and_broken_encodings_explained() {
    let tree = Tree::new();
    tree.write("IRMAS-TestingData-Part3/alone-1.wav", b"RIFF");
    tree.write("IRMAS-TestingData-Part1/lost-1.txt", b"gel\t\n");
    let fault = tree.fault();
    assert!(fault.contains("lost-1.txt") && fault.contains("no recording"), "{fault}");
    fs::remove_file(tree.0.path().join("irmas/IRMAS-TestingData-Part1/lost-1.txt")).unwrap();
    let fault = tree.fault();
    assert!(fault.contains("alone-1.wav") && fault.contains("no label file") && !fault.contains("ASCII"), "{fault}");
    fs::remove_file(tree.0.path().join("irmas/IRMAS-TestingData-Part3/alone-1.wav")).unwrap();
    tree.write("IRMAS-TestingData-Part3/Caf\u{e9}-1.wav", b"RIFF");
    tree.write("IRMAS-TestingData-Part3/Caf\u{251c}\u{2310}-1.txt", b"gel\t\n");
    let fault = tree.fault();
    assert!(fault.contains("Caf\u{e9}-1.wav") && fault.contains("UTF-8"), "{fault}");
}

#[test]
fn two_files_with_one_name_are_refused() {
    let tree = Tree::new();
    tree.training("cel/e\u{301}.wav");
    tree.training("cel/\u{e9}.wav");
    assert!(tree.fault().contains("same name"), "{}", tree.fault());
}

#[test]
fn the_message_for_missing_data_says_how_to_get_it() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/irmas.toml")).unwrap();
    let spec: DataSpec = toml::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let places = DataDirs { data_dir: dir.path().to_owned(), cache_dir: dir.path().join("cache") };
    fs::create_dir_all(dir.path().join("irmas/IRMAS-TrainingData")).unwrap();
    let error = spec.as_kind().load(&places).unwrap_err();
    let missing = error.downcast_ref::<MissingData>().expect("a typed error");
    assert_eq!(missing.missing.len(), 3, "{error}");
    let message = error.to_string();
    for part in [
        "`irmas`",
        "IRMAS-TestingData-Part2",
        "zenodo.org",
        "4fd9f5ed5a18d8e2687e6360b5f60afe",
        "GB",
        "DATA=demo",
        "--data demo",
    ] {
        assert!(message.contains(part), "{part} is not in:\n{message}");
    }
    let only = Irmas { parts: vec![IrmasSubset::Training], ..Irmas::default() };
    let error = only.load(&places).unwrap_err();
    assert!(error.downcast_ref::<MissingData>().is_some(), "an empty folder holds no data: {error}");
}

#[test]
fn recordings_in_other_formats_or_classes_are_not_called_missing() {
    let only = || Irmas { parts: vec![IrmasSubset::Training], ..Irmas::default() };
    let tree = Tree(tempfile::tempdir().unwrap());
    tree.training("cel/[cel][cla]0001__1.flac");
    tree.training("cel/[cel][cla]0002__1.flac");
    let error = tree.load_as(only()).unwrap_err();
    assert!(error.downcast_ref::<MissingData>().is_none(), "{error}");
    assert!(error.to_string().contains("has files (2 × .flac), but no .wav"), "{error}");
    tree.training("dog/bark.wav");
    let fault = format!("{:#}", tree.load_as(only()).unwrap_err());
    assert!(fault.contains("no known instrument") && fault.contains("`kind = \"folder\"`"), "{fault}");
    // The root of the set is one folder too high.
    let high = Tree(tempfile::tempdir().unwrap());
    high.write("IRMAS/IRMAS-TrainingData/cel/1.wav", b"RIFF");
    let error = high.load_as(only()).unwrap_err().to_string();
    assert!(error.contains("found        IRMAS in "), "{error}");
}

#[test]
fn only_the_selected_subsets_and_folders_are_read() {
    let tree = Tree::new();
    fs::remove_dir_all(tree.0.path().join("irmas/IRMAS-TestingData-Part2")).unwrap();
    let parts = |spec: Irmas| tree.load_as(spec).unwrap().records.iter().map(|r| r.subset).collect::<Vec<_>>();
    assert_eq!(parts(Irmas { parts: vec![IrmasSubset::Training], ..Irmas::default() }), [Subset::Training]);
    assert_eq!(
        parts(Irmas { test_folders: vec![3, 1], ..Irmas::default() }),
        [Subset::Testing, Subset::Testing, Subset::Training]
    );
    let named = Irmas {
        common: CommonKeys { root: Some("irmas".into()), name: Some("other".into()), ..CommonKeys::default() },
        ..Irmas::default()
    };
    assert!(tree.load_as(named).unwrap_err().to_string().contains("`other`"));
}

#[test]
fn the_first_share_of_the_testing_recordings_moves_to_training_in_whole_songs() {
    let tree = Tree::new();
    // In order: song A three times, song B three times, then again A in the second folder.
    for stem in ["1/A-1", "1/A-2", "1/A-3", "1/B-1", "1/B-2", "1/B-3", "2/A-4"] {
        tree.testing(stem, "sax\t\n");
    }
    let moved = |share: f64| -> BTreeMap<String, usize> {
        let set = tree.load_as(Irmas { training_share_of_test: share, ..Irmas::default() }).unwrap();
        let mut songs = BTreeMap::new();
        for record in set.records.iter().filter(|r| r.id.contains("Testing") && r.subset == Subset::Training) {
            *songs.entry(record.group.clone()).or_default() += 1;
        }
        songs
    };
    let of =
        |songs: &[(&str, usize)]| songs.iter().map(|(s, n)| (format!("testing/{s}"), *n)).collect::<BTreeMap<_, _>>();
    assert_eq!(moved(0.0), of(&[]));
    assert_eq!(moved(0.1), of(&[("A", 4)]), "one of ten recordings; its song comes along, from the other folder too");
    assert_eq!(moved(0.4), of(&[("A", 4), ("B", 3)]), "the border falls into B");
    assert_eq!(moved(1.0).values().sum::<usize>(), 10);
}

#[test]
fn values_out_of_range_are_faults() {
    let keys = |spec: Irmas| spec.faults().into_iter().map(|fault| fault.key).collect::<Vec<_>>();
    assert!(keys(Irmas::default()).is_empty());
    assert_eq!(keys(Irmas { training_share_of_test: 1.5, ..Irmas::default() }), ["training_share_of_test"]);
    assert_eq!(
        keys(Irmas {
            parts: vec![],
            common: CommonKeys { limit_per_class: Some(0), ..CommonKeys::default() },
            ..Irmas::default()
        }),
        ["limit_per_class", "parts"]
    );
    assert_eq!(keys(Irmas { test_folders: vec![4], ..Irmas::default() }), ["test_folders"]);
}
