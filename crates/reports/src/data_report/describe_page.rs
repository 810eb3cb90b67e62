//! The page of `timbre data describe`: counts, durations, levels, mean spectra, examples to hear, and a map of the recordings.

use std::collections::BTreeMap;

use timbre_core::text::{count, escape_xml, thousands};
use timbre_inputs::audit::LabelBalance;
use timbre_inputs::data::{About, ClipRecord, DataSet, Description};
use timbre_inputs::sound_survey::{Sound, SoundSurvey, clip, spectral_course};
use timbre_signal::audio::{Clip, Header, ResampleFilter, resample};

use super::co_occurrence;
use crate::page::{Cell, Page, Section, facts, figure, figures, list, paragraph, table};
use crate::player::player;
use crate::plot::clip_view::clip_view;
use crate::plot::scatter::{Point, PointGroup, scatter};
use crate::plot::{self, Axis, Line, Panel, PlotSize, Scale, panels};
use crate::principal_components::principal_components;

/// Lines of a plot, whose colours can be distinguished.
const LINES: usize = 6;
/// Bins of a histogram.
const BINS: usize = 30;
/// Seconds and rate of an example that is played, and how many characters all examples may have.
const EXAMPLE_SECONDS: f64 = 4.0;
const EXAMPLE_RATE: u32 = 16000;
const BUDGET: usize = 3_500_000;
/// Classes of the map and of the examples. The others are one group of the map.
const MAP_CLASSES: usize = 18;
/// Width of the map.
const MAP_WIDTH: f64 = 760.0;
const EXAMPLES: usize = 60;
/// The level of a band below which a mean spectrum is cut, in decibels.
const FLOOR_DB: f64 = -100.0;

/// What is known of a data set.
pub struct Described<'a> {
    pub set: &'a DataSet,
    pub about: &'a About,
    pub counts: &'a Description,
    /// The header of each recording; `None` if it cannot be read.
    pub headers: &'a [Option<Header>],
    pub survey: &'a SoundSurvey,
    /// Sentences that a reader should know.
    pub warnings: &'a [String],
}

/// The page as HTML.
pub fn describe_page(of: &Described) -> String {
    let counts = of.counts;
    let profiles = standardized(&of.survey.sounds);
    let seconds: f64 = of.headers.iter().flatten().map(|header| header.seconds).sum();
    let title = of.about.title.clone().unwrap_or_else(|| of.set.name.clone());
    let lead = facts(&[
        count(counts.recordings, "recording"),
        if of.set.has_no_songs() { "no songs given".to_owned() } else { count(counts.songs, "song") },
        count(counts.classes.len(), "class"),
        format!("{:.1} minutes", seconds / 60.0),
    ]) + &of.warnings.iter().map(|warning| paragraph(warning)).collect::<String>();
    let section = |id: &'static str, title: &str, html: String| Section { id, title: title.to_owned(), html };
    let sections = vec![
        section("counts", "Recordings", numbers(of)),
        section("levels", "Durations and levels", durations_and_levels(of)),
        section("spectra", "Mean spectra", mean_spectra(of)),
        section("examples", "Examples", examples(of, &profiles)),
        section("labels", "Classes that occur together", together(of.set)),
        section("map", "Map of the recordings", map(of, &profiles)),
    ];
    Page { title, signature: String::new(), lead, sections }.html()
}

