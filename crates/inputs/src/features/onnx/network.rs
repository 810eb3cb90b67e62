//! Networks from ONNX files, run by tract on the CPU.
//!
//! The file is not trusted: operators, types and the sizes of its tensors are checked before tract builds the network, and
//! a panic of tract becomes an error.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, tensor_proto::DataLocation};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::DimLike;

use crate::features::hash_of;

/// The most values of one tensor: 1 GiB of 32-bit floats.
const MOST_VALUES: usize = 1 << 28;
/// The lengths of input that are kept ready to run.
const MOST_PLANS: usize = 8;

/// A network with one input and one output.
pub struct Network {
    model: InferenceModel,
    input: Vec<Option<usize>>,
    /// Ready to run for inputs of these shapes.
    plans: Mutex<Vec<(Vec<usize>, Arc<TypedRunnableModel>)>>,
}

/// Values with their shape, row-major.
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

impl Network {
    /// The network of this file with its output of that name (its only output for an empty name), read once as long as the file
    /// stays the same.
    pub fn of(path: &Path, output: &str) -> Result<Arc<Network>> {
        static KNOWN: LazyLock<Mutex<HashMap<[String; 2], Arc<Network>>>> = LazyLock::new(Mutex::default);
        let key = [hash_of(path)?, output.to_owned()];
        let mut known = KNOWN.lock().expect("no thread panics here");
        if let Some(network) = known.get(&key) {
            return Ok(network.clone());
        }
        let bytes = fs::read(path)?;
        let network = Arc::new(without_panic(|| Network::read(&bytes, output))?);
        known.insert(key, network.clone());
        Ok(network)
    }

    fn read(bytes: &[u8], output: &str) -> Result<Network> {
        let onnx = tract_onnx::onnx().with_ignore_value_info(true);
        let proto = onnx.proto_model_for_read(&mut &bytes[..]).ok();
        let graph = proto.as_ref().and_then(|proto| proto.graph.as_ref()).filter(|graph| !graph.output.is_empty());
        let (proto, graph) = proto.as_ref().zip(graph).context("it is truncated, or not an ONNX file")?;
        check_operators(graph, |operator| onnx.op_register.0.contains_key(operator))?;
        check_sizes(graph)?;
        check_outputs(graph)?;
        let model = onnx.model_for_proto_model(proto).map_err(in_one_line)?;
        let model = with_output(model, output)?;
        let inputs = model.input_outlets().map_err(in_one_line)?;
        let names: Vec<&str> = inputs.iter().map(|input| model.node(input.node).name.as_str()).collect();
        ensure!(names.len() == 1, "it has {} inputs ({}), and one is possible", names.len(), names.join(", "));
        let fact = model.input_fact(0).map_err(in_one_line)?;
        let of_type = fact.datum_type.concretize();
        ensure!(
            of_type == Some(f32::datum_type()),
            "its input `{}` is of the type {}, and 32-bit floats are possible",
            names[0],
            of_type.map_or_else(|| "unknown".to_owned(), |of_type| format!("{of_type:?}"))
        );
        ensure!(!fact.shape.is_open(), "its input `{}` has no shape", names[0]);
        let input = fact.shape.dims().map(|size| size.concretize().and_then(|size| size.to_usize().ok())).collect();
        Ok(Network { model, input, plans: Mutex::default() })
    }

    /// The sizes of the axes of the input; None where every size is possible.
    pub fn input(&self) -> &[Option<usize>] {
        &self.input
    }

    /// The shape of the output for an input of that shape.
    pub fn output_shape(&self, input: &[usize]) -> Result<Vec<usize>> {
        let plan = self.plan(input)?;
        let fact = plan.model().output_fact(0).map_err(in_one_line)?;
        let shape = fact.shape.as_concrete().context("the shape of its output depends on the values of its input")?;
        Ok(shape.to_vec())
    }

