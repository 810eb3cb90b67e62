//! Draws a confusion matrix: true classes as rows, predicted classes as columns. Right and wrong decisions have a colour each; a
//! larger share of the row is stronger. With few classes each cell has its share below its count.

use std::fmt::Write;

use timbre_core::text::escape_xml;

use super::PAGE_WIDTH;
use super::drawing::Drawing;
use super::text_width::TextStyle;

pub struct ConfusionMatrix<'a> {
    pub title: &'a str,
    pub classes: &'a [String],
    /// Rows are the true classes.
    pub counts: &'a [Vec<u64>],
    /// Recordings of each class, which correspond to the strongest colour.
    pub support: &'a [u64],
    /// The label of the rows, and below that of the columns.
    pub truth: &'a str,
    pub decided: &'a str,
    /// The least width. Many classes make the drawing wider.
    pub width: f64,
}

/// Width of the row label, to the left of the names.
const NAMES_LEFT: f64 = 38.0;
/// Height of the title and of the colour scale below it.
const TITLE: f64 = 72.0;
/// With up to so many classes the cells have room for their shares.
const SHARES: usize = 16;
/// The smallest cell with a count and a share.
const SHARE: f64 = 35.0;
/// The shares of the colour scale, the width of each, and the room for the words before them.
const STEPS: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
const STEP: f64 = 18.0;
const STEPS_LEFT: f64 = 92.0;
const LARGEST: f64 = 42.0;
/// The smallest cell that leaves room for a small name beside it.
const SMALLEST: f64 = 14.0;
/// The cell that has room for the longest numbers. Numbers are left out if cells are smaller.
const NUMBERS: f64 = 30.0;
/// The largest side of the matrix. With more classes cells shrink, and only some are named.
const MOST: f64 = 1800.0;
const NAME: f64 = 140.0;
/// Space around a number in its cell.
const AIR: f64 = 3.0;
/// Opacity of the strongest colour, on which text is readable in both themes.
const OPACITY: f64 = 0.62;

