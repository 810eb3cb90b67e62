//! The tests of the program and of the public items of its crates, as one binary: it is linked once.

// What several tests use.
mod config_project;
mod test_dir;
mod test_server;
mod trained_model;

mod audio_decode;
mod audio_lengths;
mod audio_opus;
mod audio_resample;
mod audio_stream;
mod augment_golden;
mod augment_pipeline;
mod compare;
mod config_augment;
mod config_grid;
mod config_merge;
mod config_messages;
mod config_properties;
mod config_schema;
mod data_folder;
mod data_irmas;
mod data_split;
mod doctor;
mod ensembles;
mod exports;
mod features_golden;
mod fingerprints;
mod gate;
#[cfg(feature = "wgpu")]
mod gpu;
mod grids;
mod hostile_recordings;
mod housekeeping;
mod inspect;
mod latest;
mod listing;
mod metrics_golden;
mod models_golden;
mod networks_golden;
mod networks_pipeline;
mod pipeline;
mod predict;
mod predict_windows;
mod project;
mod read_in_pytorch;
mod report;
mod reproduce;
mod serve;
mod serve_limits;
mod serve_openapi;
mod significance_golden;
mod tensorboard;
mod thresholds_pipeline;
mod vocoder_golden;
mod windows_pipeline;
