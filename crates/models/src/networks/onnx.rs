//! A network as an ONNX graph (operator set 17), written by hand.
//!
//! A network describes its graph by a second forward pass, `graph`, in which each operation adds a node instead of computing. Shapes
//! are known; only the number of clips is free, which stands as 1 in the shape of a [`Value`]. The file is protobuf, of which a
//! few field types are enough (`Message`).

use burn::tensor::Tensor;

/// The versions of the file format and of the operators.
const IR_VERSION: u64 = 8;
const OPERATORS: u64 = 17;
/// The names of the input and the output.
const INPUT: &str = "features";
const OUTPUT: &str = "logits";

/// The result of a node, or a constant.
#[derive(Clone, Debug)]
pub struct Value {
    name: String,
    /// The first axis is the clips, except of constants.
    pub shape: Vec<usize>,
}

/// An attribute of a node.
pub enum Attribute<'a> {
    Int(&'a str, i64),
    Float(&'a str, f64),
    Ints(&'a str, Vec<usize>),
    Floats(&'a str, &'a [f32]),
    Text(&'a str, &'a str),
    Texts(&'a str, &'a [&'a str]),
}

/// Nodes and weights, in the order in which they were added.
#[derive(Default)]
pub struct Graph {
    nodes: Vec<Message>,
    weights: Vec<Message>,
}

impl Graph {
    /// The graph with its input, for clips of that shape.
    pub fn new(shape: [usize; 3]) -> (Graph, Value) {
        (Graph::default(), Value { name: INPUT.to_owned(), shape: [&[1], &shape[..]].concat() })
    }

    /// The file of a model with this input and output.
    pub fn into_file(mut self, input: &Value, output: &Value, metadata: &[(&str, String)]) -> Vec<u8> {
        self.nodes.push(Message::default().text(1, &output.name).text(2, OUTPUT).text(4, "Identity"));
        let mut graph = Message::default();
        for node in &self.nodes {
            graph = graph.message(1, node);
        }
        graph = graph.text(2, "timbre");
        for weights in &self.weights {
            graph = graph.message(5, weights);
        }
        graph = graph.message(11, &value_info(INPUT, &input.shape)).message(12, &value_info(OUTPUT, &output.shape));
        let mut model = Message::default()
            .number(1, IR_VERSION)
            .text(2, "timbre")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &Message::default().text(1, "").number(2, OPERATORS));
        for (key, value) in metadata {
            model = model.message(14, &Message::default().text(1, key).text(2, value));
        }
        model.bytes
    }

    /// Adds a node with one output of that shape.
    pub fn node(&mut self, operator: &str, inputs: &[&Value], attributes: &[Attribute], shape: &[usize]) -> Value {
        let name = format!("{operator}_{}", self.nodes.len());
        let mut node = Message::default();
        for input in inputs {
            node = node.text(1, &input.name);
        }
        node = node.text(2, &name).text(3, &name).text(4, operator);
        for attribute in attributes {
            node = node.message(5, &attribute.message());
        }
        self.nodes.push(node);
        Value { name, shape: shape.to_vec() }
    }

    /// Adds a constant.
    pub fn constant(&mut self, values: &[f32], shape: &[usize]) -> Value {
        self.initializer(1, bytemuck::cast_slice(values), shape)
    }

    /// Adds weights as a constant.
    pub fn weights<const D: usize>(&mut self, tensor: Tensor<D>) -> Value {
        let shape = tensor.dims();
        let values = tensor.into_data().try_into_vec::<f32>().expect("networks are f32");
        self.constant(&values, &shape)
    }

    fn integers(&mut self, values: &[usize]) -> Value {
        let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
        self.initializer(7, bytemuck::cast_slice(&values), &[values.len()])
    }

    fn initializer(&mut self, data_type: u64, bytes: &[u8], shape: &[usize]) -> Value {
        let name = format!("weights_{}", self.weights.len());
        let mut tensor = Message::default();
        for &size in shape {
            tensor = tensor.number(1, size as u64);
        }
        self.weights.push(tensor.number(2, data_type).text(8, &name).field(9, bytes));
        Value { name, shape: shape.to_vec() }
    }

    /// An operation of each value.
    pub fn each(&mut self, operator: &str, x: &Value) -> Value {
        self.node(operator, &[x], &[], &x.shape)
    }

    /// An operation of two values; axes of size 1 are repeated.
    pub fn pair(&mut self, operator: &str, a: &Value, b: &Value) -> Value {
        let rank = a.shape.len().max(b.shape.len());
        let size = |x: &Value, axis: usize| (axis + x.shape.len()).checked_sub(rank).map_or(1, |axis| x.shape[axis]);
        let shape: Vec<usize> = (0..rank).map(|axis| size(a, axis).max(size(b, axis))).collect();
        self.node(operator, &[a, b], &[], &shape)
    }

    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.pair("Add", a, b)
    }

    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.pair("Mul", a, b)
    }

    /// The value times a number, plus a number.
    pub fn affine(&mut self, x: &Value, factor: f64, offset: f64) -> Value {
        let mut x = x.clone();
        for (operator, number, neutral) in [("Mul", factor, 1.0), ("Add", offset, 0.0)] {
            if number != neutral {
                let number = self.constant(&[number as f32], &[]);
                x = self.pair(operator, &x, &number);
            }
        }
        x
    }

    pub fn relu(&mut self, x: &Value) -> Value {
        self.each("Relu", x)
    }

    pub fn silu(&mut self, x: &Value) -> Value {
        let gate = self.each("Sigmoid", x);
        self.mul(x, &gate)
    }

    /// By the error function, as PyTorch's default.
    pub fn gelu(&mut self, x: &Value) -> Value {
        let scaled = self.affine(x, 0.5f64.sqrt(), 0.0);
        let erf = self.each("Erf", &scaled);
        let half = self.affine(&erf, 0.5, 0.5);
        self.mul(x, &half)
    }

    /// The mean (`ReduceMean`) or the largest value (`ReduceMax`) over axes, which disappear.
    pub fn reduce(&mut self, operator: &str, x: &Value, axes: &[usize]) -> Value {
        let kept: Vec<usize> =
            (0..x.shape.len()).filter(|axis| !axes.contains(axis)).map(|axis| x.shape[axis]).collect();
        self.node(operator, &[x], &[Attribute::Ints("axes", axes.to_vec()), Attribute::Int("keepdims", 0)], &kept)
    }

    /// The sum over an axis, which disappears.
    pub fn sum(&mut self, x: &Value, axis: usize) -> Value {
        let axes = self.integers(&[axis]);
        let mut shape = x.shape.clone();
        shape.remove(axis);
        self.node("ReduceSum", &[x, &axes], &[Attribute::Int("keepdims", 0)], &shape)
    }

    /// Global average pooling.
    pub fn mean(&mut self, map: &Value) -> Value {
        self.reduce("ReduceMean", map, &[2, 3])
    }

    pub fn softmax(&mut self, x: &Value, axis: usize) -> Value {
        self.node("Softmax", &[x], &[Attribute::Int("axis", axis as i64)], &x.shape)
    }

    /// Another shape of each clip.
    pub fn reshape(&mut self, x: &Value, of_clip: &[usize]) -> Value {
        // 0 keeps the number of clips.
        let sizes = self.integers(&[&[0], of_clip].concat());
        self.node("Reshape", &[x, &sizes], &[], &[&[1], of_clip].concat())
    }

    /// The values of each clip in one row.
    pub fn flatten(&mut self, x: &Value) -> Value {
        self.reshape(x, &[x.shape[1..].iter().product()])
    }

    pub fn permute(&mut self, x: &Value, axes: &[usize]) -> Value {
        let shape: Vec<usize> = axes.iter().map(|&axis| x.shape[axis]).collect();
        self.node("Transpose", &[x], &[Attribute::Ints("perm", axes.to_vec())], &shape)
    }

    pub fn swap(&mut self, x: &Value, a: usize, b: usize) -> Value {
        let mut axes: Vec<usize> = (0..x.shape.len()).collect();
        axes.swap(a, b);
        self.permute(x, &axes)
    }

    pub fn narrow(&mut self, x: &Value, axis: usize, start: usize, count: usize) -> Value {
        let [starts, ends, axes] = [start, start + count, axis].map(|number| self.integers(&[number]));
        let mut shape = x.shape.clone();
        shape[axis] = count;
        self.node("Slice", &[x, &starts, &ends, &axes], &[], &shape)
    }

    pub fn concat(&mut self, parts: &[&Value], axis: usize) -> Value {
        let mut shape = parts[0].shape.clone();
        shape[axis] = parts.iter().map(|part| part.shape[axis]).sum();
        self.node("Concat", parts, &[Attribute::Int("axis", axis as i64)], &shape)
    }

    /// A constant for each clip of `like`.
    pub fn for_each_clip(&mut self, constant: &Value, like: &Value) -> Value {
        let mut one = like.clone();
        for axis in 1..like.shape.len() {
            one = self.narrow(&one, axis, 0, 1);
        }
        let zero = self.affine(&one, 0.0, 0.0);
        self.add(&zero, constant)
    }

    pub fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        let (rows, columns) = (a.shape.len() - 1, b.shape[b.shape.len() - 1]);
        let shape = [&a.shape[..rows], &[columns]].concat();
        self.node("MatMul", &[a, b], &[], &shape)
    }

    /// Attention of heads × tokens × values, with a bias of each pair of tokens: tokens × values of all heads.
    pub fn attention(&mut self, [query, key, value]: [&Value; 3], bias: Option<&Value>) -> Value {
        let (heads, tokens, each) = (query.shape[1], query.shape[2], query.shape[3]);
        let key = self.swap(key, 2, 3);
        let products = self.matmul(query, &key);
        let mut products = self.affine(&products, (each as f64).powf(-0.5), 0.0);
        if let Some(bias) = bias {
            products = self.add(&products, bias);
        }
        let weights = self.softmax(&products, 3);
        let mixed = self.matmul(&weights, value);
        let mixed = self.swap(&mixed, 1, 2);
        self.reshape(&mixed, &[tokens, heads * each])
    }

    /// A convolution over time or over images; `padding` before and after each axis.
    pub fn conv(
        &mut self,
        [x, weight]: [&Value; 2],
        bias: Option<&Value>,
        stride: &[usize],
        padding: &[[usize; 2]],
        groups: usize,
    ) -> Value {
        let pads = padding.iter().map(|pad| pad[0]).chain(padding.iter().map(|pad| pad[1])).collect();
        let mut shape = vec![1, weight.shape[0]];
        for (axis, [before, after]) in padding.iter().enumerate() {
            shape.push((x.shape[2 + axis] + before + after - weight.shape[2 + axis]) / stride[axis] + 1);
        }
        let inputs: Vec<&Value> = [x, weight].into_iter().chain(bias).collect();
        let attributes = [
            Attribute::Ints("strides", stride.to_vec()),
            Attribute::Ints("pads", pads),
            Attribute::Int("group", groups as i64),
        ];
        self.node("Conv", &inputs, &attributes, &shape)
    }

    /// `MaxPool` or `AveragePool`.
    pub fn pool(
        &mut self,
        operator: &str,
        x: &Value,
        kernel: &[usize],
        stride: &[usize],
        padding: &[[usize; 2]],
    ) -> Value {
        let pads = padding.iter().map(|pad| pad[0]).chain(padding.iter().map(|pad| pad[1])).collect();
        let mut shape = x.shape[..2].to_vec();
        for (axis, [before, after]) in padding.iter().enumerate() {
            shape.push((x.shape[2 + axis] + before + after - kernel[axis]) / stride[axis] + 1);
        }
        let attributes = [
            Attribute::Ints("kernel_shape", kernel.to_vec()),
            Attribute::Ints("strides", stride.to_vec()),
            Attribute::Ints("pads", pads),
        ];
        self.node(operator, &[x], &attributes, &shape)
    }
}

