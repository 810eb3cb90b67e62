//! Chooses the range of an axis and round tick values.

use super::Scale;
use super::text_width::with_minus;

/// Values that differ by less count as equal, because sums are not exact.
const SAME: f64 = 1e-12;

/// Maps values to positions in the drawing.
#[derive(Clone, Debug, PartialEq)]
pub struct AxisLayout {
    scale: Scale,
    /// The range of values.
    range: (f64, f64),
    /// The range of positions.
    positions: (f64, f64),
    pub ticks: Vec<Tick>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub position: f64,
    pub text: String,
}

impl AxisLayout {
    /// An axis for `values`, from position `positions.0` to `positions.1`, with about `about` ticks. `whole` extends the range to the next
    /// ticks.
    pub fn new(
        scale: Scale,
        values: impl Iterator<Item = f64>,
        positions: (f64, f64),
        about: usize,
        whole: bool,
    ) -> AxisLayout {
        let range = values
            .filter(|&value| can_show(scale, value))
            .fold(None, |range: Option<(f64, f64)>, v| Some(range.map_or((v, v), |(a, b)| (a.min(v), b.max(v)))));
        let (range, ticks) = match scale {
            Scale::Log => logarithmic(range.unwrap_or((0.1, 10.0)), about),
            Scale::Linear => linear(range.unwrap_or((0.0, 1.0)), about, 0.0, whole),
            Scale::Counts => linear(range.unwrap_or((0.0, 1.0)), about, 1.0, whole),
            Scale::Share => linear((0.0, 1.0), about, 0.0, whole),
        };
        let mut ruler = AxisLayout { scale, range, positions, ticks: Vec::new() };
        ruler.ticks = ticks
            .into_iter()
            .map(|(value, text)| Tick { position: ruler.position(value).expect("a tick can be shown"), text })
            .collect();
        ruler
    }

    /// The position of a value. None if the axis cannot show it.
    pub fn position(&self, value: f64) -> Option<f64> {
        if !can_show(self.scale, value) {
            return None;
        }
        let along = |v: f64| if self.scale == Scale::Log { v.ln() } else { v };
        let (from, to) = (along(self.range.0), along(self.range.1));
        let share = (along(value) - from) / (to - from);
        Some(self.positions.0 + share * (self.positions.1 - self.positions.0))
    }
}

fn can_show(scale: Scale, value: f64) -> bool {
    value.is_finite() && (scale != Scale::Log || value > 0.0)
}

type Ticks = Vec<(f64, String)>;

/// Steps of 1, 2 or 5 times a power of ten, at least `least`.
fn linear((mut low, mut high): (f64, f64), about: usize, least: f64, whole: bool) -> ((f64, f64), Ticks) {
    let largest = high.abs().max(low.abs());
    if high - low <= SAME * largest.max(1.0) {
        // A single value is in the middle; a value of about 0 is between -0.1 and 0.1.
        let around = match largest {
            _ if least > 0.0 => least,
            size if size > SAME => size * 0.1,
            _ => 0.1,
        };
        (low, high) = (low - around, high + around);
    }
    let rough = ((high - low) / about as f64).max(least);
    let power = 10f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough * 0.999).unwrap_or(rough);
    // Multiples of the step instead of sums: 0.3, not 0.30000000000000004.
    let slack = 1e-9;
    let (first, last) = if whole {
        ((low / step + slack).floor(), (high / step - slack).ceil())
    } else {
        ((low / step - slack).ceil(), (high / step + slack).floor())
    };
    if whole {
        (low, high) = (first * step, last * step);
    }
    let decimals = (-step.log10() - slack).ceil().max(0.0) as usize;
    let text = |value: f64| {
        with_minus(&if decimals > 3 && largest < 0.01 {
            // Short enough to stand beside the label: 2e-4, 1.2e-3.
            let digits = (value.abs().log10() + slack).floor() - (step.log10() + slack).floor();
            if value == 0.0 { "0".to_owned() } else { format!("{value:.0$e}", digits.max(0.0) as usize) }
        } else if decimals > 5 || value.abs() >= 1e6 {
            format!("{value:.2e}")
        } else {
            format!("{value:.decimals$}")
        })
    };
    let ticks = (first as i64..=last as i64).map(|n| n as f64 * step).map(|value| (value, text(value))).collect();
    ((low, high), ticks)
}

