//! Corrected labels of single recordings: a table with the columns `recording` and `labels`, which a data file names with `corrections`.
//!
//! `labels` are classes joined by `;`, as in the tables of a run; empty: the recording has none of the classes. The classes are those after
//! `[data.labels]`. Every class of a corrected recording is known. Other columns are kept for the reader.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use timbre_core::{
    labels::Labels,
    text::{count, csv_field},
};

use unicode_normalization::UnicodeNormalization;

use super::table::Table;
use super::{DataDirs, DataSet, some_of};

/// The corrected classes of recordings, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corrections(pub BTreeMap<String, Vec<String>>);

impl Corrections {
    pub fn read(path: &Path) -> Result<Corrections> {
        let cannot = || format!("read the corrections {}", path.display());
        let text = std::fs::read_to_string(path).with_context(cannot)?;
        let table = Table::from_csv(&text, Some(','));
        let (Some(recording), Some(labels)) = (table.column("recording"), table.column("labels")) else {
            bail!("{}: it needs the columns `recording` and `labels`", cannot());
        };
        if let Some(fault) = table.faults.first() {
            bail!("{}: {fault}", cannot());
        }
        let mut corrections = BTreeMap::new();
        for row in &table.rows {
            let id: String = row.cells[recording].text().nfc().collect();
            let classes = row.cells[labels].text();
            let classes =
                classes.split(';').map(str::trim).filter(|class| !class.is_empty()).map(str::to_owned).collect();
            if corrections.insert(id.clone(), classes).is_some() {
                bail!("{}: line {} corrects {id} a second time", cannot(), row.line);
            }
        }
        Ok(Corrections(corrections))
    }

    /// The table, sorted by recording.
    pub fn csv(&self) -> String {
        let row =
            |(id, classes): (&String, &Vec<String>)| format!("{},{}\n", csv_field(id), csv_field(&classes.join(";")));
        "recording,labels\n".to_owned() + &self.0.iter().map(row).collect::<String>()
    }

    /// The set with the corrected labels, and notes on them.
    fn apply(&self, mut set: DataSet, file: &str) -> Result<DataSet> {
        let (mut changed, mut equal) = (Vec::new(), 0);
        let mut left = self.0.clone();
        for record in &mut set.records {
            let Some(classes) = left.remove(&record.id) else { continue };
            let mut present = Vec::new();
            for class in &classes {
                match set.classes.index(class) {
                    Some(label) => present.push(label),
                    None => bail!(
                        "{file}: the class {class:?} of {} is unknown; the classes are {}",
                        record.id,
                        some_of(20, set.classes.names().iter().map(String::as_str))
                    ),
                }
            }
            let labels = Labels::new(present, Vec::new());
            match labels == record.labels {
                true => equal += 1,
                false => changed.push(record.id.as_str()),
            }
            record.labels = labels;
        }
        let mut notes = Vec::new();
        if !changed.is_empty() {
            let names = some_of(5, changed.iter().copied());
            notes.push(format!("labels of {} corrected by {file}: {names}", count(changed.len(), "recording")));
        }
        if equal > 0 {
            notes.push(format!("{} of {file} had the corrected labels already", count(equal, "recording")));
        }
        if !left.is_empty() {
            let names = some_of(5, left.keys().map(String::as_str));
            notes.push(format!("{} of {file} not in the data set: {names}", count(left.len(), "recording")));
        }
        set.notes.extend(notes);
        Ok(set)
    }
}

/// Applies the corrections that the data file names.
pub(super) fn apply(file: Option<&str>, set: DataSet, dirs: &DataDirs) -> Result<DataSet> {
    let Some(file) = file else { return Ok(set) };
    let name = set.name.clone();
    let corrected = Corrections::read(&dirs.data_dir.join(file)).and_then(|corrections| corrections.apply(set, file));
    corrected.with_context(|| format!("correct the labels of data set `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ClipRecord;
    use timbre_core::labels::Classes;

    fn set() -> DataSet {
        let record = |id: &str, labels: &[usize]| ClipRecord::new(id, id, labels.to_vec());
        DataSet {
            name: "x".into(),
            classes: Classes::new(["p", "q"]),
            records: vec![
                record("a, \"b\".wav", &[0]),
                ClipRecord { labels: Labels::new(vec![1], vec![0]), ..record("c.wav", &[]) },
                record("d.wav", &[0]),
                record("e.wav", &[0]),
            ],
            notes: Vec::new(),
        }
    }

    fn applied(text: &str) -> Result<DataSet> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c.csv"), text).unwrap();
        apply(Some("c.csv"), set(), &DataDirs { data_dir: dir.path().to_owned(), cache_dir: dir.path().to_owned() })
    }

    #[test]
    fn corrections_replace_labels_and_say_so() {
        let corrections = Corrections(
            [
                ("a, \"b\".wav", vec!["q", "p"]),
                ("c.wav", vec!["q"]),
                ("d.wav", vec!["p"]),
                ("e.wav", vec![]),
                ("gone.wav", vec!["p"]),
            ]
            .map(|(id, classes)| (id.to_owned(), classes.into_iter().map(str::to_owned).collect()))
            .into(),
        );
        let set = applied(&corrections.csv()).unwrap();
        let labels: Vec<&Labels> = set.records.iter().map(|record| &record.labels).collect();
        assert_eq!(
            labels.iter().map(|labels| labels.to_vec()).collect::<Vec<_>>(),
            [vec![0, 1], vec![1], vec![0], vec![]]
        );
        assert!(labels.iter().all(|labels| labels.unknown().is_empty()));
        assert_eq!(
            set.notes,
            [
                "labels of 3 recordings corrected by c.csv: a, \"b\".wav, c.wav, e.wav",
                "1 recording of c.csv had the corrected labels already",
                "1 recording of c.csv not in the data set: gone.wav"
            ]
        );
    }

    #[test]
    fn a_table_that_cannot_be_meant_is_refused() {
        for (text, why) in [
            ("recording,labels\nd.wav,r\n", "the class \"r\" of d.wav is unknown; the classes are p, q"),
            ("recording,class\nd.wav,p\n", "needs the columns `recording` and `labels`"),
            ("recording,labels\nd.wav,p\nd.wav,q\n", "line 3 corrects d.wav a second time"),
        ] {
            let error = format!("{:#}", applied(text).unwrap_err());
            assert!(error.contains(why) && error.contains("data set `x`"), "{error}");
        }
    }
}
