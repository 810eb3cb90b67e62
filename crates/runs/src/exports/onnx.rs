//! Saved networks as ONNX files, with their front end in the metadata.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::run_dir::{self, ModelRecord};
use timbre_core::error::UserError;
use timbre_models::training::onnx_file;

/// The ONNX file of the model `name` of a run. The metadata have the names and the content of `model.json`.
pub fn file(run: &Path, name: &str) -> Result<Vec<u8>> {
    if let Some((ensemble, _)) = run_dir::read_ensemble(run, name)? {
        let members = ensemble.members.join(", ");
        return Err(
            UserError::usage(format!("`{name}` is an ensemble: export its members one by one: {members}")).into()
        );
    }
    let (record, tensors) = run_dir::read_model(run, name)?;
    let ModelRecord { classes, audio, feature, model, decision_rule, window, tags, .. } = &record;
    let network = model.as_network().ok_or_else(|| {
        let kind = model.kind();
        UserError::usage(format!("`{name}` is of the kind {kind}, and only networks are exported to ONNX; docs/saved-models.md says how to read it"))
    })?;
    let mut metadata = vec![
        ("classes", json(classes)?),
        ("audio", json(audio)?),
        ("feature", json(feature)?),
        ("model", json(model)?),
        ("judge", json(decision_rule)?),
        ("window", json(window)?),
    ];
    if !tags.is_empty() {
        metadata.push(("tags", json(tags)?));
    }
    onnx_file(network, tensors, classes.len(), metadata)
        .with_context(|| format!("export the model {name} of {}", run.display()))
}

fn json(part: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string(part)?)
}
