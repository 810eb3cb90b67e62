//! Properties of every split, and the messages of edge cases.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use timbre_core::seed::{Seed, shuffle};
use timbre_inputs::data::{
    ClipRecord, Subset,
    split::{CrossValidation, FoldChoice, Folds, Holdout, NamedFolds, Official, Random, SplitSpec, Splits, split},
};

fn record(id: String, group: String, labels: Vec<usize>) -> ClipRecord {
    ClipRecord { group, ..ClipRecord::new(id.clone(), id, labels) }
}

fn holdout(test: f64, validation: f64) -> SplitSpec {
    SplitSpec::Holdout(Holdout { test, validation, ..Holdout::default() })
}

fn run(records: &[ClipRecord], n_classes: usize, spec: &SplitSpec, seed: u64) -> anyhow::Result<Splits> {
    split(&records.iter().collect::<Vec<_>>(), n_classes, spec, Seed::new(seed), seed)
}

/// Songs of one class each: for every class the sizes of its songs.
fn songs_of_classes() -> impl Strategy<Value = Vec<ClipRecord>> {
    prop::collection::vec(prop::collection::vec(1usize..6, 2..14), 2..5).prop_map(|classes| {
        let mut records = Vec::new();
        for (class, songs) in classes.iter().enumerate() {
            for (song, &size) in songs.iter().enumerate() {
                for k in 0..size {
                    records.push(record(format!("{class}/{song}-{k}"), format!("{class}/{song}"), vec![class]));
                }
            }
        }
        records
    })
}

/// Recordings with any number of labels.
fn songs_of_many_labels() -> impl Strategy<Value = Vec<ClipRecord>> {
    prop::collection::vec((0usize..12, prop::collection::btree_set(0usize..4, 0..4)), 8..60).prop_map(|rows| {
        let rows = rows.into_iter().enumerate();
        rows.map(|(i, (song, labels))| record(format!("{i:03}"), format!("s{song}"), labels.into_iter().collect()))
            .collect()
    })
}

fn ids(records: &[ClipRecord], set: &[usize]) -> BTreeSet<String> {
    set.iter().map(|&i| records[i].id.clone()).collect()
}

fn check_records_and_songs_are_in_one_set(records: &[ClipRecord], splits: &Splits) {
    let sets = [&splits.train, &splits.validation, &splits.test];
    let mut all: Vec<usize> = sets.iter().flat_map(|set| set.iter().copied()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..records.len()).collect::<Vec<_>>());
    assert!(sets.iter().all(|set| set.windows(2).all(|pair| pair[0] < pair[1])));
    let songs = sets.map(|set| set.iter().map(|&i| &records[i].group).collect::<BTreeSet<_>>());
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        assert!(songs[a].is_disjoint(&songs[b]));
    }
}

