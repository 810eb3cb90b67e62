//! `imported`: vectors that another program computed, from a table with a row per recording or window.
//!
//! Conventions:
//! * Recordings are named as in `recordings.csv`: relative to the folder of the data set, with `/`.
//! * All columns but `path` and `start` are values, in the order of the file. A NumPy array (`.npy`, 32 or 64-bit floats in C order,
//!   one row each) has its paths in a second table with as many rows.
//! * Only the recordings of the table have this feature: a new recording has to be computed by the other program first.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use anyhow::{Context, Result, bail, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::table::Table;
use crate::features::{
    ClipAnalysis, ClipOrigin, Extractor, Fault, FeatureKind, FeatureMatrix, Kind, ensure_valid, hash_of,
};

/// Vectors that another program computed, read from a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Imported {
    /// The table (.csv, .tsv, .jsonl or .parquet) with a column `path`, which names recordings as `recordings.csv` does, and for
    /// windows a column `start` in seconds; all other columns are values. Or a NumPy array (.npy) with a row each. Required.
    pub table: String,
    /// The table with the columns `path` and `start` for the rows of a NumPy array.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rows: String,
}

/// The vectors of a table.
struct Vectors {
    dims: usize,
    values: Vec<f32>,
    /// The rows of a recording: their start in milliseconds, and their number.
    rows: HashMap<String, Vec<(Option<i64>, usize)>>,
}

impl Imported {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.table, &self.rows].into_iter().filter(|path| !path.is_empty()).map(Path::new)
    }

    /// The vectors, read once as long as the files stay the same.
    fn vectors(&self) -> Result<Arc<Vectors>> {
        static KNOWN: LazyLock<Mutex<HashMap<Vec<String>, Arc<Vectors>>>> = LazyLock::new(Mutex::default);
        let hashes: Vec<String> = self.paths().map(hash_of).collect::<std::io::Result<_>>()?;
        if let Some(known) = KNOWN.lock().expect("no thread panics here").get(&hashes) {
            return Ok(known.clone());
        }
        let read = Arc::new(self.read()?);
        KNOWN.lock().expect("no thread panics here").insert(hashes, read.clone());
        Ok(read)
    }

    fn read(&self) -> Result<Vectors> {
        let path = Path::new(&self.table);
        if path.extension().is_none_or(|extension| extension != "npy") {
            let table = Table::read(path)?;
            table.texts(["path"]).with_context(|| self.table.clone())?;
            let is_value = |column: &&String| !["path", "start"].contains(&column.as_str());
            let columns: Vec<&String> = table.columns.iter().filter(is_value).collect();
            let places: Vec<usize> = columns.iter().filter_map(|column| table.column(column)).collect();
            let mut values = Vec::with_capacity(table.rows.len() * columns.len());
            for row in &table.rows {
                for (&at, column) in places.iter().zip(&columns) {
                    let text = row.cells[at].text();
                    let value = text.trim().parse::<f32>().ok().filter(|value| value.is_finite());
                    values.push(value.with_context(|| {
                        format!("line {} of {}: `{text}` in the column `{column}` is no number", row.line, self.table)
                    })?);
                }
            }
            return Vectors::new(&table, &self.table, places.len(), values);
        }
        let rows = Table::read(Path::new(&self.rows))?;
        let ([count, dims], values) = read_npy(path)?;
        let listed = rows.rows.len();
        ensure!(count == listed, "{} has {count} rows, and {} has {listed}", self.table, self.rows);
        Vectors::new(&rows, &self.rows, dims, values)
    }
}

impl Vectors {
    fn new(table: &Table, name: &str, dims: usize, values: Vec<f32>) -> Result<Vectors> {
        if let Some(fault) = table.faults.first() {
            bail!("{name}: {fault}");
        }
        ensure!(dims > 0 && !table.rows.is_empty(), "{name} has no values: a row per recording, a column per value");
        let path = table.column("path").with_context(|| format!("{name} has no column `path`"))?;
        let start = table.column("start");
        let mut rows: HashMap<String, Vec<(Option<i64>, usize)>> = HashMap::new();
        for (number, row) in table.rows.iter().enumerate() {
            let text = start.map(|at| row.cells[at].text()).filter(|text| !text.trim().is_empty());
            let start = text.map(|text| text.trim().parse::<f64>().map(milliseconds)).transpose();
            let start = start.with_context(|| format!("line {} of {name}: `start` is no number", row.line))?;
            let of_path = rows.entry(row.cells[path].text()).or_default();
            let is_new = of_path.iter().all(|(other, _)| *other != start);
            ensure!(is_new, "line {} of {name}: `{}` occurs twice", row.line, row.cells[path].text());
            of_path.push((start, number));
        }
        Ok(Vectors { dims, values, rows })
    }