/// Powers of ten, and 2 and 5 times these if the powers alone are too few.
fn logarithmic((mut low, mut high): (f64, f64), about: usize) -> ((f64, f64), Ticks) {
    if high / low < 1.1 {
        (low, high) = (low / 2.0, high * 2.0);
    }
    let slack = 1e-9;
    let (first, last) = ((low.log10() + slack).floor() as i32, (high.log10() - slack).ceil() as i32);
    let decades = (last - first).max(1) as usize;
    let multiples: &[i32] = if high / low < 1000.0 { &[1, 2, 5] } else { &[1] };
    let every = decades.div_ceil(about.max(1)).max(1);
    let inside = |value: f64| value >= low * (1.0 - slack) && value <= high * (1.0 + slack);
    let ticks = (first..=last)
        .filter(|power| power.rem_euclid(every as i32) == 0)
        .flat_map(|power| multiples.iter().map(move |m| (*m, power)))
        .map(|(m, power)| (f64::from(m) * 10f64.powi(power), format!("{m}e{power}")))
        .filter(|(value, _)| inside(*value))
        .collect();
    ((low, high), ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: Scale, values: [f64; 2], about: usize, whole: bool) -> Vec<String> {
        AxisLayout::new(scale, values.into_iter(), (0.0, 100.0), about, whole)
            .ticks
            .into_iter()
            .map(|t| t.text)
            .collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        assert_eq!(texts(Scale::Linear, [0.03, 2.31], 5, true), ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(texts(Scale::Linear, [0.61, 0.98], 5, true), ["0.6", "0.7", "0.8", "0.9", "1.0"]);
        assert_eq!(texts(Scale::Linear, [0.612, 0.618], 5, false), ["0.612", "0.614", "0.616", "0.618"]);
        assert_eq!(texts(Scale::Linear, [-0.2, 0.2], 4, true), ["−0.2", "−0.1", "0.0", "0.1", "0.2"]);
        assert_eq!(
            texts(Scale::Linear, [0.0, 1.2e-3], 6, true),
            ["0", "2e-4", "4e-4", "6e-4", "8e-4", "1.0e-3", "1.2e-3"]
        );
        assert_eq!(texts(Scale::Linear, [0.0, 3.0e7], 3, true), ["0", "1.00e7", "2.00e7", "3.00e7"]);
        assert_eq!(texts(Scale::Counts, [1.0, 3.0], 8, false), ["1", "2", "3"]);
        assert_eq!(texts(Scale::Counts, [1.0, 60.0], 8, false), ["10", "20", "30", "40", "50", "60"]);
        assert_eq!(texts(Scale::Counts, [1.0, 1.0], 8, false), ["0", "1", "2"]);
        assert_eq!(texts(Scale::Log, [1e-3, 1.0], 9, false), ["1e-3", "1e-2", "1e-1", "1e0"]);
        assert_eq!(texts(Scale::Log, [0.004, 0.3], 9, false), ["5e-3", "1e-2", "2e-2", "5e-2", "1e-1", "2e-1"]);
        assert_eq!(texts(Scale::Log, [1e-12, 1e4], 8, false).len(), 9);
    }

    #[test]
    fn equal_values_have_a_usable_axis() {
        for nothing in [[0.0, 0.0], [-1e-17, 1e-17]] {
            assert_eq!(texts(Scale::Linear, nothing, 5, false), ["−0.10", "−0.05", "0.00", "0.05", "0.10"]);
        }
        assert_eq!(texts(Scale::Linear, [0.5, 0.5], 5, false), ["0.46", "0.48", "0.50", "0.52", "0.54"]);
        assert_eq!(texts(Scale::Linear, [0.7 + 0.1, 0.8], 5, false), ["0.75", "0.80", "0.85"]);
    }

    #[test]
    fn values_have_the_positions_of_their_ticks() {
        let ruler = AxisLayout::new(Scale::Log, [1e-4, 1.0].into_iter(), (300.0, 100.0), 9, false);
        assert!((ruler.position(1e-2).unwrap() - 200.0).abs() < 1e-9);
        assert!((ruler.ticks[2].position - 200.0).abs() < 1e-9);
        assert_eq!((ruler.position(0.0), ruler.position(f64::NAN)), (None, None));
        let ruler = AxisLayout::new(Scale::Linear, [0.0, 10.0, f64::INFINITY].into_iter(), (0.0, 50.0), 5, true);
        assert_eq!((ruler.position(2.0), ruler.position(f64::INFINITY)), (Some(10.0), None));
    }
}