proptest! {
    #[test]
    fn every_record_and_every_song_is_in_one_set(records in songs_of_many_labels(), seed in 0u64..50) {
        if let Ok(splits) = run(&records, 4, &holdout(0.25, 0.2), seed) {
            check_records_and_songs_are_in_one_set(&records, &splits);
            prop_assert!(!splits.train.is_empty() && !splits.validation.is_empty() && !splits.test.is_empty());
        }
    }

    #[test]
    fn the_share_of_each_class_is_accurate_to_its_largest_song(
        records in songs_of_classes(), seed in 0u64..50, share in 0.1f64..0.5,
    ) {
        let splits = run(&records, 5, &holdout(share, 0.0), seed).unwrap();
        check_records_and_songs_are_in_one_set(&records, &splits);
        for class in 0..5 {
            let of_class: Vec<&ClipRecord> = records.iter().filter(|r| *r.labels == [class]).collect();
            if of_class.is_empty() {
                continue;
            }
            let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
            of_class.iter().for_each(|r| *sizes.entry(&r.group).or_default() += 1);
            let largest = *sizes.values().max().unwrap() as f64;
            let tested = splits.test.iter().filter(|&&i| *records[i].labels == [class]).count();
            let wanted = share * of_class.len() as f64;
            prop_assert!((tested as f64 - wanted).abs() <= largest, "{tested} of {wanted:.1}, largest {largest}");
            prop_assert!(tested > 0 && tested < of_class.len(), "class {class} is on one set only");
        }
    }

    #[test]
    fn a_share_for_training_leaves_the_other_sets_and_every_class_as_they_are(
        records in songs_of_classes(), seed in 0u64..50, train in 0.05f64..0.5,
    ) {
        let with = |train| SplitSpec::Holdout(Holdout { test: 0.25, validation: 0.2, train, ..Holdout::default() });
        if let Ok(whole) = run(&records, 5, &with(None), seed) {
            let part = run(&records, 5, &with(Some(train)), seed).unwrap();
            prop_assert_eq!((&part.test, &part.validation), (&whole.test, &whole.validation));
            prop_assert!(part.train.iter().all(|i| whole.train.contains(i)));
            for class in 0..5 {
                let of = |set: &[usize]| set.iter().filter(|&&i| *records[i].labels == [class]).count();
                let all = records.iter().filter(|r| *r.labels == [class]).count() as f64;
                let largest = 5.0;
                prop_assert!(of(&whole.train) == 0 || of(&part.train) > 0, "class {class} has no training recording");
                prop_assert!(of(&part.train) as f64 <= train * all + 3.0 * largest, "class {class}");
            }
            let songs = |set: &[usize]| set.iter().map(|&i| records[i].group.clone()).collect::<BTreeSet<_>>();
            let unused: Vec<usize> = whole.train.iter().copied().filter(|i| !part.train.contains(i)).collect();
            prop_assert!(songs(&unused).is_disjoint(&songs(&part.train)));
        }
    }

    #[test]
    fn the_order_of_the_records_changes_nothing(records in songs_of_many_labels(), seed in 0u64..50, order in 0u64..50) {
        let mut shuffled = records.clone();
        shuffle(&mut shuffled, &mut Seed::new(order).rng());
        let spec = holdout(0.3, 0.1);
        match (run(&records, 4, &spec, seed), run(&shuffled, 4, &spec, seed)) {
            (Ok(a), Ok(b)) => {
                prop_assert_eq!(ids(&records, &a.train), ids(&shuffled, &b.train));
                prop_assert_eq!(ids(&records, &a.test), ids(&shuffled, &b.test));
            }
            (Err(_), Err(_)) => {}
            _ => prop_assert!(false, "one order splits, the other does not"),
        }
    }

    #[test]
    fn each_song_is_tested_once_and_folds_have_similar_shares_of_each_class(
        records in songs_of_many_labels(), n in 2usize..5, validation in prop::sample::select(vec![0.0, 0.2]),
    ) {
        let spec = SplitSpec::CrossValidation(CrossValidation { folds: FoldChoice::Number(n), validation, seed: None });
        let folds: Result<Vec<Splits>, _> = (1..=n as u64).map(|seed| run(&records, 4, &spec, seed)).collect();
        let Ok(folds) = folds else { return Ok(()) };
        let mut tested: Vec<usize> = folds.iter().flat_map(|fold| fold.test.iter().copied()).collect();
        tested.sort_unstable();
        prop_assert_eq!(tested, (0..records.len()).collect::<Vec<_>>());
        let mut largest: BTreeMap<&str, usize> = BTreeMap::new();
        records.iter().for_each(|r| *largest.entry(&r.group).or_default() += 1);
        let largest = *largest.values().max().unwrap() as f64;
        for fold in &folds {
            check_records_and_songs_are_in_one_set(&records, fold);
            // Whole songs of several labels cannot be shared out exactly.
            let share = records.len() as f64 / n as f64;
            prop_assert!((fold.test.len() as f64 - share).abs() <= 2.0 * largest, "{} of {share:.1}", fold.test.len());
        }
        prop_assert_eq!(run(&records, 4, &spec, n as u64 + 1).unwrap().test, folds[0].test.clone());
    }

    #[test]
    fn songs_of_other_classes_change_nothing_if_songs_have_one_class(records in songs_of_classes(), seed in 0u64..50) {
        let first: Vec<ClipRecord> = records.iter().filter(|r| *r.labels == [0]).cloned().collect();
        let alone = run(&first, 5, &holdout(0.25, 0.0), seed).unwrap();
        let together = run(&records, 5, &holdout(0.25, 0.0), seed).unwrap();
        let mut tested = ids(&records, &together.test);
        tested.retain(|id| id.starts_with("0/"));
        prop_assert_eq!(tested, ids(&first, &alone.test));
    }
}

