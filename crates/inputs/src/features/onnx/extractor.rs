//! A network of the feature `onnx` at work: from a clip to the pooled output.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

use super::network::{Array, Network};
use super::{FramePool, Onnx};
use crate::features::{ClipAnalysis, Extractor, Fault, FeatureMatrix};
use timbre_signal::audio::{Clip, ResampleFilter, resample};

/// The length in seconds for which a network of free length is checked.
const SECONDS: usize = 10;

impl Onnx {
    fn network(&self) -> Result<Arc<Network>> {
        Network::of(Path::new(&self.file), &self.output).with_context(|| self.file.clone())
    }

    /// What the file shows, once all other keys are right.
    pub(super) fn faults_of_network(&self, sample_rate: u32) -> Vec<Fault> {
        let checked = self.network().and_then(|_| self.matrix_shape(SECONDS * sample_rate as usize));
        checked.err().map(|error| Fault::new("file", format!("{error:#}"))).into_iter().collect()
    }

    /// The rows and columns of the matrix of a clip.
    pub(super) fn matrix_shape(&self, samples: usize) -> Result<[usize; 2]> {
        ensure!(samples > 0, "the clip has no samples");
        // The number of samples after resampling is unknown here, and does not matter: the frames are pooled then.
        let samples = self.sample_rate.map_or(samples, |rate| samples.max(SECONDS * rate as usize));
        let input = match &self.of {
            Some(of) => of.as_kind().shape(samples).context("the clip is too short")?,
            None => [1, samples],
        };
        let network = self.network()?;
        let layout = Layout::of(network.input(), input, self.of.is_some())?;
        let [rows, columns] = self.axes(&network.output_shape(&layout.shape)?)?;
        let patches = layout.patches(input[1]);
        Ok([rows, if self.pool == FramePool::None { columns * patches } else { 1 }])
    }

    /// The size of the axis with the values, and the product of the others.
    fn axes(&self, output: &[usize]) -> Result<[usize; 2]> {
        let at = self.axis_of(output)?;
        let count: usize = output.iter().product();
        ensure!(count > 0, "its output is empty: {output:?}");
        Ok([output[at], count / output[at]])
    }

    fn axis_of(&self, output: &[usize]) -> Result<usize> {
        let rank = output.len() as i64;
        let at = if self.axis < 0 { rank + self.axis } else { self.axis };
        ensure!((0..rank).contains(&at), "its output has the shape {output:?}, and no `axis` {}", self.axis);
        Ok(at as usize)
    }

    pub(super) fn extractor(&self, sample_rate: u32) -> Result<Box<dyn Extractor>> {
        let of = self.of.as_ref().map(|of| of.as_kind().build(self.sample_rate.unwrap_or(sample_rate))).transpose()?;
        Ok(Box::new(OfNetwork { sample_rate, of, network: self.network()?, spec: self.clone() }))
    }
}

/// How a feature matrix lies in the input of a network.
#[derive(Debug, PartialEq)]
pub(super) struct Layout {
    /// The shape of the input.
    shape: Vec<usize>,
    /// The columns of one input, which are one patch.
    width: usize,
    /// Whether columns are before rows.
    transposed: bool,
}

