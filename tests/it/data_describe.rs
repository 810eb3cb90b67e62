//! `timbre data describe`.

use crate::test_dir::{TestDir, text};

#[test]
fn a_page_about_a_data_set_has_counts_plots_players_and_a_map() {
    let dir = TestDir::with(&[]);
    let few = ["--set", "data.clips_per_class=3", "--set", "data.test_recordings=6"];
    let output = dir.done(&[&["data", "describe", "demo", "--html", "demo.html", "-q"], &few[..]].concat());
    let printed = text(&output.stdout);
    assert!(printed.contains("39 recordings of ") && printed.contains("together  "), "{printed}");
    let page = dir.read("demo.html");
    assert!(page.len() < 5_000_000, "{}", page.len());
    assert!(!page.contains("src=\"http") && !page.contains("<script src"));
    // Apart from embedded files and the script.
    let drawn: String =
        page.split("<script>").next().unwrap().split('"').filter(|part| !part.starts_with("data:")).collect();
    assert!(!drawn.contains("NaN"));
    // An example of each of the eleven classes: a player, and a figure with its axes.
    assert_eq!((page.matches("<audio ").count(), page.matches(">frequency (Hz)</text>").count()), (11, 11 + 2));
    for words in [
        "Durations",
        "Level (RMS)",
        "Share of the energy by frequency",
        "Recordings with both classes",
        "Recordings by their sound",
    ] {
        assert!(page.contains(words), "{words}");
    }
    // Every recording is a point of the map, with its name.
    assert_eq!(page.matches("<g class=\"point ").count() - page.matches("<title>IRMAS-").count(), groups(&page));
    assert_eq!(page.matches("<title>IRMAS-").count(), 39);
    // The same recordings give the same page; fewer are drawn by their names.
    dir.done(&[&["data", "describe", "demo", "--html", "again.html", "-q"], &few[..]].concat());
    assert_eq!(dir.read("again.html"), page);
    dir.done(&[&["data", "describe", "demo", "--html", "some.html", "--measure", "20", "-q"], &few[..]].concat());
    assert!(dir.read("some.html").contains("of 20 of 39 recordings, drawn at random"));
}

/// The entries of the legend of the map.
fn groups(page: &str) -> usize {
    let map = page.split("Recordings by their sound</text>").nth(1).unwrap().split("</svg>").next().unwrap();
    map.split("<g class=\"point ")
        .skip(1)
        .filter(|mark| !mark.split("</g>").next().unwrap().contains("<title>"))
        .count()
}