fn ten_songs() -> Vec<ClipRecord> {
    (0..40).map(|i| record(format!("{i:02}"), format!("song {}", i / 4), vec![i / 4 % 2])).collect()
}

#[test]
fn another_seed_holds_out_other_songs_and_the_seed_of_the_split_has_precedence() {
    let records = ten_songs();
    let tests: BTreeSet<Vec<usize>> =
        (0..10).map(|seed| run(&records, 2, &holdout(0.2, 0.0), seed).unwrap().test).collect();
    assert!(tests.len() > 3);
    let fixed = SplitSpec::Holdout(Holdout { seed: Some(7), ..Holdout::default() });
    assert_eq!(run(&records, 2, &fixed, 1).unwrap(), run(&records, 2, &fixed, 2).unwrap());
}

#[test]
fn a_hold_out_uses_the_training_subset_only() {
    let mut records = ten_songs();
    records.push(ClipRecord { subset: Subset::Testing, ..record("t".into(), "t".into(), vec![0]) });
    let splits = run(&records, 2, &SplitSpec::default(), 1).unwrap();
    assert_eq!((splits.train.len(), splits.test.len()), (32, 8));
}

#[test]
fn a_single_song_cannot_be_held_out_and_the_message_says_what_to_do() {
    let records: Vec<ClipRecord> = (0..5).map(|i| record(format!("{i}"), "song".into(), vec![0])).collect();
    let message = run(&records, 1, &SplitSpec::default(), 1).unwrap_err().to_string();
    assert!(message.contains("test on") && message.contains("has 1 song:") && message.contains("group"), "{message}");
}

#[test]
fn official_subsets_are_used_unless_they_divide_a_song() {
    let mut records = ten_songs();
    let official = SplitSpec::Official(Official::default());
    let message = run(&records, 2, &official, 1).unwrap_err().to_string();
    assert!(message.contains("holdout"), "nothing to test on: {message}");
    records.iter_mut().filter(|r| r.group == "song 9").for_each(|r| r.subset = Subset::Testing);
    records.iter_mut().filter(|r| r.group == "song 8").for_each(|r| r.subset = Subset::Validation);
    let splits = run(&records, 2, &official, 1).unwrap();
    assert_eq!((splits.train.len(), splits.validation.len(), splits.test.len()), (32, 4, 4));
    records[0].subset = Subset::Testing;
    let message = run(&records, 2, &official, 1).unwrap_err().to_string();
    assert!(message.contains("song 0") && message.contains("in two"), "{message}");
}

#[test]
fn folds_are_taken_by_name() {
    let mut records = ten_songs();
    let folds = |test: &[&str], validation: &[&str]| {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        SplitSpec::Folds(Folds { test: names(test), validation: names(validation) })
    };
    let message = run(&records, 2, &folds(&["1"], &[]), 1).unwrap_err().to_string();
    assert!(message.contains("no fold"), "{message}");
    records.iter_mut().enumerate().for_each(|(i, r)| r.fold = Some(format!("{}", i / 8 + 1)));
    let splits = run(&records, 2, &folds(&["1", "3"], &["2"]), 1).unwrap();
    assert_eq!((splits.train.len(), splits.validation.len(), splits.test.len()), (16, 8, 16));
    let message = run(&records, 2, &folds(&["6"], &[]), 1).unwrap_err().to_string();
    assert!(message.contains("1, 2, 3, 4, 5"), "{message}");
}

