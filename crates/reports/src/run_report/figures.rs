//! What is drawn: in the page, and as files of its own.

use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use super::page;
use crate::plot::{self, Drawing, ImageFormat};
use timbre_core::files;

/// A figure of a page.
pub struct Figure {
    /// Of its file, without whose it is.
    pub name: &'static str,
    pub drawing: Drawing,
    pub caption: String,
}

impl Figure {
    pub fn html(&self) -> String {
        page::figure(&self.drawing.in_page(), &self.caption)
    }

    /// `of`: what the name of the file begins with; `whose`: what stands below the drawing.
    pub fn file(&self, of: &str, whose: &str) -> FigureFile {
        let name = if of.is_empty() { self.name.to_owned() } else { format!("{of}.{}", self.name) };
        FigureFile { name, svg: self.drawing.signed(whose).as_file() }
    }
}

/// A figure as a file of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureFile {
    /// Without an ending.
    pub name: String,
    pub svg: String,
}

/// Writes figures into a folder; says how many.
pub fn write_figures(figures: &[FigureFile], folder: &Path, form: ImageFormat) -> Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    figures.par_iter().try_for_each(|figure| {
        let path = folder.join(format!("{}.{}", figure.name, form.ending()));
        files::write_bytes(&path, &plot::bytes(&figure.svg, form)?)
    })?;
    Ok(figures.len())
}