    /// The output for an input.
    pub fn run(&self, input: &Array) -> Result<Array> {
        let plan = self.plan(&input.shape)?;
        without_panic(|| {
            let tensor = Tensor::from_shape(&input.shape, &input.values).map_err(in_one_line)?;
            let output = plan.run(tvec!(tensor.into())).map_err(in_one_line)?.swap_remove(0).into_tensor();
            let floats = output.cast_to::<f32>().map_err(in_one_line)?;
            let values = floats.to_plain_array_view::<f32>().map_err(in_one_line)?.iter().copied().collect();
            Ok(Array { shape: output.shape().to_vec(), values })
        })
    }

    /// The network for inputs of that shape. tract optimizes a network for one shape.
    fn plan(&self, shape: &[usize]) -> Result<Arc<TypedRunnableModel>> {
        let mut plans = self.plans.lock().expect("no thread panics here");
        if let Some(at) = plans.iter().position(|(known, _)| known == shape) {
            let plan = plans.remove(at);
            plans.push(plan);
            return Ok(plans[plans.len() - 1].1.clone());
        }
        check_volume(shape.iter().copied(), "its input")?;
        let plan = without_panic(|| {
            let fact = InferenceFact::dt_shape(f32::datum_type(), shape);
            let model = self.model.clone().with_input_fact(0, fact).and_then(|model| model.into_typed());
            let model = model.map_err(in_one_line)?;
            for node in model.nodes() {
                for output in &node.outputs {
                    let dims = output.fact.shape.iter().filter_map(|dim| dim.to_usize().ok());
                    check_volume(dims, &format!("its tensor `{}`", node.name))?;
                }
            }
            model.into_optimized().and_then(|model| model.into_runnable()).map_err(in_one_line)
        })
        .with_context(|| format!("for an input of the shape {shape:?}"))?;
        if plans.len() == MOST_PLANS {
            plans.remove(0);
        }
        plans.push((shape.to_vec(), plan.clone()));
        Ok(plan)
    }
}

/// Makes one tensor the output: the only one of the file, or the one with a name, also within the network.
fn with_output(mut model: InferenceModel, name: &str) -> Result<InferenceModel> {
    let outputs = model.output_outlets().map_err(in_one_line)?.to_vec();
    let list = || {
        let names = outputs.iter().map(|&outlet| model.outlet_label(outlet).unwrap_or("?"));
        names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    let chosen = match (name, &outputs[..]) {
        ("", [only]) => *only,
        ("", _) => bail!("it has {} outputs; name one with `output`: {}", outputs.len(), list()),
        (name, _) => model
            .find_outlet_label(name)
            .with_context(|| format!("it has no tensor `{name}`; its outputs are {}", list()))?,
    };
    model.select_output_outlets(&[chosen]).map_err(in_one_line)?;
    Ok(model)
}

/// All operators that tract does not have, by name.
fn check_operators(graph: &GraphProto, is_known: impl Fn(&str) -> bool) -> Result<()> {
    let operators = nodes(graph).into_iter().map(|node| &node.op_type);
    let mut unknown: Vec<String> = operators.filter(|name| !is_known(name)).map(|name| format!("`{name}`")).collect();
    unknown.sort();
    unknown.dedup();
    ensure!(unknown.is_empty(), "it has operators that tract cannot run: {}", unknown.join(", "));
    Ok(())
}

/// The nodes of a graph and of those within it, such as the branches of `If`.
fn nodes(graph: &GraphProto) -> Vec<&NodeProto> {
    let mut all = Vec::new();
    let mut graphs = vec![graph];
    while let Some(graph) = graphs.pop() {
        all.extend(&graph.node);
        let attributes = graph.node.iter().flat_map(|node| &node.attribute);
        graphs.extend(attributes.flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)));
    }
    all
}

/// Each output of the file is the output of a node, or a constant.
fn check_outputs(graph: &GraphProto) -> Result<()> {
    let of_nodes = graph.node.iter().flat_map(|node| &node.output);
    let inputs = graph.input.iter().map(|input| &input.name);
    let made: HashSet<&String> =
        of_nodes.chain(inputs).chain(graph.initializer.iter().map(|tensor| &tensor.name)).collect();
    let missing = graph.output.iter().find(|output| !made.contains(&output.name));
    match missing {
        Some(output) => bail!("no operator has its output `{}`", output.name),
        None => Ok(()),
    }
}

