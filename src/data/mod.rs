//! Data sets: a spec becomes a list of [`ClipRecord`]s.

use std::path::PathBuf;

use crate::labels::Classes;

pub mod split;

/// One recording of a data set, before it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct ClipRecord {
    /// Path below the root of the set, with `/`, in Unicode NFC: the name of the clip in every table.
    pub id: String,
    /// The file.
    pub path: PathBuf,
    /// Indices into the classes of the set, ascending.
    pub labels: Vec<usize>,
    /// Clips of one group (a song, a performer) never end on two sides of a split.
    pub group: String,
    /// The side on which the set's makers put it.
    pub part: Part,
    /// The official fold, where the set has one.
    pub fold: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    Training,
    Validation,
    Testing,
}

/// What a data spec loads to. Records are sorted bytewise by id.
#[derive(Clone, Debug, PartialEq)]
pub struct DataSet {
    pub name: String,
    pub classes: Classes,
    pub records: Vec<ClipRecord>,
}
