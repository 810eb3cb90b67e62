//! The experiments and data sets built into the program, so that it works without a copy of the project. A file of the same name
//! on disk takes precedence.

/// `experiments/NAME.toml`.
pub const EXPERIMENTS: &[(&str, &str)] = &[
    ("quickstart", include_str!("../../../../experiments/quickstart.toml")),
    ("simple_models", include_str!("../../../../experiments/simple_models.toml")),
];

/// `data/NAME.toml`.
pub const DATA_SETS: &[(&str, &str)] = &[
    ("demo", include_str!("../../../../data/demo.toml")),
    ("demo_shifted", include_str!("../../../../data/demo_shifted.toml")),
    ("irmas", include_str!("../../../../data/irmas.toml")),
];

/// The text of that name.
pub fn find(list: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    list.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
