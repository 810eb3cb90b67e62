//! The experiments on published data sets that are not IRMAS, on look-alikes.

use std::fs;

use crate::manifest_pipeline::{tone, write};
use crate::test_dir::{TestDir, text};

#[test]
fn genre_tagging_trains_on_a_look_alike_of_fma() {
    let dir = TestDir::new();
    let mut table = String::from(
        ",artist,set,set,track,track,track\n,id,split,subset,genre_top,genres,genres_all\ntrack_id,,,,,,\n",
    );
    for id in 2..14 {
        let split = ["training", "training", "validation", "test"][id % 4];
        let (own, pitch) = if id % 3 == 0 { ("[45]", 400.0) } else { ("[12]", 1200.0) };
        let all = if id % 3 == 0 { "\"[45, 2]\"" } else { "[12]" };
        table += &format!("{id},{id},{split},small,Rock,{own},{all}\n");
        // What a file is follows from its content, not from its name.
        write(&dir.path(&format!("data/fma/fma_small/000/{id:06}.mp3")), &tone(1.0, pitch, id));
    }
    fs::create_dir_all(dir.path("data/fma/fma_metadata")).unwrap();
    fs::write(dir.path("data/fma/fma_metadata/tracks.csv"), table).unwrap();
    let genres = "genre_id,#tracks,parent,title,top_level\n2,4,0,International,2\n12,8,0,Rock,12\n45,4,2,Loud,2\n";
    fs::write(dir.path("data/fma/fma_metadata/genres.csv"), genres).unwrap();
    let small =
        ["--set", "models.tagging_cnn.epochs=1", "--set", "models.tagging_crnn.epochs=1", "--device", "cpu", "-q"];
    dir.done(&[&["run", "genre_tagging"], &small[..]].concat());
    let classes = dir.read("runs/genre_tagging/latest/per_class.csv");
    for class in ["International", "Loud", "Rock"] {
        assert!(classes.contains(&format!(",test,{class},")), "{classes}");
    }
    let recordings = dir.read("runs/genre_tagging/latest/recordings.csv");
    assert!(recordings.contains("fma_small/000/000003.mp3,artist 3,International;Loud,"), "{recordings}");
}

#[test]
fn audioset_five_trains_on_a_look_alike_without_recordings_that_have_an_organ() {
    let dir = TestDir::new();
    let names = ["Brass instrument", "Drum kit", "Guitar", "Piano", "Violin, fiddle", "Organ", "Electric guitar"];
    let mids: Vec<String> = (0..names.len()).map(|n| format!("/m/{n}")).collect();
    let mut indices = String::from("index,mid,display_name\n");
    names.iter().zip(&mids).enumerate().for_each(|(n, (name, mid))| indices += &format!("{n},{mid},\"{name}\"\n"));
    let node = |n: usize, children: &str| {
        format!("{{\"id\": \"{}\", \"name\": \"{}\", \"child_ids\": [{children}]}}", mids[n], names[n])
    };
    let ontology: Vec<String> = (0..7).map(|n| node(n, if n == 2 { "\"/m/6\"" } else { "" })).collect();
    let header = "# a\n# b\n# YTID, start_seconds, end_seconds, positive_labels\n";
    let (mut train, mut eval) = (header.to_owned(), header.to_owned());
    for take in 0..6 {
        for (n, mid) in mids.iter().enumerate() {
            let id = format!("-{n}_{take}");
            let more = if take == 5 && n == 3 { ",/m/5" } else { "" };
            let row = format!("{id}, 0.000, 10.000, \"{mid}{more}\"\n");
            if take < 4 {
                train += &row
            } else {
                eval += &row
            }
            write(&dir.path(&format!("data/audioset/audio/Y{id}.wav")), &tone(0.8, 200.0 * (n + 1) as f64, take));
        }
    }
    for (name, text) in [
        ("class_labels_indices.csv", indices),
        ("ontology.json", format!("[{}]", ontology.join(","))),
        ("balanced_train_segments.csv", train),
        ("eval_segments.csv", eval),
    ] {
        fs::write(dir.path("data/audioset").join(name), text).unwrap();
    }
    let output = dir.done(&["run", "audioset_five", "--set", "models.conv1d_mfcc.epochs=1", "--device", "cpu"]);
    let said = text(&output.stderr);
    assert!(said.contains("7 recordings left out because of `labels.exclude` (Organ)"), "{said}");
    let recordings = dir.read("runs/audioset_five/latest/recordings.csv");
    assert!(recordings.contains("audio/Y-6_0.wav,-6_0,Guitar,"), "an electric guitar is a guitar: {recordings}");
    assert_eq!(recordings.lines().count(), 1 + 6 * 4, "{recordings}");
}
