//! Builds the pages about a data set: what a check found, and the description. A page is one file that loads nothing.

use crate::page::{figure, paragraph};
use crate::plot::{ConfusionMatrix, PAGE_WIDTH, confusion};

mod check_page;
mod describe_page;

pub use check_page::check_page;
pub use describe_page::{Described, describe_page};

/// How often classes occur together, as a matrix; a sentence where no recording has two.
fn co_occurrence(classes: &[String], counts: &[Vec<usize>]) -> String {
    let is_together = counts.iter().enumerate().any(|(i, row)| row.iter().enumerate().any(|(k, n)| i != k && *n > 0));
    if !is_together {
        return paragraph("No recording has several classes.");
    }
    let counts: Vec<Vec<u64>> = counts.iter().map(|row| row.iter().map(|&n| n as u64).collect()).collect();
    let support: Vec<u64> = counts.iter().enumerate().map(|(i, row)| row[i]).collect();
    let drawing = confusion(&ConfusionMatrix {
        title: "Recordings with both classes",
        classes,
        counts: &counts,
        support: &support,
        truth: "class",
        decided: "occurs with",
        width: PAGE_WIDTH,
    });
    figure(
        &drawing.in_page(),
        "On the diagonal the recordings of a class. A stronger colour is a larger share of the row.",
    )
}
