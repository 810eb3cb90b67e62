//! Holds a drawing as SVG text: part of a page, or a separate file that needs no font, script or other file.

use std::fmt::Write;

use timbre_core::text::escape_xml;

use super::text_width::TextStyle;

/// Margin around a figure that becomes a file.
pub(super) const MARGIN: f64 = 14.0;
/// Height of the first line below the figure, and of each further line.
const FOOTER: f64 = 22.0;
const FOOTER_LINE: f64 = 15.0;
const FOOTER_LINES: usize = 5;
/// The usual width of figures in a page. Wider ones have a row of their own, and those wider than [`BROAD`] keep their true size.
const USUAL: f64 = 440.0;
const BROAD: f64 = 620.0;

/// Lines that can be distinguished.
pub const LINES: usize = 6;

/// Colour on white, colour on black, and dash pattern of each line.
const COLOURS: [(&str, &str, &str); LINES] = [
    ("#0072b2", "#56b4e9", ""),
    ("#d55e00", "#ff9a4d", "8 4"),
    ("#00805d", "#2fc79d", "2 3"),
    ("#b5568c", "#e79fc8", "10 3 2 3"),
    ("#8a6d00", "#f0e442", "5 2"),
    ("#555555", "#c4c4c4", "1 4"),
];

/// A drawing that can become part of a page or a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    title: String,
    /// Description for screen readers, escaped.
    description: String,
    width: f64,
    height: f64,
    /// Elements of SVG, of the classes of [`page_style`].
    body: String,
}

impl Drawing {
    pub(super) fn new(description: &str, (width, height): (f64, f64), body: String) -> Drawing {
        Drawing { title: description.to_owned(), description: escape_xml(description), width, height, body }
    }

    /// The body, to append elements on top.
    pub(super) fn body_mut(&mut self) -> &mut String {
        &mut self.body
    }

    /// The drawing as part of a page that has the [`page_style`].
    pub fn in_page(&self) -> String {
        let Drawing { description, body, width, .. } = self;
        let size = match *width {
            width if width <= USUAL => "",
            width if width <= BROAD => " broad",
            _ => " large",
        };
        format!("<svg class=\"plot{size}\" {} role=\"img\">\n<title>{description}</title>\n{body}</svg>\n", self.size())
    }

    /// The drawing as a separate file.
    pub fn as_file(&self) -> String {
        let Drawing { description, width, height, body, .. } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" {} role=\"img\">\n<title>{description}</title>\n<style>{}</style>\n\
             <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n",
            self.size(),
            page_style()
        )
    }

    /// The drawing with a margin and with a footer that names its origin, which the page would name otherwise.
    pub fn with_footer(&self, footer: &str) -> Drawing {
        let lines = TextStyle::Small.wrap(footer, self.width - 2.0, FOOTER_LINES);
        let mut body = format!("<g transform=\"translate({MARGIN} {MARGIN})\">\n{}", self.body);
        for (n, line) in lines.iter().enumerate() {
            let y = self.height + 8.0 + FOOTER_LINE * n as f64;
            let _ = writeln!(body, "<text class=\"soft small\" x=\"1\" y=\"{y:.1}\">{}</text>", escape_xml(line));
        }
        body += "</g>\n";
        let below = FOOTER + FOOTER_LINE * (lines.len() - 1) as f64;
        let (width, height) = (self.width + 2.0 * MARGIN, self.height + MARGIN + below);
        Drawing { width, height, body, ..self.clone() }
    }

    /// The drawing with a margin.
    pub fn with_margin(&self) -> Drawing {
        let body = format!("<g transform=\"translate({MARGIN} {MARGIN})\">\n{}</g>\n", self.body);
        Drawing { width: self.width + 2.0 * MARGIN, height: self.height + 2.0 * MARGIN, body, ..self.clone() }
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    fn size(&self) -> String {
        let Drawing { width, height, .. } = self;
        format!("viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\"")
    }
}

