//! Imports pretrained weights: a checkpoint of another program initializes a network, and a report lists what was used.
//!
//! Conventions and differences from the peers:
//! * It reads `.safetensors` and files written by `torch.save` (`.pth`, `.pt`, `.bin`, `.ckpt`). A pickle is parsed and nothing in
//!   it is ever called: burn's reader knows tensors, dictionaries and lists only.
//! * Names are compared without the prefixes of wrappers (`module.`, `model.`, `state_dict.`, …); fastai's numbers for the parts of
//!   a ResNet are understood too. `num_batches_tracked` is ignored.
//! * If the network has one input channel, the weights of several channels are summed, as in fastai: a grey image then gives the
//!   same result as a colour image with three equal channels.
//! * A tensor of another shape is skipped, for example a head for another number of classes. If fewer than half of the tensors
//!   before the head match, the file belongs to another network and is refused.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::store::pytorch_reader::{self, PytorchReader};
use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;

use super::{Network, ast, head, passt, state_dict};
use crate::Tensor;

/// What was used of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Used unchanged.
    pub loaded: Vec<String>,
    /// Used after reshaping, and how.
    pub reshaped: Vec<(String, String)>,
    /// Tensors of the file that were skipped, and why.
    pub skipped: Vec<(String, String)>,
    /// Tensors of the network that are not in the file: they keep their initial weights.
    pub missing: Vec<String>,
}

impl fmt::Display for ImportReport {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{} tensors loaded unchanged, {} reshaped, {} skipped, {} missing",
            self.loaded.len(),
            self.reshaped.len(),
            self.skipped.len(),
            self.missing.len()
        )?;
        listed(f, "reshaped", self.reshaped.iter().map(|(name, how)| format!("`{name}`: {how}")))?;
        listed(f, "skipped", self.skipped.iter().map(|(name, why)| format!("`{name}`: {why}")))?;
        listed(f, "missing", self.missing.iter().map(|name| format!("`{name}`: keeps its initial weights")))
    }
}

/// Writes the first few lines only, since there may be hundreds.
fn listed(f: &mut fmt::Formatter, what: &str, lines: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    const SHOWN: usize = 6;
    let more = lines.len().saturating_sub(SHOWN);
    for line in lines.take(SHOWN) {
        write!(f, "\n  {what}  {line}")?;
    }
    if more > 0 { write!(f, "\n  {what}  and {more} more") } else { Ok(()) }
}

/// The network with the weights of a file, as far as they match.
pub fn import(path: &Path, network: Network) -> Result<(Network, ImportReport)> {
    let tensors = read(path).with_context(|| format!("cannot read weights from {}", path.display()))?;
    import_tensors(tensors, network).with_context(|| format!("cannot initialize the network from {}", path.display()))
}

/// All floating-point tensors of a checkpoint, with their names in the file.
pub fn read(path: &Path) -> Result<Vec<Tensor>> {
    let extension = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "safetensors" => read_safetensors(path),
        "pth" | "pt" | "bin" | "ckpt" => read_pytorch(path),
        _ => bail!("weights are read from a .safetensors file or from a .pth or .pt file of PyTorch"),
    }
}

