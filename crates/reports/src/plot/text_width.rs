//! Measures the width of text, to lay out figures and to cut names.
//!
//! Widths are those of the embedded fonts, which PNG files use (see `raster`). Browsers use other fonts, so each width gets a margin.

use std::sync::LazyLock;

use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::{FontRef, MetadataProvider};
use timbre_core::text::printable;

/// Margin for wider fonts: DejaVu Sans, which many browsers use, is wider by a ninth.
const ROOM: f64 = 1.12;
/// Width of a character that the fonts lack, as a share of the font size: Chinese, Japanese and Korean characters are square, emoji wider.
const FULL: f64 = 1.0;
const PICTURE: f64 = 1.35;

/// The text styles of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextStyle {
    Plain,
    Small,
    Title,
}

static REGULAR: LazyLock<Font> = LazyLock::new(|| Font::read(dejavu::sans_condensed::regular()));
static BOLD: LazyLock<Font> = LazyLock::new(|| Font::read(dejavu::sans_condensed::bold()));

impl TextStyle {
    fn size(self) -> f64 {
        match self {
            TextStyle::Plain => 13.0,
            TextStyle::Small => 11.0,
            TextStyle::Title => 16.0,
        }
    }

    fn of(self, character: char) -> f64 {
        let font = if self == TextStyle::Title { &BOLD } else { &REGULAR };
        let unknown = if u32::from(character) >= 0x1_f000 { PICTURE } else { FULL };
        // `escape_xml` shows the character like this.
        font.advance(printable(character)).unwrap_or(unknown) * self.size() * ROOM
    }

    pub fn width(self, text: &str) -> f64 {
        text.chars().map(|character| self.of(character)).sum()
    }

    /// The largest width of several texts.
    pub fn widest<'a>(self, texts: impl Iterator<Item = &'a str>) -> f64 {
        texts.map(|text| self.width(text)).fold(0.0, f64::max)
    }

    /// Keeps the beginning and the end of a text that is wider than `most`: long names often differ only in their last letters.
    pub fn cut(self, text: &str, most: f64) -> String {
        self.cut_to(text, most, 0.55)
    }

    /// Keeps the end of a text that is wider than `most`: the end of a path tells most.
    pub fn keep_end(self, text: &str, most: f64) -> String {
        self.cut_to(text, most, 0.0)
    }

    /// Cuts a text to `most`. The beginning gets `share` of the width.
    fn cut_to(self, text: &str, most: f64, share: f64) -> String {
        if self.width(text) <= most {
            return text.to_owned();
        }
        let room = most - self.of('…');
        let letters: Vec<char> = text.chars().collect();
        let fitting = |letters: &mut dyn Iterator<Item = &char>, room: f64| {
            let ends = letters.scan(0.0, |end, &letter| {
                *end += self.of(letter);
                Some(*end)
            });
            ends.take_while(|end| *end <= room).fold((0, 0.0), |(n, _), end| (n + 1, end))
        };
        let (head, used) = fitting(&mut letters.iter(), room * share);
        let (tail, _) = fitting(&mut letters[head..].iter().rev(), room - used);
        let (head, tail): (String, String) =
            (letters[..head].iter().collect(), letters[letters.len() - tail..].iter().collect());
        // A combining character without its base is dropped.
        let tail = tail.trim_start_matches(|letter| self.of(letter) == 0.0);
        format!("{}…{}", head.trim_end(), tail.trim_start())
    }

    /// Wraps a text into at most `lines` lines that are no wider than `most`, and cuts the rest.
    pub fn wrap(self, text: &str, most: f64, lines: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        for word in text.split(' ') {
            let last = all.len() - 1;
            let longer = if all[last].is_empty() { word.to_owned() } else { format!("{} {word}", all[last]) };
            if self.width(&longer) <= most || all[last].is_empty() || all.len() == lines {
                all[last] = longer;
            } else {
                all.push(word.to_owned());
            }
        }
        all.iter().map(|line| self.cut_to(line, most, 1.0)).collect()
    }
}

/// Replaces a hyphen before a number by a minus sign, which is as wide as a plus. A zero has no sign.
pub fn with_minus(number: &str) -> String {
    match number.strip_prefix('-') {
        Some(digits) if digits.chars().any(|c| ('1'..='9').contains(&c)) => format!("−{digits}"),
        Some(zero) => zero.to_owned(),
        None => number.to_owned(),
    }
}

