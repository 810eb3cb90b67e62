//! The tests of the program and of the public items of its crates, as one binary: it is linked once.

// What several tests use.
mod config_project;
mod test_dir;
mod test_server;
mod trained_model;

#[cfg(feature = "cloud")]
mod cloud;
mod audio_decode;
mod audio_excerpt;
mod audio_lengths;
mod audio_opus;
mod audio_resample;
mod audio_stream;
mod augment_golden;
mod augment_pipeline;
mod baseline_check;
mod compare;
mod config_augment;
mod config_grid;
mod config_merge;
mod config_messages;
mod config_properties;
mod config_schema;
mod data_check;
mod data_describe;
mod data_folder;
mod data_get;
mod data_irmas;
mod data_manifest;
mod data_published;
mod data_split;
mod docs;
mod doctor;
mod embedding;
mod ensembles;
mod evaluate;
mod exports;
mod feature_files;
mod features_golden;
mod fingerprints;
mod fits;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "gpu-tests"))]
mod gpu;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "gpu-tests"))]
mod gpu_program;
#[cfg(any(feature = "cuda", feature = "gpu-tests"))]
mod gpu_stub;
mod grids;
mod hostile_recordings;
mod housekeeping;
mod import_cycles;
mod inspect;
mod latest;
mod listing;
mod look_alikes;
mod manifest_pipeline;
mod metrics_golden;
mod models_golden;
mod networks_golden;
mod networks_pipeline;
mod onnx;
mod onnx_export;
mod pipeline;
mod predict;
mod predict_windows;
mod project;
mod published_pipeline;
mod read_in_pytorch;
mod relabel;
mod report;
mod reproduce;
mod scale_out;
mod serve;
mod several_sets;
mod serve_limits;
mod serve_openapi;
mod significance_golden;
mod tags_pipeline;
mod tensorboard;
mod thresholds_pipeline;
mod vocoder_golden;
mod windows_pipeline;
#[cfg(not(feature = "cloud"))]
mod without_cloud;
mod workflow;
