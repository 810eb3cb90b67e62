//! Truth down, decision across: what was said of the recordings of each class. What is right is of one colour and what is wrong
//! of another, the more of it the stronger.

use std::fmt::Write;

use super::bars::shortened;
use super::drawing::{Drawing, escaped};
use super::panels::LETTER;

pub struct Confusion<'a> {
    pub title: &'a str,
    pub classes: &'a [String],
    /// Rows are the truth.
    pub counts: &'a [Vec<u64>],
    /// Recordings of each class: what a full cell is.
    pub support: &'a [u64],
    /// What is on the axes.
    pub truth: &'a str,
    pub decided: &'a str,
}

const WIDTH: f64 = 440.0;
const TITLE: f64 = 40.0;
const LARGEST: f64 = 42.0;
/// Cells as narrow as this have no numbers.
const NARROW: f64 = 17.0;
const NAME: usize = 12;
/// The strongest colour: letters are read on it in both themes.
const OPACITY: f64 = 0.62;

pub fn confusion(of: &Confusion) -> Drawing {
    let n = of.classes.len();
    let names: Vec<String> = of.classes.iter().map(|class| shortened(class, NAME)).collect();
    let longest = LETTER * names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(2) as f64;
    let left = 38.0 + longest;
    let cell = ((WIDTH - left - 10.0) / n.max(1) as f64).min(LARGEST);
    // Names below their columns lie down where they have no room.
    let lies = longest > cell - 2.0;
    let bottom = TITLE + cell * n as f64;
    let height = bottom + if lies { longest + 34.0 } else { 48.0 };
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    put(format_args!("<text class=\"ink title\" x=\"1\" y=\"22\">{}</text>\n", escaped(of.title)));
    for (truth, row) in of.counts.iter().enumerate() {
        let y = TITLE + cell * truth as f64;
        for (decided, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
            let x = left + cell * decided as f64;
            let share = count as f64 / of.support[truth].max(count) as f64;
            let class = if truth == decided { "right" } else { "wrong" };
            put(format_args!(
                "<rect class=\"{class}\" fill-opacity=\"{:.2}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{cell:.1}\" height=\"{cell:.1}\">\
                 <title>{}: {count} of {} {}</title></rect>\n",
                (share * OPACITY).max(0.06),
                escaped(&format!("{} → {}", of.classes[truth], of.classes[decided])),
                of.support[truth],
                if of.support[truth] == 1 { "recording" } else { "recordings" },
            ));
            if cell > NARROW {
                put(format_args!(
                    "<text class=\"ink middle\" x=\"{:.1}\" y=\"{:.1}\" pointer-events=\"none\">{count}</text>\n",
                    x + cell / 2.0,
                    y + cell / 2.0 + 4.5
                ));
            }
        }
    }
    let (right, side) = (left + cell * n as f64, cell * n as f64);
    let lines: String = (0..=n)
        .map(|k| cell * k as f64)
        .map(|at| format!("M{left:.1} {0:.1}h{side:.1}M{1:.1} {TITLE}v{side:.1}", TITLE + at, left + at))
        .collect();
    put(format_args!("<path class=\"grid\" fill=\"none\" d=\"{lines}\"/>\n"));
    let small = if cell < 13.0 { " small" } else { "" };
    for (k, name) in names.iter().enumerate() {
        let middle = cell * (k as f64 + 0.5);
        let (x, y, name) = (left + middle, TITLE + middle + 4.5, escaped(name));
        put(format_args!("<text class=\"soft end{small}\" x=\"{:.1}\" y=\"{y:.1}\">{name}</text>", left - 6.0));
        if lies {
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
        escaped(of.decided),
        escaped(of.truth)
    ));
    Drawing::new(of.title, (WIDTH, height), out)
}

#[cfg(test)]
mod tests {
    use super::super::reading::texts;
    use super::*;

    fn picture(classes: &[&str], counts: &[Vec<u64>]) -> String {
        let classes: Vec<String> = classes.iter().map(|&class| class.to_owned()).collect();
        let support: Vec<u64> = counts.iter().map(|row| row.iter().sum()).collect();
        confusion(&Confusion {
            title: "t",
            classes: &classes,
            counts,
            support: &support,
            truth: "truth",
            decided: "decided",
        })
        .in_page()
    }

    #[test]
    fn what_is_right_and_what_is_wrong_have_a_colour_each_and_every_count_is_written() {
        let picture = picture(&["a<b", "c"], &[vec![3, 1], vec![0, 0]]);
        assert_eq!(picture.matches("<rect class=\"right\"").count(), 1);
        assert_eq!(picture.matches("<rect class=\"wrong\"").count(), 1);
        assert!(picture.contains("a&lt;b → c: 1 of 4 recordings"));
        let texts = texts(&picture);
        assert!(["3", "1", "truth", "decided", "a&lt;b"].iter().all(|word| texts.iter().any(|text| text == word)));
    }

    #[test]
    fn many_classes_have_no_numbers_and_none_at_all_is_a_picture_too() {
        let names: Vec<String> = (0..60).map(|n| format!("class {n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let counts: Vec<Vec<u64>> = (0..60).map(|row| (0..60).map(|k| u64::from(row == k) * 7).collect()).collect();
        assert!(!texts(&picture(&names, &counts)).iter().any(|text| text == "7"));
        assert!(!picture(&[], &[]).contains("NaN"));
    }
}
