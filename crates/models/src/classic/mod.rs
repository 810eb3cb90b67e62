//! Classic models: nearest centroid, k nearest neighbours, logistic regression and ensembles of models.

pub mod nearest_centroid;
pub mod ensemble;
pub mod fusion;
pub mod knn;
pub mod logistic;
pub mod tensor_file;

mod neighbours;
mod newton;
mod primal;
mod products;
pub(crate) mod scaling;
mod dual;
mod calibrated_centroids;
