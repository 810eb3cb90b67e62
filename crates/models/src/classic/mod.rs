//! Classic models: nearest centroid, k nearest neighbours, logistic regression, naive Bayes, Gaussian mixtures, support
//! vector machines, trees, forests and boosting, a multilayer perceptron, the scores of pretrained networks, and ensembles of models.

#[macro_use]
pub mod row_model;
#[macro_use]
pub mod forest;
pub mod bagging;
pub mod decision_tree;
pub mod eigen;
pub mod ensemble;
pub mod extra_trees;
pub mod fusion;
pub mod gmm;
pub mod grid_search;
pub mod hist_gradient_boosting;
pub mod knn;
pub mod known_rows;
pub mod linear_svm;
pub mod logistic;
pub mod mlp;
pub mod naive_bayes;
pub mod nearest_centroid;
pub mod preparation;
pub mod pretrained;
pub mod random_forest;
pub mod svm;
pub mod trees;

mod calibrated_centroids;
mod calibration;
mod dual;
mod kernel;
mod l1;
mod mutual_information;
mod neighbours;
mod newton;
mod primal;
mod reduced;
mod rows;
mod scaling;
mod smo;

use anyhow::{Result, ensure};
use rayon::prelude::*;

use timbre_evaluation::predictions::Predictions;
use timbre_inputs::dataset::feature_set::FeatureSet;

use crate::tensor::chunk_ranges;
use scaling::Scaler;

fn ensure_columns(set: &FeatureSet, dims: usize) -> Result<()> {
    ensure!(
        set.dims() == dims,
        "predict: the features have {} columns, the model was trained on {dims}; compute them with the same settings",
        set.dims()
    );
    Ok(())
}

/// The predictions of a model that needs one scaled row at a time. Blocks are read in sequence, their rows computed in parallel.
fn predict_row_by_row(
    set: &FeatureSet,
    scaler: Option<&Scaler>,
    n_classes: usize,
    probabilities_of: impl Fn(&[f32]) -> Vec<f32> + Sync,
) -> Result<Predictions> {
    let mut probabilities = Vec::with_capacity(set.len() * n_classes);
    let mut block = Vec::new();
    for rows in chunk_ranges(set.len(), set.block_rows()) {
        set.read_rows(rows, &mut block)?;
        if let Some(scaler) = scaler {
            scaler.apply(&mut block);
        }
        let rows: Vec<Vec<f32>> = block.par_chunks_exact(set.dims()).map(&probabilities_of).collect();
        probabilities.extend(rows.into_iter().flatten());
    }
    Ok(Predictions { n_classes, probabilities })
}
