//! What a check finds: its kinds, and how a finding is written.

use std::collections::BTreeSet;

use serde::Serialize;
use timbre_core::{error::UserError, text::one_line};

/// What may be wrong with a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// It cannot be decoded, or is silent, too long or too large.
    Unusable,
    Quiet,
    Clipped,
    /// It is much shorter than the others.
    Short,
    /// Files with the same bytes.
    Identical,
    /// Other files with the same samples.
    SameSamples,
    /// Recordings that share sound, such as an excerpt, or a copy after a lossy codec.
    NearDuplicate,
    /// Of duplicates of any kind: they have other labels.
    OtherLabels,
    /// Of duplicates: they are in different subsets or folds.
    OtherSubset,
    /// Of duplicates: they are in different songs, so a split may divide them.
    OtherSong,
    /// A song is in several subsets or folds.
    DividedSong,
    /// The publisher counts other recordings.
    Counts,
    /// Audio files on disk that are in no recording.
    UnusedFile,
    /// Label files without a recording beside them.
    OrphanLabels,
}

impl FindingKind {
    /// The kinds with these names; `all` is every kind.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<BTreeSet<FindingKind>, UserError> {
        let mut kinds = BTreeSet::new();
        for name in names {
            match FindingKind::ALL.into_iter().find(|kind| kind.name() == name) {
                Some(kind) => drop(kinds.insert(kind)),
                None if name == "all" => kinds.extend(FindingKind::ALL),
                None => {
                    let names: Vec<&str> = FindingKind::ALL.iter().map(|kind| kind.name()).collect();
                    let known = names.join(", ");
                    return Err(UserError::usage(format!("--deny {name}: the kinds of findings are {known}, and all")));
                }
            }
        }
        Ok(kinds)
    }

    pub const ALL: [FindingKind; 14] = [
        FindingKind::Unusable,
        FindingKind::Quiet,
        FindingKind::Clipped,
        FindingKind::Short,
        FindingKind::Identical,
        FindingKind::SameSamples,
        FindingKind::NearDuplicate,
        FindingKind::OtherLabels,
        FindingKind::OtherSubset,
        FindingKind::OtherSong,
        FindingKind::DividedSong,
        FindingKind::Counts,
        FindingKind::UnusedFile,
        FindingKind::OrphanLabels,
    ];

    /// The name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            FindingKind::Unusable => "unusable",
            FindingKind::Quiet => "quiet",
            FindingKind::Clipped => "clipped",
            FindingKind::Short => "short",
            FindingKind::Identical => "identical",
            FindingKind::SameSamples => "same_samples",
            FindingKind::NearDuplicate => "near_duplicate",
            FindingKind::OtherLabels => "other_labels",
            FindingKind::OtherSubset => "other_subset",
            FindingKind::OtherSong => "other_song",
            FindingKind::DividedSong => "divided_song",
            FindingKind::Counts => "counts",
            FindingKind::UnusedFile => "unused_file",
            FindingKind::OrphanLabels => "orphan_labels",
        }
    }

    /// What it is, for the heading of a table.
    pub fn title(self) -> &'static str {
        match self {
            FindingKind::Unusable => "Unusable recordings",
            FindingKind::Quiet => "Quiet recordings",
            FindingKind::Clipped => "Clipped recordings",
            FindingKind::Short => "Short recordings",
            FindingKind::Identical => "Files with the same bytes",
            FindingKind::SameSamples => "Other files with the same samples",
            FindingKind::NearDuplicate => "Recordings that share sound",
            FindingKind::OtherLabels => "Duplicates with different labels",
            FindingKind::OtherSubset => "Duplicates in different subsets",
            FindingKind::OtherSong => "Duplicates in different songs",
            FindingKind::DividedSong => "Songs in several subsets",
            FindingKind::Counts => "Other numbers than published",
            FindingKind::UnusedFile => "Audio files in no recording",
            FindingKind::OrphanLabels => "Label files without a recording",
        }
    }
}

/// Something that may be wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub kind: FindingKind,
    /// Of duplicates: in what they differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<FindingKind>,
    /// Ids of recordings, names of files, or a song.
    pub recordings: Vec<String>,
    /// The rest of the sentence, empty for copies.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Finding {
    pub(super) fn of(kind: FindingKind, recording: &str, detail: String) -> Finding {
        Finding { kind, also: Vec::new(), recordings: vec![recording.to_owned()], detail }
    }

    pub fn is(&self, kind: FindingKind) -> bool {
        self.kind == kind || self.also.contains(&kind)
    }

    /// `, with different labels, in different songs`.
    pub fn notes(&self) -> String {
        let words = |kind: &FindingKind| match kind {
            FindingKind::OtherLabels => ", with different labels",
            FindingKind::OtherSubset => ", in different subsets",
            FindingKind::OtherSong => ", in different songs",
            _ => "",
        };
        self.also.iter().map(words).collect()
    }

    /// One line for a terminal.
    pub(super) fn line(&self) -> String {
        let names: Vec<String> = self.recordings.iter().map(|name| one_line(name)).collect();
        let (notes, detail) = (self.notes(), one_line(&self.detail));
        match self.kind {
            FindingKind::Identical => format!("the same  {}{notes}\n", names.join(" = ")),
            FindingKind::SameSamples => format!("samples   {}{notes}\n", names.join(" = ")),
            FindingKind::NearDuplicate => format!("similar   {}: {detail}{notes}\n", names.join(" ~ ")),
            FindingKind::Counts => format!("counts    {detail}\n"),
            FindingKind::UnusedFile => format!("unused    {}\n", names.join(", ")),
            FindingKind::OrphanLabels => format!("orphan    {}{detail}\n", names.join(", ")),
            FindingKind::DividedSong => format!("song      {}: {detail}\n", names.join(", ")),
            kind => format!("{:<9} {}: {detail}\n", kind.name(), names.join(", ")),
        }
    }
}
