//! Writes drawings as files: SVG; PNG for programs that show no SVG, such as slides, chats and the pages of some code hosts; PDF for papers.
//!
//! The fonts come with the program, so the same text gives the same image on every machine, also on one without fonts. Only for
//! characters that these lack (such as Chinese) the fonts of the machine are searched.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use png::{BitDepth, ColorType, Encoder, PixelDimensions, Unit};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, ID, Source};
use resvg::usvg::{FontFamily, FontResolver, Options, Tree};

use super::drawing::MARGIN;
use super::{PAGE_WIDTH, pdf};

/// Pixels per SVG unit, if no density is wanted: sharp on high-resolution screens and on paper.
const SCALE: f64 = 2.0;
/// SVG units per inch, as in CSS.
const UNITS: f64 = 96.0;
/// Points per inch.
pub(super) const POINTS: f64 = 72.0;
/// The size of plain text in SVG units.
const TEXT: f64 = 13.0;
/// What lies above the top of a figure without its title.
const TITLE: f64 = 34.0;
/// The narrowest layout of a figure, in SVG units.
const NARROWEST: f64 = 240.0;
/// The font weight from which text is bold.
const BOLD: u16 = 600;

/// The embedded fonts. The condensed ones are as wide as usual screen fonts, for which figures are laid out.
struct Fonts {
    all: Arc<Database>,
    regular: Option<ID>,
    bold: Option<ID>,
    mono: Option<ID>,
}

static FONTS: LazyLock<Fonts> = LazyLock::new(|| {
    let mut all = Database::new();
    let mut add = |font: &'static [u8]| all.load_font_source(Source::Binary(Arc::new(font))).first().copied();
    let [regular, bold, mono] =
        [dejavu::sans_condensed::regular(), dejavu::sans_condensed::bold(), dejavu::sans_mono::regular()].map(&mut add);
    Fonts { all: Arc::new(all), regular, bold, mono }
});

/// The embedded fonts and those of the machine, which are read only when a character needs them.
static WITH_SYSTEM: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut all = Database::clone(&FONTS.all);
    all.load_system_fonts();
    Arc::new(all)
});

fn options() -> Options<'static> {
    let anywhere = FontResolver::default_fallback_selector();
    let font_resolver = FontResolver {
        select_font: Box::new(|font, _| {
            let is_mono = font.families().contains(&FontFamily::Monospace);
            if is_mono {
                FONTS.mono
            } else if font.weight() >= BOLD {
                FONTS.bold
            } else {
                FONTS.regular
            }
        }),
        select_fallback: Box::new(move |character, tried, fonts| {
            anywhere(character, tried, fonts).or_else(|| {
                // The ids of the embedded fonts stay valid.
                *fonts = WITH_SYSTEM.clone();
                anywhere(character, tried, fonts)
            })
        }),
    };
    Options { fontdb: FONTS.all.clone(), font_resolver, ..Options::default() }
}

/// A file format of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFormat {
    Svg,
    Png,
    Pdf,
}

impl ImageFormat {
    /// The format by the flag `--png`.
    pub fn from_flag(png: bool) -> ImageFormat {
        if png { ImageFormat::Png } else { ImageFormat::Svg }
    }

    pub fn extension(self) -> &'static str {
        match self {
            ImageFormat::Svg => "svg",
            ImageFormat::Png => "png",
            ImageFormat::Pdf => "pdf",
        }
    }
}

/// The format and size of a figure file. Lengths are in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FileStyle {
    pub format: ImageFormat,
    pub width: Option<f64>,
    /// The size of plain text. Titles are larger, and notes smaller, by the usual ratio.
    pub font_size: Option<f64>,
    /// Pixels per inch of a PNG.
    pub dpi: Option<u32>,
}

impl FileStyle {
    /// The usual size.
    pub fn of(format: ImageFormat) -> FileStyle {
        FileStyle { format, width: None, font_size: None, dpi: None }
    }

