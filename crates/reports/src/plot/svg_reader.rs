//! Parses drawings, for tests.

use super::text_width::TextStyle;
use timbre_core::text::unescape_xml;

type Attributes = Vec<(String, String)>;

/// The attributes and text of the elements of that name. Panics unless the drawing is well-formed.
fn elements(picture: &str, name: &str) -> Vec<(Attributes, String)> {
    let mut open: Vec<(String, Attributes, String)> = Vec::new();
    let mut found = Vec::new();
    let mut rest = picture;
    while let Some(begin) = rest.find('<') {
        let text = &rest[..begin];
        assert!(
            !text.contains('>')
                && text
                    .split('&')
                    .skip(1)
                    .all(|t| ["amp;", "lt;", "gt;", "quot;", "#39;"].iter().any(|entity| t.starts_with(entity)))
        );
        if let Some((.., content)) = open.last_mut() {
            content.push_str(text);
        }
        let end = begin + rest[begin..].find('>').expect("a tag ends");
        let tag = &rest[begin + 1..end];
        rest = &rest[end + 1..];
        if let Some(closed) = tag.strip_prefix('/') {
            let (name_, attributes, text) = open.pop().expect("something is open");
            assert_eq!(name_, closed, "tags are nested");
            if closed == name {
                found.push((attributes, text));
            }
            continue;
        }
        let (tag, alone) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (element, mut list) = tag.split_once(' ').unwrap_or((tag, ""));
        let mut attributes = Vec::new();
        while let Some((key, after)) = list.split_once("=\"") {
            let (value, after) = after.split_once('"').expect("a quote ends");
            assert!(!value.contains(['<', '&']));
            attributes.push((key.trim().to_owned(), value.to_owned()));
            list = after;
        }
        assert!(list.trim().is_empty(), "{tag}");
        if !alone {
            open.push((element.to_owned(), attributes, String::new()));
        } else if element == name {
            found.push((attributes, String::new()));
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "every tag is closed");
    found
}

fn attribute<'a>(attributes: &'a [(String, String)], key: &str) -> &'a str {
    &attributes.iter().find(|(k, _)| k == key).unwrap_or_else(|| panic!("{key} in {attributes:?}")).1
}

pub fn polylines(picture: &str) -> Vec<Vec<(f64, f64)>> {
    let point = |pair: &str| {
        let (x, y) = pair.split_once(',').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    let points = |attributes: &[(String, String)]| attribute(attributes, "points").split(' ').map(point).collect();
    elements(picture, "polyline").iter().map(|(attributes, _)| points(attributes)).collect()
}

pub fn circles(picture: &str, class: &str) -> Vec<(f64, f64)> {
    let number = |attributes: &[(String, String)], key| attribute(attributes, key).parse().unwrap();
    elements(picture, "circle")
        .iter()
        .filter(|(attributes, _)| attribute(attributes, "class").split(' ').any(|c| c == class))
        .map(|(attributes, _)| (number(attributes, "cx"), number(attributes, "cy")))
        .collect()
}

/// The `d` attributes of the paths of that class.
pub fn paths(picture: &str, class: &str) -> Vec<String> {
    let is_of = |attributes: &Attributes| {
        attributes.iter().any(|(key, value)| key == "class" && value.split(' ').any(|c| c == class))
    };
    let found = elements(picture, "path").into_iter().filter(|(attributes, _)| is_of(attributes));
    found.map(|(attributes, _)| attribute(&attributes, "d").to_owned()).collect()
}

pub fn texts(picture: &str) -> Vec<String> {
    elements(picture, "text").into_iter().map(|(_, text)| text).collect()
}

/// The start, end and content of each horizontal text.
pub fn spans(picture: &str) -> Vec<(f64, f64, String)> {
    let texts = elements(picture, "text").into_iter();
    let upright = texts.filter(|(attributes, _)| attributes.iter().all(|(key, _)| key != "transform"));
    let span = |(attributes, words): (Attributes, String)| {
        let plain = unescape_xml(&words);
        let class: Vec<&str> = attribute(&attributes, "class").split(' ').collect();
        let style = match () {
            () if class.contains(&"title") => TextStyle::Title,
            () if class.contains(&"small") => TextStyle::Small,
            () => TextStyle::Plain,
        };
        let (x, width): (f64, f64) = (attribute(&attributes, "x").parse().unwrap(), style.width(&plain));
        let begin = match () {
            () if class.contains(&"end") => x - width,
            () if class.contains(&"middle") => x - width / 2.0,
            () => x,
        };
        (begin, begin + width, plain)
    };
    upright.map(span).collect()
}