/// The style that the drawings of a page share.
pub fn page_style() -> String {
    let mut light =
        "text{font:13px system-ui,sans-serif;font-variant-ligatures:none}.title{font-size:16px;font-weight:600}.line{fill:none;stroke-width:2;\
        stroke-linejoin:round}.middle{text-anchor:middle}.end{text-anchor:end}.paper{fill:#fff}.ink{fill:#1f2328}\
        .soft{fill:#59636e}.grid{stroke:#e4e7eb}.axis{stroke:#8b949e}.guide{stroke:#59636e;stroke-dasharray:3 3}\
        .mark{fill:#fff;stroke:#1f2328;stroke-width:2}.right{fill:#0072b2}.wrong{fill:#d55e00}.missed{fill:#0072b2;\
        fill-opacity:.25}.thick{stroke-width:3;stroke:#0072b2}.thin{stroke-width:1.5;stroke:#59636e}.small{font-size:11px}\
        .beside{stroke-width:2;stroke:#d55e00;stroke-dasharray:6 4}.under{fill:none;stroke:#000;stroke-width:4}\
        .over{fill:none;stroke:#fff;stroke-width:1.8}.seed{fill:#fff;stroke:#1f2328;stroke-width:1.2}\
        .faint{stroke-width:1;stroke-opacity:.6}"
            .to_owned();
    let mut dark =
        ".paper{fill:#0d1117}.ink{fill:#e6edf3}.soft{fill:#9da7b3}.grid{stroke:#262c36}.axis{stroke:#6e7681}\
        .guide{stroke:#9da7b3}.mark{fill:#0d1117;stroke:#e6edf3}.right{fill:#56b4e9}.wrong{fill:#ff9a4d}\
        .missed{fill:#56b4e9;fill-opacity:.3}.thick{stroke:#56b4e9}.thin{stroke:#9da7b3}.beside{stroke:#ff9a4d}\
        .seed{fill:#0d1117;stroke:#e6edf3}"
            .to_owned();
    for (n, (on_white, on_black, dashes)) in COLOURS.iter().enumerate() {
        let _ = write!(
            light,
            ".s{n}{{stroke:{on_white};stroke-dasharray:{}}}.d{n}{{fill:{on_white}}}",
            if dashes.is_empty() { "none" } else { dashes }
        );
        let _ = write!(dark, ".s{n}{{stroke:{on_black}}}.d{n}{{fill:{on_black}}}");
    }
    format!("{light}@media screen and (prefers-color-scheme:dark){{{dark}}}")
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{paths, spans, texts};
    use super::*;

    fn drawing() -> Drawing {
        Drawing::new("a < b", (440.0, 100.0), "<path class=\"axis\" d=\"M1 2H3\"/>\n".to_owned())
    }

    #[test]
    fn a_part_of_a_page_has_no_style_and_a_file_has_one() {
        let (part, file) = (drawing().in_page(), drawing().as_file());
        assert!(!part.contains("xmlns") && !part.contains("<style>"));
        assert!(file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 440 100\" "));
        assert!(file.contains("<style>") && file.contains("<rect class=\"paper\" width=\"440\""));
        assert!([&part, &file].iter().all(|svg| svg.contains("<title>a &lt; b</title>")));
        assert_eq!(paths(&part, "axis"), paths(&file, "axis"));
    }

    #[test]
    fn a_footer_fits_the_width_of_the_drawing() {
        let with_footer = drawing().with_footer("<x>");
        assert_eq!((with_footer.width, with_footer.height), (468.0, 136.0));
        let with_footer = drawing().with_footer(&format!("<x> {}", "long ".repeat(200)));
        let file = with_footer.as_file();
        let words = texts(&file);
        assert!(words[0].starts_with("&lt;x&gt; long") && words[4].ends_with('…'), "{words:?}");
        assert_eq!((words.len(), with_footer.height), (5, 196.0));
        assert!(spans(&file).iter().all(|(begin, end, _)| *begin >= 0.0 && *end <= 440.0));
        assert_eq!(paths(&file, "axis").len(), 1);
    }

    #[test]
    fn a_wide_drawing_has_more_room_in_a_page() {
        let of = |width| Drawing::new("t", (width, 9.0), String::new()).in_page();
        let classes = [440.0, 560.0, 1200.0].map(|width| of(width).split('"').nth(1).unwrap().to_owned());
        assert_eq!(classes, ["plot", "plot broad", "plot large"]);
    }
}