fn read_safetensors(path: &Path) -> Result<Vec<Tensor>> {
    let bytes = fs::read(path)?;
    let file = SafeTensors::deserialize(&bytes).context("it is truncated, or not a safetensors file")?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let dtype = match view.dtype() {
            Dtype::F64 => DType::F64,
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            _ => continue,
        };
        tensors.push(tensor_of(name, view.shape(), dtype, view.data().to_vec())?);
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

fn read_pytorch(path: &Path) -> Result<Vec<Tensor>> {
    use pytorch_reader::DType as Torch;
    const WHY: &str = "it is truncated, or not a checkpoint of tensors written by `torch.save`";
    let file_bytes = fs::metadata(path)?.len();
    let reader = PytorchReader::new(path).context(WHY)?;
    let (mut tensors, mut read_bytes) = (Vec::new(), 0);
    for (name, found) in BTreeMap::from_iter(reader.into_tensors()) {
        let dtype = match found.dtype() {
            Torch::F64 => DType::F64,
            Torch::F32 => DType::F32,
            Torch::F16 => DType::F16,
            Torch::BF16 => DType::BF16,
            _ => continue,
        };
        let bytes = found.byte_len() as u64;
        read_bytes += bytes;
        ensure!(
            bytes <= file_bytes && read_bytes <= MAX_REUSE * file_bytes,
            "the tensor `{name}` of the shape {:?} is larger than the file can hold",
            found.shape()
        );
        tensors.push(tensor_of(&name, found.shape(), dtype, found.read().context(WHY)?)?);
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}

/// How often the bytes of a file may be read, because tensors share them. PyTorch writes tied weights once.
const MAX_REUSE: u64 = 16;

fn tensor_of(name: &str, shape: &[usize], dtype: DType, bytes: Vec<u8>) -> Result<Tensor> {
    let data = TensorData::from_bytes_vec(bytes, shape.to_vec(), dtype).convert::<f32>();
    let values = data.try_into_vec::<f32>().ok().with_context(|| format!("the tensor `{name}` cannot become f32"))?;
    ensure!(
        values.iter().all(|value| value.is_finite()),
        "the tensor `{name}` contains values that are not finite: the training that wrote it diverged"
    );
    Ok(Tensor::new(name, shape.to_vec(), values))
}

/// The network with these tensors, as far as they match.
pub fn import_tensors(tensors: Vec<Tensor>, network: Network) -> Result<(Network, ImportReport)> {
    ensure!(!tensors.is_empty(), "it contains no floating-point tensor");
    let tensors = ast::from_hugging_face(tensors)?;
    let mut own = state_dict::tensors(&network);
    let expected: HashSet<String> = own.iter().map(|tensor| tensor.name.clone()).collect();
    let mut report = ImportReport::default();
    let mut given: HashMap<String, Tensor> = HashMap::new();
    let mut some_name = String::new();
    for tensor in tensors {
        let name = plain_name(&tensor.name, &expected);
        if name.ends_with("num_batches_tracked") {
            continue;
        }
        some_name.clone_from(&tensor.name);
        match given.entry(name) {
            Entry::Vacant(place) if expected.contains(place.key()) => {
                place.insert(tensor);
            }
            Entry::Vacant(_) => report.skipped.push((tensor.name, "the network has no such tensor".to_owned())),
            Entry::Occupied(taken) => report.skipped.push((tensor.name, format!("`{}` occurs twice", taken.key()))),
        }
    }
    for tensor in &mut own {
        let name = tensor.name.clone();
        let Some(theirs) = given.remove(&name) else {
            report.missing.push(name);
            continue;
        };
        match fit(theirs, &tensor.shape)? {
            Fit::Same(values) => {
                *tensor = Tensor::new(&name, tensor.shape.clone(), values);
                report.loaded.push(name);
            }
            Fit::Reshaped(values, how) => {
                *tensor = Tensor::new(&name, tensor.shape.clone(), values);
                report.reshaped.push((name, how));
            }
            Fit::Not(theirs) => {
                let why = format!("{theirs:?} in the file, {:?} in the network", tensor.shape);
                report.skipped.push((name.clone(), why));
                report.missing.push(name);
            }
        }
    }
    let before_head = |names: &mut dyn Iterator<Item = &String>| names.filter(|name| !head::is_head(name)).count();
    let fitting = before_head(&mut report.loaded.iter().chain(report.reshaped.iter().map(|(name, _)| name)));
    let wanted = before_head(&mut expected.iter());
    ensure!(
        2 * fitting >= wanted,
        "{fitting} of the {wanted} tensors before the head match: the file holds another network (one of its tensors is \
         `{some_name}`, one of this network is `{}`)",
        own[0].name
    );
    Ok((state_dict::load(network, &own)?, report))
}

/// A name without the prefixes of wrappers.
fn plain_name(name: &str, expected: &HashSet<String>) -> String {
    const WRAPPERS: [&str; 7] =
        ["module.", "model.", "state_dict.", "model_state_dict.", "_orig_mod.", "net.", "network."];
    let mut rest = name;
    while let Some(inner) = WRAPPERS.iter().find_map(|wrapper| rest.strip_prefix(wrapper)) {
        rest = inner;
    }
    // fastai splits a ResNet in two and numbers the parts.
    const NUMBERED: [(&str, &str); 10] = [
        ("0.0.", "conv1."),
        ("0.1.", "bn1."),
        ("0.4.", "layer1."),
        ("0.5.", "layer2."),
        ("0.6.", "layer3."),
        ("0.7.", "layer4."),
        ("1.2.", "head.bn1."),
        ("1.4.", "head.fc1."),
        ("1.6.", "head.bn2."),
        ("1.8.", "head.fc2."),
    ];
    if expected.contains("layer1.0.conv1.weight")
        && let Some(named) =
            NUMBERED.iter().find_map(|(number, part)| Some(format!("{part}{}", rest.strip_prefix(number)?)))
    {
        return named;
    }
    rest.to_owned()
}

/// How a tensor of a file matches a tensor of the network.
enum Fit {
    Same(Vec<f32>),
    Reshaped(Vec<f32>, String),
    /// It does not match; its shape.
    Not(Vec<usize>),
}

fn fit(theirs: Tensor, shape: &[usize]) -> Result<Fit> {
    let theirs_shape = theirs.shape.clone();
    if theirs_shape == shape {
        return theirs.into_values().map(Fit::Same);
    }
    // Filters of a 2-D convolution that differ only in the number of input channels.
    if let ([filters, channels, height, width], [f, c, h, w]) = (&theirs_shape[..], shape)
        && [filters, height, width] == [f, h, w]
    {
        let plane = height * width;
        if *c == 1 {
            let values = theirs.into_values()?;
            let how = format!("summed over {channels} input channels");
            return Ok(Fit::Reshaped(
                values.chunks(channels * plane).flat_map(|filter| summed(filter, plane)).collect(),
                how,
            ));
        }
        if *channels == 1 {
            let values = theirs.into_values()?;
            let share = |plane: &[f32]| plane.iter().map(|value| value / *c as f32).collect::<Vec<f32>>().repeat(*c);
            let how = format!("divided among {c} input channels");
            return Ok(Fit::Reshaped(values.chunks(plane).flat_map(share).collect(), how));
        }
    }
    if theirs.name.ends_with("pos_embed") {
        let values = theirs.clone().into_values()?;
        if let Some(resized) = ast::resized_positions(&values, &theirs_shape, shape) {
            return Ok(Fit::Reshaped(resized, format!("{} positions made of {}", shape[1], theirs_shape[1])));
        }
    }
    if theirs.name.ends_with("time_new_pos_embed") {
        let values = theirs.clone().into_values()?;
        if let Some(resized) = passt::resized_positions(&values, &theirs_shape, shape) {
            return Ok(Fit::Reshaped(resized, format!("{} positions made of {}", shape[3], theirs_shape[3])));
        }
    }
    Ok(Fit::Not(theirs_shape))
}

/// The sum of consecutive planes.
fn summed(filter: &[f32], plane: usize) -> Vec<f32> {
    (0..plane).map(|at| filter[at..].iter().step_by(plane).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of PyTorch's legacy format with one tensor: ten numbers, seen as `size` equal ones by a stride of 0.
    fn expanded(size: i32) -> Vec<u8> {
        let int = |n: i32| [&b"J"[..], &n.to_le_bytes()].concat();
        let text = |text: &str| [&b"X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes()].concat();
        let storage =
            [b"(".to_vec(), text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), int(10)]
                .concat();
        let view =
            [int(0), int(size), b"\x85".to_vec(), int(0), b"\x85\x89ccollections\nOrderedDict\n)R".to_vec()].concat();
        [
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.".to_vec(),
            [&b"\x80\x02}"[..], &text("little_endian"), b"\x88s."].concat(),
            [&b"\x80\x02}"[..], &text("w"), b"ctorch._utils\n_rebuild_tensor_v2\n(", &storage, b"NtQ", &view, b"tRs."]
                .concat(),
            [&b"\x80\x02]"[..], &text("0"), b"a."].concat(),
            10u64.to_le_bytes().to_vec(),
            [0; 40].to_vec(),
        ]
        .concat()
    }

    #[test]
    fn a_tensor_larger_than_its_file_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.pth");
        fs::write(&path, expanded(20)).unwrap();
        assert_eq!(read(&path).unwrap()[0].shape, [20]);
        fs::write(&path, expanded(1_000_000_000)).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 1000);
        let refused = read(&path).err().expect("4 GB in a file of 300 bytes").to_string();
        assert!(refused.contains("`w`") && refused.contains("larger than the file"), "{refused}");
    }
}