fn numbers(of: &Described) -> String {
    let counts = of.counts;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (word, fact) in [("licence", &of.about.licence), ("from", &of.about.homepage), ("cite", &of.about.citation)] {
        pairs.extend(fact.iter().map(|fact| (word.to_owned(), fact.clone())));
    }
    for part in &counts.parts {
        let word = part.subset.name().to_owned();
        pairs.push((word, format!("{} of {}", count(part.recordings, "recording"), count(part.songs, "song"))));
    }
    if counts.by_label_count.len() > 2 {
        let numbers = counts.by_label_count.iter().enumerate().map(|(labels, n)| format!("{labels}: {n}"));
        pairs.push(("recordings by number of labels".to_owned(), numbers.collect::<Vec<_>>().join(", ")));
    }
    let mut forms: BTreeMap<String, usize> = BTreeMap::new();
    for header in of.headers.iter().flatten() {
        let form = format!("{} Hz, {}, {}", header.sample_rate, count(header.channels.into(), "channel"), header.codec);
        *forms.entry(form).or_default() += 1;
    }
    let forms: Vec<String> = forms.iter().map(|(form, n)| format!("{} of {form}", thousands(*n as u64))).collect();
    pairs.push(("formats".to_owned(), forms.join("; ")));
    let unreadable = of.headers.iter().filter(|header| header.is_none()).count();
    if unreadable > 0 {
        pairs.push(("without a readable header".to_owned(), unreadable.to_string()));
    }
    let row = |(label, class): (usize, &timbre_inputs::data::ClassCounts)| {
        let own = of.set.records.iter().zip(of.headers).filter(|(record, _)| record.labels.contains(&label));
        let seconds: f64 = own.filter_map(|(_, header)| Some(header.as_ref()?.seconds)).sum();
        let numbers =
            [class.training + class.validation + class.testing, class.training, class.validation, class.testing];
        let mut row = vec![Cell::text(&class.class)];
        row.extend(numbers.iter().chain([&class.songs]).map(|n| Cell::count(*n as u64)));
        row.push(Cell { html: format!("{:.1}", seconds / 60.0), sort: Some(seconds), ..Cell::default() });
        row.extend((counts.incomplete > 0).then(|| Cell::count(class.unknown as u64)));
        row
    };
    let rows: Vec<Vec<Cell>> = counts.classes.iter().enumerate().map(row).collect();
    let mut headings = vec![
        ("class", false),
        ("recordings", true),
        ("training", true),
        ("validation", true),
        ("testing", true),
        ("songs", true),
        ("minutes", true),
    ];
    headings.extend((counts.incomplete > 0).then_some(("unknown", true)));
    list(&pairs) + &table("", &headings, &rows)
}

/// A histogram as the outline of its bars.
fn histogram(title: &str, label: &str, values: &[f64]) -> Panel {
    let finite: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    let least = finite.iter().copied().fold(f64::INFINITY, f64::min);
    let most = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // Equal values are in the middle of a bin of a tenth of their size.
    let width = ((most - least) / BINS as f64).max(most.abs().max(1.0) * 1e-3);
    let mut counts = [0usize; BINS];
    finite.iter().for_each(|value| counts[(((value - least) / width) as usize).min(BINS - 1)] += 1);
    let mut points = Vec::new();
    if !finite.is_empty() {
        points.push((least, 0.0));
        for (bin, count) in counts.iter().enumerate() {
            let (from, to) = (least + width * bin as f64, least + width * (bin + 1) as f64);
            points.extend([(from, *count as f64), (to, *count as f64)]);
        }
        points.push((least + width * BINS as f64, 0.0));
    }
    Panel {
        title: title.to_owned(),
        x: Axis { label: label.to_owned(), scale: Scale::Linear },
        y: Axis { label: "recordings".to_owned(), scale: Scale::Counts },
        lines: vec![Line::new("recordings", points)],
        mark: None,
    }
}

fn durations_and_levels(of: &Described) -> String {
    let seconds: Vec<f64> = of.headers.iter().flatten().map(|header| header.seconds).collect();
    let levels = |level: fn(&Sound) -> f64| of.survey.sounds.iter().map(level).collect::<Vec<f64>>();
    let histograms = [
        histogram("Durations", "seconds", &seconds),
        histogram("Level (RMS)", "dB of full scale", &levels(|sound| sound.rms)),
        histogram("Peak", "dB of full scale", &levels(|sound| sound.peak)),
    ];
    let drawn: Vec<String> =
        histograms.into_iter().map(|panel| figure(&panels(&[panel], PlotSize::FIGURE).in_page(), "")).collect();
    measured_note(of) + &figures(&drawn)
}

/// Which recordings were measured, if not all.
fn measured_note(of: &Described) -> String {
    let (measured, all) = (of.survey.sounds.len(), of.set.records.len());
    let mut note = String::new();
    if measured + of.survey.unusable < all {
        note += &format!("Levels, spectra and map are of {measured} of {all} recordings, drawn at random. ");
    }
    if of.survey.unusable > 0 {
        let name = &of.set.name;
        note +=
            &format!("{} cannot be used: timbre data check {name} says why.", count(of.survey.unusable, "recording"));
    }
    if note.is_empty() { note } else { paragraph(note.trim_end()) }
}

/// The measured recordings of each class, by its label.
fn by_class<'a>(of: &'a Described) -> Vec<Vec<&'a Sound>> {
    let mut classes: Vec<Vec<&Sound>> = vec![Vec::new(); of.set.classes.len()];
    for sound in &of.survey.sounds {
        of.set.records[sound.record].labels.iter().for_each(|&label| classes[label].push(sound));
    }
    classes
}

