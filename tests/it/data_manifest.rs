//! Data sets that a table describes.

use std::fs;

use tempfile::TempDir;
use timbre_inputs::data::{DataDirs, DataSet, DataSpec, MissingData, Subset};
use timbre_signal::audio::Excerpt;

/// A folder `data` with these empty recordings and this table.
fn project(recordings: &[&str], table: &str, text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for recording in recordings {
        let path = dir.path().join(recording);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"not audio").unwrap();
    }
    fs::write(dir.path().join(table), text).unwrap();
    dir
}

fn load(dir: &TempDir, toml: &str) -> anyhow::Result<DataSet> {
    let spec: DataSpec = toml::from_str(&format!("kind = \"manifest\"\n{toml}")).unwrap();
    let faults = spec.as_kind().faults();
    assert!(faults.is_empty(), "{faults:?}");
    spec.load(&DataDirs { data_dir: dir.path().to_owned(), cache_dir: dir.path().join("cache") })
}

/// Id, classes, song, subset.
fn lines(set: &DataSet) -> Vec<String> {
    let line = |r: &timbre_inputs::data::ClipRecord| {
        let classes: Vec<&str> = r.labels.iter().map(|&label| set.classes.name(label)).collect();
        format!("{} [{}] {} {:?}", r.id, classes.join("+"), r.group, r.subset)
    };
    set.records.iter().map(line).collect()
}

#[test]
fn a_table_with_a_mapping_of_its_columns_is_read() {
    let text = "path,labels,song,split,mood,f\nb.wav,violin|Ça va; no,s1,test,sad,2\na.wav,,s2,train,,1\nc.wav,drum kit,s3,valid,happy,1\n";
    let text = text.replace("; no", "");
    let dir = project(&["a.wav", "b.wav", "c.wav"], "labels.csv", &text);
    let toml = r#"
        path = "labels.csv"
        [columns]
        path = "path"
        labels = { column = "labels", separator = "|" }
        group = "song"
        split = "split"
        fold = "f"
        tags = ["mood"]
    "#;
    let set = load(&dir, toml).unwrap();
    assert_eq!(set.classes.names(), ["drum kit", "violin", "Ça va"]);
    assert_eq!(
        lines(&set),
        ["a.wav [] s2 Training", "b.wav [violin+Ça va] s1 Testing", "c.wav [drum kit] s3 Validation"]
    );
    assert_eq!(set.records[1].tags["mood"], "sad");
    assert!(set.records[0].tags.is_empty());
    assert_eq!(set.records.iter().map(|r| r.fold.as_deref().unwrap()).collect::<Vec<_>>(), ["1", "2", "1"]);
    assert!(set.warnings().is_empty(), "{:?}", set.warnings());
}

#[test]
fn a_song_column_that_is_not_read_because_others_are_written_is_named() {
    let dir = project(&["a.wav", "b.wav"], "t.csv", "path,instrumnet,song\na.wav,p,A\nb.wav,q,A\n");
    let error = load(&dir, "path = \"t.csv\"").unwrap_err();
    assert!(
        format!("{error:#}").contains("`--set data.columns.labels=NAME`; its columns are `path`, `instrumnet`, `song`")
    );
    let set = load(&dir, "path = \"t.csv\"\ncolumns = { labels = \"instrumnet\" }").unwrap();
    let note = "`song` of t.csv is not read as the song of a recording";
    assert!(
        set.notes.iter().any(|said| said.contains(note) && said.contains("columns.group = \"song\"")),
        "{:?}",
        set.notes
    );
    let both = load(&dir, "path = \"t.csv\"\ncolumns = { labels = \"instrumnet\", group = \"song\" }").unwrap();
    assert!(!both.notes.iter().any(|said| said.contains(note)), "{:?}", both.notes);
}

