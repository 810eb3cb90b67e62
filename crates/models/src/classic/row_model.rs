//! Models of rows in memory: what they share. A model file has its spec (`row_spec!`), [`RowModel`] and [`RowClassifier`], and
//! calls `row_model!`.
//!
//! Conventions: a class without training clips has probability 0. With several labels per clip a model is fitted to each class
//! against the rest (scikit-learn's OneVsRestClassifier); a class that every clip has gets probability 1.
//!
//! Everything that a model predicts from is rounded to f32 when it is fitted, the form in which it is stored: a restored model
//! predicts the same bits.
//!
//! Memory: the prepared training rows in f32, beside what the model's file says.

use anyhow::{Result, ensure};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ensure_columns;
use super::preparation::{Preparation, Preparing};
use super::rows::Rows;
use crate::classifier::ensure_trainable;
use crate::classifier::probability_row;
use crate::tensor::{chunk_ranges, take_shaped};
use crate::{Classifier, FitContext, Importances, ModelKind, Tensor};
use timbre_core::{labels::Task, registry::Fault, seed::Seed};
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

/// How much the clips of a class count in the fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClassWeight {
    /// In inverse proportion to the number of clips of the class, so that all classes have the same total weight.
    Balanced,
}

/// The weight of each row by its class: 1, or `n / (classes * rows of its class)`.
fn class_weights(choice: Option<ClassWeight>, targets: &[usize], classes: usize) -> Vec<f64> {
    let mut counts = vec![0usize; classes];
    targets.iter().for_each(|&class| counts[class] += 1);
    let present = counts.iter().filter(|&&count| count > 0).count() as f64;
    let weight = |class: usize| match choice {
        None => 1.0,
        Some(ClassWeight::Balanced) => targets.len() as f64 / (present * counts[class] as f64),
    };
    targets.iter().map(|&class| weight(class)).collect()
}

/// What a model is fitted to: rows with one class each. Every class has a row, and there are at least two classes.
pub struct Problem<'a> {
    pub rows: &'a Rows,
    pub targets: &'a [usize],
    pub classes: usize,
    /// How much each row counts; None: all the same.
    pub weights: Option<&'a [f64]>,
    pub seed: Seed,
}

impl Problem<'_> {
    /// The weight of each row: its own times that of its class, as in scikit-learn.
    pub fn row_weights(&self, choice: Option<ClassWeight>) -> Vec<f64> {
        let mut weights = class_weights(choice, self.targets, self.classes);
        let own = self.weights.into_iter().flatten();
        weights.iter_mut().zip(own).for_each(|(weight, own)| *weight *= own);
        weights
    }
}

/// A spec with the keys of a [`Preparing`], made by `row_spec!`.
pub trait Prepared {
    /// What happens to the columns before the model.
    fn preparing(&self) -> Preparing;

    /// The model of the prepared columns.
    fn of_prepared(&self) -> Self;
}

/// A spec that is fitted to rows in memory.
pub trait RowModel: Prepared {
    type Fitted: RowClassifier + 'static;

    /// Whether the fit calls [`Problem::row_weights`].
    const USES_WEIGHTS: bool = false;

    /// Whether the fitted model has [`RowClassifier::importances`].
    const HAS_IMPORTANCES: bool = false;

    fn own_faults(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// [`ModelKind::class_size_warning`].
    fn small_class_warning(&self, _clips: usize) -> Option<Fault> {
        None
    }

    fn fit_rows(&self, problem: &Problem) -> Result<Self::Fitted>;

    /// The fitted model from the tensors that [`RowClassifier::tensors`] returned with that prefix.
    fn restore_rows(
        &self,
        tensors: &mut Vec<Tensor>,
        prefix: &str,
        classes: usize,
        dims: usize,
    ) -> Result<Self::Fitted>;
}

/// A model fitted to rows with one class each.
pub trait RowClassifier: Send + Sync {
    /// The probability of each class, and the class that is chosen.
    fn shares(&self, row: &[f32]) -> (Vec<f64>, usize);

