//! Builds self-contained HTML pages: style, script, figures, tables.

use timbre_core::text::escape_xml;

use crate::plot;

/// The parts of a page.
pub struct Page {
    pub title: String,
    /// At the top of each printed page, after the title.
    pub signature: String,
    /// The HTML below the title.
    pub lead: String,
    pub sections: Vec<Section>,
}

pub struct Section {
    /// The anchor for links within the page.
    pub id: &'static str,
    pub title: String,
    pub html: String,
}

impl Page {
    pub fn html(&self) -> String {
        let links: String =
            self.sections.iter().map(|s| format!("<a href=\"#{}\">{}</a>\n", s.id, escape_xml(&s.title))).collect();
        let sections: String = self
            .sections
            .iter()
            .map(|s| format!("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", s.id, escape_xml(&s.title), s.html))
            .collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; img-src data:; media-src data:\">\n\
             <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{css}{plots}{paper}\n</style>\n</head>\n<body>\n<header>\n\
             <h1>{title}</h1>\n{lead}<nav aria-label=\"Sections\">\n{links}</nav>\n</header>\n<main>\n{sections}</main>\n\
             <footer>{footer}</footer>\n<script>\n{js}</script>\n</body>\n</html>\n",
            title = escape_xml(&self.title),
            css = include_str!("page.css"),
            plots = plot::page_style(),
            paper = format_args!(
                "@page {{ @top-right {{ content: {}; font: 8pt system-ui, sans-serif }} }}",
                css_string(format!("{} {}", self.title, self.signature).trim_end())
            ),
            lead = self.lead,
            footer = format_args!("Written by timbre {}.", escape_xml(env!("CARGO_PKG_VERSION"))),
            js = include_str!("page.js"),
        )
    }
}

/// A string of CSS, which cannot leave the style sheet.
fn css_string(text: &str) -> String {
    let escaped = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' ' | '_' | '-' | '.' => c.to_string(),
        c => format!("\\{:x} ", u32::from(c)),
    };
    format!("\"{}\"", text.chars().map(escaped).collect::<String>())
}

/// A heading of a table: its text, and whether its column holds numbers.
pub type Heading<'a> = (&'a str, bool);

/// A cell: HTML, class and style, and the sort key if it is not the text.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub html: String,
    pub class: &'static str,
    pub style: String,
    pub sort: Option<f64>,
}

impl Cell {
    pub fn text(text: &str) -> Cell {
        Cell { html: escape_xml(text), ..Cell::default() }
    }

    /// A number with three decimals, sorted by its full precision.
    pub fn number(value: Option<f64>) -> Cell {
        let html = value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        Cell { html, sort: value, ..Cell::default() }
    }

    pub fn count(value: u64) -> Cell {
        Cell { html: value.to_string(), sort: Some(value as f64), ..Cell::default() }
    }

    /// With a colour for where the value lies in a range.
    pub fn heated(self, value: f64, (low, high): (f64, f64)) -> Cell {
        let share = if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
        Cell { class: "heat", style: format!("--v:{share:.3}"), ..self }
    }

    fn tag(&self, is_number: bool) -> String {
        let mut class: Vec<&str> = Vec::new();
        if is_number {
            class.push("n");
        }
        if !self.class.is_empty() {
            class.push(self.class);
        }
        let mut tag = "<td".to_owned();
        if !class.is_empty() {
            tag += &format!(" class=\"{}\"", class.join(" "));
        }
        if !self.style.is_empty() {
            tag += &format!(" style=\"{}\"", self.style);
        }
        if is_number {
            // Cells without a value are sorted last.
            tag += &self.sort.map_or(" data-v=\"\"".to_owned(), |value| format!(" data-v=\"{value}\""));
        }
        format!("{tag}>{}</td>", self.html)
    }
}

/// The lowest and the highest value.
pub fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// A table with more columns is printed on its side.
const MANY_COLUMNS: usize = 11;