#[test]
fn usual_column_names_are_guessed_and_the_guess_is_said() {
    let dir = project(
        &["x/a.wav", "x/b.wav"],
        "t.tsv",
        "File\tartist\tClass\tsplit\nx/a.wav\tA\tp,q\ttrain\nx/b.wav\tB\tp\teval\n",
    );
    let set = load(&dir, "path = \"t.tsv\"").unwrap();
    assert_eq!(lines(&set), ["x/a.wav [p+q] A Training", "x/b.wav [p] B Testing"]);
    assert_eq!(set.notes.len(), 1);
    assert!(
        set.notes[0].starts_with(
            "columns of t.tsv, by their names: path = `File`, group = `artist`, split = `split`, labels = `Class`, divided at `,`"
        ),
        "{:?}",
        set.notes
    );
    // With [columns], only the path and the classes are guessed.
    let set = load(&dir, "path = \"t.tsv\"\ncolumns = { group = \"split\" }").unwrap();
    assert_eq!(lines(&set), ["x/a.wav [p+q] train Training", "x/b.wav [p] eval Training"]);
    // A comma in a class name does not divide it.
    let dir = project(&["a.wav"], "t.csv", "file,label\na.wav,\"Violin, fiddle\"\n");
    assert_eq!(load(&dir, "path = \"t.csv\"").unwrap().classes.names(), ["Violin, fiddle"]);
    // A column of audio files needs no usual name, and spaces and hyphens in names do not matter.
    let dir = project(&["a.wav", "b.FLAC"], "t.csv", "Bird ID,Sound of,Call-Type\n1,a.wav,peep\n2,b.FLAC,buzz\n");
    let set = load(&dir, "path = \"t.csv\"").unwrap();
    assert_eq!(set.classes.names(), ["buzz", "peep"]);
    assert!(set.notes[0].contains("path = `Sound of`, labels = `Call-Type` ("), "{:?}", set.notes);
    let dir = project(&["a.wav", "b.wav"], "t.csv", "where,what,with\na.wav,x,b.wav\n");
    let error = format!("{:#}", load(&dir, "path = \"t.csv\"").unwrap_err());
    assert!(error.contains("`--set data.columns.path=NAME`") && error.contains("`where`, `what`, `with`"), "{error}");
    let error =
        format!("{:#}", load(&dir, "path = \"t.csv\"\ncolumns = { path = \"where\", group = \"who\" }").unwrap_err());
    assert!(error.contains("has no column `who`: its columns are `where`, `what`, `with`"), "{error}");
    let error = format!("{:#}", load(&dir, "path = \"t.csv\"\ncolumns = { path = \"where\" }").unwrap_err());
    assert!(error.contains("`--set data.columns.labels=NAME`"), "{error}");
}

#[test]
fn one_column_a_class_may_hold_zeros_and_ones_or_scores() {
    let text = "fname,cello,flute,year\na,1,0,1990\nb,0.4,yes,1991\nc,,false,1992\n";
    let dir = project(&["wav/a.wav", "wav/b.wav", "wav/c.wav"], "t.csv", text);
    let base = "path = \"t.csv\"\nfile_name = \"wav/{}.wav\"\n";
    let set = load(&dir, base).unwrap();
    assert_eq!(set.classes.names(), ["cello", "flute"]);
    assert_eq!(lines(&set)[..2], ["wav/a.wav [cello] wav/a.wav Training", "wav/b.wav [flute] wav/b.wav Training"]);
    assert!(set.has_no_songs() && set.notes[0].contains("labels = 2 columns of 0 and 1"), "{:?}", set.notes);
    let toml = format!("{base}columns = {{ labels = {{ columns = [\"flute\", \"cello\"], threshold = 0.3 }} }}");
    let set = load(&dir, &toml).unwrap();
    assert_eq!(set.classes.names(), ["flute", "cello"]);
    assert_eq!(*set.records[1].labels, [0, 1]);
    let error = format!("{:#}", load(&dir, &format!("{base}columns = {{ labels = [\"fname\"] }}")).unwrap_err());
    assert!(
        error.contains("cells of a class are not a number (3):")
            && error.contains("wav/a.wav: fname is \"a\" (line 2)"),
        "{error}"
    );
}

#[test]
fn rows_may_be_excerpts_and_the_excerpts_of_a_file_are_one_song() {
    let text = "{\"file\":\"a.wav\",\"label\":\"x\",\"start\":0,\"end\":2.5}\n{\"file\":\"a.wav\",\"label\":\"y\",\"start\":2.5}\n{\"file\":\"b.wav\",\"label\":[\"x\",\"y\"]}\n";
    let dir = project(&["a.wav", "b.wav"], "t.jsonl", text);
    let set = load(&dir, "path = \"t.jsonl\"").unwrap();
    assert_eq!(
        lines(&set),
        ["a.wav#t=0,2.5 [x] a.wav Training", "a.wav#t=2.5 [y] a.wav Training", "b.wav [x+y] b.wav Training"]
    );
    assert_eq!(set.records[0].excerpt, Some(Excerpt { start: 0.0, end: Some(2.5) }));
    assert_eq!(set.records[0].path, dir.path().join("a.wav"));
    assert!(set.has_no_songs(), "a file of its own is no song that somebody named");
}

