//! Published data sets, on look-alikes of their layouts.

use std::fs;

use tempfile::TempDir;
use timbre_inputs::data::{DataDirs, DataSet, DataSpec, MissingData, describe};

/// A folder `data/set` with these files. Recordings are empty: they are not opened.
fn set_of(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join("set").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn load(dir: &TempDir, toml: &str) -> anyhow::Result<DataSet> {
    let spec: DataSpec = toml::from_str(&format!("root = \"set\"\n{toml}")).unwrap();
    assert!(spec.as_kind().faults().is_empty());
    spec.load(&DataDirs { data_dir: dir.path().to_owned(), cache_dir: dir.path().join("cache") })
}

/// Id, classes, song, subset, fold.
fn lines(set: &DataSet) -> Vec<String> {
    let line = |r: &timbre_inputs::data::ClipRecord| {
        let classes: Vec<&str> = r.labels.iter().map(|&label| set.classes.name(label)).collect();
        let fold = r.fold.as_deref().map_or(String::new(), |fold| format!(" {fold}"));
        format!("{} [{}] {} {:?}{fold}", r.id, classes.join("+"), r.group, r.subset)
    };
    set.records.iter().map(line).collect()
}

#[test]
fn esc_has_five_folds_and_a_song_for_each_source() {
    let table = "filename,fold,target,category,esc10,src_file,take\n1-100032-A-0.wav,1,0,dog,True,100032,A\n\
                 2-100038-A-14.wav,2,14,chirping_birds,False,100038,A\n2-100038-B-14.wav,2,14,chirping_birds,False,100038,B\n";
    let files = ["audio/1-100032-A-0.wav", "audio/2-100038-A-14.wav", "audio/2-100038-B-14.wav"];
    let mut all: Vec<(&str, &str)> = files.iter().map(|name| (*name, "")).collect();
    all.push(("meta/esc50.csv", table));
    let set = load(&set_of(&all), "kind = \"esc\"").unwrap();
    assert_eq!(
        lines(&set),
        [
            "audio/1-100032-A-0.wav [dog] 100032 Training 1",
            "audio/2-100038-A-14.wav [chirping_birds] 100038 Training 2",
            "audio/2-100038-B-14.wav [chirping_birds] 100038 Training 2"
        ]
    );
    let esc10 = load(&set_of(&all), "kind = \"esc\"\nesc10 = true").unwrap();
    assert_eq!((esc10.records.len(), esc10.classes.names()), (1, &["dog".to_owned()][..]));
    let wrong = table.replace(",2,14,chirping_birds,False,100038,B", ",3,14,chirping_birds,False,100038,B");
    all[3].1 = &wrong;
    let error = format!("{:#}", load(&set_of(&all), "kind = \"esc\"").unwrap_err());
    assert!(error.contains("files have another fold in their names (1):\n  2-100038-B-14.wav: 3 (line 4)"), "{error}");
    // Without the table, the names say the same.
    let without: Vec<(&str, &str)> = all[..3].to_vec();
    assert_eq!(lines(&load(&set_of(&without), "kind = \"esc\"").unwrap()), lines(&set));
    assert_eq!(lines(&load(&set_of(&without), "kind = \"esc\"\nesc10 = true").unwrap()), lines(&esc10));
    let error = format!("{:#}", load(&set_of(&[("audio/x.wav", "")]), "kind = \"esc\"").unwrap_err());
    assert!(error.contains("names are not FOLD-SOURCE-TAKE-TARGET.wav (1):\n  x.wav"), "{error}");
    assert!(load(&set_of(&[("x.wav", "")]), "kind = \"esc\"").unwrap_err().is::<MissingData>());
}

#[test]
fn medley_solos_takes_split_and_class_from_the_names_and_songs_from_the_metadata() {
    let files = [
        ("a/Medley-solos-DB_training-0_11aa.wav", ""),
        ("a/Medley-solos-DB_validation-7_22bb.wav", ""),
        ("b/Medley-solos-DB_test-1_33cc.flac", ""),
        ("README.txt", ""),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"medley_solos\"").unwrap();
    assert_eq!(set.classes.len(), 8);
    assert_eq!(
        lines(&set),
        [
            "a/Medley-solos-DB_training-0_11aa.wav [clarinet] a/Medley-solos-DB_training-0_11aa.wav Training",
            "a/Medley-solos-DB_validation-7_22bb.wav [violin] a/Medley-solos-DB_validation-7_22bb.wav Validation",
            "b/Medley-solos-DB_test-1_33cc.flac [distorted_electric_guitar] b/Medley-solos-DB_test-1_33cc.flac Testing"
        ]
    );
    assert!(set.has_no_songs());
    let table = "subset,instrument,instrument_id,track_id,uuid4\ntraining,clarinet,0,105,11aa\nvalidation,violin,7,7,22bb\ntest,distorted electric guitar,1,3,33cc\n";
    fs::write(dir.path().join("set/Medley-solos-DB_metadata.csv"), table).unwrap();
    let set = load(&dir, "kind = \"medley_solos\"").unwrap();
    assert_eq!(set.records[0].group, "track 105");
    fs::write(dir.path().join("set/b/other.wav"), "").unwrap();
    let error = format!("{:#}", load(&dir, "kind = \"medley_solos\"").unwrap_err());
    assert!(error.contains("b/other.wav"), "{error}");
}

#[test]
fn openmic_reads_the_aggregated_labels_in_its_partitions() {
    let labels = "sample_key,instrument,relevance,num_responses\n000046_3840,clarinet,0.17105,3\n000046_3840,flute,0.0,3\n\
                  000135_483840,voice,1.0,3\n000046_9000,flute,0.75,3\n";
    let files = [
        ("class-map.json", "{\"flute\": 1, \"clarinet\": 0, \"voice\": 2}"),
        ("openmic-2018-aggregated-labels.csv", labels),
        ("partitions/split01_train.csv", "000046_3840\n000046_9000\n"),
        ("partitions/split01_test.csv", "000135_483840\n"),
        ("audio/000/000046_3840.ogg", ""),
        ("audio/000/000046_9000.ogg", ""),
        ("audio/000/000135_483840.ogg", ""),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"openmic\"").unwrap();
    assert_eq!(set.classes.names(), ["clarinet", "flute", "voice"]);
    assert_eq!(
        lines(&set),
        [
            "audio/000/000046_3840.ogg [] 000046 Training",
            "audio/000/000046_9000.ogg [flute] 000046 Training",
            "audio/000/000135_483840.ogg [voice] 000135 Testing"
        ]
    );
    let unknown = |set: &DataSet| set.records.iter().map(|r| r.labels.unknown().to_vec()).collect::<Vec<_>>();
    assert_eq!(unknown(&set), [vec![2], vec![0, 2], vec![0, 1]]);
    let note = "5 of 9 pairs of a clip and an instrument are unknown and take no part in fits and scores";
    assert_eq!(set.notes, [note]);
    let absent = load(&dir, "kind = \"openmic\"\nunknown_is_absent = true").unwrap();
    assert_eq!((lines(&absent), unknown(&absent)), (lines(&set), vec![vec![]; 3]));
    assert!(absent.notes[0].ends_with("are unknown and count as absent"), "{:?}", absent.notes);
    let flute = load(&dir, "kind = \"openmic\"\ninstrument = \"flute\"\nthreshold = 0.8").unwrap();
    assert_eq!(flute.classes.names(), ["flute"]);
    assert_eq!(
        flute.records.iter().map(|r| r.labels.len()).collect::<Vec<_>>(),
        [0, 0],
        "only the clips with an answer"
    );
    let error = format!("{:#}", load(&dir, "kind = \"openmic\"\ninstrument = \"tuba\"").unwrap_err());
    assert!(error.contains("no instrument `tuba`; the instruments are clarinet, flute, voice"), "{error}");
}

#[test]
fn openmic_has_the_labels_of_its_errata() {
    let labels =
        "sample_key,instrument,relevance,num_responses\n095253_134400,piano,0.1,3\n095253_134400,flute,0.1,3\n";
    let files = [
        ("class-map.json", "{\"flute\": 0, \"piano\": 1}"),
        ("openmic-2018-aggregated-labels.csv", labels),
        ("partitions/split01_train.csv", "095253_134400\n"),
        ("partitions/split01_test.csv", ""),
        ("audio/095/095253_134400.ogg", ""),
    ];
    let set = load(&set_of(&files), "kind = \"openmic\"").unwrap();
    assert_eq!(lines(&set), ["audio/095/095253_134400.ogg [piano] 095253 Training"]);
}

#[test]
fn gtzan_reads_every_copy_and_its_artist_filtered_split() {
    let files = [
        ("genres_original/blues/blues.00000.wav", ""),
        ("genres_original/jazz/jazz.00054.wav", ""),
        ("genres_original/jazz/jazz.00001.wav", ""),
        ("genres_original/rock/rock.00002.wav", ""),
        ("train_filtered.txt", "blues/blues.00000.wav\n"),
        ("valid_filtered.txt", "jazz/jazz.00001.wav\r\n"),
        ("test_filtered.txt", "rock/rock.00002.wav\n"),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"gtzan\"").unwrap();
    assert_eq!((set.records.len(), set.classes.len()), (3, 10));
    assert!(
        set.notes[0].contains("known to be damaged left out: genres_original/jazz/jazz.00054.wav"),
        "{:?}",
        set.notes
    );
    assert!(set.has_no_songs());
    let set = load(&dir, "kind = \"gtzan\"\nfiltered = true").unwrap();
    let subsets: Vec<String> =
        set.records.iter().map(|r| format!("{} {:?}", set.classes.name(r.labels[0]), r.subset)).collect();
    assert_eq!(subsets, ["blues Training", "jazz Validation", "rock Testing"]);
    fs::write(dir.path().join("set/test_filtered.txt"), "rock/rock.00009.wav\n").unwrap();
    let error = format!("{:#}", load(&dir, "kind = \"gtzan\"\nfiltered = true").unwrap_err());
    assert!(error.contains("rock/rock.00009.wav (test_filtered.txt)"), "{error}");
    let dir = set_of(&[("blues/blues.00000.wav", "")]);
    assert_eq!(load(&dir, "kind = \"gtzan\"").unwrap().records[0].id, "blues/blues.00000.wav");
    assert!(load(&set_of(&[("x.txt", "")]), "kind = \"gtzan\"").unwrap_err().is::<MissingData>());
}

#[test]
fn nsynth_has_families_sources_and_qualities() {
    let note = |name: &str, family: &str, qualities: &str| {
        format!(
            "\"{name}\": {{\"note\": 1, \"note_str\": \"{name}\", \"instrument_str\": \"{family}_acoustic_001\", \"pitch\": 60, \
             \"velocity\": 100, \"qualities_str\": [{qualities}], \"instrument_family_str\": \"{family}\", \
             \"instrument_source_str\": \"acoustic\", \"sample_rate\": 16000}}"
        )
    };
    let train = format!("{{{}}}", note("bass_acoustic_001-060-100", "bass", "\"dark\", \"percussive\""));
    let test = format!("{{{}}}", note("flute_acoustic_001-060-100", "flute", ""));
    let files = [
        ("nsynth-train/examples.json", train.as_str()),
        ("nsynth-train/audio/bass_acoustic_001-060-100.wav", ""),
        ("nsynth-test/examples.json", &test),
        ("nsynth-test/audio/flute_acoustic_001-060-100.wav", ""),
    ];
    let dir = set_of(&files);
    let toml = "kind = \"nsynth\"\nparts = [\"train\", \"test\"]\n";
    let set = load(&dir, toml).unwrap();
    assert_eq!(
        lines(&set),
        [
            "nsynth-test/audio/flute_acoustic_001-060-100.wav [flute] flute_acoustic_001 Testing",
            "nsynth-train/audio/bass_acoustic_001-060-100.wav [bass] bass_acoustic_001 Training"
        ]
    );
    assert_eq!((set.records[1].tags["pitch"].as_str(), set.records[1].tags["source"].as_str()), ("60", "acoustic"));
    let set = load(&dir, &format!("{toml}classes = \"qualities\"")).unwrap();
    assert_eq!(set.records.iter().map(|r| r.labels.len()).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(load(&dir, &format!("{toml}classes = \"source\"")).unwrap().classes.names(), ["acoustic"]);
    assert!(load(&dir, "kind = \"nsynth\"").unwrap_err().to_string().contains("nsynth-valid"));
}

const TRACKS: &str = "\
,album,artist,set,set,track,track,track
,comments,id,split,subset,genre_top,genres,genres_all
track_id,,,,,,,
2,\"a
b\",1,training,small,Hip-Hop,[21],[21]
5,0,1,training,medium,,\"[21, 45]\",\"[21, 45, 2]\"
140,0,7,test,small,Folk,[17],[17]
98565,0,9,validation,small,Rock,[12],[12]
150,0,8,test,large,Rock,[12],[12]
";

#[test]
fn fma_reads_nested_subsets_genres_and_leaves_out_damaged_tracks() {
    let genres = "genre_id,#tracks,parent,title,top_level\n2,1,0,International,2\n12,2,0,Rock,12\n17,1,0,Folk,17\n21,2,0,Hip-Hop,21\n45,1,2,Loud,2\n";
    let files = [
        ("fma_metadata/tracks.csv", TRACKS),
        ("fma_metadata/genres.csv", genres),
        ("fma_small/000/000002.mp3", ""),
        ("fma_small/000/000140.mp3", ""),
        ("fma_small/098/098565.mp3", ""),
        ("fma_medium/000/000002.mp3", ""),
        ("fma_medium/000/000005.mp3", ""),
        ("fma_medium/000/000140.mp3", ""),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"fma\"").unwrap();
    assert_eq!(
        lines(&set),
        ["fma_small/000/000002.mp3 [Hip-Hop] artist 1 Training", "fma_small/000/000140.mp3 [Folk] artist 7 Testing"]
    );
    assert!(set.notes[0].contains("fma_small/098/098565.mp3"), "{:?}", set.notes);
    let set = load(&dir, "kind = \"fma\"\nsubset = \"medium\"\ngenres = \"all\"").unwrap();
    let names: Vec<String> =
        lines(&set).into_iter().map(|line| line.split(" artist").next().unwrap().to_owned()).collect();
    assert_eq!(
        names,
        [
            "fma_medium/000/000002.mp3 [Hip-Hop]",
            "fma_medium/000/000005.mp3 [Hip-Hop+International+Loud]",
            "fma_medium/000/000140.mp3 [Folk]"
        ]
    );
    let own = load(&dir, "kind = \"fma\"\nsubset = \"medium\"\ngenres = \"own\"\nlabels = { hierarchy = \"set/fma_metadata/genres.csv\" }").unwrap();
    assert_eq!(own.records[1].labels.len(), 3, "the hierarchy adds the parent");
    let error = format!("{:#}", load(&dir, "kind = \"fma\"\nsubset = \"large\"").unwrap_err());
    assert!(error.contains("fma_large"), "{error}");
}

#[test]
fn audioset_names_its_classes_and_counts_what_is_not_on_disk() {
    let names = "index,mid,display_name\n0,/m/068hy,\"Domestic animals, pets\"\n1,/m/07q6cd_,Squeak\n2,/m/05r5c,Piano\n3,/m/013y1f,Organ\n";
    let train = "# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=2\n# YTID, start_seconds, end_seconds, positive_labels\n\
                 --4gqARaEJE, 0.000, 10.000, \"/m/068hy,/m/07q6cd_\"\n-0xzrMun0Rs, 30.000, 40.000, \"/m/05r5c\"\ngone, 0.000, 10.000, \"/m/05r5c\"\n";
    let eval = "# YTID, start_seconds, end_seconds, positive_labels\n5X, 0.000, 10.000, \"/m/05r5c,/m/013y1f\"\n";
    let files = [
        ("class_labels_indices.csv", names),
        ("balanced_train_segments.csv", train),
        ("eval_segments.csv", eval),
        ("audio/Y--4gqARaEJE.wav", ""),
        ("audio/Y-0xzrMun0Rs.wav", ""),
        ("audio/Y5X.wav", ""),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"audioset\"").unwrap();
    assert_eq!(
        lines(&set),
        [
            "audio/Y--4gqARaEJE.wav [Domestic animals, pets+Squeak] --4gqARaEJE Training",
            "audio/Y-0xzrMun0Rs.wav [Piano] -0xzrMun0Rs Training",
            "audio/Y5X.wav [Organ+Piano] 5X Testing"
        ]
    );
    assert!(set.notes[0].starts_with("1 of 4 recordings are not on disk and are left out: audio/Ygone.wav"));
    let set = load(&dir, "kind = \"audioset\"\nlabels = { include = [\"Piano\"], exclude = [\"Organ\"] }").unwrap();
    assert_eq!(lines(&set), ["audio/Y-0xzrMun0Rs.wav [Piano] -0xzrMun0Rs Training"], "piano, never organ");
    // Many ids to one class.
    let by_id = load(
        &dir,
        "kind = \"audioset\"\nids = true\nlabels.map = { \"/m/05r5c\" = \"keys\", \"/m/013y1f\" = \"keys\" }\nlabels.include = [\"keys\"]",
    );
    assert_eq!(
        lines(&by_id.unwrap()),
        ["audio/Y-0xzrMun0Rs.wav [keys] -0xzrMun0Rs Training", "audio/Y5X.wav [keys] 5X Testing"]
    );
    let error = format!("{:#}", load(&dir, "kind = \"audioset\"\nskip_missing = false").unwrap_err());
    assert!(error.contains("audio/Ygone.wav (line 6)"), "{error}");
    assert_eq!(describe(&load(&dir, "kind = \"audioset\"\nparts = [\"eval\"]").unwrap()).recordings, 1);
}

#[test]
fn musicnet_clips_have_the_instruments_of_the_notes_that_sound_in_them() {
    let header = "start_time,end_time,instrument,note,start_beat,end_beat,note_value\n";
    let train =
        format!("{header}0,44100,1,60,0,1,Quarter\n88200,308700,41,60,0,1,Quarter\n132300,136710,44,60,0,1,Quarter\n");
    let test = format!("{header}0,132300,74,60,0,1,Quarter\n");
    let files = [
        ("train_data/1727.wav", ""),
        ("train_labels/1727.csv", train.as_str()),
        ("test_data/1759.wav", ""),
        ("test_labels/1759.csv", &test),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"musicnet\"").unwrap();
    assert_eq!(
        lines(&set),
        [
            "test_data/1759.wav#t=0,3 [flute] 1759 Testing",
            "train_data/1727.wav#t=0,3 [piano+violin] 1727 Training",
            "train_data/1727.wav#t=3,6 [contrabass+violin] 1727 Training",
        ]
    );
    assert_eq!(load(&dir, "kind = \"musicnet\"\nseconds = 1.0").unwrap().records.len(), 3 + 7);
    fs::write(dir.path().join("set/test_labels/1759.csv"), test.replace(",74,", ",99,")).unwrap();
    let error = format!("{:#}", load(&dir, "kind = \"musicnet\"").unwrap_err());
    assert!(error.contains("test_labels/1759.csv: 0, 132300, 99 (line 2)"), "{error}");
    let error_of = |labels: Option<&str>| {
        let path = dir.path().join("set/test_labels/1759.csv");
        labels.map_or_else(|| fs::remove_file(&path), |text| fs::write(&path, text)).unwrap();
        format!("{:#}", load(&dir, "kind = \"musicnet\"").unwrap_err())
    };
    let (empty, cut, absent) = (error_of(Some(header)), error_of(Some(&test[..test.len() - 12])), error_of(None));
    assert!(empty.contains("tables have no notes (1):\n  test_labels/1759.csv"), "{empty}");
    assert!(cut.contains("1759.csv") && cut.contains("line 2"), "{cut}");
    assert!(absent.contains("recordings have no table of notes (1):\n  test_data/1759.wav"), "{absent}");
}

#[test]
fn medleydb_clips_have_the_instruments_that_are_active_and_groups_are_artists() {
    let lab = "start_time,end_time,instrument_label\n0.5,2.5,female singer\n2.0,4.9,piano\n";
    let files = [
        ("Audio/AC_One/AC_One_MIX.wav", ""),
        ("Annotations/SOURCEID/AC_One_SOURCEID.lab", lab),
        ("Audio/AC_Two/AC_Two_MIX.wav", ""),
        ("Annotations/SOURCEID/AC_Two_SOURCEID.lab", lab),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"medleydb\"\nseconds = 2.0").unwrap();
    assert_eq!(
        lines(&set)[..2],
        [
            "Audio/AC_One/AC_One_MIX.wav#t=0,2 [female singer] AC Training",
            "Audio/AC_One/AC_One_MIX.wav#t=2,4 [female singer+piano] AC Training",
        ]
    );
    assert_eq!(set.records.len(), 4);
    let lab_of_two = dir.path().join("set/Annotations/SOURCEID/AC_Two_SOURCEID.lab");
    fs::write(&lab_of_two, "start_time,end_time,instrument_label\n").unwrap();
    let error = format!("{:#}", load(&dir, "kind = \"medleydb\"").unwrap_err());
    assert!(error.contains("tracks have no instrument (1):\n  AC_Two"), "{error}");
    fs::remove_file(lab_of_two).unwrap();
    let error = format!("{:#}", load(&dir, "kind = \"medleydb\"").unwrap_err());
    assert!(
        error.contains("have neither TRACK_SOURCEID.lab nor") && error.contains("Audio/AC_Two/AC_Two_MIX.wav"),
        "{error}"
    );
    // The activations of the stems instead.
    let annotations = dir.path().join("set/Annotations");
    let yaml = "stems:\n  S01:\n    instrument: piano\n  S02:\n    instrument: [not read]\n  S03:\n    instrument:\n    - tuba\n    - oboe\n";
    fs::write(annotations.join("AC_Two_METADATA.yaml"), yaml).unwrap();
    let frames: String = (0..50)
        .map(|n| {
            let seconds = f64::from(n) * 0.1;
            let of = |sounds: bool| if sounds { 0.9 } else { 0.1 };
            format!("{seconds},{},{}\n", of(n < 10), of((25..39).contains(&n)))
        })
        .collect();
    fs::write(annotations.join("AC_Two_ACTIVATION_CONF.lab"), format!("time,S01,S03\n{frames}")).unwrap();
    let set = load(&dir, "kind = \"medleydb\"\nseconds = 1.3").unwrap();
    let of_two: Vec<String> = lines(&set).into_iter().filter(|line| line.contains("AC_Two")).collect();
    assert_eq!(
        of_two,
        [
            "Audio/AC_Two/AC_Two_MIX.wav#t=0,1.3 [piano] AC Training",
            "Audio/AC_Two/AC_Two_MIX.wav#t=1.3,2.6 [oboe+tuba] AC Training",
            "Audio/AC_Two/AC_Two_MIX.wav#t=2.6,3.9000000000000004 [oboe+tuba] AC Training"
        ]
    );
}

#[test]
fn mtg_jamendo_reads_a_category_of_tags_in_an_official_split() {
    let header = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n";
    let row = |track: &str, path: &str, tags: &str| {
        format!("{header}{track}\tartist_000014\talbum_000031\t{path}\t124.6\t{tags}\n")
    };
    let train = row("track_0000214", "14/214.mp3", "instrument---guitar\tinstrument---voice");
    let valid = row("track_0000215", "15/215.mp3", "instrument---guitar").replace("artist_000014", "artist_2");
    let test = row("track_0000216", "16/216.mp3", "instrument---piano").replace("artist_000014", "artist_3");
    let table = |part: &str| format!("data/splits/split-1/autotagging_instrument-{part}.tsv");
    let (a, b, c) = (table("train"), table("validation"), table("test"));
    let files = [
        (a.as_str(), train.as_str()),
        (&b, &valid),
        (&c, &test),
        ("audio/14/214.mp3", ""),
        ("audio/15/215.mp3", ""),
        ("audio/16/216.mp3", ""),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"mtg_jamendo\"\nsplit = 1").unwrap();
    assert_eq!(
        lines(&set),
        [
            "audio/14/214.mp3 [guitar+voice] artist_000014 Training",
            "audio/15/215.mp3 [guitar] artist_2 Validation",
            "audio/16/216.mp3 [piano] artist_3 Testing"
        ]
    );
    assert!(
        load(&dir, "kind = \"mtg_jamendo\"")
            .unwrap_err()
            .to_string()
            .contains("split-0/autotagging_instrument-train.tsv")
    );
}

#[test]
fn magnatagatune_splits_by_folders_and_knows_its_empty_files() {
    let table = "\"clip_id\"\t\"no voice\"\t\"singer\"\t\"mp3_path\"\n\"2\"\t\"1\"\t\"0\"\t\"f/bach-01-aria-30-59.mp3\"\n\
                 \"6\"\t\"0\"\t\"1\"\t\"b/x_y-59-88.mp3\"\n\"10\"\t\"0\"\t\"0\"\t\"c/z-0-29.mp3\"\n\
                 \"11\"\t\"1\"\t\"1\"\t\"6/norine_braun-now_and_zen-08-gently-117-146.mp3\"\n";
    let files = [
        ("annotations_final.csv", table),
        ("f/bach-01-aria-30-59.mp3", ""),
        ("b/x_y-59-88.mp3", ""),
        ("c/z-0-29.mp3", ""),
    ];
    let set = load(&set_of(&files), "kind = \"magnatagatune\"").unwrap();
    assert_eq!(
        lines(&set),
        [
            "b/x_y-59-88.mp3 [singer] b/x_y Training",
            "c/z-0-29.mp3 [] c/z Validation",
            "f/bach-01-aria-30-59.mp3 [no voice] f/bach-01-aria Testing"
        ]
    );
    assert!(set.notes[0].contains("gently"), "{:?}", set.notes);
}

#[test]
fn philharmonia_takes_the_instrument_from_the_name() {
    let files = [
        ("violin/violin_A4_1_mezzo-forte_arco-normal.mp3", ""),
        ("percussion/agogo bells__025_forte_struck-singly.mp3", ""),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"philharmonia\"").unwrap();
    assert_eq!(set.classes.names(), ["agogo bells", "violin"]);
    assert_eq!(set.records[1].tags["note"], "A4");
    fs::write(dir.path().join("set/x.mp3"), "").unwrap();
    assert!(format!("{:#}", load(&dir, "kind = \"philharmonia\"").unwrap_err()).contains("\n  x.mp3"));
}

#[test]
fn tinysol_is_a_table() {
    let text = include_str!("../../data/tinysol.toml");
    let spec: DataSpec = toml::from_str(text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let table = "Path,Fold,Family,Instrument (abbr.),Instrument (in full),Pitch,Dynamics\nBrass/BTb-A#1.wav,3,Brass,BTb,Bass Tuba,A#1,ff\n";
    fs::create_dir_all(dir.path().join("tinysol/TinySOL/Brass")).unwrap();
    fs::write(dir.path().join("tinysol/TinySOL_metadata.csv"), table).unwrap();
    fs::write(dir.path().join("tinysol/TinySOL/Brass/BTb-A#1.wav"), "").unwrap();
    let set = spec.load(&DataDirs { data_dir: dir.path().to_owned(), cache_dir: dir.path().join("cache") }).unwrap();
    assert_eq!(lines(&set), ["Brass/BTb-A#1.wav [Bass Tuba] Brass/BTb-A#1.wav Training 3"]);
}

#[test]
fn good_sounds_joins_takes_with_their_sounds() {
    let sound = |id: u32, instrument: &str, klass: &str, pack: u32| {
        format!(
            "\"{id}\": {{\"id\": {id}, \"instrument\": \"{instrument}\", \"note\": \"C\", \"octave\": 4, \"dynamics\": null, \"player\": \"almudena\", \
             \"pack_id\": {pack}, \"klass\": \"{klass}\", \"semitone\": 48}}"
        )
    };
    let take = |id: u32, of: u32, file: &str| {
        format!(
            "\"{id}\": {{\"id\": {id}, \"microphone\": \"akg\", \"filename\": \"sound_files/{file}\", \"freesound_id\": null, \"sound_id\": {of}}}"
        )
    };
    let sounds = format!("{{{}, {}}}", sound(1, "flute", "good-sound", 7), sound(2, "sax_alto", "bad", 8));
    let takes = format!(
        "{{{}, {}, {}}}",
        take(1, 1, "f/akg/0000.wav"),
        take(2, 1, "f/neumann/0000.wav"),
        take(10, 2, "s/0.wav")
    );
    let files = [
        ("sounds.json", sounds.as_str()),
        ("takes.json", takes.as_str()),
        ("good-sounds/sound_files/f/akg/0000.wav", ""),
        ("good-sounds/sound_files/f/neumann/0000.wav", ""),
        ("good-sounds/sound_files/s/0.wav", ""),
    ];
    let dir = set_of(&files);
    let set = load(&dir, "kind = \"good_sounds\"").unwrap();
    assert_eq!(
        lines(&set),
        [
            "good-sounds/sound_files/f/akg/0000.wav [flute] pack 7 Training",
            "good-sounds/sound_files/f/neumann/0000.wav [flute] pack 7 Training",
            "good-sounds/sound_files/s/0.wav [sax_alto] pack 8 Training"
        ]
    );
    let tags: Vec<String> = set.records[0].tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(tags, ["klass=good-sound", "microphone=akg", "note=C", "octave=4", "player=almudena"]);
    let good = load(&dir, "kind = \"good_sounds\"\nklasses = [\"good-sound\"]\ngroup = \"sound\"").unwrap();
    assert!(good.classes.names() == ["flute"] && good.records.iter().all(|r| r.group == "sound 1"));
    fs::write(dir.path().join("set/takes.json"), format!("{{{}}}", take(3, 9, "x.wav"))).unwrap();
    let error = format!("{:#}", load(&dir, "kind = \"good_sounds\"").unwrap_err());
    assert!(error.contains("take 3: sound 9"), "{error}");
    assert!(load(&set_of(&[("x.txt", "")]), "kind = \"good_sounds\"").unwrap_err().is::<MissingData>());
}