    /// The vector of a recording, or of its window that starts there.
    fn find(&self, origin: ClipOrigin) -> Result<&[f32]> {
        let ClipOrigin { recording, start } = origin;
        let rows = self.rows.get(recording).with_context(|| format!("the table has no row for `{recording}`"))?;
        let wanted = start.map(milliseconds);
        let found = match (wanted, &rows[..]) {
            (None, [(_, only)]) => Some(*only),
            (None, _) => rows.iter().find(|(start, _)| start.is_none()).map(|(_, row)| *row),
            (wanted, _) => rows.iter().find(|(start, _)| *start == wanted).map(|(_, row)| *row),
        };
        let row = found.with_context(|| match start {
            Some(start) => format!("the table has no row for `{recording}` with `start` {start}"),
            None => format!("the table has {} rows for `{recording}`, each of a window", rows.len()),
        })?;
        Ok(&self.values[row * self.dims..][..self.dims])
    }
}

fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// The shape and the values of a NumPy array of two axes; more axes are flattened into the second.
fn read_npy(path: &Path) -> Result<([usize; 2], Vec<f32>)> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = || -> Option<([usize; 2], Vec<f32>)> {
        let (prefix, length) = match (bytes.get(..6)?, bytes.get(6)?) {
            (b"\x93NUMPY", 1) => (10usize, usize::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?))),
            (b"\x93NUMPY", _) => (12, u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?) as usize),
            _ => return None,
        };
        let header = std::str::from_utf8(bytes.get(prefix..prefix.checked_add(length)?)?).ok()?;
        let shape = header.split_once("'shape': (")?.1.split_once(')')?.0;
        let sizes: Vec<usize> = shape
            .split(',')
            .map(str::trim)
            .filter(|size| !size.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let rows = *sizes.first()?;
        let dims = sizes[1..].iter().try_fold(1usize, |product, &size| product.checked_mul(size))?;
        if header.contains("'fortran_order': True") {
            return None;
        }
        let data = &bytes[prefix + length..];
        let count = rows.checked_mul(dims)?;
        let values = match header {
            header if header.contains("'<f4'") && Some(data.len()) == count.checked_mul(4) => {
                data.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
            }
            header if header.contains("'<f8'") && Some(data.len()) == count.checked_mul(8) => {
                data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect()
            }
            _ => return None,
        };
        Some(([rows, dims], values))
    };
    let what = "is not a complete NumPy array of 32 or 64-bit floats in C order";
    let (shape, values) = read().with_context(|| format!("{} {what}", path.display()))?;
    ensure!(values.iter().all(|value| value.is_finite()), "{} has values that are not finite", path.display());
    Ok((shape, values))
}

impl Kind for Imported {
    fn faults(&self, _sample_rate: u32) -> Vec<Fault> {
        let is_array = self.table.ends_with(".npy");
        let fault = match self.table.as_str() {
            "" => Fault::new("table", "name the table with the values, such as \"embeddings.parquet\""),
            _ if is_array && self.rows.is_empty() => {
                Fault::new("rows", "a NumPy array has no paths: name the table with its column `path`")
            }
            _ if !is_array && !self.rows.is_empty() => {
                Fault::new("rows", "only a NumPy array needs it: the table has a column `path` itself")
            }
            // A run reports a missing file when it hashes its files.
            _ if self.paths().any(|path| !path.is_file()) => return Vec::new(),
            _ => match self.vectors() {
                Ok(_) => return Vec::new(),
                Err(error) => Fault::new("table", format!("{error:#}")),
            },
        };
        vec![fault]
    }
}

impl FeatureKind for Imported {
    fn shape(&self, samples: usize) -> Option<[usize; 2]> {
        self.vectors().ok().filter(|_| samples > 0).map(|vectors| [vectors.dims, 1])
    }

    fn files(&self) -> Vec<PathBuf> {
        self.paths().map(Path::to_owned).collect()
    }

    fn build(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        ensure_valid("imported", self.faults(sample_rate))?;
        Ok(Box::new(Lookup(self.vectors()?)))
    }
}

struct Lookup(Arc<Vectors>);

