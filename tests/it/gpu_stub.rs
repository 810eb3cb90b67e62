//! CUDA without a GPU: a libcuda that computes nothing, and NVIDIA's real compiler of kernels. It shows that every kernel of a
//! training compiles for an architecture, and that every failure of a driver becomes a sentence. `make test-gpu`
//! installs the compiler from PyPI and names its folder in `TIMBRE_CUDA_TOOLKIT`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use rayon::prelude::*;

use crate::gpu_program::WAVEFORMS;
use crate::test_dir::{TestDir, text};

const NET: &str = r#"
[models.resnet18]
crop = "random"
epochs = 1
batch_size = 16
"#;

/// A folder with the experiment `net.toml` and the library.
struct Stub {
    dir: TestDir,
    toolkit: PathBuf,
}

impl Stub {
    fn new() -> Stub {
        let toolkit =
            std::env::var_os("TIMBRE_CUDA_TOOLKIT").expect("TIMBRE_CUDA_TOOLKIT has `include` and `lib` of CUDA");
        let dir = TestDir::with(&[("net.toml", &format!("save_models = false{WAVEFORMS}{NET}"))]);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gpu/stub_cuda.c");
        let arguments = ["-shared", "-fPIC", "-O1", "-o", "libcuda.so", source];
        let status = Command::new("cc").current_dir(dir.path(".")).args(arguments).status().unwrap();
        assert!(status.success());
        Stub { dir, toolkit: toolkit.into() }
    }

    fn timbre(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        let libraries = format!("{}:{}", self.dir.path("").display(), self.toolkit.join("lib").display());
        let mut command = self.dir.command(arguments);
        command.env("LD_LIBRARY_PATH", libraries).env("CUDA_PATH", &self.toolkit).env_remove("RUST_BACKTRACE");
        command.env("STUB_CUDA_CALLS", self.dir.path("calls"));
        command.envs(variables.iter().copied()).output().unwrap()
    }

    /// How often the last program called each function of the driver.
    fn calls(&self) -> BTreeMap<String, u64> {
        let line =
            |line: &str| line.split_once(' ').map(|(name, calls)| (name.to_owned(), calls.parse().unwrap())).unwrap();
        self.dir.read("calls").lines().map(line).collect()
    }

    fn train(&self, variables: &[(&str, &str)]) -> Output {
        self.train_in("runs", variables)
    }

    fn train_in(&self, runs: &str, variables: &[(&str, &str)]) -> Output {
        // A run that failed would be continued.
        let _ = fs::remove_dir_all(self.dir.path(runs));
        self.timbre(&["run", "net.toml", "--device", "cuda", "--runs", runs], variables)
    }
}

#[test]
#[ignore = "needs NVIDIA's compiler of kernels from PyPI: make test-gpu"]
fn every_kernel_of_a_resnet18_step_compiles_for_ampere_and_hopper() {
    let stub = Stub::new();
    for (architecture, target) in [("80", ".target sm_80"), ("90", ".target sm_90")] {
        let ptx = stub.dir.path(architecture);
        fs::create_dir(&ptx).unwrap();
        let variables = [("STUB_CUDA_ARCH", architecture), ("CUBECL_CUDA_DUMP_PTX", ptx.to_str().unwrap())];
        let output = stub.train(&variables);
        let log = text(&output.stderr);
        assert!(output.status.success(), "{log}");
        assert!(log.contains("using cuda:0 (Stub GPU"), "{log}");
        // cubecl cuts the names of the files, so that some kernels share one.
        let kernels: Vec<PathBuf> = fs::read_dir(&ptx).unwrap().flatten().map(|entry| entry.path()).collect();
        for kernel in &kernels {
            let code = fs::read_to_string(kernel).unwrap();
            assert!(code.contains(target) && code.contains(".entry"), "{}", kernel.display());
        }
        let compiled = stub.calls()["cuModuleLoadData"];
        println!("compute capability {architecture}: {compiled} kernels, {} files", kernels.len());
        assert!(compiled > 100 && kernels.len() > 20, "{compiled} kernels, {} files", kernels.len());
    }
}

#[test]
#[ignore = "needs NVIDIA's compiler of kernels from PyPI: make test-gpu"]
fn a_failure_of_any_function_of_the_driver_is_a_sentence() {
    let stub = Stub::new();
    let output = stub.train(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let calls = stub.calls();
    println!("{calls:?}");
    assert!(calls["cuLaunchKernel"] + calls.get("cuLaunchKernelEx").copied().unwrap_or(0) > 100, "{calls:?}");
    // From its first call on, and from the middle of the training on.
    let failures: BTreeSet<String> = calls
        .iter()
        .flat_map(|(name, count)| [1, (count / 2).max(1)].map(|number| format!("{name}:{number}")))
        .collect();
    let fault = |failure: &String| {
        let output = stub.train_in(&failure.replace(':', "-"), &[("STUB_CUDA_FAIL", failure)]);
        let message = text(&output.stderr);
        let last = message.lines().rfind(|line| line.contains("error") || line.contains("failed")).unwrap_or_default();
        println!("{failure}: {:?} {last}", output.status.code());
        let is_sentence = output.status.success() || matches!(output.status.code(), Some(1 | 2));
        (!is_sentence || message.contains("panicked at")).then(|| format!("{failure}: {:?}\n{message}", output.status))
    };
    let faults: Vec<String> = failures.par_iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
#[ignore = "needs NVIDIA's compiler of kernels from PyPI: make test-gpu"]
fn too_little_memory_on_cuda_names_a_batch_size_to_try() {
    let stub = Stub::new();
    let output = stub.train(&[("STUB_CUDA_MEMORY", "60000000")]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("cuda:0 (Stub GPU) has too little free memory"), "{message}");
    assert!(message.contains("`batch_size = 8`"), "{message}");
}