/// The glyph widths of a font.
struct Font {
    characters: Charmap<'static>,
    metrics: GlyphMetrics<'static>,
    units_per_em: f64,
}

impl Font {
    fn read(file: &'static [u8]) -> Font {
        let font = FontRef::new(file).expect("an embedded font is valid");
        let units = font.metrics(Size::unscaled(), LocationRef::default()).units_per_em;
        let metrics = font.glyph_metrics(Size::unscaled(), LocationRef::default());
        Font { characters: font.charmap(), metrics, units_per_em: f64::from(units) }
    }

    /// The advance width of a character, as a share of the font size. None if the font does not have it.
    fn advance(&self, character: char) -> Option<f64> {
        let width = self.metrics.advance_width(self.characters.map(character)?)?;
        Some(f64::from(width) / self.units_per_em)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::drawing::Drawing;
    use super::super::raster::drawn_width;
    use super::*;
    use timbre_core::text::escape_xml;

    const ALL: [(TextStyle, &str); 3] =
        [(TextStyle::Plain, ""), (TextStyle::Small, "small"), (TextStyle::Title, "title")];

    fn drawn(class: &str, text: &str) -> f64 {
        let body = format!("<text class=\"ink {class}\" x=\"10\" y=\"30\">{}</text>", escape_xml(text));
        drawn_width(&Drawing::new("t", (2000.0, 60.0), body).as_file())
    }

    proptest! {
        #[test]
        fn the_measured_width_is_that_of_the_rendered_text(words in "[ -~À-žΑ-ΡΣ-ωА-я]{1,30}") {
            for (style, class) in ALL {
                // Kerning moves letters of pairs such as AV together.
                let (measured, drawn) = (style.width(&format!("|{words}|")), drawn(class, &format!("|{words}|")));
                prop_assert!(measured >= drawn * 1.05 - 1.0 && measured <= drawn * 1.3 + 4.0, "{class}: {measured}, {drawn}");
            }
        }

        #[test]
        fn a_cut_text_fits_and_keeps_both_ends(words in "[a-zA-Z0-9_ 小提琴é]{1,60}", most in 30.0..300.0f64) {
            let cut = TextStyle::Plain.cut(&words, most);
            prop_assert!(TextStyle::Plain.width(&cut) <= most, "{cut}");
            if cut != words {
                let (head, tail) = cut.split_once('…').unwrap();
                prop_assert!(words.starts_with(head) && words.ends_with(tail));
            }
            let lines = TextStyle::Small.wrap(&words, most, 3);
            prop_assert!(lines.len() <= 3 && lines.iter().all(|line| TextStyle::Small.width(line) <= most), "{lines:?}");
        }
    }

    #[test]
    fn wide_letters_are_wider_than_narrow_ones_and_other_scripts_are_square() {
        let width = |words| TextStyle::Plain.width(words);
        assert!(width("WWWW") > 3.0 * width("iiii"));
        assert!(width("小提琴") >= 3.0 * 13.0 && width("🎻") > 16.0);
        assert_eq!(width("e\u{301}"), width("e"));
    }

    #[test]
    fn names_that_differ_at_their_ends_still_differ_after_cutting() {
        let name = |n: usize| TextStyle::Plain.cut(&format!("a_rather_long_instrument_name_number_{n:02}"), 140.0);
        assert!(name(1).starts_with("a_rather") && name(1).ends_with("_01"), "{}", name(1));
        assert_ne!(name(1), name(2));
        assert_eq!(TextStyle::Plain.keep_end("folder/of/a/name.wav", 80.0).split_once('…').unwrap().0, "");
        assert_eq!(TextStyle::Plain.cut("žica", 80.0), "žica");
    }

    #[test]
    fn text_that_does_not_fit_wraps() {
        let lines = TextStyle::Small.wrap("one two three four five six", 60.0, 9);
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), "one two three four five six");
        assert!(TextStyle::Small.wrap("one two three four five six", 60.0, 2)[1].ends_with('…'));
    }

    #[test]
    fn a_negative_number_has_a_minus_sign_and_zero_has_none() {
        assert_eq!(["-0.20", "0.2", "-0.000", "2e-3"].map(with_minus), ["−0.20", "0.2", "0.000", "2e-3"]);
    }
}
