//! Tags of recordings (IRMAS: `genre`, `drums`) for networks: as additional rows of the image, and as targets beside the classes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use indexmap::IndexMap;
use timbre_core::seed::{Seed, uniform};

use super::row_source::{ExampleGenerator, RowSource};

/// The values of tags that a network knows, by the name of the tag.
pub type TagValues = IndexMap<String, Vec<String>>;

/// The values that these tags have in recordings, ascending.
pub fn values_of<'a>(
    tags: impl IntoIterator<Item = &'a String>,
    recordings: &[&BTreeMap<String, String>],
) -> TagValues {
    let values = |tag: &String| {
        let distinct: BTreeSet<&String> = recordings.iter().filter_map(|own| own.get(tag)).collect();
        distinct.into_iter().cloned().collect()
    };
    tags.into_iter().map(|tag| (tag.clone(), values(tag))).collect()
}

/// The place of a recording's value of each tag among the known ones; None if it has none of them.
pub fn places(known: &TagValues, own: &BTreeMap<String, String>) -> Vec<Option<usize>> {
    let place = |(tag, values): (&String, &Vec<String>)| values.iter().position(|value| Some(value) == own.get(tag));
    known.iter().map(place).collect()
}

/// What a network learns of each recording beside its classes: one value of each tag.
#[derive(Clone, Debug, PartialEq)]
pub struct AuxiliaryTargets {
    /// The number of values of each tag, and the weight of its loss.
    pub tags: Vec<(usize, f64)>,
    /// Of each row, the place of its value of each tag; None is unknown.
    pub rows: Vec<Vec<Option<usize>>>,
}

impl AuxiliaryTargets {
    /// The number of outputs of a network beside the classes.
    pub fn len(&self) -> usize {
        self.tags.iter().map(|(values, _)| values).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes 1 for the value of each tag and 0 for the others, and NaN for all values of an unknown one.
    pub fn write(&self, row: usize, mut targets: &mut [f32]) {
        for (&(values, _), place) in self.tags.iter().zip(&self.rows[row]) {
            let (own, rest) = targets.split_at_mut(values);
            own.fill(if place.is_some() { 0.0 } else { f32::NAN });
            if let Some(place) = *place {
                own[place] = 1.0;
            }
            targets = rest;
        }
    }
}

/// The tags of each recording as rows below its image, one for each value: 1 in the rows of its values and 0 in the others.
#[derive(Clone, Debug)]
pub struct TagRows {
    /// The number of values of each tag.
    pub sizes: Vec<usize>,
    /// Of each row of the set, the place of its value of each tag.
    pub places: Vec<Vec<Option<usize>>>,
    /// Probability that a training example has no tags, so that the network also learns to do without them.
    pub dropout: f64,
    pub seed: Seed,
}

impl TagRows {
    /// Without the tags of any row.
    pub fn unknown(count: usize, rows: usize) -> TagRows {
        TagRows { sizes: vec![count], places: vec![vec![None]; rows], dropout: 0.0, seed: Seed::new(0) }
    }

    /// The number of rows below an image.
    pub fn count(&self) -> usize {
        self.sizes.iter().sum()
    }

    /// Whether the row for value `value` (over all tags) of a recording is 1.
    fn is_set(&self, row: usize, value: usize) -> bool {
        let mut first = 0;
        for (&size, place) in self.sizes.iter().zip(&self.places[row]) {
            if (first..first + size).contains(&value) {
                return *place == Some(value - first);
            }
            first += size;
        }
        false
    }

    fn drops(&self, row: usize, epoch: usize) -> bool {
        self.dropout > 0.0 && uniform(&mut self.seed.child(epoch).child(row).rng()) < self.dropout
    }
}

/// Images with the rows of the tags below them.
pub(super) struct WithTagRows<S: ?Sized> {
    pub of: Arc<S>,
    pub tags: Arc<TagRows>,
    /// The number of values of an image without tags, and of one of its rows.
    pub image: usize,
    pub width: usize,
}

impl<S: ?Sized> WithTagRows<S> {
    /// Writes the values from `first` on, counted from the first row of the tags.
    fn write_tags(&self, row: usize, first: usize, out: &mut [f32]) {
        for (place, value) in out.iter_mut().enumerate() {
            *value = f32::from(u8::from(self.tags.is_set(row, (first + place) / self.width.max(1))));
        }
    }
}

impl RowSource for WithTagRows<dyn RowSource> {
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) -> Result<()> {
        let of_image = columns.start.min(self.image)..columns.end.min(self.image);
        let (image, tags) = out.split_at_mut(of_image.len());
        if !image.is_empty() {
            self.of.read(row, of_image, image)?;
        }
        self.write_tags(row, columns.start.max(self.image) - self.image, tags);
        Ok(())
    }
}

