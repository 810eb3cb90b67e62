//! Writes drawings as PDF, for papers: one page as large as the figure.
//!
//! Covers what the figures use: paths with plain colours, dashes and opacities, and PNG images. Text is outlines of the embedded fonts: it looks the
//! same everywhere and needs no font, but cannot be searched.

use std::io::Write;

use anyhow::{Context, Result, bail};
use flate2::{Compression, write::ZlibEncoder};
use pdf_writer::types::{LineCapStyle, LineJoinStyle};
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref};
use resvg::tiny_skia::{PathSegment, Pixmap, Point, Transform};
use resvg::usvg::{FillRule, Group, Image, ImageKind, LineCap, LineJoin, Node, Paint, PaintOrder, Path, Tree};

/// The page of a drawing, `scale` points per SVG unit.
pub fn page(tree: &Tree, scale: f32) -> Result<Vec<u8>> {
    let (width, height) = (tree.size().width() * scale, tree.size().height() * scale);
    let mut page = Page { content: Content::new(), opacities: Vec::new(), images: Vec::new() };
    // The y axis of a PDF points upwards.
    page.content.transform([scale, 0.0, 0.0, -scale, 0.0, height]);
    page.group(tree.root(), 1.0)?;

    let mut next = 0;
    let mut id = || {
        next += 1;
        Ref::new(next)
    };
    let (catalog, pages, own, content) = (id(), id(), id(), id());
    let states: Vec<Ref> = page.opacities.iter().map(|_| id()).collect();
    let images: Vec<Ref> = page.images.iter().map(|_| id()).collect();
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(pages);
    pdf.pages(pages).kids([own]).count(1);
    let mut sheet = pdf.page(own);
    sheet.media_box(Rect::new(0.0, 0.0, width, height)).parent(pages).contents(content);
    let mut resources = sheet.resources();
    let mut dictionary = resources.ext_g_states();
    for (n, state) in states.iter().enumerate() {
        dictionary.pair(Name(state_name(n).as_bytes()), *state);
    }
    dictionary.finish();
    let mut dictionary = resources.x_objects();
    for (n, image) in images.iter().enumerate() {
        dictionary.pair(Name(image_name(n).as_bytes()), *image);
    }
    dictionary.finish();
    resources.finish();
    sheet.finish();
    for (state, &(fill, stroke)) in states.iter().zip(&page.opacities) {
        pdf.ext_graphics(*state).non_stroking_alpha(fill).stroking_alpha(stroke);
    }
    for (image, pixels) in images.iter().zip(&page.images) {
        let rgb: Vec<u8> =
            pixels.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
        let bytes = compressed(&rgb)?;
        let mut object = pdf.image_xobject(*image, &bytes);
        object.filter(Filter::FlateDecode);
        object.width(pixels.width() as i32).height(pixels.height() as i32).bits_per_component(8);
        object.color_space().device_rgb();
    }
    let bytes = compressed(&page.content.finish())?;
    pdf.stream(content, &bytes).filter(Filter::FlateDecode);
    Ok(pdf.finish())
}

fn state_name(n: usize) -> String {
    format!("G{n}")
}

fn image_name(n: usize) -> String {
    format!("I{n}")
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).context("cannot compress a PDF")
}

/// The content of the page, and what it refers to.
struct Page {
    content: Content,
    /// Of fills and strokes.
    opacities: Vec<(f32, f32)>,
    images: Vec<Pixmap>,
}

impl Page {
    fn group(&mut self, group: &Group, opacity: f32) -> Result<()> {
        let opacity = opacity * group.opacity().get();
        for node in group.children() {
            match node {
                Node::Group(inner) => self.group(inner, opacity)?,
                Node::Text(text) => self.group(text.flattened(), opacity)?,
                Node::Path(path) if path.is_visible() => self.path(path, opacity)?,
                Node::Image(image) if image.is_visible() => self.image(image)?,
                Node::Path(_) | Node::Image(_) => {}
            }
        }
        Ok(())
    }

