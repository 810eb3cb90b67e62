//! Arguments of `timbre compare`, `timbre baseline` and of the commands that write figures.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::project::{PathFromHere, name_from_here};

use timbre_runs::baseline_check::{IssueKind, Tolerance};

/// The runs to compare, and the output formats.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Run folders, `experiment/latest`, beginnings of signatures, or patterns (`'lr_*'`, `'lr/*'`); with `:MODEL` one model of
    /// the run, e.g. `quickstart/latest:mel.knn` [default: the latest run of each experiment].
    #[arg(value_name = "RUN", value_parser = name_from_here)]
    pub chosen: Vec<String>,
    /// The run (or `RUN:MODEL`) that the others are compared with [default: the first].
    #[arg(long, value_name = "RUN", value_parser = name_from_here)]
    pub reference: Option<String>,
    /// Show this metric, or `all` (repeatable) [default: the headline metric of the reference].
    #[arg(long, value_name = "METRIC")]
    pub metric: Vec<String>,
    /// The split to compare [default: test].
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Bootstrap resamples for each interval and p-value [default: 2000; 50 per test with more than 40 tests].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub resamples: Option<u32>,
    /// Also write the table as CSV.
    #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
    pub csv: Option<PathBuf>,
    /// Also write the comparison as Markdown.
    #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
    pub md: Option<PathBuf>,
    /// Also write the comparison as an HTML page.
    #[arg(long, value_name = "FILE", value_parser = PathFromHere)]
    pub html: Option<PathBuf>,
    #[command(flatten)]
    pub figures: FigureArgs,
    /// Print the comparison as one JSON object and nothing else on stdout.
    #[arg(long, conflicts_with = "baseline")]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct FigureArgs {
    /// Also write each figure as a file into this folder: SVG, light and dark.
    #[arg(long, value_name = "DIR", value_parser = PathFromHere)]
    pub figures: Option<PathBuf>,
    /// Write the figures as PNG, for slides and chats.
    #[arg(long, requires = "figures")]
    pub png: bool,
    /// Write the figures as PDF, for papers.
    #[arg(long, requires = "figures", conflicts_with = "png")]
    pub pdf: bool,
    /// Width of the figures, e.g. 84mm, 3.3in or 238pt, as of a column of a journal [default: 124mm, more with long names or many classes].
    #[arg(long, value_name = "LENGTH", requires = "figures")]
    pub width: Option<Length>,
    /// Size of the text, e.g. 8pt. With --width, the figures are laid out anew, so that text of this size fits [default: 9.75pt, or less
    /// with --width].
    #[arg(long, value_name = "LENGTH", requires = "figures")]
    pub font_size: Option<Length>,
    /// Pixels per inch of PNG files [default: 192].
    #[arg(long, value_name = "N", requires = "png", value_parser = clap::value_parser!(u32).range(36..=2400))]
    pub dpi: Option<u32>,
    /// Write title, caption and origin of each figure to a text file beside it, and leave them out of the picture.
    #[arg(long, requires = "figures")]
    pub captions: bool,
}

/// A length in points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length(pub f64);

/// Points per unit.
const UNITS: [(&str, f64); 4] = [("mm", 72.0 / 25.4), ("cm", 72.0 / 2.54), ("in", 72.0), ("pt", 1.0)];

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Length, String> {
        let parsed = UNITS.iter().find_map(|(unit, points)| {
            let number: f64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            Some(number * points)
        });
        let is_possible = |points: &f64| (1.0..=14_400.0).contains(points);
        parsed
            .filter(is_possible)
            .map(Length)
            .ok_or_else(|| "expected a length such as 84mm, 8.4cm, 3.3in or 238pt".to_owned())
    }
}

/// The check of a run against a baseline.
#[derive(Debug, Args)]
pub struct BaselineArgs {
    /// Check the run against this baseline, a run or a file of `timbre baseline save`. Exit code 5 if the run is worse.
    #[arg(long, value_name = "RUN|FILE.json")]
    pub baseline: Option<String>,
    /// How much worse a metric may be, e.g. `--tolerance f1_micro=0.01` (repeatable) [default: 0 for the headline metric].
    #[arg(long, value_name = "METRIC=NUMBER", requires = "baseline")]
    pub tolerance: Vec<Tolerance>,
    /// Differences to report but not fail on (comma-separated).
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',', requires = "baseline")]
    pub allow: Vec<IssueKind>,
    /// Append the result as Markdown to FILE, e.g. "$GITHUB_STEP_SUMMARY".
    #[arg(long, value_name = "FILE", requires = "baseline", value_parser = PathFromHere)]
    pub summary: Option<PathBuf>,
    /// Write the result as JUnit XML.
    #[arg(long, value_name = "FILE", requires = "baseline", value_parser = PathFromHere)]
    pub junit: Option<PathBuf>,
    /// Print annotations that the CI shows beside the code [default: github if GITHUB_ACTIONS is set, else none].
    #[arg(long, value_enum, value_name = "CI", requires = "baseline")]
    pub annotate: Option<Annotate>,
}

/// The format of annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Annotate {
    /// `::error file=…::…`
    Github,
    /// No annotations.
    None,
}

#[derive(Debug, Subcommand)]
pub enum BaselineCommand {
    /// Save a run's scores to a small JSON file for version control.
    Save {
        /// A run as in `compare`.
        #[arg(value_name = "RUN", value_parser = name_from_here)]
        run: String,
        /// The file. A file with the same scores is left unchanged.
        #[arg(long, value_name = "FILE.json", value_parser = PathFromHere)]
        out: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_has_a_unit() {
        let points = |text: &str| text.parse::<Length>().map(|length| length.0);
        for width in ["84mm", "8.4cm"] {
            assert!((points(width).unwrap() - 238.11).abs() < 0.01, "{width}");
        }
        assert_eq!((points("3.5in"), points("8 pt")), (Ok(252.0), Ok(8.0)));
        for wrong in ["84", "mm", "-3mm", "0pt", "1e9mm", "84px", "nanmm", "infin"] {
            assert!(points(wrong).is_err(), "{wrong}");
        }
    }
}
