//! Several labels of which some are unknown: one model per class, each fitted to the clips of which it is known whether they have
//! the class.
//!
//! Conventions: scikit-learn's one-vs-rest fitted for each class to the rows whose label is known, as in the baseline of OpenMIC. Everything that a
//! model learns, standardization and selection of columns included, comes from these rows. A class without a known clip has
//! probability 0. Networks need no such model: their loss leaves unknown classes out. Neither does a model that learns nothing.

use anyhow::{Result, ensure};

use crate::device::Device;
use crate::tensor::take_tensor;
use crate::{Classifier, FitContext, Importances, ModelKind, Tensor, ValidationCurve};
use timbre_core::labels::{Labels, Task};
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The tensor with 1 for each class that has a model, and 0 for the others.
const CLASSES: &str = "known_rows.classes";

fn prefix_of(class: usize) -> String {
    format!("known_rows.{class}.")
}

/// Whether a model of this kind is fitted class by class.
pub fn applies(kind: &dyn ModelKind, train: &FeatureSet, task: Task) -> bool {
    task == Task::MultiLabel && !kind.is_network() && kind.learns() && train.has_unknown_labels()
}

pub fn fit(kind: &dyn ModelKind, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
    let model = |class: usize| -> Result<Option<Box<dyn Classifier>>> {
        let rows: Vec<usize> = (0..train.len()).filter(|&row| train.labels()[row].is_known(class)).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let has = |&row: &usize| if train.labels()[row].contains(&class) { vec![0] } else { Vec::new() };
        let labels: Vec<Labels> = rows.iter().map(has).map(Labels::from).collect();
        let context = FitContext {
            seed: context.seed.child("known_rows").child(class),
            decision_rule: context.decision_rule.clone(),
            ..*context
        };
        kind.fit(&train.subset(rows, labels, 1), &context).map(Some)
    };
    Ok(Box::new(KnownRows { models: (0..train.n_classes()).map(model).collect::<Result<_>>()? }))
}

/// Whether these are the tensors of such a model.
pub fn are_of_known_rows(tensors: &[Tensor]) -> bool {
    tensors.iter().any(|tensor| tensor.name == CLASSES)
}

pub fn restore(
    kind: &dyn ModelKind,
    mut tensors: Vec<Tensor>,
    n_classes: usize,
    device: &Device,
) -> Result<Box<dyn Classifier>> {
    let has_model = take_tensor(&mut tensors, CLASSES)?;
    ensure!(has_model.len() == n_classes, "`{CLASSES}` has {} classes, expected {n_classes}", has_model.len());
    let mut model = |(class, &has_model): (usize, &f32)| -> Result<Option<Box<dyn Classifier>>> {
        let prefix = prefix_of(class);
        let (own, others): (Vec<Tensor>, Vec<Tensor>) =
            std::mem::take(&mut tensors).into_iter().partition(|tensor| tensor.name.starts_with(&prefix));
        tensors = others;
        if has_model == 0.0 {
            return Ok(None);
        }
        let unprefixed = |tensor: Tensor| Tensor { name: tensor.name[prefix.len()..].to_owned(), ..tensor };
        kind.restore(own.into_iter().map(unprefixed).collect(), 1, device).map(Some)
    };
    Ok(Box::new(KnownRows { models: has_model.iter().enumerate().map(&mut model).collect::<Result<_>>()? }))
}

struct KnownRows {
    /// By class, each with one output.
    models: Vec<Option<Box<dyn Classifier>>>,
}

impl KnownRows {
    /// Joins the predictions of the classes; a class without a model has probability 0.
    fn joined<'a>(&self, rows: usize, of_class: impl Fn(usize) -> Option<&'a Predictions>) -> Predictions {
        let columns: Vec<Option<&Predictions>> = (0..self.models.len()).map(of_class).collect();
        let cell = |row: usize, own: &Option<&Predictions>| own.map_or(0.0, |own| own.probabilities[row]);
        let probabilities = (0..rows).flat_map(|row| columns.iter().map(move |own| cell(row, own))).collect();
        Predictions { n_classes: columns.len(), probabilities }
    }
}