/// Draws the matrix. It grows with the number of classes until every cell has room for its number, and every class for its name.
pub fn confusion(of: &ConfusionMatrix) -> Drawing {
    let n = of.classes.len();
    let largest = of.counts.iter().flatten().copied().max().unwrap_or(0).to_string();
    let narrowest = (TextStyle::Small.width(&largest) + AIR).clamp(SMALLEST, NUMBERS);
    // A drawing for a narrow column has counts alone.
    let has_shares = n <= SHARES && of.width >= PAGE_WIDTH;
    let narrowest = if has_shares { SHARE } else { narrowest };
    let usual =
        of.width - NAMES_LEFT - TextStyle::Plain.widest(of.classes.iter().map(String::as_str)).clamp(14.0, NAME) - 10.0;
    let side = n.max(1) as f64;
    let cell = (usual / side).clamp(narrowest, LARGEST).min((MOST / side).max(1.0));
    let style = if cell < 16.0 { TextStyle::Small } else { TextStyle::Plain };
    let names: Vec<String> = of.classes.iter().map(|class| style.cut(class, NAME)).collect();
    let longest = style.widest(names.iter().map(String::as_str)).max(14.0);
    let left = NAMES_LEFT + longest;
    let width = of.width.max(left + cell * n as f64 + 10.0);
    let counted = [TextStyle::Plain, TextStyle::Small].into_iter().find(|own| own.width(&largest) + AIR <= cell);
    // Column names are rotated if they do not fit.
    let is_rotated = longest > cell - 2.0;
    let bottom = TITLE + cell * n as f64;
    let height = bottom + if is_rotated { longest + 34.0 } else { 48.0 };
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    put(format_args!("<text class=\"ink title\" x=\"1\" y=\"22\">{}</text>\n", escape_xml(of.title)));
    put(format_args!("{}", colour_scale()));
    for (truth, row) in of.counts.iter().enumerate() {
        let y = TITLE + cell * truth as f64;
        for (decided, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
            let x = left + cell * decided as f64;
            let share = count as f64 / of.support[truth].max(count) as f64;
            let class = if truth == decided { "right" } else { "wrong" };
            put(format_args!(
                "<rect class=\"{class}\" fill-opacity=\"{:.2}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\">\
                 <title>{}: {count} of {} {}</title></rect>\n",
                opacity(share),
                escape_xml(&format!("{} → {}", of.classes[truth], of.classes[decided])),
                of.support[truth],
                if of.support[truth] == 1 { "recording" } else { "recordings" },
            ));
            if let Some(style) = counted {
                let (x, y) = (x + cell / 2.0, y + cell / 2.0);
                let above = if has_shares { 7.0 } else { 0.0 };
                put(format_args!(
                    "<text class=\"ink middle{}\" x=\"{x:.1}\" y=\"{:.1}\" pointer-events=\"none\">{count}</text>\n",
                    small(style),
                    y + 4.5 - above
                ));
                if has_shares {
                    put(format_args!(
                        "<text class=\"ink middle small\" x=\"{x:.1}\" y=\"{:.1}\" pointer-events=\"none\">{:.0} %</text>\n",
                        y + 12.0,
                        100.0 * share
                    ));
                }
            }
        }
    }
    let (right, side) = (left + cell * n as f64, cell * n as f64);
    let lines: String = (0..=n)
        .map(|k| cell * k as f64)
        .map(|at| format!("M{left:.1} {0:.1}h{side:.1}M{1:.1} {TITLE}v{side:.1}", TITLE + at, left + at))
        .collect();
    put(format_args!("<path class=\"grid\" fill=\"none\" d=\"{lines}\"/>\n"));
    let every = (SMALLEST / cell).ceil() as usize;
    let small = small(style);
    for (k, name) in names.iter().enumerate().step_by(every) {
        let middle = cell * (k as f64 + 0.5);
        let (x, y, name) = (left + middle, TITLE + middle + 4.5, escape_xml(name));
        put(format_args!("<text class=\"soft end{small}\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>", left - 6.0));
        if is_rotated {
            let (x, y) = (x + 4.5, bottom + 6.0);
            put(format_args!(
                "<text class=\"soft end{small}\" x=\"{x:.1}\" y=\"{y:.1}\" transform=\"rotate(-90 {x:.1} {y:.1})\">{name}</text>\n"
            ));
        } else {
            put(format_args!("<text class=\"soft middle\" x=\"{x:.1}\" y=\"{:.1}\">{name}</text>\n", bottom + 17.0));
        }
    }
    let middle = TITLE + side / 2.0;
    put(format_args!(
        "<text class=\"ink middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n<text class=\"ink middle\" x=\"16\" y=\"{middle:.1}\" \
         transform=\"rotate(-90 16 {middle:.1})\">{}</text>\n",
        (left + right) / 2.0,
        height - 10.0,
        escape_xml(of.decided),
        escape_xml(of.truth)
    ));
    Drawing::new(of.title, (width, height), out)
}

/// The opacity of a cell with this share of its row.
fn opacity(share: f64) -> f64 {
    (share * OPACITY).max(0.06)
}

/// The scale of both colours, below the title.
fn colour_scale() -> String {
    let mut out = String::new();
    for (class, words, y) in [("right", "on the diagonal", 36.0), ("wrong", "elsewhere", 50.0)] {
        out += &format!("<text class=\"soft small\" x=\"1\" y=\"{}\">{words}</text>", y + 9.5);
        for (n, share) in STEPS.iter().enumerate() {
            out += &format!(
                "<rect class=\"{class}\" fill-opacity=\"{:.2}\" x=\"{}\" y=\"{y}\" width=\"{STEP}\" height=\"12\"/>",
                opacity(*share),
                STEPS_LEFT + STEP * n as f64
            );
        }
    }
    let x = STEPS_LEFT + STEP * STEPS.len() as f64 + 8.0;
    out + &format!("<text class=\"soft small\" x=\"{x}\" y=\"53\">0 to 100 % of the row</text>\n")
}

