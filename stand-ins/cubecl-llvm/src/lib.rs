//! Replaces the crate `cubecl-llvm` for `cubecl-cuda` 0.11: the items that it names, without a compiler.
//!
//! `cubecl-cuda` compiles kernels as CUDA C++ through NVRTC (its feature `cpp`, which this project enables) or through LLVM.
//! It always builds both, and the build script of the real `cubecl-llvm` downloads LLVM, so a build from the crate registry
//! alone, or without a network, would fail. `[patch.crates-io]` substitutes this crate. With `cpp` enabled none of it is
//! called; if it were, it would return an error instead of compiling.
//!
//! Remove this crate when `cubecl-cuda` makes its LLVM path optional, or when `cubecl-llvm` builds without a download. Its
//! version equals that of the crate it replaces: with another version of `cubecl-cuda`, cargo rejects or ignores the patch,
//! and this file needs a review.

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_core::{CompilationError, Compiler};
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::kernel::BufferIOAttr;

use nvptx::ptx_version::PtxVersion;

pub mod nvptx {
    pub mod ptx_version {
        /// The PTX version to emit. It has no values, because nothing is emitted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PtxVersion {}

        impl PtxVersion {
            pub fn for_driver(_driver: i32) -> Option<PtxVersion> {
                None
            }
        }

        impl std::fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut std::fmt::Formatter) -> std::fmt::Result {
                match *self {}
            }
        }
    }
}

pub mod shared {
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            Nvptx,
        }

        /// Would disable what the LLVM path cannot compile; called only on that path.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    #[default]
    Nvptx,
}

#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    pub target: LlvmTarget,
}

#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// The architecture of an AMD device; `cubecl-cuda` never has one.
    pub arch: Option<()>,
    pub sm_arch: Option<SmArch>,
    pub ptx_version: Option<PtxVersion>,
    pub grid_constants: bool,
}

#[derive(Clone, Debug)]
pub struct NvptxModule {
    pub ptx: Vec<std::ffi::c_char>,
    pub ir: String,
    pub shared_memory_size: usize,
    pub io: Vec<BufferIOAttr>,
}

#[derive(Clone, Debug)]
pub enum PlironArtifact {
    NvptxCode(NvptxModule),
}

impl std::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let PlironArtifact::NvptxCode(module) = self;
        f.write_str(&module.ir)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this program was built without LLVM: build it with the feature `cpp` of cubecl-cuda".to_owned(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
