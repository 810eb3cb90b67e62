//! A look-alike of every published data set, with sounds: its layout is read, a model learns its classes, and `timbre data check`
//! finds nothing.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::manifest_pipeline::{tone, write};
use crate::test_dir::{TestDir, text};

const TAKES: usize = 12;
const PITCHES: [f64; 2] = [300.0, 1500.0];

/// Writes the files of a set.
struct Made {
    root: PathBuf,
}

impl Made {
    fn text(&self, name: &str, text: &str) {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Half a second of the sound of a class. What a file is follows from its content, not from its name.
    fn sound(&self, name: &str, class: usize, take: usize) {
        write(&self.root.join(name), &tone(0.5, PITCHES[class], 2 * take + class));
    }
}

/// `training`, `validation` or `test`: each has both classes.
fn part(take: usize) -> usize {
    [0, 0, 1, 2][take % 4]
}

/// Calls `of` for every class and take.
fn each(mut of: impl FnMut(usize, usize)) {
    (0..TAKES).for_each(|take| (0..2).for_each(|class| of(class, take)));
}

/// A model with the keys of the set, on its look-alike. `headline` is its score on the test split, which must be at least 0.9.
fn is_learnt(kind: &str, keys: &str, rest: &str, make: impl Fn(&Made)) {
    let dir = TestDir::new();
    make(&Made { root: dir.path("data/set") });
    let audio =
        "[audio]\nsample_rate = 8000\nclip_seconds = 0.4\n[features.mel]\nn_fft = 256\nhop_length = 64\nn_mels = 32\n";
    let models = "[models.knn]\nk = 1\n";
    fs::write(dir.path("data/set.toml"), format!("kind = \"{kind}\"\n{keys}\n")).unwrap();
    fs::write(dir.path("x.toml"), format!("[data]\nuse = \"set\"\n{audio}{models}{rest}\n")).unwrap();
    let output = dir.done(&["run", "x.toml", "--json", "--set", "evaluate.bootstrap=50"]);
    let run: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = run["results"].as_array().unwrap();
    let own: Vec<&serde_json::Value> =
        rows.iter().filter(|row| row["model"] == "knn" && row["split"] == "test").collect();
    assert!(!own.is_empty(), "{kind}: {run}");
    for row in own {
        let metrics = &row["metrics"];
        let score = metrics["accuracy"].as_f64().or_else(|| metrics["f1_micro"].as_f64());
        assert!(score.is_some_and(|score| score >= 0.9), "{kind}: {metrics}");
    }
    let checked =
        dir.timbre(&["data", "check", "set", "--deny", "unused_file", "--deny", "orphan_labels", "--deny", "unusable"]);
    assert_eq!(checked.status.code(), Some(0), "{kind}: {}{}", text(&checked.stdout), text(&checked.stderr));
}

const OFFICIAL: &str = "[split]\nkind = \"official\"";

#[test]
fn irmas_and_folders_of_classes() {
    is_learnt("irmas", "", "[split]\nkind = \"official\"\n[evaluate]\ntask = \"multi_label\"", |set| {
        each(|class, take| {
            let code = ["cel", "voi"][class];
            if part(take) < 2 {
                return set.sound(&format!("IRMAS-TrainingData/{code}/[{code}][cla]{take:04}__1.wav"), class, take);
            }
            let folder = format!("IRMAS-TestingData-Part{n}/Part{n}", n = take / 4 + 1);
            set.text(&format!("{folder}/Song {class}{take}-1.txt"), &format!("{code}\t\n"));
            set.sound(&format!("{folder}/Song {class}{take}-1.wav"), class, take);
        });
    });
    is_learnt("folder", "", "[split]\ntest = 0.3", |set| {
        each(|class, take| set.sound(&format!("{}/{take}.wav", ["low", "high"][class]), class, take));
    });
}

#[test]
fn sets_of_single_notes_and_solos() {
    is_learnt("nsynth", "", OFFICIAL, |set| {
        let mut tables = [String::new(), String::new(), String::new()];
        each(|class, take| {
            let (part, family) = (part(take), ["bass", "flute"][class]);
            let (folder, name) = (["train", "valid", "test"][part], format!("{family}_acoustic_{take:03}-060-100"));
            let comma = if tables[part].is_empty() { "" } else { "," };
            write!(
                tables[part],
                "{comma}\"{name}\": {{\"note\": {take}, \"note_str\": \"{name}\", \"instrument\": {class}, \"instrument_str\": \
                 \"{family}_acoustic_{take:03}\", \"pitch\": 60, \"velocity\": 100, \"sample_rate\": 16000, \"qualities\": [0, 0], \"qualities_str\": \
                 [], \"instrument_family\": {class}, \"instrument_family_str\": \"{family}\", \"instrument_source\": 0, \"instrument_source_str\": \
                 \"acoustic\"}}"
            )
            .unwrap();
            set.sound(&format!("nsynth-{folder}/audio/{name}.wav"), class, take);
        });
        for (folder, table) in ["train", "valid", "test"].iter().zip(tables) {
            set.text(&format!("nsynth-{folder}/examples.json"), &format!("{{{table}}}"));
        }
    });
    is_learnt("medley_solos", "", OFFICIAL, |set| {
        let mut table = String::from("subset,instrument,instrument_id,track_id,uuid4\n");
        each(|class, take| {
            let (subset, id) = (["training", "validation", "test"][part(take)], class * 7);
            writeln!(table, "{subset},{},{id},{take},{class}a{take}", ["clarinet", "violin"][class]).unwrap();
            set.sound(&format!("Medley-solos-DB_{subset}-{id}_{class}a{take}.wav"), class, take);
        });
        set.text("Medley-solos-DB_metadata.csv", &table);
    });
    is_learnt("philharmonia", "", "[split]\ntest = 0.3", |set| {
        each(|class, take| {
            let name = ["cello", "oboe"][class];
            set.sound(&format!("{name}/{name}_A{take}_1_forte_normal.mp3"), class, take);
        });
    });
    is_learnt("good_sounds", "", "[split]\ntest = 0.3", |set| {
        let (mut sounds, mut takes) = (Vec::new(), Vec::new());
        each(|class, take| {
            let (id, name) = (2 * take + class + 1, ["flute", "cello"][class]);
            sounds.push(format!(
                "\"{id}\": {{\"id\": {id}, \"instrument\": \"{name}\", \"note\": \"A\", \"octave\": 4, \"dynamics\": null, \"klass\": \"good-sound\", \
                 \"player\": \"x\", \"pack_id\": {id}}}"
            ));
            takes.push(format!(
                "\"{id}\": {{\"id\": {id}, \"microphone\": \"akg\", \"filename\": \"sound_files/{name}/akg/{take:04}.wav\", \"sound_id\": {id}}}"
            ));
            set.sound(&format!("good-sounds/sound_files/{name}/akg/{take:04}.wav"), class, take);
        });
        set.text("sounds.json", &format!("{{{}}}", sounds.join(",")));
        set.text("takes.json", &format!("{{{}}}", takes.join(",")));
    });
    // As in data/tinysol.toml.
    let columns = "path = \"set/table.csv\"\nroot = \"set/TinySOL\"\n[columns]\npath = \"Path\"\nlabels = \"Instrument (in full)\"\nfold = \"Fold\"";
    is_learnt("manifest", columns, "[split]\nkind = \"folds\"\ntest = [\"1\"]", |set| {
        let mut table = String::from("Path,Fold,Family,Instrument (in full)\n");
        each(|class, take| {
            let (name, family) = ([("Cello", "Strings"), ("Oboe", "Winds")][class].0, ["Strings", "Winds"][class]);
            writeln!(table, "{family}/{name}/{take}.wav,{},{family},{name}", take % 3).unwrap();
            set.sound(&format!("TinySOL/{family}/{name}/{take}.wav"), class, take);
        });
        set.text("table.csv", &table);
    });
}

#[test]
fn sets_of_environmental_sounds_and_genres() {
    for has_table in [true, false] {
        is_learnt("esc", "esc10 = true", "[split]\nkind = \"folds\"\ntest = [\"1\"]", |set| {
            let mut table = String::from("filename,fold,target,category,esc10,src_file,take\n");
            each(|class, take| {
                let (fold, target) = (take % 3 + 1, [0, 10][class]);
                let (source, name) = (100 * class + take, ["dog", "rain"][class]);
                let file = format!("{fold}-{source}-A-{target}.wav");
                writeln!(table, "{file},{fold},{target},{name},True,{source},A").unwrap();
                set.sound(&format!("audio/{file}"), class, take);
            });
            // A class of ESC-50 that is not of ESC-10.
            set.sound("audio/1-999-A-14.wav", 0, 99);
            writeln!(table, "1-999-A-14.wav,1,14,chirping_birds,False,999,A").unwrap();
            if has_table {
                set.text("meta/esc50.csv", &table);
            }
        });
    }
    is_learnt("gtzan", "filtered = true", OFFICIAL, |set| {
        let mut lists = [String::new(), String::new(), String::new()];
        each(|class, take| {
            let genre = ["blues", "jazz"][class];
            writeln!(lists[part(take)], "{genre}/{genre}.{take:05}.wav").unwrap();
            set.sound(&format!("genres/{genre}/{genre}.{take:05}.au"), class, take);
        });
        // Not of the filtered split; and damaged.
        set.sound("genres/rock/rock.00001.wav", 0, 98);
        set.text("genres/jazz/jazz.00054.wav", "damaged");
        for (name, list) in ["train", "valid", "test"].iter().zip(lists) {
            set.text(&format!("{name}_filtered.txt"), &list);
        }
    });
    is_learnt("fma", "", OFFICIAL, |set| {
        let mut table = String::from(
            ",artist,set,set,track,track,track\n,id,split,subset,genre_top,genres,genres_all\ntrack_id,,,,,,\n",
        );
        each(|class, take| {
            let (id, split) = (2 * take + class + 2, ["training", "validation", "test"][part(take)]);
            let (genre, number) = [("Rock", 12), ("Folk", 17)][class];
            writeln!(table, "{id},{id},{split},small,{genre},[{number}],[{number}]").unwrap();
            set.sound(&format!("fma_small/000/{id:06}.mp3"), class, take);
        });
        writeln!(table, "98565,1,training,small,Rock,[12],[12]").unwrap();
        set.text("fma_small/098/098565.mp3", "damaged");
        set.text("fma_metadata/tracks.csv", &table);
        let genres = "genre_id,#tracks,parent,title,top_level\n12,8,0,Rock,12\n17,8,0,Folk,17\n";
        set.text("fma_metadata/genres.csv", genres);
    });
}

#[test]
fn sets_with_several_labels_a_recording() {
    let several = |split: &str| format!("[split]\n{split}\n[evaluate]\ntask = \"multi_label\"");
    is_learnt("openmic", "", &several("kind = \"official\""), |set| {
        let mut table = String::from("sample_key,instrument,relevance,num_responses\n");
        let mut lists = [String::new(), String::new()];
        each(|class, take| {
            let key = format!("{:06}_{}", 2 * take + class, 100 * take);
            writeln!(table, "{key},flute,{},3\n{key},organ,{},3", [0.9, 0.1][class], [0.1, 0.9][class]).unwrap();
            writeln!(lists[usize::from(part(take) == 2)], "{key}").unwrap();
            set.sound(&format!("audio/000/{key}.ogg"), class, take);
        });
        set.text("openmic-2018-aggregated-labels.csv", &table);
        set.text("class-map.json", "{\"flute\": 0, \"organ\": 1}");
        set.text("partitions/split01_train.csv", &lists[0]);
        set.text("partitions/split01_test.csv", &lists[1]);
    });
    is_learnt("audioset", "", &several("kind = \"official\""), |set| {
        let header = "# a\n# b\n# YTID, start_seconds, end_seconds, positive_labels\n";
        let mut lists = [header.to_owned(), header.to_owned()];
        each(|class, take| {
            let (id, list) = (format!("-{class}x{take}"), usize::from(part(take) == 2));
            writeln!(lists[list], "{id}, 30.000, 40.000, \"{}\"", ["/m/05r5c", "/m/0342h"][class]).unwrap();
            set.sound(&format!("audio/Y{id}.wav"), class, take);
        });
        set.text("class_labels_indices.csv", "index,mid,display_name\n0,/m/05r5c,Piano\n1,/m/0342h,Guitar\n");
        set.text("balanced_train_segments.csv", &lists[0]);
        set.text("eval_segments.csv", &lists[1]);
    });
    is_learnt("mtg_jamendo", "", &several("kind = \"official\""), |set| {
        let mut lists = vec![String::from("TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"); 3];
        each(|class, take| {
            let (id, tag) = (100 * class + take, ["piano", "guitar"][class]);
            writeln!(lists[part(take)], "track_{id}\tartist_{id}\talbum_1\t00/{id}.mp3\t9.9\tinstrument---{tag}")
                .unwrap();
            set.sound(&format!("audio/00/{id}.mp3"), class, take);
        });
        for (name, list) in ["train", "validation", "test"].iter().zip(lists) {
            set.text(&format!("data/splits/split-0/autotagging_instrument-{name}.tsv"), &list);
        }
        // Of another category.
        set.sound("audio/00/9999.mp3", 0, 97);
    });
    is_learnt("magnatagatune", "", &several("kind = \"official\""), |set| {
        let mut table = String::from("\"clip_id\"\t\"piano\"\t\"guitar\"\t\"mp3_path\"\n");
        each(|class, take| {
            let path = format!("{}/song_{class}_{take}-0-29.mp3", ["0", "c", "f"][part(take)]);
            writeln!(table, "\"{take}\"\t\"{}\"\t\"{class}\"\t\"{path}\"", 1 - class).unwrap();
            set.sound(&path, class, take);
        });
        set.text("annotations_final.csv", &table);
    });
    is_learnt("musicnet", "seconds = 0.5", &several("kind = \"official\""), |set| {
        each(|class, take| {
            let (part, id) = (if part(take) == 2 { "test" } else { "train" }, 100 * class + take);
            let notes = format!(
                "start_time,end_time,instrument,note,start_beat,end_beat,note_value\n0,22050,{},60,0,1,Quarter\n",
                [1, 41][class]
            );
            set.text(&format!("{part}_labels/{id}.csv"), &notes);
            set.sound(&format!("{part}_data/{id}.wav"), class, take);
        });
    });
    is_learnt("medleydb", "seconds = 0.5", &several("test = 0.3"), |set| {
        each(|class, take| {
            let (track, name) = (format!("Artist{class}{take}_Song"), ["piano", "tuba"][class]);
            if take % 2 == 0 {
                let times = format!("start_time,end_time,instrument_label\n0.0,0.5,{name}\n");
                set.text(&format!("Annotations/{track}_SOURCEID.lab"), &times);
            } else {
                let frames: String = (0..6).map(|n| format!("{:.1},0.9\n", 0.1 * f64::from(n))).collect();
                set.text(&format!("Annotations/{track}_ACTIVATION_CONF.lab"), &format!("time,S01\n{frames}"));
                let yaml = format!("artist: Artist{class}{take}\nstems:\n  S01:\n    instrument: {name}\n");
                set.text(&format!("Metadata/{track}_METADATA.yaml"), &yaml);
            }
            set.sound(&format!("Audio/{track}/{track}_MIX.wav"), class, take);
            set.sound(&format!("Audio/{track}/{track}_STEMS/{track}_STEM_01.wav"), class, take);
        });
    });
}