impl Classifier for KnownRows {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        let of = |model: &Option<Box<dyn Classifier>>| model.as_ref().map(|model| model.predict(set)).transpose();
        let all: Vec<Option<Predictions>> = self.models.iter().map(of).collect::<Result<_>>()?;
        Ok(self.joined(set.len(), |class| all[class].as_ref()))
    }

    fn predict_with_curve(&self, set: &FeatureSet) -> Result<(Predictions, Option<ValidationCurve>)> {
        let of =
            |model: &Option<Box<dyn Classifier>>| model.as_ref().map(|model| model.predict_with_curve(set)).transpose();
        let all: Vec<Option<(Predictions, Option<ValidationCurve>)>> =
            self.models.iter().map(of).collect::<Result<_>>()?;
        let predictions = self.joined(set.len(), |class| Some(&all[class].as_ref()?.0));
        // Every class has the points of the spec.
        let first = all.iter().flatten().find_map(|(_, curve)| curve.as_ref());
        let curve = first.map(|first| {
            let point = |(at, (value, _)): (usize, &(f64, Predictions))| {
                (*value, self.joined(set.len(), |class| Some(&all[class].as_ref()?.1.as_ref()?.points[at].1)))
            };
            ValidationCurve {
                parameter: first.parameter.clone(),
                points: first.points.iter().enumerate().map(point).collect(),
            }
        });
        Ok((predictions, curve))
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let has_model = self.models.iter().map(|model| f32::from(u8::from(model.is_some()))).collect();
        let mut tensors = vec![Tensor::new(CLASSES, vec![self.models.len()], has_model)];
        for (class, model) in self.models.iter().enumerate() {
            for tensor in model.iter().map(|model| model.tensors()).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
                tensors.push(Tensor { name: format!("{}{}", prefix_of(class), tensor.name), ..tensor });
            }
        }
        Ok(tensors)
    }

    fn importances(&self) -> Vec<Importances> {
        let models = self.models.iter().enumerate();
        let all = models.flat_map(|(class, model)| model.iter().map(move |model| (class, model.importances())));
        let of_class = |(class, own): (usize, Vec<Importances>)| {
            own.into_iter().map(move |own| Importances { class: Some(class), ..own })
        };
        all.flat_map(of_class).collect()
    }

    fn notes(&self) -> Vec<(String, String)> {
        let first = self.models.iter().flatten().next().map(|model| model.notes()).unwrap_or_default();
        first.into_iter().map(|(key, value)| (format!("{key} (first class)"), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelSpec;
    use timbre_core::seed::Seed;
    use timbre_evaluation::metrics::DecisionRule;

    const KINDS: [&str; 5] = ["knn", "average", "logistic", "naive_bayes", "svm"];

    fn spec(kind: &str) -> ModelSpec {
        let own = if kind == "knn" { "k = 3\ncurve_k = [1, 3]" } else { "" };
        toml::from_str(&format!("kind = \"{kind}\"\n{own}")).unwrap()
    }

    fn fitted(kind: &str, rows: &[usize], labels: &[Labels], n_classes: usize) -> Box<dyn Classifier> {
        let values = rows.iter().flat_map(|&row| [row as f32, (row * row % 7) as f32]).collect();
        let labels = rows.iter().map(|&row| labels[row].clone()).collect();
        let train = FeatureSet::from_labelled(values, [1, 2], labels, n_classes);
        let decision_rule = DecisionRule { task: Task::MultiLabel, ..DecisionRule::default() };
        spec(kind).fit(&train, &FitContext { decision_rule, ..FitContext::standalone(Seed::new(1)) }).unwrap()
    }

    fn probes() -> FeatureSet {
        FeatureSet::from_memory(vec![0.0, 0.0, 11.0, 2.0, 6.5, 3.0], 2, vec![0; 3], 3)
    }

    /// Of class 0 and 1 every third clip is unknown, of class 2 every clip.
    fn labels() -> Vec<Labels> {
        let label = |row: usize| {
            let present = (0..2).filter(|class| (row + 4 * class) % 12 < 6).collect();
            let unknown = (0..3).filter(|&class| class == 2 || (row + class).is_multiple_of(3)).collect::<Vec<usize>>();
            // An unknown class is present nowhere: the truth of these rows must not matter.
            Labels::new(
                unknown.iter().fold(present, |own: Vec<usize>, class| own.into_iter().filter(|c| c != class).collect()),
                unknown,
            )
        };
        (0..12).map(label).collect()
    }

    #[test]
    fn each_class_is_fitted_to_its_known_clips_alone() {
        let labels = labels();
        for kind in KINDS {
            let all = fitted(kind, &(0..12).collect::<Vec<_>>(), &labels, 3).predict(&probes()).unwrap();
            for class in 0..2 {
                let rows: Vec<usize> = (0..12).filter(|&row| labels[row].is_known(class)).collect();
                assert_eq!(rows.len(), 8);
                let has = |own: &Labels| if own.contains(&class) { vec![0] } else { vec![] };
                let known: Vec<Labels> = labels.iter().map(has).map(Labels::from).collect();
                let own = fitted(kind, &rows, &known, 1).predict(&probes()).unwrap();
                let column: Vec<f32> = (0..3).map(|row| all.row(row)[class]).collect();
                assert_eq!(column, own.probabilities, "{kind}");
            }
            assert!((0..3).all(|row| all.row(row)[2] == 0.0), "{kind}: nothing is known of class 2");
        }
    }

    #[test]
    fn a_restored_model_predicts_the_same_bits_and_has_a_curve() {
        for kind in KINDS {
            let model = fitted(kind, &(0..12).collect::<Vec<_>>(), &labels(), 3);
            let restored = spec(kind).restore(model.tensors().unwrap(), 3, &Device::cpu()).unwrap();
            let (predictions, curve) = restored.predict_with_curve(&probes()).unwrap();
            assert_eq!(predictions, model.predict(&probes()).unwrap(), "{kind}");
            let points = curve.map(|curve| curve.points);
            assert_eq!(points.is_some(), kind == "knn");
            assert!(points.is_none_or(|points| points[1] == (3.0, predictions)), "{kind}");
        }
    }
}