    fn path(&mut self, path: &Path, opacity: f32) -> Result<()> {
        let of_fill = path.fill().map_or(1.0, |fill| fill.opacity().get() * opacity);
        let of_stroke = path.stroke().map_or(1.0, |stroke| stroke.opacity().get() * opacity);
        let state = self.state(of_fill, of_stroke);
        self.content.save_state().transform(matrix(path.abs_transform()));
        self.content.set_parameters(Name(state_name(state).as_bytes()));
        if let Some(fill) = path.fill() {
            let [red, green, blue] = colour(fill.paint())?;
            self.content.set_fill_rgb(red, green, blue);
        }
        if let Some(stroke) = path.stroke() {
            let [red, green, blue] = colour(stroke.paint())?;
            self.content.set_stroke_rgb(red, green, blue).set_line_width(stroke.width().get());
            self.content.set_miter_limit(stroke.miterlimit().get());
            self.content.set_line_cap(match stroke.linecap() {
                LineCap::Butt => LineCapStyle::ButtCap,
                LineCap::Round => LineCapStyle::RoundCap,
                LineCap::Square => LineCapStyle::ProjectingSquareCap,
            });
            self.content.set_line_join(match stroke.linejoin() {
                LineJoin::Miter | LineJoin::MiterClip => LineJoinStyle::MiterJoin,
                LineJoin::Round => LineJoinStyle::RoundJoin,
                LineJoin::Bevel => LineJoinStyle::BevelJoin,
            });
            if let Some(dashes) = stroke.dasharray() {
                self.content.set_dash_pattern(dashes.iter().copied(), stroke.dashoffset());
            }
        }
        let is_even_odd = path.fill().is_some_and(|fill| fill.rule() == FillRule::EvenOdd);
        // Both at once, except where the stroke lies below the fill.
        let both = [(path.fill().is_some(), path.stroke().is_some())];
        let steps: &[(bool, bool)] = match path.paint_order() {
            PaintOrder::StrokeAndFill if both[0] == (true, true) => &[(false, true), (true, false)],
            _ => &both,
        };
        for step in steps {
            self.outline(path);
            match (step, is_even_odd) {
                ((true, true), false) => self.content.fill_nonzero_and_stroke(),
                ((true, true), true) => self.content.fill_even_odd_and_stroke(),
                ((true, false), false) => self.content.fill_nonzero(),
                ((true, false), true) => self.content.fill_even_odd(),
                ((false, true), _) => self.content.stroke(),
                ((false, false), _) => self.content.end_path(),
            };
        }
        self.content.restore_state();
        Ok(())
    }

    fn outline(&mut self, path: &Path) {
        let mut at = Point::zero();
        for segment in path.data().segments() {
            match segment {
                PathSegment::MoveTo(to) => drop(self.content.move_to(to.x, to.y)),
                PathSegment::LineTo(to) => drop(self.content.line_to(to.x, to.y)),
                PathSegment::QuadTo(control, to) => {
                    // A PDF has cubic curves alone.
                    let towards = |from: Point| Point {
                        x: from.x + (control.x - from.x) * 2.0 / 3.0,
                        y: from.y + (control.y - from.y) * 2.0 / 3.0,
                    };
                    let (a, b) = (towards(at), towards(to));
                    self.content.cubic_to(a.x, a.y, b.x, b.y, to.x, to.y);
                }
                PathSegment::CubicTo(a, b, to) => drop(self.content.cubic_to(a.x, a.y, b.x, b.y, to.x, to.y)),
                PathSegment::Close => drop(self.content.close_path()),
            }
            if let PathSegment::MoveTo(to)
            | PathSegment::LineTo(to)
            | PathSegment::QuadTo(_, to)
            | PathSegment::CubicTo(_, _, to) = segment
            {
                at = to;
            }
        }
    }

    fn image(&mut self, image: &Image) -> Result<()> {
        let ImageKind::PNG(bytes) = image.kind() else { bail!("a figure has an image that is no PNG") };
        let pixels = Pixmap::decode_png(bytes).context("cannot read an image of the figure")?;
        let (width, height) = (image.size().width(), image.size().height());
        self.content.save_state().transform(matrix(image.abs_transform()));
        // The unit square of a PDF has its first row at the top.
        self.content.transform([width, 0.0, 0.0, -height, 0.0, height]);
        self.content.x_object(Name(image_name(self.images.len()).as_bytes()));
        self.content.restore_state();
        self.images.push(pixels);
        Ok(())
    }

    /// The number of the graphics state with these opacities.
    fn state(&mut self, fill: f32, stroke: f32) -> usize {
        let known = self.opacities.iter().position(|state| *state == (fill, stroke));
        known.unwrap_or_else(|| {
            self.opacities.push((fill, stroke));
            self.opacities.len() - 1
        })
    }
}

fn matrix(transform: Transform) -> [f32; 6] {
    let Transform { sx, kx, ky, sy, tx, ty } = transform;
    [sx, ky, kx, sy, tx, ty]
}

fn colour(paint: &Paint) -> Result<[f32; 3]> {
    let Paint::Color(colour) = paint else {
        bail!("a figure has a gradient or a pattern, which a PDF of this program cannot have")
    };
    Ok([colour.red, colour.green, colour.blue].map(|part| f32::from(part) / 255.0))
}