fn small(style: TextStyle) -> &'static str {
    if style == TextStyle::Small { " small" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::super::svg_reader::{spans, texts};
    use super::*;

    fn picture(classes: &[&str], counts: &[Vec<u64>]) -> String {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        let support: Vec<u64> = counts.iter().map(|row| row.iter().sum()).collect();
        confusion(&ConfusionMatrix {
            title: "t",
            classes: &classes,
            counts,
            support: &support,
            truth: "truth",
            decided: "decided",
            width: 440.0,
        })
        .in_page()
    }

    #[test]
    fn right_and_wrong_have_a_colour_each_and_every_count_is_written() {
        let picture = picture(&["a<b", "c"], &[vec![3, 1], vec![0, 0]]);
        // One cell each, and the scale.
        assert_eq!(picture.matches("<rect class=\"right\"").count(), 1 + STEPS.len());
        assert_eq!(picture.matches("<rect class=\"wrong\"").count(), 1 + STEPS.len());
        assert!(picture.contains("a&lt;b → c: 1 of 4 recordings"));
        let texts = texts(&picture);
        assert!(
            ["3", "75 %", "1", "25 %", "truth", "decided", "a&lt;b"]
                .iter()
                .all(|word| texts.iter().any(|text| text == word))
        );
    }

    fn numbered(n: usize, name: &str) -> String {
        let names: Vec<String> = (0..n).map(|n| format!("{name} {n:03}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let counts: Vec<Vec<u64>> = (0..n).map(|row| (0..n).map(|k| u64::from(row == k) * 17).collect()).collect();
        picture(&names, &counts)
    }

    #[test]
    fn a_matrix_of_many_classes_grows_until_each_has_its_name_and_each_cell_its_number() {
        let picture = numbered(60, "class");
        let texts = texts(&picture);
        assert_eq!(texts.iter().filter(|text| *text == "17").count(), 60);
        assert_eq!(texts.iter().filter(|text| *text == "class 059").count(), 2);
        // Names in adjacent rows do not overlap: small text is 11 units high.
        let y = |name: &str| -> f64 {
            let before = picture.split(&format!("\">{name}</text>")).next().unwrap();
            before.rsplit(" y=\"").next().unwrap().split('"').next().unwrap().parse().unwrap()
        };
        assert!(y("class 001") - y("class 000") >= 11.0);
        assert!(picture.contains("class=\"plot large\""));
    }

    #[test]
    fn with_hundreds_of_classes_only_some_are_named_and_no_class_is_drawn_too() {
        let of_hundreds = numbered(400, "class");
        let texts = texts(&of_hundreds);
        assert!(!texts.iter().any(|text| text == "17" || text == "class 001"));
        assert!(texts.iter().any(|text| text == "class 000"));
        assert!(!picture(&[], &[]).contains("NaN"));
    }

    #[test]
    fn wide_names_stay_inside_the_drawing_beside_the_axis_labels() {
        for name in ["小提琴与大提琴的合奏", "WWWWWWWWWWWW", "a_rather_long_instrument_name_number"] {
            let picture = numbered(12, name);
            let number = |text: &str| -> f64 { text.split('"').next().unwrap().parse().unwrap() };
            let height = number(picture.split(" height=\"").nth(1).unwrap());
            let names = spans(&picture).into_iter().filter(|(.., text)| text.contains('…'));
            let names: Vec<_> = names.collect();
            assert_eq!(names.len(), 12);
            // The row label ends at 20; the column label begins 24 above the bottom.
            assert!(names.iter().all(|(begin, ..)| *begin >= 20.0), "{names:?}");
            let longest = names.iter().map(|(begin, end, _)| end - begin).fold(0.0, f64::max);
            for lying in picture.split("rotate(-90 ").skip(1).filter(|rest| !rest.starts_with("16 ")) {
                let top = number(&lying.split(' ').nth(1).unwrap().replace(')', ""));
                assert!(top + longest <= height - 23.0);
            }
        }
    }
}
