//! An HTML page that needs nothing beside itself: its style, its script, its figures, its tables.

use crate::plot;

/// A page as its parts.
pub struct Page {
    pub title: String,
    /// What stands below the title, in HTML.
    pub lead: String,
    pub sections: Vec<Section>,
    pub footer: String,
}

pub struct Section {
    /// For links within the page.
    pub id: &'static str,
    pub title: String,
    pub html: String,
}

impl Page {
    pub fn html(&self) -> String {
        let links: String =
            self.sections.iter().map(|s| format!("<a href=\"#{}\">{}</a>\n", s.id, text(&s.title))).collect();
        let sections: String = self
            .sections
            .iter()
            .map(|s| format!("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", s.id, text(&s.title), s.html))
            .collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             script-src 'unsafe-inline'; img-src data:; media-src data:\">\n\
             <title>{title}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{css}{plots}\n</style>\n</head>\n<body>\n<header>\n\
             <h1>{title}</h1>\n{lead}<nav aria-label=\"Sections\">\n{links}</nav>\n</header>\n<main>\n{sections}</main>\n\
             <footer>{footer}</footer>\n<script>\n{js}</script>\n</body>\n</html>\n",
            title = text(&self.title),
            css = include_str!("page.css"),
            plots = plot::page_style(),
            lead = self.lead,
            footer = self.footer,
            js = include_str!("page.js"),
        )
    }
}

/// Any words as the text of an element or the value of an attribute.
pub fn text(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            // Characters that a page does not have, and those that turn the order of the others around.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}

/// A heading of a table: its words, and whether numbers stand below it.
pub type Heading<'a> = (&'a str, bool);

/// A cell: HTML, more attributes with a blank before them, and by what it is sorted if not by its text.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    pub html: String,
    pub class: &'static str,
    pub style: String,
    pub sort: Option<f64>,
}

impl Cell {
    pub fn words(words: &str) -> Cell {
        Cell { html: text(words), ..Cell::default() }
    }

    /// With three places, sorted by all of them.
    pub fn number(value: Option<f64>) -> Cell {
        let html = value.map_or("–".to_owned(), |value| format!("{value:.3}"));
        Cell { html, sort: value, ..Cell::default() }
    }

    pub fn count(value: u64) -> Cell {
        Cell { html: value.to_string(), sort: Some(value as f64), ..Cell::default() }
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
            // Nothing is sorted last.
            tag += &self.sort.map_or(" data-v=\"\"".to_owned(), |value| format!(" data-v=\"{value}\""));
        }
        format!("{tag}>{}</td>", self.html)
    }
}

/// A table that is sorted by a click; `caption` in words.
pub fn table(caption: &str, headings: &[Heading], rows: &[Vec<Cell>]) -> String {
    let class = |is_number: bool| if is_number { " class=\"n\"" } else { "" };
    let head: String = headings
        .iter()
        .map(|(words, is_number)| format!("<th scope=\"col\"{}>{}</th>", class(*is_number), text(words)))
        .collect();
    let line = |row: &Vec<Cell>| {
        let cells: String = row.iter().zip(headings).map(|(cell, heading)| cell.tag(heading.1)).collect();
        format!("<tr>{cells}</tr>\n")
    };
    // Above the table, not in it: a narrow table would break it into many lines, a wide one scroll it away.
    let (above, label) = match text(caption) {
        none if none.is_empty() => (none.clone(), none),
        words => (format!("<p class=\"caption\">{words}</p>\n"), format!(" aria-label=\"{words}\"")),
    };
    format!(
        "{above}<div class=\"wide\"><table class=\"sortable\"{label}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
        rows.iter().map(line).collect::<String>()
    )
}

/// A figure with what has to be said of it.
pub fn figure(svg: &str, caption: &str) -> String {
    let caption =
        if caption.is_empty() { String::new() } else { format!("<figcaption>{}</figcaption>", text(caption)) };
    format!("<figure>{svg}{caption}</figure>\n")
}

/// Figures side by side where there is room.
pub fn figures(all: &[String]) -> String {
    if all.is_empty() { String::new() } else { format!("<div class=\"figures\">\n{}</div>\n", all.concat()) }
}

pub fn paragraph(words: &str) -> String {
    format!("<p>{}</p>\n", text(words))
}

/// Terms and what they are.
pub fn list(pairs: &[(String, String)]) -> String {
    let entry = |(term, value): &(String, String)| format!("<dt>{}</dt><dd>{}</dd>\n", text(term), text(value));
    format!("<dl>\n{}</dl>\n", pairs.iter().map(entry).collect::<String>())
}

pub fn folded(summary: &str, html: &str) -> String {
    format!("<details><summary>{}</summary>\n{html}</details>\n", text(summary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_cannot_leave_their_place() {
        assert_eq!(text("</td><script>'&\""), "&lt;/td&gt;&lt;script&gt;&#39;&amp;&quot;");
        assert_eq!(text("a\u{0}b\u{202e}c\n"), "a\u{fffd}b\u{fffd}c\n");
        let row = vec![Cell::words("<b>"), Cell::number(Some(0.25)), Cell::number(None)];
        let table = table("<c>", &[("<a>", false), ("x", true), ("y", true)], &[row]);
        assert!(!table.contains("<b>") && !table.contains("<a>") && !table.contains("<c>"));
        assert!(table.contains("data-v=\"0.25\">0.250<") && table.contains("data-v=\"\">–<"));
    }
}