    /// Every tensor, its name after the prefix.
    fn tensors(&self, prefix: &str) -> Vec<Tensor>;

    /// How much each column counts: for every class, or once for all of them (None). Of two classes the second comes last.
    fn importances(&self) -> Vec<(Option<usize>, Vec<f32>)> {
        Vec::new()
    }

    fn notes(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// Declares the spec of a model of rows: `features`, its own keys with their defaults (`standardize` among them), then `select` and
/// `pca`.
macro_rules! row_spec {
    ($(#[$meta:meta])* pub struct $Spec:ident {
        $($(#[$key_meta:meta])* pub $key:ident: $Type:ty = $default:expr,)*
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Spec {
            /// The feature, or features, to train on: a name or a list of names. Default: every feature of the experiment.
            #[serde(skip_serializing_if = "crate::FeatureChoice::is_all")]
            pub features: crate::FeatureChoice,
            $($(#[$key_meta])* pub $key: $Type,)*
            /// Which columns are kept, after standardization: `{ score = "f_classif", k = 100 }`, `{ score = "mutual_info_classif", k = 100 }`
            /// or `{ score = "l1", c = 0.1 }`. Default: all.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub select: Option<$crate::classic::preparation::Select>,
            /// Principal components that replace the columns, after the selection: their number, or below 1 the share of the
            /// variance that they must exceed. Default: none.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub pca: Option<f64>,
        }

        impl Default for $Spec {
            fn default() -> Self {
                $Spec { features: Default::default(), $($key: $default,)* select: None, pca: None }
            }
        }

        impl $crate::classic::row_model::Prepared for $Spec {
            fn preparing(&self) -> $crate::classic::preparation::Preparing {
                let (standardize, select, pca) = (self.standardize, self.select.clone(), self.pca);
                $crate::classic::preparation::Preparing { standardize, select, pca }
            }

            fn of_prepared(&self) -> Self {
                $Spec { standardize: false, select: None, pca: None, ..self.clone() }
            }
        }
    };
}

/// Implements `ModelKind` for a [`RowModel`] made by `row_spec!`.
macro_rules! row_model {
    ($Spec:ident, version $version:literal) => {
        impl crate::ModelKind for $Spec {
            fn version(&self) -> u32 {
                $version
            }

            fn features(&self) -> &crate::FeatureChoice {
                &self.features
            }

            fn uses_weights(&self) -> bool {
                <Self as $crate::classic::row_model::RowModel>::USES_WEIGHTS
            }

            fn has_importances(&self) -> bool {
                <Self as $crate::classic::row_model::RowModel>::HAS_IMPORTANCES
            }

            fn fit(
                &self,
                train: &timbre_inputs::dataset::feature_set::FeatureSet,
                context: &crate::FitContext,
            ) -> anyhow::Result<Box<dyn crate::Classifier>> {
                $crate::classic::row_model::fit(self, train, context)
            }

            fn restore(
                &self,
                tensors: Vec<crate::Tensor>,
                n_classes: usize,
                _device: &crate::device::Device,
            ) -> anyhow::Result<Box<dyn crate::Classifier>> {
                $crate::classic::row_model::restore(self, tensors, n_classes)
            }

            fn faults(&self) -> Vec<timbre_core::registry::Fault> {
                use $crate::classic::row_model::{Prepared, RowModel};
                let mut faults = self.own_faults();
                faults.extend(self.preparing().faults());
                faults
            }

            fn size_faults(&self, clips: usize, columns: Option<usize>) -> Vec<timbre_core::registry::Fault> {
                $crate::classic::row_model::Prepared::preparing(self).size_faults(clips, columns)
            }

            fn class_size_warning(&self, clips: usize) -> Option<timbre_core::registry::Fault> {
                $crate::classic::row_model::RowModel::small_class_warning(self, clips)
            }
        }
    };
}

/// What is known about a class of several labels.
enum ClassModel<F> {
    /// No training clip has the class.
    Never,
    /// Every training clip has it.
    Always,
    Open(F),
}

enum Output<F> {
    /// One model; the classes that have training clips, in the order of its shares. None for a single class.
    Single(Vec<usize>, Option<F>),
    /// One model per class.
    Several(Vec<ClassModel<F>>),
}

struct Fitted<F> {
    preparation: Preparation,
    n_classes: usize,
    output: Output<F>,
}

pub fn fit<M: RowModel + ModelKind>(spec: &M, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
    ensure_trainable(spec, train)?;
    let task = context.decision_rule.task;
    let (preparation, rows) = spec.preparing().fit(train, task)?;
    ensure!(
        rows.values.iter().all(|x| x.is_finite()),
        "fit a model: the training features contain NaN or infinite values, or values too large to scale"
    );
    let n_classes = train.n_classes();
    let output = if task == Task::MultiLabel {
        let model = |class: usize| -> Result<ClassModel<M::Fitted>> {
            let targets: Vec<usize> = train.labels().iter().map(|l| usize::from(l.contains(&class))).collect();
            match targets.iter().sum::<usize>() {
                0 => Ok(ClassModel::Never),
                count if count == targets.len() => Ok(ClassModel::Always),
                _ => {
                    let seed = context.seed.child("class").child(class);
                    spec.fit_rows(&Problem {
                        rows: &rows,
                        targets: &targets,
                        classes: 2,
                        weights: train.weights(),
                        seed,
                    })
                    .map(ClassModel::Open)
                }
            }
        };
        Output::Several((0..n_classes).map(model).collect::<Result<_>>()?)
    } else {
        let mut present: Vec<usize> = train.targets().to_vec();
        present.sort_unstable();
        present.dedup();
        let number = |class: &usize| present.binary_search(class).expect("a class with a row");
        let targets: Vec<usize> = train.targets().iter().map(number).collect();
        let (classes, seed) = (present.len(), context.seed);
        let problem = Problem { rows: &rows, targets: &targets, classes, weights: train.weights(), seed };
        let model = (present.len() > 1).then(|| spec.fit_rows(&problem)).transpose()?;
        Output::Single(present, model)
    };
    Ok(Box::new(Fitted { preparation, n_classes, output }))
}

/// The tensor with the classes: with one label per clip the numbers of those with training clips; with several, in one column,
/// 0 for a class without clips, 2 for one that every clip has, otherwise 1.
const CLASSES: &str = "output.classes";

fn prefix_of(class: usize) -> String {
    format!("class{class}.")
}

pub fn restore<M: RowModel + ModelKind>(
    spec: &M,
    mut tensors: Vec<Tensor>,
    n_classes: usize,
) -> Result<Box<dyn Classifier>> {
    let preparation = spec.preparing().take(&mut tensors)?;
    let dims = preparation.width();
    let (shape, classes) = take_shaped(&mut tensors, CLASSES)?;
    let output = if shape.len() == 2 {
        ensure!(classes.len() == n_classes, "`{CLASSES}` has {} classes, expected {n_classes}", classes.len());
        let mut model = |(class, &state): (usize, &f32)| -> Result<ClassModel<M::Fitted>> {
            Ok(match state {
                0.0 => ClassModel::Never,
                2.0 => ClassModel::Always,
                _ => ClassModel::Open(spec.restore_rows(&mut tensors, &prefix_of(class), 2, dims)?),
            })
        };
        Output::Several(classes.iter().enumerate().map(&mut model).collect::<Result<_>>()?)
    } else {
        let present: Vec<usize> = classes.iter().map(|&class| class as usize).collect();
        ensure!(
            !present.is_empty() && present.iter().all(|&class| class < n_classes),
            "`{CLASSES}` must contain class numbers below {n_classes}"
        );
        let several = present.len() > 1;
        let model = several.then(|| spec.restore_rows(&mut tensors, "", present.len(), dims)).transpose()?;
        Output::Single(present, model)
    };
    Ok(Box::new(Fitted { preparation, n_classes, output }))
}

impl<F: RowClassifier> Fitted<F> {
    fn probabilities(&self, row: &[f32]) -> Vec<f32> {
        match &self.output {
            Output::Single(present, model) => {
                let (shares, winner) = model.as_ref().map_or((vec![1.0], 0), |model| model.shares(row));
                let mut all = vec![0.0; self.n_classes];
                present.iter().zip(shares).for_each(|(&class, share)| all[class] = share);
                probability_row(&all, present[winner])
            }
            Output::Several(models) => models
                .iter()
                .map(|model| match model {
                    ClassModel::Never => 0.0,
                    ClassModel::Always => 1.0,
                    ClassModel::Open(model) => model.shares(row).0[1] as f32,
                })
                .collect(),
        }
    }
}

impl<F: RowClassifier> Classifier for Fitted<F> {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        ensure_columns(set, self.preparation.columns())?;
        let mut probabilities = Vec::with_capacity(set.len() * self.n_classes);
        let mut block = Vec::new();
        for rows in chunk_ranges(set.len(), set.block_rows()) {
            set.read_rows(rows, &mut block)?;
            let rows = self.preparation.apply(std::mem::take(&mut block));
            let predicted: Vec<Vec<f32>> =
                rows.values.par_chunks_exact(rows.dims).map(|row| self.probabilities(row)).collect();
            probabilities.extend(predicted.into_iter().flatten());
        }
        Ok(Predictions { n_classes: self.n_classes, probabilities })
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = self.preparation.tensors();
        match &self.output {
            Output::Single(present, model) => {
                let classes = present.iter().map(|&class| class as f32).collect();
                tensors.push(Tensor::new(CLASSES, vec![present.len()], classes));
                tensors.extend(model.iter().flat_map(|model| model.tensors("")));
            }
            Output::Several(models) => {
                let state = |model: &ClassModel<F>| match model {
                    ClassModel::Never => 0.0,
                    ClassModel::Open(_) => 1.0,
                    ClassModel::Always => 2.0,
                };
                tensors.push(Tensor::new(CLASSES, vec![models.len(), 1], models.iter().map(state).collect()));
                for (class, model) in models.iter().enumerate() {
                    if let ClassModel::Open(model) = model {
                        tensors.extend(model.tensors(&prefix_of(class)));
                    }
                }
            }
        }
        Ok(tensors)
    }

    fn importances(&self) -> Vec<Importances> {
        let importances = |class: Option<usize>, values: Vec<f32>| Importances {
            class,
            columns: values.into_iter().enumerate().map(|(at, value)| (self.preparation.column(at), value)).collect(),
        };
        match &self.output {
            Output::Single(present, model) => {
                let all = model.iter().flat_map(RowClassifier::importances);
                all.map(|(class, values)| importances(class.map(|class| present[class]), values)).collect()
            }
            Output::Several(models) => {
                let open = models.iter().enumerate().filter_map(|(class, model)| match model {
                    ClassModel::Open(model) => Some((class, model)),
                    _ => None,
                });
                // The second class has the label.
                let of_class =
                    |(class, model): (usize, &F)| Some(importances(Some(class), model.importances().pop()?.1));
                open.filter_map(of_class).collect()
            }
        }
    }

    fn notes(&self) -> Vec<(String, String)> {
        match &self.output {
            Output::Single(_, model) => model.iter().flat_map(RowClassifier::notes).collect(),
            Output::Several(models) => {
                let first = models.iter().find_map(|model| match model {
                    ClassModel::Open(model) => Some(model.notes()),
                    _ => None,
                });
                let of_class = |(key, value)| (format!("{key} (first class)"), value);
                first.unwrap_or_default().into_iter().map(of_class).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelSpec;
    use timbre_evaluation::metrics::DecisionRule;

    /// Every kind of model of rows, with keys for a dozen of them.
    const KINDS: [(&str, &str); 10] = [
        ("naive_bayes", ""),
        ("gmm", "n_components = 2"),
        ("linear_svm", ""),
        ("svm", ""),
        ("decision_tree", ""),
        ("bagging", ""),
        ("random_forest", ""),
        ("extra_trees", ""),
        ("hist_gradient_boosting", "min_samples_leaf = 2"),
        ("mlp", "learning_rate = 0.02"),
    ];

    fn fit(kind: &str, keys: &str, labels: &[&[usize]], task: Task) -> Box<dyn Classifier> {
        let values = (0..labels.len()).flat_map(|row| [row as f32, (row * row % 7) as f32]).collect();
        let labels = labels.iter().map(|row| row.to_vec()).collect();
        let train = FeatureSet::from_matrices(values, [1, 2], labels, 4);
        let spec: ModelSpec = toml::from_str(&format!("kind = \"{kind}\"\n{keys}")).unwrap();
        let decision_rule = DecisionRule { task, ..DecisionRule::default() };
        let context = FitContext { decision_rule, ..FitContext::standalone(Seed::new(1)) };
        spec.as_kind().fit(&train, &context).unwrap()
    }

    fn predict(model: &dyn Classifier) -> Predictions {
        model.predict(&FeatureSet::from_memory(vec![0.0, 0.0, 11.0, 2.0], 2, vec![0; 2], 4)).unwrap()
    }

    #[test]
    fn no_kind_of_rows_is_missing_here() {
        let others = ["average", "knn", "logistic", "pretrained", "ensemble"];
        for kind in ModelSpec::KINDS.iter().filter(|kind| !others.contains(kind)) {
            let is_network = |spec: ModelSpec| spec.as_network().is_some();
            let is_here = KINDS.iter().any(|(here, _)| here == kind);
            assert!(is_here || toml::from_str(&format!("kind = \"{kind}\"")).is_ok_and(is_network), "{kind}");
        }
    }

    #[test]
    fn a_class_without_clips_has_probability_0_and_the_others_sum_to_one() {
        let labels: Vec<&[usize]> = (0..12).map(|row| if row < 6 { &[1][..] } else { &[3][..] }).collect();
        for (kind, own) in KINDS {
            let predictions = predict(&*fit(kind, own, &labels, Task::SingleLabel));
            for row in 0..2 {
                let row = predictions.row(row);
                assert!((row[0], row[2]) == (0.0, 0.0) && (row[1] + row[3] - 1.0).abs() < 1e-6, "{kind}: {row:?}");
            }
            assert_eq!(predictions.most_likely_classes(), [1, 3], "{kind}");
            // A single class is certain.
            let one = predict(&*fit(kind, own, &[&[2][..]; 8], Task::SingleLabel));
            assert_eq!(one.row(0), [0.0, 0.0, 1.0, 0.0], "{kind}");
        }
    }

    #[test]
    fn with_several_labels_each_class_has_its_own_model() {
        let labels: Vec<&[usize]> = (0..12).map(|row| if row < 6 { &[0, 1][..] } else { &[0, 3][..] }).collect();
        for (kind, own) in KINDS {
            let predictions = predict(&*fit(kind, own, &labels, Task::MultiLabel));
            for (row, at) in [(0, 1), (1, 3)] {
                let row = predictions.row(row);
                assert!(row[0] == 1.0 && row[2] == 0.0 && row[at] > 0.5 && row[4 - at] < 0.5, "{kind}: {row:?}");
            }
        }
    }

    #[test]
    fn a_preparation_is_part_of_the_model() {
        let labels: Vec<&[usize]> = (0..12).map(|row| if row < 6 { &[1][..] } else { &[3][..] }).collect();
        for (kind, own) in KINDS {
            for keys in ["select = { score = \"f_classif\", k = 1 }", "pca = 1", "pca = 0.5"] {
                let keys = format!("{own}\n{keys}");
                let model = fit(kind, &keys, &labels, Task::SingleLabel);
                assert_eq!(predict(&*model).most_likely_classes(), [1, 3], "{kind} {keys}");
                let spec: ModelSpec = toml::from_str(&format!("kind = \"{kind}\"\n{keys}")).unwrap();
                let restored = spec.restore(model.tensors().unwrap(), 4, &crate::device::Device::cpu()).unwrap();
                assert_eq!(predict(&*restored), predict(&*model), "{kind} {keys}");
            }
        }
    }

    #[test]
    fn balanced_weights_give_every_class_the_same_total() {
        let weights = class_weights(Some(ClassWeight::Balanced), &[0, 0, 0, 1], 2);
        assert_eq!(weights, [4.0 / 6.0, 4.0 / 6.0, 4.0 / 6.0, 2.0]);
        assert_eq!(class_weights(None, &[0, 1, 1], 2), [1.0; 3]);
    }

    #[test]
    fn a_row_of_weight_two_is_that_row_twice() {
        let rows = |rows: &[usize]| -> Vec<f32> {
            rows.iter().flat_map(|&row| [row as f32, (row * row % 7) as f32]).collect()
        };
        let labels = |rows: &[usize]| -> Vec<Vec<usize>> {
            rows.iter().map(|&row| vec![usize::from(row * 5 % 12 > 4)]).collect()
        };
        let (once, twice): (Vec<usize>, Vec<usize>) = ((0..12).collect(), (0..12).chain([1, 4, 7]).collect());
        let weights = once.iter().map(|row| if [1, 4, 7].contains(row) { 2.0 } else { 1.0 }).collect();
        let set = |of: &[usize]| FeatureSet::from_matrices(rows(of), [1, 2], labels(of), 2);
        let (weighted, repeated) = (set(&once).with_weights(weights), set(&twice));
        for task in [Task::SingleLabel, Task::MultiLabel] {
            for (kind, keys) in
                [("logistic", "standardize = false\ntolerance = 1e-9"), ("decision_tree", "max_depth = 3")]
            {
                let spec: ModelSpec = match toml::from_str(&format!("kind = \"{kind}\"\n{keys}")) {
                    Ok(spec) => spec,
                    Err(error) => panic!("{kind}: {error}"),
                };
                assert!(spec.as_kind().uses_weights(), "{kind}");
                let decision_rule = DecisionRule { task, ..DecisionRule::default() };
                let fit = |train: &FeatureSet| {
                    let context =
                        FitContext { decision_rule: decision_rule.clone(), ..FitContext::standalone(Seed::new(1)) };
                    predict(&*spec.fit(train, &context).unwrap()).probabilities
                };
                let (a, b) = (fit(&weighted), fit(&repeated));
                assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-3), "{kind} {task:?}: {a:?} {b:?}");
                assert_ne!(a, fit(&set(&once)), "{kind} {task:?}: the weights change the fit");
            }
        }
        // These also calibrate or draw with the number of rows, so only the direction is sure.
        for kind in ["svm", "linear_svm", "random_forest", "extra_trees", "bagging", "hist_gradient_boosting"] {
            let keys = if kind == "hist_gradient_boosting" { "min_samples_leaf = 1" } else { "" };
            let spec: ModelSpec = toml::from_str(&format!("kind = \"{kind}\"\n{keys}")).unwrap();
            assert!(spec.as_kind().uses_weights(), "{kind}");
            let heavy = set(&once).with_weights(labels(&once).iter().map(|own| [1.0, 50.0][own[0]]).collect());
            let share = |train: &FeatureSet| {
                let fitted = spec.fit(train, &FitContext::standalone(Seed::new(1))).unwrap();
                fitted.predict(&set(&once)).unwrap().most_likely_classes().iter().sum::<usize>()
            };
            assert!(share(&heavy) >= share(&set(&once)) && share(&heavy) >= 6, "{kind}");
        }
        for kind in ["knn", "average", "naive_bayes", "gmm", "mlp"] {
            let spec: ModelSpec = toml::from_str(&format!("kind = \"{kind}\"")).unwrap();
            assert!(!spec.as_kind().uses_weights(), "{kind}");
        }
    }
}
