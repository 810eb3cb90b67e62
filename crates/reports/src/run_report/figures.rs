//! Figures of a report: in the page, and as separate files.

use std::path::Path;

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::page;
use crate::plot::{self, Drawing, FileStyle};
use timbre_core::{files, text::unescape_xml};

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
        let parts = [self.drawing.title(), &self.caption, footer];
        let parts: Vec<String> = parts.iter().filter(|part| !part.is_empty()).map(|part| format!("{part}\n")).collect();
        FigureFile {
            name,
            svg: self.drawing.with_footer(footer).as_file(),
            bare: plot::without_title(&self.drawing.with_margin().as_file()),
            caption: parts.join("\n"),
        }
    }
}

/// A figure as a separate file.
#[derive(Clone, Debug, PartialEq)]
pub struct FigureFile {
    /// The file name without its extension.
    pub name: String,
    pub svg: String,
    /// The drawing without title and footer.
    pub bare: String,
    /// Title, caption and footer.
    pub caption: String,
}

impl FigureFile {
    /// A figure of which only the file is known.
    pub fn of_svg(name: String, svg: String) -> FigureFile {
        let title =
            svg.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map_or("", |(title, _)| title);
        FigureFile { name, bare: plot::without_title(&svg), caption: unescape_xml(title) + "\n", svg }
    }
}

/// How figures become files.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FigureOptions {
    pub style: FileStyle,
    /// Title, caption and footer are text files, and not in the picture.
    pub captions: bool,
}

/// Text that is smaller than the wanted size by more than this share is reported.
const SMALLER: f64 = 0.02;

/// Writes the figures into a folder. Returns the names of those with smaller text than wanted, and its size in points.
pub fn write_figures(figures: &[FigureFile], folder: &Path, options: &FigureOptions) -> Result<Vec<(String, f64)>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let style = &options.style;
    let of_figure = |figure: &FigureFile| -> Result<Option<(String, f64)>> {
        let svg = if options.captions { &figure.bare } else { &figure.svg };
        let path = |extension: &str| folder.join(format!("{}.{extension}", figure.name));
        files::write_bytes(&path(style.format.extension()), &plot::styled(svg, style)?)?;
        if options.captions {
            files::write_bytes(&path("txt"), figure.caption.as_bytes())?;
        }
        let size = style.font_size.zip(style.text_size(svg));
        let smaller = size.filter(|(wanted, size)| *size < wanted * (1.0 - SMALLER));
        Ok(smaller.map(|(_, size)| (figure.name.clone(), size)))
    };
    let smaller: Vec<Option<(String, f64)>> = figures.par_iter().map(of_figure).collect::<Result<_>>()?;
    Ok(smaller.into_iter().flatten().collect())
}