    /// The width for which a figure is laid out, in SVG units without margins: with it, text of the wanted size fits the wanted width.
    pub fn layout_width(&self) -> f64 {
        match (self.width, self.font_size) {
            (Some(width), Some(size)) => (width * TEXT / size - 2.0 * MARGIN).max(NARROWEST),
            _ => PAGE_WIDTH,
        }
    }

    /// Points per SVG unit of a drawing that is `width` units wide.
    fn scale(&self, width: f64) -> f64 {
        match (self.width, self.font_size) {
            (Some(wanted), _) => wanted / width,
            (None, Some(size)) => size / TEXT,
            (None, None) => POINTS / UNITS,
        }
    }

    /// The size of plain text in the file of a drawing. Long names make a drawing wider than its layout, and so the text smaller.
    pub fn text_size(&self, svg: &str) -> Option<f64> {
        Some(self.scale(size_of(svg)?.0) * TEXT)
    }
}

/// The width and height in the root element of a drawing, in SVG units.
fn size_of(svg: &str) -> Option<(f64, f64)> {
    let rest = svg.split_once("viewBox=\"")?.1.split_once('"')?.0;
    let mut numbers = rest.split(' ').skip(2).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// The file of a drawing without its title, which a paper has in the caption.
pub fn without_title(svg: &str) -> String {
    let start = svg.find("<text class=\"ink title\"");
    let Some((start, (width, height))) = start.zip(size_of(svg)) else { return svg.to_owned() };
    let end = start + svg[start..].find("</text>").map_or(0, |end| end + "</text>".len());
    let size = |top: f64| format!("viewBox=\"0 {top} {width} {0}\" width=\"{width}\" height=\"{0}\"", height - top);
    (svg[..start].to_owned() + &svg[end..]).replacen(&size(0.0), &size(TITLE), 1)
}

/// The bytes of a figure file in that format and its usual size.
pub fn bytes(svg: &str, format: ImageFormat) -> Result<Vec<u8>> {
    styled(svg, &FileStyle::of(format))
}

/// The bytes of a figure file. A PNG and a PDF have the light theme.
pub fn styled(svg: &str, style: &FileStyle) -> Result<Vec<u8>> {
    let (width, height) = size_of(svg).context("cannot draw the figure")?;
    let scale = style.scale(width);
    let tree = || Tree::from_str(svg, &options()).context("cannot draw the figure");
    let is_usual = style.width.or(style.font_size).is_none();
    match style.format {
        ImageFormat::Svg if is_usual => Ok(svg.as_bytes().to_vec()),
        ImageFormat::Svg => {
            let size = |width: &str, height: &str| format!(" width=\"{width}\" height=\"{height}\"");
            let points = |units: f64| format!("{:.3}pt", units * scale);
            let before = size(&width.to_string(), &height.to_string());
            Ok(svg.replacen(&before, &size(&points(width), &points(height)), 1).into_bytes())
        }
        ImageFormat::Png => {
            let density = style.dpi.map_or(SCALE * UNITS, f64::from);
            let scale = if is_usual { density / UNITS } else { scale * density / POINTS };
            png(&tree()?, scale as f32, density)
        }
        ImageFormat::Pdf => pdf::page(&tree()?, scale as f32),
    }
}

/// Renders a drawing with so many pixels per SVG unit, and per inch.
fn png(tree: &Tree, scale: f32, density: f64) -> Result<Vec<u8>> {
    let side = |length: f32| (length * scale).round() as u32;
    let (width, height) = (side(tree.size().width()), side(tree.size().height()));
    let mut pixels = Pixmap::new(width, height).with_context(|| format!("cannot draw {width} × {height} pixels"))?;
    resvg::render(tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    let per_metre = (density / 0.0254).round() as u32;
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height);
    encoder.set_color(ColorType::Rgba);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_pixel_dims(Some(PixelDimensions { xppu: per_metre, yppu: per_metre, unit: Unit::Meter }));
    let mut writer = encoder.write_header().context("cannot write a PNG")?;
    writer.write_image_data(&pixels.take_demultiplied()).context("cannot write a PNG")?;
    writer.finish().context("cannot write a PNG")?;
    Ok(bytes)
}

/// The width of the rendered text in SVG units, for tests of the layout.
#[cfg(test)]
pub(super) fn drawn_width(svg: &str) -> f64 {
    use resvg::usvg::{Group, Node};
    fn widest(group: &Group) -> f64 {
        let of = |node: &Node| match node {
            Node::Group(inner) => widest(inner),
            Node::Text(text) => f64::from(text.bounding_box().width()),
            _ => 0.0,
        };
        group.children().iter().map(of).fold(0.0, f64::max)
    }
    widest(Tree::from_str(svg, &options()).unwrap().root())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn picture(body: &str) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 60 20\" width=\"60\" height=\"20\"><style>\
             text{{font:13px system-ui,sans-serif}}.bold{{font-weight:600}}.mono{{font:12px ui-monospace,monospace}}.end{{text-anchor:end}}\
             .c{{fill:#00f}}@media screen and (prefers-color-scheme:dark){{.c{{fill:#f00}}}}</style>\
             <rect width=\"60\" height=\"20\" fill=\"#fff\"/>{body}</svg>"
        )
    }

    fn drawn(body: &str) -> Pixmap {
        Pixmap::decode_png(&bytes(&picture(body), ImageFormat::Png).unwrap()).unwrap()
    }

    /// The first and the last column with ink, and the amount of ink.
    fn ink(pixels: &Pixmap) -> Option<(usize, usize, u64)> {
        let width = pixels.width() as usize;
        let dark = |n: usize| u64::from(255 - pixels.pixels()[n].green());
        let inked: Vec<usize> = (0..pixels.pixels().len()).filter(|&n| dark(n) > 20).map(|n| n % width).collect();
        Some((*inked.iter().min()?, *inked.iter().max()?, (0..pixels.pixels().len()).map(dark).sum()))
    }

    #[test]
    fn an_image_has_two_pixels_per_unit_and_the_light_colours() {
        let pixels = drawn("<rect class=\"c\" x=\"10\" y=\"5\" width=\"5\" height=\"5\"/>");
        assert_eq!((pixels.width(), pixels.height()), (120, 40));
        let at = |x, y| pixels.pixel(x, y).map(|p| (p.red(), p.green(), p.blue(), p.alpha()));
        assert_eq!(at(20, 10), Some((0, 0, 255, 255)));
        assert_eq!((at(19, 10), at(30, 10)), (Some((255, 255, 255, 255)), Some((255, 255, 255, 255))));
    }

    #[test]
    fn text_is_at_its_position_and_differs_by_style() {
        let text =
            |class: &str| ink(&drawn(&format!("<text class=\"{class}\" x=\"40\" y=\"15\">illi</text>"))).unwrap();
        let (plain, bold, mono, end) = (text("c"), text("c bold"), text("c mono"), text("c end"));
        assert!(plain.0 >= 80 && end.1 <= 80, "{plain:?} {end:?}");
        assert!(bold.2 > plain.2 && mono.1 - mono.0 > plain.1 - plain.0, "{plain:?} {bold:?} {mono:?}");
    }

    #[test]
    fn the_embedded_fonts_have_the_letters_of_europe_and_the_symbols_of_the_figures() {
        let missing = Arc::new(Mutex::new(String::new()));
        let noted = missing.clone();
        let mut options = options();
        options.font_resolver.select_fallback = Box::new(move |character, _, _| {
            noted.lock().unwrap().push(character);
            None
        });
        let letters = "AZaz09 čćžšđ äöüß éñø Ωλ Жя …–−±×→≥≤“”·µ%";
        for class in ["", "bold", "mono"] {
            Tree::from_str(&picture(&format!("<text class=\"{class}\">{letters}\u{4e2d}</text>")), &options).unwrap();
        }
        assert_eq!(*missing.lock().unwrap(), "\u{4e2d}\u{4e2d}\u{4e2d}");
        let same = || drawn("<text x=\"2\" y=\"15\">čćžš 0.5 → 1</text>");
        assert_eq!(same(), same());
    }

    #[test]
    fn a_character_without_a_font_is_not_an_error() {
        assert_eq!(drawn("<text x=\"2\" y=\"15\">\u{10fffd}\u{4e2d}</text>").width(), 120);
    }

    #[test]
    fn a_spectrogram_is_drawn() {
        let image = super::super::palette_image::encode(&[0, 1], 2, &[[0, 0, 0], [9, 200, 9]]);
        let image = super::super::data_uri("image/png", &image);
        let pixels = drawn(&format!(
            "<image x=\"0\" y=\"0\" width=\"60\" height=\"20\" preserveAspectRatio=\"none\" href=\"{image}\"/>"
        ));
        // The pixels are interpolated.
        let green = |x| pixels.pixel(x, 20).unwrap().green();
        assert!(green(2) < 15 && green(117) > 185, "{} {}", green(2), green(117));
    }

    #[test]
    fn invalid_svg_is_refused() {
        assert!(bytes("<svg", ImageFormat::Png).is_err());
    }

    /// The pixels per metre in the header of a PNG.
    fn density(png: &[u8]) -> u32 {
        let at = png.windows(4).position(|name| name == b"pHYs").unwrap();
        u32::from_be_bytes(png[at + 4..at + 8].try_into().unwrap())
    }

    #[test]
    fn a_figure_has_the_wanted_width_in_every_format() {
        let svg =
            picture("<rect class=\"c\" x=\"30\" y=\"0\" width=\"30\" height=\"20\"/><text x=\"2\" y=\"15\">a</text>");
        // 60 units on 1.5 inches.
        let style = |format| FileStyle { width: Some(108.0), ..FileStyle::of(format) };
        let png = styled(&svg, &FileStyle { dpi: Some(300), ..style(ImageFormat::Png) }).unwrap();
        let pixels = Pixmap::decode_png(&png).unwrap();
        assert_eq!((pixels.width(), pixels.height(), density(&png)), (450, 150, 11_811));
        let text = String::from_utf8(styled(&svg, &style(ImageFormat::Svg)).unwrap()).unwrap();
        assert!(text.contains("viewBox=\"0 0 60 20\" width=\"108.000pt\" height=\"36.000pt\""), "{text}");
        let pdf = styled(&svg, &style(ImageFormat::Pdf)).unwrap();
        let text = String::from_utf8_lossy(&pdf);
        assert!(text.starts_with("%PDF-1.") && text.contains("/MediaBox [0 0 108 36]"), "{text}");
        assert_eq!(styled(&svg, &style(ImageFormat::Pdf)).unwrap(), pdf);
        // Without a size, two pixels per unit.
        assert_eq!(density(&bytes(&svg, ImageFormat::Png).unwrap()), 7_559);
    }

    #[test]
    fn text_has_the_wanted_size_if_the_layout_fits() {
        let style = FileStyle { width: Some(238.0), font_size: Some(8.0), ..FileStyle::of(ImageFormat::Pdf) };
        let width = style.layout_width() + 2.0 * MARGIN;
        let svg = |width: f64| format!("<svg viewBox=\"0 0 {width} 20\" width=\"{width}\" height=\"20\"></svg>");
        assert!((style.text_size(&svg(width)).unwrap() - 8.0).abs() < 1e-9);
        assert!(style.text_size(&svg(2.0 * width)).unwrap() < 4.1);
        let without_width = FileStyle { width: None, ..style };
        assert_eq!((without_width.layout_width(), without_width.text_size(&svg(99.0))), (PAGE_WIDTH, Some(8.0)));
    }

    #[test]
    fn a_figure_without_its_title_is_lower() {
        let svg = super::super::panels(&[], super::super::PlotSize::FIGURE).as_file();
        assert_eq!(without_title(&svg), svg);
        let drawing = super::super::intervals("Scores", "x", &[], None, 440.0);
        let (whole, rest) = (drawing.as_file(), without_title(&drawing.as_file()));
        assert!(whole.contains(">Scores</text>") && !rest.contains(">Scores</text>"));
        assert_eq!(size_of(&rest).unwrap().1, size_of(&whole).unwrap().1 - TITLE);
    }
}