/// The type and the shape of the input or the output; the number of clips is free.
fn value_info(name: &str, shape: &[usize]) -> Message {
    let mut sizes = Message::default().message(1, &Message::default().text(2, "clips"));
    for &size in &shape[1..] {
        sizes = sizes.message(1, &Message::default().number(1, size as u64));
    }
    let tensor = Message::default().number(1, 1).message(2, &sizes);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

impl Attribute<'_> {
    fn message(&self) -> Message {
        let (Attribute::Int(name, _)
        | Attribute::Float(name, _)
        | Attribute::Ints(name, _)
        | Attribute::Floats(name, _)
        | Attribute::Text(name, _)
        | Attribute::Texts(name, _)) = self;
        let mut message = Message::default().text(1, name);
        let of_type = match self {
            Attribute::Float(_, value) => {
                message = message.float(2, *value as f32);
                1
            }
            Attribute::Int(_, value) => {
                message = message.number(3, *value as u64);
                2
            }
            Attribute::Text(_, text) => {
                message = message.text(4, text);
                3
            }
            Attribute::Floats(_, values) => {
                message = values.iter().fold(message, |message, &value| message.float(7, value));
                6
            }
            Attribute::Ints(_, values) => {
                message = values.iter().fold(message, |message, &value| message.number(8, value as u64));
                7
            }
            Attribute::Texts(_, texts) => {
                message = texts.iter().fold(message, |message, text| message.text(9, text));
                8
            }
        };
        message.number(20, of_type)
    }
}

/// A message of protobuf. Numbers are `onnx.proto`'s field numbers.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Message {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn float(mut self, field: u64, value: f32) -> Message {
        self.varint(field << 3 | 5);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    fn field(mut self, field: u64, bytes: &[u8]) -> Message {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Message {
        self.field(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Message {
        self.field(field, &message.bytes)
    }
}
