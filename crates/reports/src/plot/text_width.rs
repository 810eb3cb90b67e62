//! How wide words are, before anybody draws them: figures are laid out, and names cut, by this.
//!
//! Widths are those of the letters that pictures as PNG have (see `raster`); browsers have others, and get more room.

use std::sync::LazyLock;

/// The letters of other fonts are wider by so much: those of DejaVu Sans, which many a browser has, by a ninth.
const ROOM: f64 = 1.12;
/// Of a character that our letters lack: those of Chinese and its neighbours are as wide as they are high, pictures wider.
const FULL: f64 = 1.0;
const PICTURE: f64 = 1.35;

/// The kinds of letters of the figures, as in their styles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextStyle {
    Plain,
    Small,
    Title,
}

static REGULAR: LazyLock<Font> = LazyLock::new(|| Font::read(dejavu::sans_condensed::regular()).unwrap_or_default());
static BOLD: LazyLock<Font> = LazyLock::new(|| Font::read(dejavu::sans_condensed::bold()).unwrap_or_default());

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
        // As `escaped` shows it.
        let shown = if character.is_control() { '\u{fffd}' } else { character };
        font.advance(shown).unwrap_or(unknown) * self.size() * ROOM
    }

    pub fn width(self, words: &str) -> f64 {
        words.chars().map(|character| self.of(character)).sum()
    }

    /// The widest of some.
    pub fn widest<'a>(self, words: impl Iterator<Item = &'a str>) -> f64 {
        words.map(|words| self.width(words)).fold(0.0, f64::max)
    }

    /// The beginning and the end of what is wider than `most`: names that are long often differ in their last letters only.
    pub fn cut(self, words: &str, most: f64) -> String {
        self.shortened(words, most, 0.55)
    }

    /// The end of what is too wide: of a path it tells most.
    pub fn end_of(self, words: &str, most: f64) -> String {
        self.shortened(words, most, 0.0)
    }

    /// `share` of the room is for the beginning.
    fn shortened(self, words: &str, most: f64, share: f64) -> String {
        if self.width(words) <= most {
            return words.to_owned();
        }
        let room = most - self.of('…');
        let letters: Vec<char> = words.chars().collect();
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
        // What belongs to the letter before it has lost it.
        let tail = tail.trim_start_matches(|letter| self.of(letter) == 0.0);
        format!("{}…{}", head.trim_end(), tail.trim_start())
    }

    /// Words in lines that are no wider than `most`; of what does not fit into `lines` the rest is cut.
    pub fn lines(self, words: &str, most: f64, lines: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        for word in words.split(' ') {
            let last = all.len() - 1;
            let longer = if all[last].is_empty() { word.to_owned() } else { format!("{} {word}", all[last]) };
            if self.width(&longer) <= most || all[last].is_empty() || all.len() == lines {
                all[last] = longer;
            } else {
                all.push(word.to_owned());
            }
        }
        all.iter().map(|line| self.shortened(line, most, 1.0)).collect()
    }
}

/// The sign before a number: as wide as a plus.
pub fn with_minus(number: &str) -> String {
    match number.strip_prefix('-') {
        Some(digits) if digits.chars().any(|c| ('1'..='9').contains(&c)) => format!("−{digits}"),
        Some(zero) => zero.to_owned(),
        None => number.to_owned(),
    }
}

/// What a font says of the widths of its letters.
#[derive(Default)]
struct Font {
    /// First and last of some characters that follow each other, and the number of the first one's letter.
    ranges: Vec<(u32, u32, u32)>,
    /// By the number of the letter, as shares of its height; all further ones are as wide as the last.
    advances: Vec<f64>,
}