#[test]
fn faults_name_their_key_and_toml_reads_every_kind() {
    let keys = |spec: SplitSpec| spec.faults().into_iter().map(|fault| fault.key).collect::<Vec<_>>();
    assert!(keys(SplitSpec::default()).is_empty());
    assert_eq!(keys(holdout(0.0, 0.0)), ["test"]);
    assert_eq!(keys(holdout(0.6, 0.4)), ["validation"]);
    assert_eq!(keys(holdout(f64::NAN, 0.0)), ["test"]);
    let both = SplitSpec::Folds(Folds { test: vec!["1".into()], validation: vec!["1".into()] });
    assert_eq!(keys(both), ["validation"]);
    for kind in SplitSpec::KINDS {
        let spec: SplitSpec = toml::from_str(&format!("kind = \"{kind}\"")).unwrap();
        assert_eq!(spec.kind(), *kind);
        assert!(toml::from_str::<SplitSpec>(&format!("kind = \"{kind}\"\ntets = 1")).is_err());
    }
}

#[test]
fn folds_balance_the_classes_of_recordings_with_several_labels() {
    let records: Vec<ClipRecord> = (0..60)
        .map(|i| record(format!("{i:02}"), format!("s{}", i / 2), if i % 6 < 2 { vec![0, 1] } else { vec![1, 2] }))
        .collect();
    let spec = SplitSpec::CrossValidation(CrossValidation::default());
    for seed in 1..=5 {
        let fold = run(&records, 3, &spec, seed).unwrap();
        let of = |class: usize| fold.test.iter().filter(|&&i| records[i].labels.contains(&class)).count();
        assert_eq!((of(0), of(1), of(2)), (4, 12, 8));
    }
}

#[test]
fn a_cross_validation_takes_the_official_folds_or_leaves_one_song_out() {
    let fold = |i: usize| ["a", "b", "c"][i / 4 % 3];
    let mut records: Vec<ClipRecord> =
        ten_songs().into_iter().enumerate().map(|(i, r)| ClipRecord { fold: Some(fold(i).into()), ..r }).collect();
    records[0].subset = Subset::Testing;
    records[1].subset = Subset::Testing;
    let spec =
        |folds| SplitSpec::CrossValidation(CrossValidation { folds, validation: 0.2, ..CrossValidation::default() });
    let official = spec(FoldChoice::Named(NamedFolds::Official));
    let by_reference: Vec<&ClipRecord> = records.iter().collect();
    assert_eq!(official.number_of_folds(&by_reference), Some(3));
    for seed in 1..=3 {
        let split = run(&records, 2, &official, seed).unwrap();
        check_records_and_songs_are_in_one_set(&records, &split);
        assert!(split.test.iter().all(|&i| fold(i) == ["a", "b", "c"][seed as usize - 1]));
        assert!(!split.validation.is_empty());
    }
    let songs = spec(FoldChoice::Named(NamedFolds::Songs));
    assert!(songs.divides_training_alone() && !official.divides_training_alone());
    assert_eq!(songs.number_of_folds(&by_reference), Some(10));
    assert_eq!(
        ids(&records, &run(&records, 2, &songs, 3).unwrap().test).into_iter().collect::<Vec<_>>(),
        ["08", "09", "10", "11"]
    );
    // A song of which a part is declared for testing is not divided.
    assert_eq!(ids(&records, &run(&records, 2, &songs, 1).unwrap().test).into_iter().collect::<Vec<_>>(), ["02", "03"]);
    records[2].fold = Some("b".into());
    let error = run(&records, 2, &official, 1).unwrap_err().to_string();
    assert!(error.contains("a song is in two sets"), "{error}");
    records[2].fold = None;
    assert!(run(&records, 2, &official, 1).unwrap_err().to_string().contains("has no fold"));
    let many = spec(FoldChoice::Number(11));
    assert!(run(&records, 2, &many, 1).unwrap_err().to_string().contains("only 10 songs"));
    assert_eq!(spec(FoldChoice::Number(1)).faults()[0].key, "folds");
    let toml: SplitSpec = toml::from_str("kind = \"cross_validation\"\nfolds = \"songs\"\nvalidation = 0.2").unwrap();
    assert_eq!(toml, songs);
}

