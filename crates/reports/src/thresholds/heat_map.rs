//! Draws the scores of a threshold search: a heat map over thresholds and window fractions, or a curve if there are no fractions.

use super::{ThresholdSearch, TrialThresholds, best_trial};
use crate::plot::{self, HeatMap, MapMarker, MarkerShape};
use anyhow::Result;
use timbre_core::text::count;
use timbre_evaluation::threshold_search::TuneOn;
use timbre_runs::run_dir::{RunDir, ThresholdFile};

/// The threshold and window fraction of the reference system.
const REFERENCE: (f64, f64) = (0.56, 0.26);

pub fn write(search: &ThresholdSearch, dir: &RunDir, found: &[TrialThresholds]) -> Result<()> {
    let metric = search.metric.name();
    let picture = |trial, found: &TrialThresholds| {
        let text = picture(search, found);
        dir.write_thresholds(&ThresholdFile::Picture { metric, trial }, |out| Ok(out.write_all(text.as_bytes())?))
    };
    best_trial(found, search.metric_at()).map_or(Ok(()), |best| picture(None, best))?;
    if found.len() > 1 {
        found.iter().try_for_each(|own| picture(Some(&own.trial), own))?;
    }
    Ok(())
}

fn picture(search: &ThresholdSearch, found: &TrialThresholds) -> String {
    let (metric, split) = (search.metric.name(), search.tuned_on());
    let warning = match search.spec.tune_on {
        TuneOn::Validation => "",
        TuneOn::Test => "; not a test result",
    };
    let title = format!("{metric} of {}", found.trial);
    let note = format!("on {split}, tuned on {split}{warning}");
    let scores = found.surface.of(search.metric_at());
    let (cutoff, score) = (found.cutoff(), found.surface.at(found.chosen)[search.metric_at()]);
    let own = found.splits[0].as_run[search.metric_at()];
    // Thresholds by class are not a single point.
    let is_one_point = search.decision_rule.cutoffs.is_empty();
    let Some(fraction) = found.fraction() else {
        let as_run = search.decision_rule.cutoff;
        let points = found.cutoffs.iter().copied().zip(scores).collect();
        return plot::threshold_curve(
            &format!("{title} {note}"),
            metric,
            points,
            (cutoff, format!("chosen: {cutoff} → {score:.3}")),
            is_one_point.then(|| (as_run, own, format!("as run: {as_run} → {own:.3}"))),
        );
    };
    let as_run = (search.decision_rule.cutoff, search.decision_rule.window_fraction);
    let mut markers = Vec::new();
    if is_one_point {
        let text = format!("as run: {}, {} → {own:.3}", as_run.0, as_run.1);
        markers.push(MapMarker { x: as_run.0, y: as_run.1, shape: MarkerShape::Cross, text });
    }
    if as_run != REFERENCE {
        let text = format!("reference system: {}, {}", REFERENCE.0, REFERENCE.1);
        markers.push(MapMarker { x: REFERENCE.0, y: REFERENCE.1, shape: MarkerShape::Diamond, text });
    }
    markers.push(MapMarker {
        x: cutoff,
        y: fraction,
        shape: MarkerShape::Ring,
        text: format!("chosen: {cutoff}, {fraction} → {score:.3}"),
    });
    let outlined = found.bias.as_ref().map(|bias| {
        let points = bias.plateau.iter().filter(|is_on| **is_on).count();
        (bias.plateau.clone(), format!("plateau: {} within one standard error of the best", count(points, "point")))
    });
    plot::heat_map(&HeatMap {
        title,
        note,
        x: ("threshold".to_owned(), found.cutoffs.clone()),
        y: ("window fraction".to_owned(), found.fractions.clone()),
        value: metric.to_owned(),
        cells: scores,
        outlined,
        markers,
    })
}
