//! The table of a network's layers, computed from the shapes alone. `run --dry-run` prints it, and it refuses an image that is
//! too small before anything is built.
//!
//! Multiply-adds are those of convolutions and matrix products; additions, norms, pools and activations are not counted (as in
//! ptflops and fvcore, except that ptflops counts batch norms).

use anyhow::{Result, ensure};

use super::{InputShape, LayerRow};

/// The window of a convolution or a pool: height × width.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
}

impl Window {
    /// Adjacent windows without overlap or padding.
    pub fn adjacent(kernel: [usize; 2]) -> Window {
        Window { kernel, stride: kernel, padding: [0, 0] }
    }

    pub fn square(kernel: usize, stride: usize, padding: usize) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] }
    }

    fn describe(&self) -> String {
        let [height, width] = self.kernel;
        let stride = match self.stride {
            [1, 1] => String::new(),
            [down, along] if down == along => format!(", stride {down}"),
            [down, along] => format!(", stride {down}×{along}"),
        };
        format!("{height}×{width}{stride}")
    }
}

/// Layers are added from the input to the logits; the input of each is the output of the one before.
pub struct LayerTable {
    input: InputShape,
    rows: Vec<LayerRow>,
    /// The output of the last layer, without the batch.
    pub shape: Vec<usize>,
}

impl LayerTable {
    /// Fails unless the image has as many channels as the network, or one, which is repeated.
    pub fn new(input: InputShape, channels: usize) -> Result<LayerTable> {
        ensure!(
            input.channels == 1 || input.channels == channels,
            "the feature has {} channels and the network {channels}; if the network has a key `channels`, set it to {}",
            input.channels,
            input.channels
        );
        Ok(LayerTable { input, rows: Vec::new(), shape: vec![channels, input.height, input.width] })
    }

    pub fn into_rows(self) -> Vec<LayerRow> {
        self.rows
    }

    /// Adds a layer for which there is no other function.
    pub fn add(&mut self, name: &str, kind: String, output: Vec<usize>, parameters: usize, multiply_adds: usize) {
        self.shape.clone_from(&output);
        self.rows.push(LayerRow {
            name: name.to_owned(),
            kind,
            output,
            parameters: parameters as u64,
            statistics: 0,
            multiply_adds: multiply_adds as u64,
        });
    }

    pub fn conv(&mut self, name: &str, filters: usize, window: Window, bias: bool) -> Result<()> {
        self.conv_in_groups(name, filters, 1, window, bias)
    }

    /// Adds a convolution with one filter for each channel.
    pub fn depthwise_conv(&mut self, name: &str, window: Window, bias: bool) -> Result<()> {
        self.conv_in_groups(name, self.shape[0], self.shape[0], window, bias)
    }

    fn conv_in_groups(&mut self, name: &str, filters: usize, groups: usize, window: Window, bias: bool) -> Result<()> {
        let [height, width] = self.output_size(name, window)?;
        let weights = filters * (self.shape[0] / groups) * window.kernel[0] * window.kernel[1];
        let kind = match groups {
            1 => format!("conv {}, {filters}", window.describe()),
            _ => format!("conv {}, {filters}, {groups} groups", window.describe()),
        };
        let parameters = weights + if bias { filters } else { 0 };
        self.add(name, kind, vec![filters, height, width], parameters, weights * height * width);
        Ok(())
    }

    pub fn max_pool(&mut self, name: &str, window: Window) -> Result<()> {
        let [height, width] = self.output_size(name, window)?;
        self.add(name, format!("max pool {}", window.describe()), vec![self.shape[0], height, width], 0, 0);
        Ok(())
    }

    pub fn average_pool_by(&mut self, name: &str, window: Window) -> Result<()> {
        let [height, width] = self.output_size(name, window)?;
        self.add(name, format!("average pool {}", window.describe()), vec![self.shape[0], height, width], 0, 0);
        Ok(())
    }

    /// Adds a batch norm over the channels.
    pub fn norm(&mut self, name: &str) {
        self.norm_of(name, self.shape[0]);
    }

    /// Adds a batch norm over another axis with this size.
    pub fn norm_of(&mut self, name: &str, features: usize) {
        self.add(name, format!("batch norm {features}"), self.shape.clone(), 2 * features, 0);
        self.rows.last_mut().expect("the row just added").statistics = 2 * features as u64;
    }

    /// Adds an average pool to a fixed size per channel.
    pub fn average_pool(&mut self, name: &str, to: [usize; 2]) {
        let output = vec![self.shape[0], to[0], to[1]];
        self.add(name, format!("average pool to {}×{}", to[0], to[1]), output, 0, 0);
    }

    /// Adds a linear layer on the flattened output of the layer before.
    pub fn linear(&mut self, name: &str, features: usize, bias: bool) {
        let weights = self.shape.iter().product::<usize>() * features;
        let parameters = weights + if bias { features } else { 0 };
        self.add(name, format!("linear {features}"), vec![features], parameters, weights);
    }

    /// Adds a convolution over time of an input `[channels, frames]`.
    pub fn conv_over_time(&mut self, name: &str, filters: usize, kernel: usize) -> Result<()> {
        let frames = self.positions(name, 1, Axis { kernel, stride: 1, padding: 0 })?;
        let weights = filters * self.shape[0] * kernel;
        self.add(name, format!("conv {kernel}, {filters}"), vec![filters, frames], weights + filters, weights * frames);
        Ok(())
    }

    pub fn max_pool_over_time(&mut self, name: &str, kernel: usize) -> Result<()> {
        let frames = self.positions(name, 1, Axis { kernel, stride: kernel, padding: 0 })?;
        self.add(name, format!("max pool {kernel}, stride {kernel}"), vec![self.shape[0], frames], 0, 0);
        Ok(())
    }

    /// The number of positions of the window on its input: height × width.
    fn output_size(&self, name: &str, window: Window) -> Result<[usize; 2]> {
        let along = |axis: usize| Axis {
            kernel: window.kernel[axis],
            stride: window.stride[axis],
            padding: window.padding[axis],
        };
        Ok([self.positions(name, 1, along(0))?, self.positions(name, 2, along(1))?])
    }

    fn positions(&self, name: &str, axis: usize, window: Axis) -> Result<usize> {
        let Axis { kernel, stride, padding } = window;
        let size = self.shape[axis];
        ensure!(
            size + 2 * padding >= kernel,
            "an image of {} × {} (bands × frames) is too small for the network: its layer `{name}` gets {} and needs {kernel} in \
             a row; use more bands or longer clips",
            self.input.height,
            self.input.width,
            self.shape[1..].iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
        );
        Ok((size + 2 * padding - kernel) / stride + 1)
    }
}

/// The window along one axis.
struct Axis {
    kernel: usize,
    stride: usize,
    padding: usize,
}
