//! Renders drawings as PNG, for programs that show no SVG: slides, chats, the pages of some code hosts.
//!
//! The fonts come with the program, so the same text gives the same image on every machine, also on one without fonts. Only for
//! characters that these lack (such as Chinese) the fonts of the machine are searched.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::{Database, ID, Source};
use resvg::usvg::{FontFamily, FontResolver, Options, Tree};

/// Pixels per SVG unit: sharp on high-resolution screens and on paper.
const SCALE: f32 = 2.0;
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
        }
    }
}

/// The bytes of a figure file in that format.
pub fn bytes(svg: &str, form: ImageFormat) -> Result<Vec<u8>> {
    match form {
        ImageFormat::Svg => Ok(svg.as_bytes().to_vec()),
        ImageFormat::Png => png(svg),
    }
}

/// Renders the light theme.
fn png(svg: &str) -> Result<Vec<u8>> {
    let tree = Tree::from_str(svg, &options()).context("cannot draw the figure")?;
    let side = |length: f32| (length * SCALE).round() as u32;
    let (width, height) = (side(tree.size().width()), side(tree.size().height()));
    let mut pixels = Pixmap::new(width, height).with_context(|| format!("cannot draw {width} × {height} pixels"))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().context("cannot write a PNG")
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
}
