//! The table of a network's layers, by arithmetic alone: what `run --dry-run` prints, and where an image that is too small is
//! refused before anything is built.
//!
//! Multiply-adds are those of convolutions and matrix products; additions, norms, pools and activations are not counted (as
//! ptflops and fvcore do it, but for batch norms, which ptflops counts).

use anyhow::{Result, ensure};

use super::{InputShape, LayerRow};

/// What a convolution or a pool looks at: height × width.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
}

impl Window {
    /// Side by side, as pools do it.
    pub fn apart(kernel: [usize; 2]) -> Window {
        Window { kernel, stride: kernel, padding: [0, 0] }
    }

    pub fn square(kernel: usize, stride: usize, padding: usize) -> Window {
        Window { kernel: [kernel; 2], stride: [stride; 2], padding: [padding; 2] }
    }

    fn words(&self) -> String {
        let [height, width] = self.kernel;
        let stride = match self.stride {
            [1, 1] => String::new(),
            [down, along] if down == along => format!(", stride {down}"),
            [down, along] => format!(", stride {down}×{along}"),
        };
        format!("{height}×{width}{stride}")
    }
}

/// Layers are added from the input to the logits; each takes what the one before gives.
pub struct LayerTable {
    input: InputShape,
    rows: Vec<LayerRow>,
    /// What the last layer gives, without the batch.
    pub shape: Vec<usize>,
}

impl LayerTable {
    /// The image may have as many channels as the network, or one, which is repeated.
    pub fn new(input: InputShape, channels: usize) -> Result<LayerTable> {
        ensure!(
            input.channels == 1 || input.channels == channels,
            "the feature has {} channels and the network {channels}: set `channels` to {} or to 1",
            input.channels,
            input.channels
        );
        Ok(LayerTable { input, rows: Vec::new(), shape: vec![channels, input.height, input.width] })
    }

    pub fn into_rows(self) -> Vec<LayerRow> {
        self.rows
    }

    /// A layer that none of the other functions knows.
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
        let [height, width] = self.slide(name, window)?;
        let weights = filters * self.shape[0] * window.kernel[0] * window.kernel[1];
        let kind = format!("conv {}, {filters}", window.words());
        let parameters = weights + if bias { filters } else { 0 };
        self.add(name, kind, vec![filters, height, width], parameters, weights * height * width);
        Ok(())
    }

    pub fn max_pool(&mut self, name: &str, window: Window) -> Result<()> {
        let [height, width] = self.slide(name, window)?;
        self.add(name, format!("max pool {}", window.words()), vec![self.shape[0], height, width], 0, 0);
        Ok(())
    }

    /// Over the channels.
    pub fn norm(&mut self, name: &str) {
        self.norm_of(name, self.shape[0]);
    }

    /// Over another axis, of that size.
    pub fn norm_of(&mut self, name: &str, features: usize) {
        self.add(name, format!("batch norm {features}"), self.shape.clone(), 2 * features, 0);
        self.rows.last_mut().expect("the row just added").statistics = 2 * features as u64;
    }

    /// To one value a channel, or to a fixed number of them.
    pub fn average_pool(&mut self, name: &str, to: [usize; 2]) {
        let output = vec![self.shape[0], to[0], to[1]];
        self.add(name, format!("average pool to {}×{}", to[0], to[1]), output, 0, 0);
    }

    /// Whatever came before is one row of values.
    pub fn linear(&mut self, name: &str, features: usize, bias: bool) {
        let weights = self.shape.iter().product::<usize>() * features;
        let parameters = weights + if bias { features } else { 0 };
        self.add(name, format!("linear {features}"), vec![features], parameters, weights);
    }

    /// A convolution over time alone, of what is `[channels, frames]`.
    pub fn conv_over_time(&mut self, name: &str, filters: usize, kernel: usize) -> Result<()> {
        let frames = self.places(name, 1, Along { kernel, stride: 1, padding: 0 })?;
        let weights = filters * self.shape[0] * kernel;
        self.add(name, format!("conv {kernel}, {filters}"), vec![filters, frames], weights + filters, weights * frames);
        Ok(())
    }

    pub fn max_pool_over_time(&mut self, name: &str, kernel: usize) -> Result<()> {
        let frames = self.places(name, 1, Along { kernel, stride: kernel, padding: 0 })?;
        self.add(name, format!("max pool {kernel}, stride {kernel}"), vec![self.shape[0], frames], 0, 0);
        Ok(())
    }

    /// How often the window fits on the image that reaches it: height × width.
    fn slide(&self, name: &str, window: Window) -> Result<[usize; 2]> {
        let along = |axis: usize| Along {
            kernel: window.kernel[axis],
            stride: window.stride[axis],
            padding: window.padding[axis],
        };
        Ok([self.places(name, 1, along(0))?, self.places(name, 2, along(1))?])
    }

    fn places(&self, name: &str, axis: usize, window: Along) -> Result<usize> {
        let Along { kernel, stride, padding } = window;
        let size = self.shape[axis];
        ensure!(
            size + 2 * padding >= kernel,
            "an image of {} × {} (bands × frames) is too small for the network: {} of it reach the layer `{name}`, which looks \
             at {kernel} in a row; take more bands or longer clips",
            self.input.height,
            self.input.width,
            self.shape[1..].iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
        );
        Ok((size + 2 * padding - kernel) / stride + 1)
    }
}

/// A window along one axis.
struct Along {
    kernel: usize,
    stride: usize,
    padding: usize,
}
