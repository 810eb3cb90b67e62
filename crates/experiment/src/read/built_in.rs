//! The experiments and data sets built into the program, so that it works without a copy of the project. A file of the same name
//! on disk takes precedence.

macro_rules! shipped {
    ($folder:literal, $name:literal) => {
        ($name, include_str!(concat!("../../../../", $folder, "/", $name, ".toml")))
    };
}

/// `experiments/NAME.toml`.
pub const EXPERIMENTS: &[(&str, &str)] = &[
    shipped!("experiments", "architectures"),
    shipped!("experiments", "augment_study"),
    shipped!("experiments", "ast_finetune"),
    shipped!("experiments", "audioset_five"),
    shipped!("experiments", "beats_probe"),
    shipped!("experiments", "cnn_quick"),
    shipped!("experiments", "cnn_tagging"),
    shipped!("experiments", "combinatoric"),
    shipped!("experiments", "conv1d_mfcc"),
    shipped!("experiments", "crnn_tagging"),
    shipped!("experiments", "eight_features"),
    shipped!("experiments", "ensemble"),
    shipped!("experiments", "esc_baseline"),
    shipped!("experiments", "fluffy_vs_kiklop"),
    shipped!("experiments", "genre_tagging"),
    shipped!("experiments", "grid_quick"),
    shipped!("experiments", "masked_finetune"),
    shipped!("experiments", "masked_pretraining"),
    shipped!("experiments", "modgd_fusion"),
    shipped!("experiments", "mono_vs_poly"),
    shipped!("experiments", "musicnn_probe"),
    shipped!("experiments", "panns_probe"),
    shipped!("experiments", "passt_finetune"),
    shipped!("experiments", "quickstart"),
    shipped!("experiments", "resnet"),
    shipped!("experiments", "resnet_aug"),
    shipped!("experiments", "resnet_aug_quick"),
    shipped!("experiments", "resnet_small"),
    shipped!("experiments", "resnet_windows"),
    shipped!("experiments", "simple_models"),
    shipped!("experiments", "simple_models_published"),
    shipped!("experiments", "spec_augment"),
    shipped!("experiments", "svm_ensemble"),
    shipped!("experiments", "threshold_grid"),
];

/// `data/NAME.toml`.
pub const DATA_SETS: &[(&str, &str)] = &[
    shipped!("data", "audioset"),
    shipped!("data", "combined"),
    shipped!("data", "demo"),
    shipped!("data", "demo_shifted"),
    shipped!("data", "esc50"),
    shipped!("data", "fma_large"),
    shipped!("data", "fma_medium"),
    shipped!("data", "fma_small"),
    shipped!("data", "good_sounds"),
    shipped!("data", "gtzan"),
    shipped!("data", "irmas"),
    shipped!("data", "magnatagatune"),
    shipped!("data", "medley_solos"),
    shipped!("data", "medleydb"),
    shipped!("data", "mtg_jamendo"),
    shipped!("data", "musicnet"),
    shipped!("data", "nsynth"),
    shipped!("data", "openmic"),
    shipped!("data", "philharmonia"),
    shipped!("data", "rendered"),
    shipped!("data", "tinysol"),
];

/// The text of that name.
pub fn find(list: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_published_set_has_title_licence_size_and_citation_and_says_how_to_get_it() {
        for (name, text) in DATA_SETS {
            let set: toml::Table = text.parse().unwrap();
            let has = |key: &str| set["about"].get(key).is_some();
            if has("homepage") {
                assert!(["title", "licence", "size", "citation", "obtain"].iter().all(|key| has(key)), "{name}");
            }
            let files = set["about"].get("files").and_then(toml::Value::as_array);
            for file in files.into_iter().flatten() {
                assert!(file["url"].as_str().unwrap().starts_with("http"), "{name}: {file}");
            }
        }
    }

    #[test]
    fn every_experiment_and_data_set_of_the_repository_is_built_in() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for (folder, shipped) in [("experiments", EXPERIMENTS), ("data", DATA_SETS)] {
            assert_eq!(crate::read::loader::names(&root.join(folder), &[]).len(), shipped.len(), "{folder}");
        }
    }
}