/// Compares the sizes that tensors declare with the bytes that are there, and refuses operators that make a tensor of an absurd
/// size out of a few bytes.
fn check_sizes(graph: &GraphProto) -> Result<()> {
    let nodes = nodes(graph);
    let attributes = nodes.iter().flat_map(|node| &node.attribute);
    let within = attributes.flat_map(|attribute| {
        attribute
            .t
            .iter()
            .chain(&attribute.tensors)
            .chain(attribute.g.iter().chain(&attribute.graphs).flat_map(|graph| &graph.initializer))
    });
    for tensor in graph.initializer.iter().chain(within) {
        check_tensor(tensor)?;
    }
    let constants: HashMap<&str, &TensorProto> = {
        let initializers = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
        let of_nodes = nodes.iter().filter(|node| node.op_type == "Constant").filter_map(|node| {
            Some((node.output.first()?.as_str(), node.attribute.iter().find_map(|attribute| attribute.t.as_ref())?))
        });
        initializers.chain(of_nodes).collect()
    };
    for node in &nodes {
        let shape = match node.op_type.as_str() {
            "ConstantOfShape" => node.input.first(),
            "Expand" => node.input.get(1),
            _ => None,
        };
        if let Some(tensor) = shape.and_then(|name| constants.get(name.as_str())) {
            let of_bytes = tensor.raw_data.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes));
            let sizes = of_bytes.chain(tensor.int64_data.iter().copied());
            check_volume(
                sizes.map(|size| usize::try_from(size).unwrap_or(1)),
                &format!("its tensor `{}`", node.output.join(", ")),
            )?;
        }
    }
    Ok(())
}

fn check_tensor(tensor: &TensorProto) -> Result<()> {
    let name = &tensor.name;
    ensure!(
        tensor.data_location != Some(DataLocation::External as i32),
        "its tensor `{name}` is in another file; write one file: `onnx.save(onnx.load(\"in.onnx\"), \"out.onnx\")`"
    );
    let sizes: Option<Vec<usize>> = tensor.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes.with_context(|| format!("its tensor `{name}` has a negative size"))?;
    check_volume(sizes.iter().copied(), &format!("its tensor `{name}`"))?;
    let count: usize = sizes.iter().product();
    let lists = [
        tensor.float_data.len(),
        tensor.int32_data.len(),
        tensor.int64_data.len(),
        tensor.double_data.len(),
        tensor.uint64_data.len(),
        tensor.string_data.len(),
    ];
    let present = match tensor.raw_data.len() {
        0 => lists.iter().sum(),
        bytes => bytes / bytes_of_type(tensor.data_type)?,
    };
    ensure!(present == count, "its tensor `{name}` declares {count} values and has {present}");
    Ok(())
}

/// The bytes of a value of ONNX's `TensorProto.DataType`.
fn bytes_of_type(number: i32) -> Result<usize> {
    Ok(match number {
        2 | 3 | 9 => 1,
        4 | 5 | 10 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        other => bail!("it has tensors of the type {other} of ONNX, which tract cannot read"),
    })
}

fn check_volume(sizes: impl Iterator<Item = usize>, what: &str) -> Result<()> {
    let count = sizes.fold(1usize, usize::saturating_mul);
    ensure!(count <= MOST_VALUES, "{what} would have {count} values, and at most {MOST_VALUES} are possible");
    Ok(())
}

/// A panic as an error: tract expects well-formed graphs. Nothing that the work changed is used afterwards.
fn without_panic<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<&str>().map(|text| text.to_string());
        let message = message.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        Err(anyhow!("tract panicked: {message}"))
    })
}

/// The causes of an error of tract, shortened: it may print whole nodes.
fn in_one_line(error: Error) -> Error {
    const LONGEST: usize = 300;
    let text = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => anyhow!("{}…", &text[..end]),
        None => anyhow!(text),
    }
}