#[test]
fn songs_can_be_held_out_beside_the_official_test_set() {
    let mut records = Vec::new();
    for class in 0..3 {
        for song in 0..10 {
            for k in 0..2 {
                records.push(record(format!("{class}/{song}-{k}"), format!("{class}/{song}"), vec![class]));
            }
        }
    }
    for k in 0..4 {
        records.push(ClipRecord { subset: Subset::Testing, ..record(format!("t{k}"), format!("t{k}"), vec![0, 2]) });
    }
    let spec = |held_out| SplitSpec::Official(Official { validation: 0.1, held_out });
    let splits = run(&records, 3, &spec(0.2), 4).unwrap();
    assert_eq!(ids(&records, &splits.test), ["t0", "t1", "t2", "t3"].map(str::to_owned).into());
    assert_eq!((splits.held_out.len(), splits.validation.len(), splits.train.len()), (12, 6, 42));
    let sets = [&splits.train, &splits.validation, &splits.held_out];
    let songs = sets.map(|set| set.iter().map(|&i| &records[i].group).collect::<BTreeSet<_>>());
    assert!(songs[0].is_disjoint(&songs[1]) && songs[0].is_disjoint(&songs[2]) && songs[1].is_disjoint(&songs[2]));
    assert_eq!(
        splits.evaluated().map(|(name, set)| (name, set.len())),
        [("validation", 6), ("test", 4), ("held_out", 12)]
    );
    // Without the key no song is held out, and the resolved configuration of older runs stays the same.
    assert!(run(&records, 3, &spec(0.0), 4).unwrap().held_out.is_empty());
    assert!(!toml::to_string(&spec(0.0)).unwrap().contains("held_out"));
    let faults = SplitSpec::Official(Official { validation: 0.4, held_out: 0.6 }).faults();
    assert!(faults[0].key == "held_out" && faults[0].sentence.contains("nothing to train on"), "{faults:?}");
}

#[test]
fn a_random_split_divides_songs_only_if_it_is_called_leaky() {
    let records: Vec<ClipRecord> =
        (0..40).map(|i| record(format!("{i:02}"), format!("s{}", i / 4), vec![i % 2])).collect();
    let spec = |leaky| SplitSpec::Random(Random { test: 0.25, validation: 0.2, leaky, ..Random::default() });
    let error = run(&records, 2, &spec(false), 1).unwrap_err().to_string();
    assert!(error.contains("10 of 10 songs have several recordings") && error.contains("leaky = true"), "{error}");
    let splits = run(&records, 2, &spec(true), 1).unwrap();
    assert_eq!((splits.test.len(), splits.validation.len(), splits.train.len()), (10, 8, 22));
    let of = |set: &[usize]| set.iter().filter(|&&i| records[i].labels[0] == 1).count();
    assert_eq!((of(&splits.test), of(&splits.validation)), (5, 4), "the classes keep their shares");
    let songs = |set: &[usize]| set.iter().map(|&i| records[i].group.clone()).collect::<BTreeSet<_>>();
    assert!(!songs(&splits.train).is_disjoint(&songs(&splits.test)));
    assert_ne!(splits, run(&records, 2, &spec(true), 2).unwrap());
    // Where every recording is a song of its own, nothing is divided.
    let alone: Vec<ClipRecord> = records.iter().map(|r| ClipRecord { group: r.id.clone(), ..r.clone() }).collect();
    assert_eq!(run(&alone, 2, &spec(false), 1).unwrap(), splits);
    assert!(!spec(false).is_leaky() && spec(true).is_leaky());
    assert!(
        toml::from_str::<SplitSpec>("kind = \"random\"\nleaky = true\ntest = 0.25\nvalidation = 0.2").unwrap()
            == spec(true)
    );
}

#[test]
fn a_share_for_training_that_the_others_do_not_leave_is_a_fault() {
    let faults =
        |train| SplitSpec::Holdout(Holdout { test: 0.3, validation: 0.2, train: Some(train), seed: None }).faults();
    assert!(faults(0.5).is_empty() && faults(0.01).is_empty());
    for train in [0.0, -0.1, 0.51, f64::NAN] {
        assert!(faults(train)[0].key == "train" && faults(train)[0].sentence.contains("up to 0.500"), "{train}");
    }
    assert!(!toml::to_string(&holdout(0.2, 0.0)).unwrap().contains("train"), "the default is not written");
}