#[test]
fn all_faults_of_a_table_are_listed_together() {
    let text = "path,label,song,split,start,end\na.wav,x,s1,train,,\na.wav,y,s1,train,,\nb.wav,x,s1,test,,\ngone.wav,x,s2,train,,\n\
                c.wav,x,s3,trial,,\nd.wav,x,s4,train,5,3\ne.wav,\"a;b|x\",s5,train,soon,\n,x,s6,train,,\nf.wav,x,,train,,\ng.wav,x\n";
    let files = ["a.wav", "b.wav", "c.wav", "d.wav", "e.wav", "f.wav"];
    let dir = project(&files, "t.csv", text);
    let error = format!("{:#}", load(&dir, "path = \"t.csv\"\nuse = \"mine\"").unwrap_err());
    for part in [
        "read data set `mine`: t.csv has faults:",
        "rows cannot be read (1):\n  line 11 has 2 cells, and the header 6",
        "rows describe a recording a second time (1):\n  a.wav (line 3) and 2",
        "recordings are not in ",
        "\n  gone.wav (line 5)",
        "rows have an unknown split (the splits are training, validation and test) (1):\n  c.wav: \"trial\" (line 6)",
        "rows end before they begin (1):\n  d.wav: 5 to 3 s (line 7)",
        "rows have a time that is not a number of seconds (1):\n  e.wav: \"soon\" (line 8)",
        "rows name no file (1):\n  line 9",
        "rows name no song (1):\n  f.wav (line 10)",
        "songs are in two of the declared splits (1):\n  s1: a.wav and b.wav",
        "classes have a `;` in their names, which separates classes in tables (1):\n  a;b",
    ] {
        assert!(error.contains(part), "{part:?} is not in\n{error}");
    }
}

#[test]
fn missing_recordings_are_left_out_on_request_and_a_missing_table_is_missing_data() {
    let dir = project(&["a.wav"], "t.csv", "path,label\na.wav,x\nb.wav,y\n");
    let set = load(&dir, "path = \"t.csv\"\nskip_missing = true").unwrap();
    assert_eq!((set.records.len(), set.classes.names()), (1, &["x".to_owned()][..]));
    assert!(set.notes.iter().any(|note| note.starts_with("1 of 2 recordings are not on disk and are left out: b.wav")));
    for toml in ["path = \"no.csv\"", "path = \"t.csv\"\nroot = \"elsewhere\""] {
        let error = load(&dir, toml).unwrap_err();
        assert!(error.downcast_ref::<MissingData>().is_some(), "{error:#}");
    }
}

#[test]
fn names_are_found_in_another_unicode_form_and_below_the_root() {
    let dir = project(
        &["sets/caf\u{e9}/e\u{301}.wav", "sets/x.wav"],
        "t.csv",
        "path,label\ncafe\u{301}/\u{e9}.wav,x\n./x.wav,y\n",
    );
    let set = load(&dir, "path = \"t.csv\"\nroot = \"sets\"").unwrap();
    assert_eq!(set.records.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["caf\u{e9}/\u{e9}.wav", "x.wav"]);
    assert!(set.records.iter().all(|record| record.path.exists()));
    let absolute = dir.path().join("sets/x.wav");
    fs::write(dir.path().join("t.csv"), format!("path,label\n{},x\n", absolute.display())).unwrap();
    assert_eq!(load(&dir, "path = \"t.csv\"\nroot = \"sets\"").unwrap().records[0].id, "x.wav");
}