fn mean_spectra(of: &Described) -> String {
    let line = |(label, sounds): (usize, &Vec<&Sound>)| {
        let mean = |band: usize| sounds.iter().map(|sound| sound.spectrum[band]).sum::<f64>() / sounds.len() as f64;
        let decibels = |band: usize| (10.0 * mean(band).log10()).max(FLOOR_DB);
        let points = of.survey.bands.iter().enumerate().map(|(band, hertz)| (*hertz, decibels(band))).collect();
        Line::new(of.set.classes.name(label), points)
    };
    let classes = by_class(of);
    let lines: Vec<Line> = classes.iter().enumerate().filter(|(_, sounds)| !sounds.is_empty()).map(line).collect();
    let panel = |lines: &[Line]| {
        let panel = Panel {
            title: "Share of the energy by frequency".to_owned(),
            x: Axis { label: "frequency (Hz)".to_owned(), scale: Scale::Log },
            y: Axis { label: "dB".to_owned(), scale: Scale::Linear },
            lines: lines.to_vec(),
            mark: None,
        };
        figure(&panels(&[panel], PlotSize::FIGURE).in_page(), "")
    };
    let drawn: Vec<String> = lines.chunks(LINES).map(panel).collect();
    paragraph("The mean over the recordings of a class of the share of their energy in each mel band.")
        + &figures(&drawn)
}

/// Rows of standardized profiles: every column has mean 0 and deviation 1, or is 0.
fn standardized(sounds: &[Sound]) -> Vec<Vec<f64>> {
    let columns = sounds.first().map_or(0, |sound| sound.profile.len());
    let n = sounds.len().max(1) as f64;
    let mut rows: Vec<Vec<f64>> = sounds.iter().map(|sound| sound.profile.clone()).collect();
    for column in 0..columns {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / n;
        let deviation = (rows.iter().map(|row| (row[column] - mean).powi(2)).sum::<f64>() / n).sqrt();
        for row in &mut rows {
            row[column] = if deviation > 1e-9 { (row[column] - mean) / deviation } else { 0.0 };
        }
    }
    rows
}

fn map(of: &Described, profiles: &[Vec<f64>]) -> String {
    if of.survey.sounds.len() < 3 {
        return paragraph("There are too few recordings for a map.");
    }
    let (places, shares) = principal_components(profiles);
    let mut sizes: Vec<(usize, usize)> =
        by_class(of).iter().enumerate().map(|(label, own)| (own.len(), label)).collect();
    sizes.sort_by_key(|(size, label)| (std::cmp::Reverse(*size), *label));
    let mut shown: Vec<usize> =
        sizes.iter().take(MAP_CLASSES).filter(|(size, _)| *size > 0).map(|(_, label)| *label).collect();
    shown.sort_unstable();
    let mut names: Vec<String> = shown.iter().map(|&label| of.set.classes.name(label).to_owned()).collect();
    names.extend(["several classes", "no class", "other classes"].map(str::to_owned));
    let mut groups: Vec<PointGroup> = names.into_iter().map(|name| PointGroup { name, points: Vec::new() }).collect();
    for (sound, (x, y)) in of.survey.sounds.iter().zip(places) {
        let record = &of.set.records[sound.record];
        let group = match record.labels[..] {
            [label] => shown.binary_search(&label).unwrap_or(shown.len() + 2),
            [] => shown.len() + 1,
            _ => shown.len(),
        };
        groups[group].points.push(Point { x, y, name: format!("{}: {}", record.id, classes_of(of.set, record)) });
    }
    groups.retain(|group| !group.points.is_empty());
    let axes = [0, 1].map(|n| format!("component {} ({:.0}% of the variance)", n + 1, 100.0 * shares[n]));
    let drawing = scatter("Recordings by their sound", [&axes[0], &axes[1]], &groups, MAP_WIDTH);
    paragraph(
        "Recordings of similar sound are close to each other: the two principal components of the mean and deviation over time of 48 \
         mel bands in decibels, without the level. The pointer shows the name of a recording.",
    ) + &figure(&drawing.in_page(), "")
}

fn classes_of(set: &DataSet, record: &ClipRecord) -> String {
    let names: Vec<&str> = record.labels.iter().map(|&label| set.classes.name(label)).collect();
    if names.is_empty() { "no class".to_owned() } else { names.join(", ") }
}

fn together(set: &DataSet) -> String {
    let balance = LabelBalance::of(set);
    paragraph(&format!("Labels: {}.", balance.sentence())) + &co_occurrence(&balance.classes, &balance.co_occurrence)
}

