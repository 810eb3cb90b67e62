//! A model of a reduced feature: `select` and `pca` before the models that read their features in blocks.
//!
//! Memory: the reduced rows of the training set, and of the set that is predicted, in f32.

use anyhow::Result;

use super::ensure_columns;
use super::preparation::{Preparation, Preparing};
use crate::classifier::ensure_trainable;
use crate::device::Device;
use crate::{Classifier, FitContext, Importances, ModelColumn, ModelKind, Tensor, ValidationCurve};
use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

struct Reduced {
    preparation: Preparation,
    model: Box<dyn Classifier>,
}

/// Fits `model`, a spec without preparation, to the prepared rows. `spec` is the whole spec, which is checked.
pub fn fit(
    spec: &dyn ModelKind,
    preparing: &Preparing,
    model: &dyn ModelKind,
    train: &FeatureSet,
    context: &FitContext,
) -> Result<Box<dyn Classifier>> {
    ensure_trainable(spec, train)?;
    let (preparation, rows) = preparing.fit(train, context.decision_rule.task)?;
    let shape = [1, rows.dims];
    let reduced = train.with_matrices(rows.values, shape);
    Ok(Box::new(Reduced { preparation, model: model.fit(&reduced, context)? }))
}

pub fn restore(
    preparing: &Preparing,
    model: &dyn ModelKind,
    mut tensors: Vec<Tensor>,
    n_classes: usize,
    device: &Device,
) -> Result<Box<dyn Classifier>> {
    let preparation = preparing.take(&mut tensors)?;
    Ok(Box::new(Reduced { preparation, model: model.restore(tensors, n_classes, device)? }))
}

impl Reduced {
    fn reduce(&self, set: &FeatureSet) -> Result<FeatureSet> {
        ensure_columns(set, self.preparation.columns())?;
        let rows = self.preparation.read(set)?;
        let shape = [1, rows.dims];
        Ok(set.with_matrices(rows.values, shape))
    }
}

impl Classifier for Reduced {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        self.model.predict(&self.reduce(set)?)
    }

    fn predict_with_curve(&self, set: &FeatureSet) -> Result<(Predictions, Option<ValidationCurve>)> {
        self.model.predict_with_curve(&self.reduce(set)?)
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut tensors = self.preparation.tensors();
        tensors.extend(self.model.tensors()?);
        Ok(tensors)
    }

    fn importances(&self) -> Vec<Importances> {
        let mut all = self.model.importances();
        for (column, _) in all.iter_mut().flat_map(|own| &mut own.columns) {
            if let ModelColumn::Feature(at) = *column {
                *column = self.preparation.column(at);
            }
        }
        all
    }

    fn notes(&self) -> Vec<(String, String)> {
        self.model.notes()
    }
}
