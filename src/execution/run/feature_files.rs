//! Writes features as NumPy or Parquet files, to use in other programs.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use indexmap::IndexMap;

use super::prepare::PreparedDataset;
use super::select::Selection;
use super::tables::subset_columns;
use timbre_core::error::UserError;
use timbre_core::files::write_atomically;
use timbre_experiment::Experiment;
use timbre_inputs::data::split::Splits;
use timbre_inputs::features::cache::CachedMatrix;
use timbre_runs::feature_tables::{self, MatrixRow};
use timbre_runs::tables::{self, Recording};

use super::Settings;

/// The format of the matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FeatureFormat {
    // One array per feature: recordings × bands × frames.
    Npy,
    // One table per feature: a row per recording with its matrix as a list.
    Parquet,
}

/// Writes the file `FEATURE.npy` or `FEATURE.parquet` of each feature, and `recordings.csv`, whose rows are in the order of the matrices. A file
/// is replaced once it is complete.
pub fn write(
    folder: &Path,
    format: FeatureFormat,
    experiment: &Experiment,
    data: &PreparedDataset,
    selection: &Selection,
    settings: &Settings,
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    let splits = data.splits(experiment, &selection.clips)?;
    let used = used_recordings(data, selection, &splits);
    for (f, name) in experiment.features.keys().enumerate() {
        let matrices: Vec<&CachedMatrix> = selection.features.iter().map(|of_clip| &of_clip[f]).collect();
        let progress = settings.printer.start(&format!("recordings of {name}"), matrices.len());
        let read = |matrix: &CachedMatrix| -> Result<Vec<f32>> {
            settings.step(&progress)?;
            let mut values = vec![0.0; matrix.dims()];
            matrix.read(0..matrix.dims(), &mut values)?;
            Ok(values)
        };
        match format {
            FeatureFormat::Npy => {
                let shape = common_shape(name, &matrices)?;
                write_atomically(&folder.join(format!("{name}.npy")), |out| {
                    out.write_all(&npy_header(&[matrices.len(), shape[0], shape[1]]))?;
                    matrices.iter().try_for_each(|matrix| Ok(out.write_all(&little_endian(&read(matrix)?))?))
                })?;
            }
            FeatureFormat::Parquet => {
                let row = |(recording, matrix): (&Recording, &&CachedMatrix)| {
                    let shape = [matrix.rows, matrix.cols];
                    Ok(MatrixRow { recording: recording.clone(), shape, values: read(matrix)? })
                };
                let rows = used.recordings.iter().zip(&matrices).map(row);
                write_atomically(&folder.join(format!("{name}.parquet")), |out| feature_tables::write(rows, out))?;
            }
        }
        progress.finish();
    }
    let table = tables::recordings(&used.recordings, &used.subsets)?;
    write_atomically(&folder.join("recordings.csv"), |out| tables::write_csv(table, out))
}

/// The recordings with features, and the columns of their subsets.
struct UsedRecordings {
    recordings: Vec<Recording>,
    subsets: Vec<(String, Vec<&'static str>)>,
}

fn used_recordings(data: &PreparedDataset, selection: &Selection, splits: &IndexMap<u64, Splits>) -> UsedRecordings {
    let of_eligible: IndexMap<usize, Recording> = data.eligible.iter().copied().zip(data.recordings()).collect();
    let recordings = selection.clips.iter().map(|clip| of_eligible[clip].clone()).collect();
    UsedRecordings { recordings, subsets: subset_columns(&selection.clips, &selection.clips, splits) }
}

fn common_shape(feature: &str, matrices: &[&CachedMatrix]) -> Result<[usize; 2]> {
    let shape = matrices.first().map_or([0, 0], |m| [m.rows, m.cols]);
    if let Some(other) = matrices.iter().find(|m| [m.rows, m.cols] != shape) {
        bail!(UserError::usage(format!(
            "the recordings differ in length, so `{feature}` is {} × {} for one and {} × {} for another, and one array cannot hold both: set \
             `audio.clip_seconds`, give the feature a `summary`, or use `--format parquet`",
            shape[0], shape[1], other.rows, other.cols
        )));
    }
    Ok(shape)
}

/// The header of a NumPy file (version 1.0) of 32-bit floats in C order, padded so that the data starts at a multiple of 64 bytes.
fn npy_header(shape: &[usize; 3]) -> Vec<u8> {
    let sizes = shape.map(|n| n.to_string()).join(", ");
    let mut text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}), }}");
    const PREFIX: usize = 10;
    let total = (PREFIX + text.len() + 1).next_multiple_of(64);
    text += &" ".repeat(total - PREFIX - text.len() - 1);
    text.push('\n');
    let length = u16::try_from(text.len()).expect("three sizes are short");
    [b"\x93NUMPY\x01\x00".as_slice(), &length.to_le_bytes(), text.as_bytes()].concat()
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_an_array_is_that_of_numpy() {
        // numpy.save of an array of zeros((1100, 64, 259), float32), its first 128 bytes.
        let header = npy_header(&[1100, 64, 259]);
        assert_eq!(&header[..10], b"\x93NUMPY\x01\x00v\x00");
        let text = std::str::from_utf8(&header[10..]).unwrap();
        assert_eq!(text.trim_end(), "{'descr': '<f4', 'fortran_order': False, 'shape': (1100, 64, 259), }");
        assert_eq!((header.len(), header.last()), (128, Some(&b'\n')));
    }
}