/// Of each class the recording whose profile is nearest to the mean of the class; recordings of no other class come first.
fn typical(of: &Described, rows: &[Vec<f64>]) -> Vec<(usize, usize)> {
    let example = |label: usize| {
        let has = |sound: &Sound, alone: bool| {
            let labels = &of.set.records[sound.record].labels;
            labels.contains(&label) && (!alone || labels.len() == 1)
        };
        let alone = of.survey.sounds.iter().any(|sound| has(sound, true));
        let own: Vec<usize> = (0..rows.len()).filter(|&i| has(&of.survey.sounds[i], alone)).collect();
        let columns = rows.first().map_or(0, Vec::len);
        let mean: Vec<f64> =
            (0..columns).map(|c| own.iter().map(|&i| rows[i][c]).sum::<f64>() / own.len() as f64).collect();
        let distance = |i: usize| rows[i].iter().zip(&mean).map(|(x, y)| (x - y).powi(2)).sum::<f64>();
        own.into_iter().min_by(|&a, &b| distance(a).total_cmp(&distance(b)))
    };
    (0..of.set.classes.len()).filter_map(|label| Some((label, of.survey.sounds[example(label)?].record))).collect()
}

fn examples(of: &Described, profiles: &[Vec<f64>]) -> String {
    let typical = typical(of, profiles);
    let example = |&(label, record): &(usize, usize)| {
        let seconds = of.headers[record].as_ref()?.seconds;
        let record = &of.set.records[record];
        Example::new(of.set.classes.name(label), record, seconds)
    };
    let examples: Vec<Example> = typical.iter().take(EXAMPLES).filter_map(example).collect();
    let loudest = plot::loudest(examples.iter().map(|example| &example.sound));
    let (mut left, mut items, mut shown) = (BUDGET, Vec::new(), 0);
    for item in examples.iter().filter_map(|example| example.html(loudest)) {
        if item.len() <= left {
            left -= item.len();
            shown += 1;
            items.push(item);
        }
    }
    let intro = "Of each class the recording that is nearest to the mean of its class: wave, mel spectrogram, and the spectral \
                 centroid and bandwidth of each frame.";
    let missing = match typical.len() - shown {
        0 => String::new(),
        n => paragraph(&format!("{} would make the page too large.", count(n, "more example"))),
    };
    let legend = if shown > 0 { plot::level_legend().in_page() } else { String::new() };
    paragraph(intro) + &legend + &figures(&items) + &missing
}

/// The first seconds of a recording of a class.
struct Example<'a> {
    class: &'a str,
    id: &'a str,
    sound: Clip,
    is_part: bool,
}

impl<'a> Example<'a> {
    fn new(class: &'a str, record: &'a ClipRecord, seconds: f64) -> Option<Example<'a>> {
        let mut sound: Clip = clip(record, seconds).ok()?;
        let whole = sound.samples.len();
        sound.samples.truncate((EXAMPLE_SECONDS * f64::from(sound.sample_rate)) as usize);
        Some(Example { class, id: &record.id, is_part: sound.samples.len() < whole, sound })
    }

    fn html(&self, loudest: f32) -> Option<String> {
        let Example { class, id, sound, is_part } = self;
        let course = spectral_course(sound).ok()?;
        let drawing = clip_view(&format!("{class}: {id}"), sound, &course, loudest).in_page();
        let samples = resample(&sound.samples, sound.sample_rate, EXAMPLE_RATE, ResampleFilter::default());
        let player = player(&Clip { samples, sample_rate: EXAMPLE_RATE }, class);
        let part = if *is_part { format!("The first {EXAMPLE_SECONDS:.0} s. ") } else { String::new() };
        Some(format!(
            "<figure class=\"example\"><h3>{}</h3>{drawing}{player}<figcaption>{part}{}</figcaption></figure>\n",
            escape_xml(class),
            escape_xml(id)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_every_value_also_equal_ones() {
        let area = |values: &[f64]| {
            let points = &histogram("t", "s", values).lines[0].points;
            points[1..points.len() - 1].chunks(2).map(|bar| bar[0].1).sum::<f64>()
        };
        assert_eq!(area(&[3.0; 7]), 7.0);
        assert_eq!(area(&[1.0, 2.0, 3.0, f64::NEG_INFINITY]), 3.0);
        assert!(histogram("t", "s", &[]).lines[0].points.is_empty());
    }
}
