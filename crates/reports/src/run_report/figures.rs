//! Figures of a report: in the page, and as separate files.

use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::page;
use crate::plot::{self, Drawing, ImageFormat};
use timbre_core::files;

/// A figure of a page.
pub struct Figure {
    /// The last part of the file name.
    pub name: &'static str,
    pub drawing: Drawing,
    pub caption: String,
}

impl Figure {
    pub fn html(&self) -> String {
        page::figure(&self.drawing.in_page(), &self.caption)
    }

    /// The figure as a file. `prefix` begins its name, `footer` is below the drawing.
    pub fn file(&self, prefix: &str, footer: &str) -> FigureFile {
        let name = if prefix.is_empty() { self.name.to_owned() } else { format!("{prefix}.{}", self.name) };
        FigureFile { name, svg: self.drawing.with_footer(footer).as_file() }
    }
}

/// A figure as a separate file.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureFile {
    /// The file name without its extension.
    pub name: String,
    pub svg: String,
}

/// Writes the figures into a folder and returns their number.
pub fn write_figures(figures: &[FigureFile], folder: &Path, form: ImageFormat) -> Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    figures.par_iter().try_for_each(|figure| {
        let path = folder.join(format!("{}.{}", figure.name, form.extension()));
        files::write_bytes(&path, &plot::bytes(&figure.svg, form)?)
    })?;
    Ok(figures.len())
}
