//! Writes tensors in the safetensors format: a length, a JSON header and the bytes.
//!
//! The `safetensors` crate wants every tensor in memory at once, but the training rows of kNN may be larger than that.

use std::io::Write;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::Tensor;

/// Writes `tensors`, and named texts as metadata.
pub fn write_safetensors(tensors: &[Tensor], texts: &[(&str, String)], out: &mut dyn Write) -> Result<()> {
    let mut head = Map::new();
    if !texts.is_empty() {
        let texts: Map<String, Value> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), text.clone().into())).collect();
        head.insert("__metadata__".to_owned(), texts.into());
    }
    let mut end = 0;
    for tensor in tensors {
        let start = end;
        end += 4 * tensor.shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F32", "shape": tensor.shape, "data_offsets": [start, end] });
        head.insert(tensor.name.clone(), entry);
    }
    let mut head = Value::from(head).to_string();
    // The data begin at a multiple of 8 bytes.
    while head.len() % 8 != 0 {
        head.push(' ');
    }
    out.write_all(&(head.len() as u64).to_le_bytes())?;
    out.write_all(head.as_bytes())?;
    tensors
        .iter()
        .try_for_each(|tensor| tensor.for_each_block(|values| Ok(out.write_all(bytemuck::cast_slice(values))?)))
}