#[test]
fn a_wrong_table_is_a_fault_of_the_configuration() {
    let fault = |toml: &str| {
        let spec: DataSpec = toml::from_str(&format!("kind = \"manifest\"\n{toml}")).unwrap();
        let fault = spec.as_kind().faults().into_iter().next().expect("a fault");
        format!("{}: {}", fault.key, fault.sentence)
    };
    assert!(fault("").starts_with("path: is missing"));
    assert!(fault("path = \"a.xlsx\"").contains("must end in .csv"));
    assert!(fault("path = \"a.csv\"\nfile_name = \"x\"").starts_with("file_name: has no {}"));
    assert!(fault("path = \"a.csv\"\ncolumns.labels = []").contains("empty list"));
    assert!(fault("path = \"a.csv\"\ncolumns.labels = {}").contains("neither"));
    assert!(fault("path = \"a.csv\"\ncolumns.labels = { column = \"a\", columns = [\"b\"] }").contains("both"));
    assert!(fault("path = \"a.csv\"\ncolumns.labels = { column = \"a\", separator = \"\" }").contains("empty"));
    assert!(fault("path = \"a.csv\"\ncolumns.labels = { column = \"a\", threshold = 0.2 }").contains("`threshold`"));
    assert!(fault("path = \"a.csv\"\nlimit_seed = 2").starts_with("limit_seed"));
    assert!(fault("path = \"a.csv\"\nlabels = { include = [\"a\", \"a\"] }").contains("twice"));
}

#[test]
fn labels_of_a_manifest_can_be_changed() {
    let dir = project(&["a.wav", "b.wav", "c.wav"], "t.csv", "path,label\na.wav,egtr|organ\nb.wav,agtr\nc.wav,piano\n");
    let toml = "path = \"t.csv\"\n[labels]\nmap = { egtr = \"guitar\", agtr = \"guitar\" }\nexclude = [\"organ\"]\ninclude = [\"guitar\"]";
    let set = load(&dir, toml).unwrap();
    assert_eq!(lines(&set), ["b.wav [guitar] b.wav Training"]);
    assert_eq!(set.notes.len(), 3, "{:?}", set.notes);
    let spec: DataSpec = toml::from_str("kind = \"demo\"\nlabels = { include = [\"cel\"] }").unwrap();
    assert!(spec.known_classes().is_none(), "the classes follow from the labels");
}

#[test]
fn the_subset_of_a_row_is_its_split() {
    let dir = project(&["a.wav"], "t.csv", "path,label,split\na.wav,x,DEV\n");
    assert_eq!(load(&dir, "path = \"t.csv\"").unwrap().records[0].subset, Subset::Validation);
}

#[test]
fn an_empty_cell_of_a_class_is_unknown_unless_the_table_says_absent() {
    let text = "path,violin,drums\na.wav,1,\nb.wav,0,1\nc.wav,,\nd.wav,,0\n";
    let dir = project(&["a.wav", "b.wav", "c.wav", "d.wav"], "t.csv", text);
    let partial = |set: &DataSet| -> Vec<String> {
        set.records.iter().map(|r| format!("{} {:?} {:?}", r.id, r.labels.present(), r.labels.unknown())).collect()
    };
    // Also where the columns are guessed. A recording of which nothing is known is of no use.
    for toml in ["", "[columns]\nlabels = [\"violin\", \"drums\"]"] {
        let set = load(&dir, &format!("path = \"t.csv\"\n{toml}")).unwrap();
        assert_eq!(partial(&set), ["a.wav [0] [1]", "b.wav [1] []", "d.wav [] [0]"]);
        let note = "1 recording left out because none of their classes is known";
        assert!(set.notes.iter().any(|own| own == note), "{:?}", set.notes);
    }
    let toml = "path = \"t.csv\"\n[columns]\nlabels = { columns = [\"violin\", \"drums\"], empty = \"absent\" }";
    let set = load(&dir, toml).unwrap();
    assert_eq!(partial(&set), ["a.wav [0] []", "b.wav [1] []", "c.wav [] []", "d.wav [] []"]);
    // A table that marks only what is there cannot mean that everything else is unknown.
    let dir = project(&["a.wav", "b.wav"], "t.csv", "path,violin,drums\na.wav,1,\nb.wav,,1\n");
    let error = format!("{:#}", load(&dir, "path = \"t.csv\"\ncolumns.labels = [\"violin\", \"drums\"]").unwrap_err());
    assert!(error.contains("no cell says that a class is absent") && error.contains("empty = \"absent\""), "{error}");
}
