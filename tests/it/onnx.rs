//! The feature `onnx` through the program.

use std::fs;
use std::path::Path;

use crate::test_dir::{FEW, TestDir, text};

/// [`FEW`] at the sample rate of basic-pitch.
fn few() -> String {
    FEW.replace("sample_rate = 16000", "sample_rate = 22050")
}

/// The golden network of samples, and an experiment with one of its outputs.
fn with_network(keys: &str) -> TestDir {
    let few = few();
    let dir =
        TestDir::with(&[("net.toml", &format!("{few}[features.net]\nkind = \"onnx\"\nfile = \"net.onnx\"\n{keys}"))]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx/wave.onnx");
    fs::copy(golden, dir.path("net.onnx")).unwrap();
    dir
}

#[cfg(not(feature = "onnx"))]
#[test]
fn a_program_without_onnx_says_how_to_build_with_it() {
    let dir = with_network("output = \"scores\"\n");
    for command in ["check", "run"] {
        let refused = dir.timbre(&[command, "net.toml"]);
        let message = text(&refused.stderr) + &text(&refused.stdout);
        assert_eq!(refused.status.code(), Some(2), "{message}");
        assert!(message.contains("cargo build --release --features onnx"), "{message}");
    }
}

#[cfg(feature = "onnx")]
mod built_in {
    use super::*;
    use crate::onnx_export::{QUICK, largest_difference, onnx_runtime};
    use crate::read_in_pytorch::write_npy;

    #[test]
    fn a_network_of_samples_is_a_feature_that_belongs_to_the_contents_of_its_file() {
        let dir = with_network("output = \"scores\"\nsample_rate = 16000\n");
        let record = || -> serde_json::Value {
            dir.run("net.toml", &[]);
            serde_json::from_slice(&dir.bytes("runs/net/latest/run.json")).unwrap()
        };
        let first = record();
        assert_eq!(first["signature"], record()["signature"]);
        dir.done(&["predict", "net/latest", dir.a_recording().to_str().unwrap()]);
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/onnx/wave_fixed.onnx");
        fs::copy(golden, dir.path("net.onnx")).unwrap();
        let stale = dir.timbre(&["predict", "net/latest", dir.a_recording().to_str().unwrap()]);
        assert!(!stale.status.success() && text(&stale.stderr).contains("--fresh"), "{}", text(&stale.stderr));
        let other = record();
        assert_ne!(first["signature"], other["signature"]);
        assert!(other["cache"]["misses"].as_u64().unwrap() > 0, "{}", other["cache"]);
        for (bytes, sentence) in [(Some(&b"cut"[..]), "truncated, or not an ONNX file"), (None, "net.onnx")] {
            match bytes {
                Some(bytes) => fs::write(dir.path("net.onnx"), bytes).unwrap(),
                None => fs::remove_file(dir.path("net.onnx")).unwrap(),
            }
            for command in ["check", "run"] {
                let refused = dir.timbre(&[command, "net.toml"]);
                let message = text(&refused.stderr) + &text(&refused.stdout);
                assert_eq!(refused.status.code(), Some(2), "{message}");
                assert!(message.contains(sentence), "{message}");
            }
        }
    }

    /// An exported network as a feature of its own features: the logits of its predictions.
    #[test]
    fn an_exported_network_is_a_feature() {
        let feature = "[features.logits]\nkind = \"onnx\"\nfile = \"cnn.onnx\"\nof = \"mel\"\n";
        let second = QUICK.replace("[models.cnn_small]\nepochs = 2\nbatch_size = 16\n", feature);
        let dir = TestDir::with(&[("quick.toml", QUICK), ("second.toml", &second)]);
        dir.run("quick.toml", &[]);
        dir.done(&["export", "onnx", "quick/latest:mel.cnn_small", "--out", "cnn.onnx"]);
        dir.done(&["features", "second.toml", "--out", "out", "--format", "npy"]);
        let logits = dir.bytes("out/logits.npy")[128..]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect::<Vec<_>>();
        let recordings = dir.read("out/recordings.csv");
        let row = recordings.lines().skip(1).position(|line| line.split(',').any(|field| field == "test")).unwrap();
        let path = recordings.lines().nth(row + 1).unwrap().split(',').next().unwrap();
        let recording = dir.recordings().join(path);
        let predicted = dir.timbre(&[
            "predict",
            "quick/latest:mel.cnn_small",
            recording.to_str().unwrap(),
            "--json",
            "--clip",
            "-q",
        ]);
        let predicted: serde_json::Value = serde_json::from_slice(&predicted.stdout).unwrap();
        let share = 1.0 / (1.0 + f64::from(logits[2 * row + 1] - logits[2 * row]).exp());
        let classes = predicted["files"][0]["classes"].as_array().unwrap();
        let cello = classes.iter().find(|class| class["code"] == "cel").unwrap()["probability"].as_f64().unwrap();
        assert!((cello - share).abs() < 1e-5, "{cello} and {share}");
    }

    /// Needs `TIMBRE_BASIC_PITCH`, the unpacked wheel of basic-pitch, and `TIMBRE_PEERS` with `onnxruntime`.
    #[test]
    #[ignore = "needs ONNX Runtime and the network of basic-pitch: make test-peers"]
    fn basic_pitch_gives_the_numbers_of_onnx_runtime() {
        let wheel =
            std::env::var_os("TIMBRE_BASIC_PITCH").expect("TIMBRE_BASIC_PITCH names the unpacked wheel of basic-pitch");
        let network = Path::new(&wheel).join("basic_pitch/saved_models/icassp_2022/nmp.onnx");
        let mut experiment = format!("{}[features.raw]\n", few());
        for number in 0..3 {
            experiment += &format!(
                "[features.out{number}]\nkind = \"onnx\"\nfile = \"nmp.onnx\"\noutput = \"StatefulPartitionedCall:{number}\"\npool = \"none\"\n"
            );
        }
        let dir = TestDir::with(&[("pitch.toml", &experiment)]);
        fs::copy(network, dir.path("nmp.onnx")).unwrap();
        dir.done(&["features", "pitch.toml", "--out", "out", "--format", "npy"]);
        let values = |name: &str| -> Vec<f32> {
            let bytes = dir.bytes(&format!("out/{name}.npy"));
            bytes[128..].chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap())).collect()
        };
        let (raw, clip, window) = (values("raw"), 66_150, 43_844);
        let clips = raw.len() / clip;
        assert!(clips > 8);
        // The only whole window of each clip of three seconds.
        let samples: Vec<f32> = raw.chunks_exact(clip).flat_map(|clip| &clip[..window]).copied().collect();
        let folder = tempfile::tempdir().unwrap();
        fs::copy(dir.path("nmp.onnx"), folder.path().join("nmp.onnx")).unwrap();
        write_npy(&folder.path().join("nmp.npy"), &[clips, window, 1], &samples);
        let theirs = onnx_runtime(folder.path()).remove("nmp").unwrap();
        for number in 0..3 {
            let ours = values(&format!("out{number}"));
            let (theirs, without_optimizations) = &theirs[&format!("StatefulPartitionedCall:{number}")];
            let bins = ours.len() / clips / 172;
            // Frames × bins of each clip, as bins × frames.
            let transposed: Vec<f32> = theirs
                .chunks_exact(172 * bins)
                .flat_map(|clip| (0..172 * bins).map(move |at| clip[at % 172 * bins + at / 172]))
                .collect();
            let difference = largest_difference(&ours, &transposed);
            let largest = theirs.iter().copied().fold(0.0, f32::max);
            eprintln!(
                "output {number} of {clips} clips, {bins} bins: {difference:.1e}; ONNX Runtime itself {without_optimizations:.1e}; largest {largest:.2}"
            );
            // The network scales logarithms from the faintest to the loudest: rounding of faint bins is seen everywhere.
            let expected = without_optimizations.max(1e-4);
            assert!(difference < expected && largest > 0.1, "output {number}: {difference}");
        }
    }
}
