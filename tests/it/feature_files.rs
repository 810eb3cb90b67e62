//! `timbre features --out`: the matrices as files for other programs.

use polars_core::prelude::{ChunkAgg, DataFrame};
use polars_io::prelude::{ParquetReader, SerReader};

use crate::test_dir::{TINY, TestDir, text};

const TWO_FEATURES: &str = r#"
[features.mel]
n_mels = 8
[features.mfcc]
summary = ["mean"]
"#;

/// The shape and the values of a NumPy file.
pub fn npy(bytes: &[u8]) -> (Vec<usize>, Vec<f32>) {
    let header = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert_eq!(header % 64, 0);
    let text = text(&bytes[10..header]);
    let shape = text.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(", ").map(|n| n.parse().unwrap()).collect();
    (shape, bytes[header..].chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect())
}

pub fn parquet(dir: &TestDir, name: &str) -> DataFrame {
    ParquetReader::new(std::fs::File::open(dir.path(name)).unwrap()).finish().unwrap()
}

#[test]
fn features_are_written_as_arrays_and_as_tables_in_the_order_of_the_recordings() {
    let dir = TestDir::with(&[("tiny.toml", &TINY.replace("[features.centroid]", TWO_FEATURES))]);
    dir.done(&["features", "tiny.toml", "-q", "--out", "arrays"]);
    dir.done(&["features", "tiny.toml", "-q", "--out", "tables", "--format", "parquet"]);

    let recordings = dir.read("arrays/recordings.csv");
    assert_eq!(recordings.lines().next(), Some("path,song,labels,content,split"));
    assert_eq!(recordings, dir.read("tables/recordings.csv"));
    let rows: Vec<&str> = recordings.lines().skip(1).collect();
    for subset in ["training", "validation", "test"] {
        assert!(rows.iter().any(|row| row.ends_with(&format!(",{subset}"))), "{subset}");
    }

    for (name, matrix) in [("mel", [8, 44]), ("mfcc", [1, 20])] {
        let (shape, values) = npy(&dir.bytes(&format!("arrays/{name}.npy")));
        let table = parquet(&dir, &format!("tables/{name}.parquet"));
        let paths = table.column("path").unwrap().str().unwrap();
        assert!(paths.iter().zip(&rows).all(|(path, row)| row.starts_with(&format!("{},", path.unwrap()))), "{name}");
        let size = |column: &str| table.column(column).unwrap().u64().unwrap().get(0).unwrap() as usize;
        assert_eq!(shape, [rows.len(), size("bands"), size("frames")]);
        assert_eq!(shape[1] * shape[2], matrix[0] * matrix[1], "{name}: {shape:?}");
        let lists = table.column("values").unwrap().list().unwrap().get_inner();
        let of_table: Vec<f32> = lists.f32().unwrap().iter().map(Option::unwrap).collect();
        assert!(values == of_table && values.iter().all(|v| v.is_finite()), "{name}");
    }
}

#[test]
fn matrices_of_several_lengths_are_no_array_and_a_table_all_the_same() {
    let dir = TestDir::with(&[("tiny.toml", &TINY.replace("clip_seconds = 1.0", ""))]);
    dir.done(&["data", "make", "demo", "--clips-per-class", "3", "--out", "set", "-q"]);
    for class in ["cel", "flu"] {
        std::fs::create_dir_all(dir.path(&format!("mine/{class}"))).unwrap();
        let recordings = std::fs::read_dir(dir.path(&format!("set/IRMAS-TrainingData/{class}"))).unwrap().flatten();
        for (n, recording) in recordings.enumerate() {
            let shorter = cut(&std::fs::read(recording.path()).unwrap(), 4000 * n);
            std::fs::write(dir.path(&format!("mine/{class}/{n}.wav")), shorter).unwrap();
        }
    }
    let mine = [
        "features",
        "tiny.toml",
        "--data",
        "./mine",
        "-q",
        "--out",
        "out",
        "--set",
        "split.test=0.5",
        "--set",
        "split.validation=0",
    ];
    let array = dir.timbre(&mine);
    let why = text(&array.stderr);
    assert_eq!(array.status.code(), Some(2), "{why}");
    assert!(why.contains("differ in length") && why.contains("--format parquet"), "{why}");
    assert!(!dir.path("out/centroid.npy").exists());

    dir.done(&[&mine[..], &["--format", "parquet"]].concat());
    let table = parquet(&dir, "out/centroid.parquet");
    let frames = table.column("frames").unwrap().u64().unwrap();
    assert!(frames.min_max().is_some_and(|(least, most)| least < most));
}

/// A WAVE file without its last `bytes` bytes of samples.
fn cut(wave: &[u8], bytes: usize) -> Vec<u8> {
    let mut cut = wave[..wave.len() - bytes].to_vec();
    let data = cut.windows(4).position(|four| four == b"data").unwrap() + 4;
    let (riff, size) = (cut.len() as u32 - 8, (cut.len() - data - 4) as u32);
    cut[4..8].copy_from_slice(&riff.to_le_bytes());
    cut[data..data + 4].copy_from_slice(&size.to_le_bytes());
    cut
}

#[test]
fn a_grid_is_not_written_as_one_array() {
    let dir = TestDir::with(&[("tiny.toml", &format!("{TINY}[grid]\n\"models.knn.k\" = [1, 3]\n"))]);
    let refused = dir.timbre(&["features", "tiny.toml", "--out", "out"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("`--set`"), "{}", text(&refused.stderr));
}

#[test]
fn the_features_of_one_recording_are_drawn_into_a_file_that_is_named() {
    let dir = TestDir::with(&[("tiny.toml", &TINY.replace("[features.centroid]", TWO_FEATURES))]);
    let listed = dir.done(&["features", "tiny.toml", "-q", "--out", "arrays"]);
    assert!(listed.status.success());
    let recordings = dir.read("arrays/recordings.csv");
    let clip = recordings.lines().nth(1).unwrap().split(',').next().unwrap();
    let output = dir.done(&["features", "tiny.toml", "-q", "--plot", clip, "--out", "figures"]);
    let path = text(&output.stdout).trim().to_owned();
    assert!(path.contains("figures/tiny.") && path.ends_with(".svg"), "{path}");
    let picture = std::fs::read_to_string(dir.path(&path)).unwrap();
    for word in [">mel (8 × 44)<", ">mfcc (20 values)<", ">time (s)<", ">frequency (Hz)<", ">coefficient<"] {
        assert!(picture.contains(word), "{word}");
    }
    let output = dir.done(&["features", "tiny.toml", "-q", "--plot", clip, "--png"]);
    let path = text(&output.stdout).trim().to_owned();
    assert!(std::fs::read(dir.path(&path)).unwrap().starts_with(b"\x89PNG"), "{path}");
    let unknown = dir.timbre(&["features", "tiny.toml", "--plot", "no such clip"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("no recording of"), "{}", text(&unknown.stderr));
}