impl Extractor for Lookup {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let origin = clip.origin().context(
            "imported values belong to the recordings of the table as they are: a new or changed one has none",
        )?;
        Ok(FeatureMatrix { rows: self.0.dims, cols: 1, values: self.0.find(origin)?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_signal::audio::Clip;

    fn import(folder: &Path, files: &[(&str, &[u8])]) -> Imported {
        files.iter().for_each(|(name, bytes)| fs::write(folder.join(name), bytes).unwrap());
        let path = |n: usize| files.get(n).map_or(String::new(), |(name, _)| folder.join(name).display().to_string());
        Imported { table: path(0), rows: path(1) }
    }

    fn values(spec: &Imported, recording: &str, start: Option<f64>) -> Result<Vec<f32>> {
        let clip = Clip { samples: vec![0.0; 4], sample_rate: 8000 };
        let extractor = spec.build(8000)?;
        Ok(extractor.extract(&ClipAnalysis::new(&clip).at(ClipOrigin { recording, start }))?.values)
    }

    #[test]
    fn a_recording_gets_the_row_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let spec = import(folder.path(), &[("x.csv", b"path,a,b\ncel/1.wav,1,2.5\nflu/2.wav,-3,4e2\n")]);
        assert_eq!(values(&spec, "flu/2.wav", None).unwrap(), [-3.0, 400.0]);
        assert_eq!(spec.shape(100), Some([2, 1]));
        let missing = values(&spec, "flu/3.wav", None).unwrap_err().to_string();
        assert!(missing.contains("no row for `flu/3.wav`"), "{missing}");
        let clip = Clip { samples: vec![0.0; 4], sample_rate: 8000 };
        let new = spec.build(8000).unwrap().extract(&ClipAnalysis::new(&clip)).unwrap_err().to_string();
        assert!(new.contains("a new or changed one"), "{new}");
    }

    #[test]
    fn windows_have_a_row_for_each_start() {
        let folder = tempfile::tempdir().unwrap();
        let spec = import(folder.path(), &[("x.tsv", b"path\tstart\tv\na.wav\t0\t1\na.wav\t1.5\t2\n")]);
        assert_eq!(values(&spec, "a.wav", Some(1.5)).unwrap(), [2.0]);
        assert!(values(&spec, "a.wav", Some(3.0)).unwrap_err().to_string().contains("`start` 3"));
        assert!(values(&spec, "a.wav", None).unwrap_err().to_string().contains("each of a window"));
    }

    /// numpy.save of [[1, 2, 3], [4, 5, 6]].
    fn array(dtype: &str, values: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': (2, 3), }}\n");
        [b"\x93NUMPY\x01\x00".as_slice(), &(header.len() as u16).to_le_bytes(), header.as_bytes(), values].concat()
    }

    #[test]
    fn a_numpy_array_takes_its_paths_from_a_second_table() {
        let folder = tempfile::tempdir().unwrap();
        let rows = b"path\na.wav\nb.wav\n".as_slice();
        let single: Vec<u8> = (1..=6).flat_map(|n| (n as f32).to_le_bytes()).collect();
        let double: Vec<u8> = (1..=6).flat_map(|n| f64::from(n).to_le_bytes()).collect();
        for (name, bytes) in [("s.npy", array("<f4", &single)), ("d.npy", array("<f8", &double))] {
            let spec = import(folder.path(), &[(name, &bytes), ("rows.csv", rows)]);
            assert_eq!(values(&spec, "b.wav", None).unwrap(), [4.0, 5.0, 6.0]);
        }
        let cut = array("<f4", &single[..20]);
        let faults = import(folder.path(), &[("c.npy", &cut), ("rows.csv", rows)]).faults(8000);
        assert!(faults[0].sentence.contains("not a complete NumPy array"), "{faults:?}");
        let faults = import(folder.path(), &[("s.npy", &array("<f4", &single))]).faults(8000);
        assert_eq!(faults[0].key, "rows");
    }

    #[test]
    fn faults_of_the_table_are_named_before_anything_is_computed() {
        let folder = tempfile::tempdir().unwrap();
        let cases: [(&[u8], &str); 5] = [
            (b"path,a\nx.wav,high\n", "line 2"),
            (b"file,a\nx.wav,1\n", "no column `path`"),
            (b"path,a\nx.wav,1\nx.wav,2\n", "occurs twice"),
            (b"path\nx.wav\n", "no values"),
            (b"path,a\nx.wav,1,2\n", "3 cells"),
        ];
        for (text, expected) in cases {
            let faults = import(folder.path(), &[("t.csv", text)]).faults(8000);
            assert!(faults.len() == 1 && faults[0].sentence.contains(expected), "{expected}: {faults:?}");
        }
    }
}