impl Layout {
    /// That of a matrix of rows × columns; without `is_image`, of samples.
    pub(super) fn of(input: &[Option<usize>], [rows, columns]: [usize; 2], is_image: bool) -> Result<Layout> {
        let wanted = if is_image { 2 } else { 1 };
        let mut axes: Vec<usize> = (0..input.len()).filter(|&axis| input[axis] != Some(1)).collect();
        while axes.len() > wanted && input[axes[0]].is_none() {
            axes.remove(0);
        }
        let fits = |axis: usize| input[axis].is_none_or(|size| size == rows);
        let is_exact = |axis: usize| input[axis] == Some(rows);
        let sizes = input.iter().map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string()));
        let sizes = sizes.collect::<Vec<_>>().join(" × ");
        let [of_rows, of_columns] = match axes[..] {
            [axis] if !is_image => [None, Some(axis)],
            [axis] if columns == 1 && fits(axis) => [Some(axis), None],
            [first, second] if is_image && (is_exact(first) || (fits(first) && !is_exact(second))) => {
                [Some(first), Some(second)]
            }
            [first, second] if is_image && fits(second) => [Some(second), Some(first)],
            _ if is_image => {
                bail!("its input has the shape {sizes}, and the feature has {rows} rows and {columns} columns")
            }
            _ => bail!("its input has the shape {sizes}; one axis is needed for the samples, or `of` for a feature"),
        };
        let mut shape = vec![1; input.len()];
        if let Some(axis) = of_rows {
            shape[axis] = rows;
        }
        let width = of_columns.map_or(1, |axis| input[axis].unwrap_or(columns));
        if let Some(axis) = of_columns {
            shape[axis] = width;
        }
        ensure!(width > 0, "its input has the shape {sizes}");
        ensure!(
            !is_image || columns >= width,
            "it needs {width} columns and the feature has {columns}; use longer clips or a shorter hop"
        );
        Ok(Layout { shape, width, transposed: of_rows > of_columns && of_columns.is_some() })
    }

    fn patches(&self, columns: usize) -> usize {
        (columns / self.width).max(1)
    }

    /// The input of a patch.
    pub(super) fn input(&self, matrix: &FeatureMatrix, patch: usize) -> Array {
        let value = |row: usize, column: usize| {
            let column = patch * self.width + column;
            // A clip of samples that is too short is followed by zeros.
            if column < matrix.cols { matrix.values[row * matrix.cols + column] } else { 0.0 }
        };
        let (rows, width) = (matrix.rows, self.width);
        let values = match self.transposed {
            false => (0..rows * width).map(|at| value(at / width, at % width)).collect(),
            true => (0..rows * width).map(|at| value(at % rows, at / rows)).collect(),
        };
        Array { shape: self.shape.clone(), values }
    }
}

struct OfNetwork {
    sample_rate: u32,
    of: Option<Box<dyn Extractor>>,
    network: Arc<Network>,
    spec: Onnx,
}

impl Extractor for OfNetwork {
    fn extract(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        clip.ensure_sample_rate(self.sample_rate)?;
        let matrix = self.matrix(clip)?;
        let layout = Layout::of(self.network.input(), [matrix.rows, matrix.cols], self.of.is_some())?;
        // Rows of the result, each with the values of all columns of all patches.
        let mut rows: Vec<Vec<f32>> = Vec::new();
        for patch in 0..layout.patches(matrix.cols) {
            let output = self.network.run(&layout.input(&matrix, patch))?;
            let ([count, columns], axis) = (self.spec.axes(&output.shape)?, self.spec.axis_of(&output.shape)?);
            rows.resize(count, Vec::new());
            // Row-major: the axes before, the values, and the axes after.
            let after: usize = output.shape[axis + 1..].iter().product();
            for (row, values) in rows.iter_mut().enumerate() {
                let of_column = |column: usize| output.values[(column / after * count + row) * after + column % after];
                values.extend((0..columns).map(of_column));
            }
        }
        let pooled = |row: &Vec<f32>| match self.spec.pool {
            FramePool::Mean => (row.iter().map(|&value| f64::from(value)).sum::<f64>() / row.len() as f64) as f32,
            FramePool::Max | FramePool::None => row.iter().copied().fold(f32::NEG_INFINITY, f32::max),
        };
        Ok(match self.spec.pool {
            FramePool::None => FeatureMatrix { rows: rows.len(), cols: rows[0].len(), values: rows.concat() },
            _ => FeatureMatrix { rows: rows.len(), cols: 1, values: rows.iter().map(pooled).collect() },
        })
    }
}

impl OfNetwork {
    /// The input for the whole clip: the matrix of the other feature, or one row of samples.
    fn matrix(&self, clip: &ClipAnalysis) -> Result<FeatureMatrix> {
        let samples = clip.samples()?;
        let rate = self.spec.sample_rate.unwrap_or(self.sample_rate);
        if rate == self.sample_rate {
            return match &self.of {
                Some(of) => of.extract(clip),
                None => Ok(FeatureMatrix { rows: 1, cols: samples.len(), values: samples.to_vec() }),
            };
        }
        let samples = resample(samples, self.sample_rate, rate, ResampleFilter::SoxrHq);
        match &self.of {
            Some(of) => of.extract(&ClipAnalysis::new(&Clip { samples, sample_rate: rate })),
            None => Ok(FeatureMatrix { rows: 1, cols: samples.len(), values: samples }),
        }
    }
}
