//! Reads any `run.json`: a record that is written and read back unchanged, or an error.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use timbre_runs::run_dir::{read_record, write_record};

fuzz_target!(|bytes: &[u8]| {
    let run = tempfile::tempdir().expect("a temporary folder");
    fs::write(run.path().join("run.json"), bytes).expect("room");
    if let Ok(record) = read_record(run.path()) {
        write_record(run.path(), &record).expect("room");
        assert_eq!(read_record(run.path()).expect("it was just written"), record);
    }
});