/// A table that can be sorted by a click on a heading.
pub fn table(caption: &str, headings: &[Heading], rows: &[Vec<Cell>]) -> String {
    let class = |is_number: bool| if is_number { " class=\"n\"" } else { "" };
    let head: String = headings
        .iter()
        .map(|(words, is_number)| format!("<th scope=\"col\"{}>{}</th>", class(*is_number), escape_xml(words)))
        .collect();
    let line = |row: &Vec<Cell>| {
        let cells: String = row.iter().zip(headings).map(|(cell, heading)| cell.tag(heading.1)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    // The caption is above the table: inside, a narrow table would wrap it, and a wide one would scroll it away.
    let (above, label) = match escape_xml(caption) {
        none if none.is_empty() => (none.clone(), none),
        words => (format!("<p class=\"caption\">{words}</p>\n"), format!(" aria-label=\"{words}\"")),
    };
    let many = if headings.len() > MANY_COLUMNS { " many" } else { "" };
    format!(
        "{above}<div class=\"wide{many}\"><table class=\"sortable\"{label}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
        rows.iter().map(line).collect::<String>()
    )
}

/// A figure with its caption.
pub fn figure(svg: &str, caption: &str) -> String {
    let caption =
        if caption.is_empty() { String::new() } else { format!("<figcaption>{}</figcaption>", escape_xml(caption)) };
    format!("<figure>{svg}{caption}</figure>\n")
}

/// Figures, side by side if there is room.
pub fn figures(all: &[String]) -> String {
    if all.is_empty() { String::new() } else { format!("<div class=\"figures\">\n{}</div>\n", all.concat()) }
}

/// A part with tables beside figures, if there is room for both.
pub fn beside(html: &str, figures: &str) -> String {
    format!("<div class=\"side-by-side\">\n<div>\n{html}</div>\n{figures}</div>\n")
}

/// Short facts below the title.
pub fn facts(facts: &[String]) -> String {
    let facts: String = facts.iter().map(|fact| format!("<li>{}</li>", escape_xml(fact))).collect();
    format!("<ul class=\"facts\">{facts}</ul>\n")
}

pub fn paragraph(words: &str) -> String {
    format!("<p>{}</p>\n", prose(words))
}

/// A text, with what stands between backticks as code.
pub fn prose(words: &str) -> String {
    let escaped = escape_xml(words);
    let parts: Vec<&str> = escaped.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escaped;
    }
    let part = |(i, part): (usize, &&str)| if i % 2 == 1 { format!("<code>{part}</code>") } else { (*part).to_owned() };
    parts.iter().enumerate().map(part).collect()
}

/// A list of terms with their values.
pub fn list(pairs: &[(String, String)]) -> String {
    let entry =
        |(term, value): &(String, String)| format!("<dt>{}</dt><dd>{}</dd>\n", escape_xml(term), escape_xml(value));
    format!("<dl>\n{}</dl>\n", pairs.iter().map(entry).collect::<String>())
}

pub fn folded(summary: &str, html: &str) -> String {
    format!("<details><summary>{}</summary>\n{html}</details>\n", escape_xml(summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_leave_the_style_sheet() {
        assert_eq!(css_string("a-1 \"</style>\\é"), "\"a-1 \\22 \\3c \\2f style\\3e \\5c \\e9 \"");
    }

    #[test]
    fn what_stands_between_backticks_is_code() {
        assert_eq!(prose("`a < b` or `c`"), "<code>a &lt; b</code> or <code>c</code>");
        assert_eq!(prose("one ` alone"), "one ` alone");
    }

    #[test]
    fn text_cannot_leave_its_cell() {
        let row = vec![Cell::text("<b>"), Cell::number(Some(0.25)), Cell::number(None)];
        let table = table("<c>", &[("<a>", false), ("x", true), ("y", true)], &[row]);
        assert!(!table.contains("<b>") && !table.contains("<a>") && !table.contains("<c>"));
        assert!(table.contains("data-v=\"0.25\">0.250<") && table.contains("data-v=\"\">–<"));
    }
}
