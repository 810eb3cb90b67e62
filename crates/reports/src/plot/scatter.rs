//! Draws points in a plane, in groups that differ in colour and shape.

use std::fmt::Write;

use timbre_core::text::escape_xml;

use super::Scale;
use super::axis::AxisLayout;
use super::drawing::{Drawing, LINES};
use super::text_width::TextStyle;

/// Points of one colour and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct PointGroup {
    pub name: String,
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// Shown when the pointer is over the point.
    pub name: String,
}

/// Height of the plane as a share of the width.
const HEIGHT: f64 = 0.63;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 16.0;
const TITLE: f64 = 40.0;
const LEGEND: f64 = 20.0;
const BOTTOM: f64 = 56.0;
const SIZE: f64 = 4.0;
const ASIDE: f64 = 30.0;
/// Shapes around the origin; every sixth group has the next one.
const SHAPES: [&str; 4] = ["", "M-4 -4h8v8h-8z", "M0 -5L5 4H-5z", "M-5 0L0 -5L5 0L0 5z"];

/// Draws the groups; `axes` are the labels of x and y.
pub fn scatter(title: &str, axes: [&str; 2], groups: &[PointGroup], width: f64) -> Drawing {
    let (mut at, mut line, mut places) = (LEFT, 0.0, Vec::new());
    for group in groups {
        let wide = TextStyle::Plain.width(&group.name) + ASIDE;
        if at > LEFT && at + wide > width - RIGHT {
            (at, line) = (LEFT, line + 1.0);
        }
        places.push((at, TITLE + LEGEND * (line + 0.5)));
        at += wide;
    }
    let top = TITLE + LEGEND * (line + 1.0) + 12.0;
    let (bottom, right) = (top + (HEIGHT * width).round(), width - RIGHT);
    let points = || groups.iter().flat_map(|group| &group.points);
    let x = AxisLayout::new(
        Scale::Linear,
        points().map(|p| p.x),
        (LEFT + 10.0, right - 10.0),
        (width / 95.0) as usize,
        false,
    );
    let y = AxisLayout::new(Scale::Linear, points().map(|p| p.y), (bottom - 10.0, top + 10.0), 6, false);
    let mut out = String::new();
    let mut put = |text: std::fmt::Arguments| out.write_fmt(text).expect("a string takes any text");
    put(format_args!("<text class=\"ink title\" x=\"1\" y=\"26\">{}</text>\n", escape_xml(title)));
    for tick in &x.ticks {
        put(format_args!("<path class=\"grid\" d=\"M{0:.1} {top}V{bottom}\"/>", tick.position));
        put(format_args!(
            "<text class=\"soft middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            tick.position,
            bottom + 18.0,
            tick.text
        ));
    }
    for tick in &y.ticks {
        put(format_args!("<path class=\"grid\" d=\"M{LEFT} {0:.1}H{right}\"/>", tick.position));
        put(format_args!(
            "<text class=\"soft end\" x=\"{}\" y=\"{:.1}\">{}</text>\n",
            LEFT - 6.0,
            tick.position + 4.5,
            tick.text
        ));
    }
    let (across, down) = ((LEFT + right) / 2.0, (top + bottom) / 2.0);
    put(format_args!(
        "<path class=\"axis\" fill=\"none\" d=\"M{LEFT} {top}V{bottom}H{right}\"/>\n\
         <text class=\"ink middle\" x=\"{across}\" y=\"{:.1}\">{}</text>\n\
         <text class=\"ink middle\" x=\"14\" y=\"{down}\" transform=\"rotate(-90 14 {down})\">{}</text>\n",
        bottom + 42.0,
        escape_xml(axes[0]),
        escape_xml(axes[1])
    ));
    for (n, (group, (from, middle))) in groups.iter().zip(places).enumerate() {
        put(format_args!("{}</g>", mark(n, from + SIZE, middle)));
        let name = escape_xml(&TextStyle::Plain.cut(&group.name, width / 2.0));
        put(format_args!("<text class=\"ink\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>\n", from + 14.0, middle + 4.5));
        for point in &group.points {
            if let (Some(x), Some(y)) = (x.position(point.x), y.position(point.y)) {
                put(format_args!("{}<title>{}</title></g>\n", mark(n, x, y), escape_xml(&point.name)));
            }
        }
    }
    Drawing::new(title, (width, bottom + BOTTOM), out)
}

/// The mark of a group, whose element is left open.
fn mark(group: usize, x: f64, y: f64) -> String {
    let shape = match SHAPES[group / LINES % SHAPES.len()] {
        "" => format!("<circle r=\"{SIZE}\"/>"),
        path => format!("<path d=\"{path}\"/>"),
    };
    format!("<g class=\"point d{}\" fill-opacity=\".7\" transform=\"translate({x:.1} {y:.1})\">{shape}", group % LINES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::svg_reader::{spans, texts};

    const WIDTH: f64 = 760.0;

    #[test]
    fn every_point_is_inside_and_groups_beyond_the_sixth_have_another_shape() {
        let point = |n: usize| Point { x: n as f64, y: -(n as f64), name: format!("<{n}>") };
        let group = |n: usize| PointGroup { name: format!("class {n}"), points: (n..n + 5).map(point).collect() };
        let groups: Vec<PointGroup> = (0..14).map(group).collect();
        let picture = scatter("t", ["first", "y"], &groups, WIDTH).in_page();
        assert_eq!(picture.matches("<title>&lt;").count(), 70);
        let places = picture.split("translate(").skip(1).map(|rest| {
            let (x, y) = rest.split(')').next().unwrap().split_once(' ').unwrap();
            (x.parse::<f64>().unwrap(), y.parse::<f64>().unwrap())
        });
        assert!(places.into_iter().all(|(x, y)| (0.0..WIDTH).contains(&x) && (0.0..700.0).contains(&y)));
        assert!(picture.matches(SHAPES[1]).count() == 36 && picture.matches(SHAPES[2]).count() == 12);
        assert!(spans(&picture).iter().all(|(begin, end, _)| *begin >= 0.0 && *end <= WIDTH));
        assert!(texts(&scatter("t", ["x", "y"], &[], WIDTH).in_page()).iter().any(|text| text == "x"));
    }
}