/// The examples of a generator, or the rows of a source, with the tags of an epoch.
pub(super) enum Examples {
    Generated(Arc<dyn ExampleGenerator>),
    Stored(Arc<dyn RowSource>),
}

impl ExampleGenerator for WithTagRows<Examples> {
    fn example(&self, row: usize, epoch: usize, out: &mut [f32], targets: &mut [f32]) -> Result<()> {
        let (image, tags) = out.split_at_mut(self.image);
        match &*self.of {
            Examples::Generated(generator) => generator.example(row, epoch, image, targets)?,
            Examples::Stored(source) => source.read(row, 0..self.image, image)?,
        }
        if self.tags.drops(row, epoch) {
            tags.fill(0.0);
        } else {
            self.write_tags(row, 0, tags);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::feature_set::FeatureSet;

    fn tags(genre: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("genre".to_owned(), genre.to_owned())])
    }

    fn two_rows() -> (FeatureSet, TagRows) {
        let (rock, jazz, none) = (tags("rock"), tags("jazz"), BTreeMap::new());
        let known = values_of([&"genre".to_owned()], &[&rock, &jazz, &none]);
        assert_eq!(known["genre"], ["jazz", "rock"]);
        let places = vec![places(&known, &rock), places(&known, &none)];
        let set = FeatureSet::from_matrices(vec![5.0; 12], [2, 3], vec![vec![0], vec![1]], 2);
        (set, TagRows { sizes: vec![2], places, dropout: 0.0, seed: Seed::new(1) })
    }

    #[test]
    fn tags_are_rows_below_the_image_and_an_unknown_one_is_zero() {
        let (set, tags) = two_rows();
        let set = set.with_tag_rows(tags);
        assert_eq!((set.shape(), set.dims()), ([4, 3], 12));
        let (mut out, mut block) = (vec![0.0; 12], Vec::new());
        set.read_row(0, &mut out).unwrap();
        assert_eq!(out, [5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        set.read(0..2, 5..11, &mut block).unwrap();
        assert_eq!(block, [5.0, 0.0, 0.0, 0.0, 1.0, 1.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        set.read(0..1, 10..12, &mut block).unwrap();
        assert_eq!(block, [1.0, 1.0]);
    }

    #[test]
    fn a_share_of_the_training_examples_has_no_tags() {
        let (set, tags) = two_rows();
        let set = set.with_tag_rows(TagRows { dropout: 0.5, ..tags });
        let mut out = vec![0.0; 12];
        let mut with_tags = |epoch: usize| {
            set.read_example(0, epoch, &mut out, &mut [0.0, 0.0]).unwrap();
            assert_eq!(out[..6], [5.0; 6]);
            out[9] == 1.0
        };
        let kept = (0..200).filter(|&epoch| with_tags(epoch)).count();
        assert!((70..130).contains(&kept), "{kept} of 200");
        assert_eq!(with_tags(7), with_tags(7));
    }

    #[test]
    fn auxiliary_targets_follow_those_of_the_classes() {
        let (set, _) = two_rows();
        let tags = vec![(2, 0.5), (1, 0.1)];
        let set = set.with_auxiliary(AuxiliaryTargets { tags, rows: vec![vec![Some(1), None], vec![None, Some(0)]] });
        assert_eq!((set.n_classes(), set.n_outputs()), (2, 5));
        let mut targets = vec![9.0; 5];
        set.write_targets(0, &mut targets);
        assert_eq!(targets[..4], [1.0, 0.0, 0.0, 1.0]);
        assert!(targets[4].is_nan());
        set.write_targets(1, &mut targets);
        assert!(targets[2].is_nan() && targets[3].is_nan() && targets[4] == 1.0);
    }
}