impl Font {
    /// Of a font file: the tables `cmap` (in its format 12, which knows all characters) and `hmtx`.
    fn read(file: &[u8]) -> Option<Font> {
        let tables = usize::from(short(file, 4)?);
        let table = |tag: &[u8]| {
            let record = (0..tables).map(|n| 12 + 16 * n).find(|&at| file.get(at..at + 4) == Some(tag))?;
            file.get(long(file, record + 8)? as usize..)
        };
        let cmap = table(b"cmap")?;
        let subtable = |n: usize| cmap.get(long(cmap, 8 + 8 * n)? as usize..);
        let map = (0..usize::from(short(cmap, 2)?)).filter_map(subtable).find(|map| short(map, 0) == Some(12))?;
        let range = |n: usize| Some((long(map, 16 + 12 * n)?, long(map, 20 + 12 * n)?, long(map, 24 + 12 * n)?));
        let ranges = (0..long(map, 12)? as usize).map(range).collect::<Option<_>>()?;
        let (units, widths) = (f64::from(short(table(b"head")?, 18)?), table(b"hmtx")?);
        let advance = |n: usize| Some(f64::from(short(widths, 4 * n)?) / units);
        let advances = (0..usize::from(short(table(b"hhea")?, 34)?)).map(advance).collect::<Option<_>>()?;
        Some(Font { ranges, advances })
    }

    fn advance(&self, character: char) -> Option<f64> {
        let code = u32::from(character);
        let &(first, last, letter) = self.ranges.get(self.ranges.partition_point(|range| range.1 < code))?;
        if !(first..=last).contains(&code) {
            return None;
        }
        self.advances.get((letter + code - first) as usize).or(self.advances.last()).copied()
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
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

    fn drawn(class: &str, words: &str) -> f64 {
        let body = format!("<text class=\"ink {class}\" x=\"10\" y=\"30\">{}</text>", escape_xml(words));
        drawn_width(&Drawing::new("t", (2000.0, 60.0), body).as_file())
    }

    proptest! {
        #[test]
        fn words_are_as_wide_as_they_are_drawn(words in "[ -~À-žΑ-ωА-я]{1,30}") {
            for (letters, class) in ALL {
                // TextStyle move together in pairs such as AV.
                let (told, drawn) = (letters.width(&format!("|{words}|")), drawn(class, &format!("|{words}|")));
                prop_assert!(told >= drawn * 1.05 - 1.0 && told <= drawn * 1.3 + 4.0, "{class}: {told}, {drawn}");
            }
        }

        #[test]
        fn what_is_cut_fits_and_keeps_both_ends(words in "[a-zA-Z0-9_ 小提琴é]{1,60}", most in 30.0..300.0f64) {
            let cut = TextStyle::Plain.cut(&words, most);
            prop_assert!(TextStyle::Plain.width(&cut) <= most, "{cut}");
            if cut != words {
                let (head, tail) = cut.split_once('…').unwrap();
                prop_assert!(words.starts_with(head) && words.ends_with(tail));
            }
            let lines = TextStyle::Small.lines(&words, most, 3);
            prop_assert!(lines.len() <= 3 && lines.iter().all(|line| TextStyle::Small.width(line) <= most), "{lines:?}");
        }
    }

    #[test]
    fn wide_letters_take_more_room_than_narrow_ones_and_those_of_other_scripts_are_squares() {
        let width = |words| TextStyle::Plain.width(words);
        assert!(width("WWWW") > 3.0 * width("iiii"));
        assert!(width("小提琴") >= 3.0 * 13.0 && width("🎻") > 16.0);
        assert_eq!(width("e\u{301}"), width("e"));
    }

    #[test]
    fn names_that_differ_at_their_ends_still_differ_when_cut() {
        let name = |n: usize| TextStyle::Plain.cut(&format!("a_rather_long_instrument_name_number_{n:02}"), 140.0);
        assert!(name(1).starts_with("a_rather") && name(1).ends_with("_01"), "{}", name(1));
        assert_ne!(name(1), name(2));
        assert_eq!(TextStyle::Plain.end_of("folder/of/a/name.wav", 80.0).split_once('…').unwrap().0, "");
        assert_eq!(TextStyle::Plain.cut("žica", 80.0), "žica");
    }

    #[test]
    fn words_that_do_not_fit_go_on_below() {
        let lines = TextStyle::Small.lines("one two three four five six", 60.0, 9);
        assert!(lines.len() > 1);
        assert_eq!(lines.join(" "), "one two three four five six");
        assert!(TextStyle::Small.lines("one two three four five six", 60.0, 2)[1].ends_with('…'));
    }

    #[test]
    fn a_number_has_a_true_minus_and_nothing_is_less_than_zero_that_is_zero() {
        assert_eq!(["-0.20", "0.2", "-0.000", "2e-3"].map(with_minus), ["−0.20", "0.2", "0.000", "2e-3"]);
    }
}
