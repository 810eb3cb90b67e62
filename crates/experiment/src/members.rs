//! The models of an experiment with their features, and the members of ensembles.

use indexmap::IndexMap;

use timbre_models::{ModelSpec, classic::ensemble::Ensemble};

/// The `features` column of an ensemble, which has no feature of its own.
pub const ENSEMBLE_FEATURES: &str = "+";

/// A model on one feature; for an ensemble, the feature is [`ENSEMBLE_FEATURES`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelOnFeature {
    pub features: String,
    pub model: String,
}

impl std::fmt::Display for ModelOnFeature {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        if self.is_ensemble() { f.write_str(&self.model) } else { write!(f, "{}.{}", self.features, self.model) }
    }
}

impl ModelOnFeature {
    fn is_ensemble(&self) -> bool {
        self.features == ENSEMBLE_FEATURES
    }

    /// Whether `name` can refer to it.
    fn matches(&self, name: &str) -> bool {
        name == self.model || name.split_once('.') == Some((&self.features, &self.model))
    }
}

/// Why a name does not identify a member.
#[derive(Debug, PartialEq, Eq)]
pub enum MemberError {
    Unknown,
    /// The model uses several features.
    Several(Vec<String>),
}

/// All models on their features, ordered by feature; then the ensembles, each after its members where possible.
pub fn models_on_features<'a>(
    features: impl Iterator<Item = &'a str>,
    models: &[(&'a str, &'a ModelSpec)],
) -> Vec<ModelOnFeature> {
    let place = |features: &str, model: &str| ModelOnFeature { features: features.to_owned(), model: model.to_owned() };
    let mut places = Vec::new();
    for features in features {
        let trained_on = |spec: &ModelSpec| {
            spec.as_kind().features().0.as_ref().is_none_or(|chosen| chosen.iter().any(|name| name == features))
        };
        places.extend(models.iter().filter(|(_, spec)| trained_on(spec)).map(|(model, _)| place(features, model)));
    }
    let mut open: Vec<(&str, &Ensemble)> =
        models.iter().filter_map(|(name, spec)| Some((*name, spec.as_ensemble()?))).collect();
    while !open.is_empty() {
        let names: Vec<ModelOnFeature> = open.iter().map(|(name, _)| place(ENSEMBLE_FEATURES, name)).collect();
        let waits = |spec: &Ensemble| spec.members.iter().any(|m| names.iter().any(|name| name.matches(m)));
        // In a cycle, which is reported elsewhere, the order does not matter.
        let next = open.iter().position(|(_, spec)| !waits(spec)).unwrap_or(0);
        let (name, _) = open.remove(next);
        places.push(place(ENSEMBLE_FEATURES, name));
    }
    places
}

/// Finds a member of an ensemble by `feature.model`, or by the model alone if that is unique.
pub fn find_member<'a>(name: &str, places: &'a [ModelOnFeature]) -> Result<&'a ModelOnFeature, MemberError> {
    let matching: Vec<&ModelOnFeature> = places.iter().filter(|place| place.matches(name)).collect();
    match matching[..] {
        [] => Err(MemberError::Unknown),
        [one] => Ok(one),
        _ => Err(MemberError::Several(matching.iter().map(ToString::to_string).collect())),
    }
}

/// The cycle from an ensemble back to itself, if any: `a`, `b`, `a`.
pub fn cycle(from: &str, models: &IndexMap<&str, &ModelSpec>) -> Option<Vec<String>> {
    let mut ways = vec![vec![from.to_owned()]];
    let mut known: Vec<String> = Vec::new();
    while let Some(way) = ways.pop() {
        let last = way.last().expect("a way has a beginning");
        let Some(spec) = models.get(last.as_str()).and_then(|spec| spec.as_ensemble()) else { continue };
        for member in &spec.members {
            let name = member.strip_prefix(ENSEMBLE_FEATURES).and_then(|rest| rest.strip_prefix('.')).unwrap_or(member);
            let mut longer = way.clone();
            longer.push(name.to_owned());
            if name == from {
                return Some(longer);
            }
            if !known.iter().any(|other| other == name) {
                known.push(name.to_owned());
                ways.push(longer);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(text: &str) -> IndexMap<String, ModelSpec> {
        toml::from_str(text).unwrap()
    }

    fn listed(models: &IndexMap<String, ModelSpec>) -> Vec<(&str, &ModelSpec)> {
        models.iter().map(|(name, spec)| (name.as_str(), spec)).collect()
    }

    const TWO_OF_ONE: &str = r#"
        vote = { kind = "ensemble", members = ["inner", "mel.knn"] }
        knn = { kind = "knn" }
        inner = { kind = "ensemble", members = ["fft.knn", "average"] }
        average = { kind = "average", features = "fft" }
    "#;

    #[test]
    fn ensembles_come_after_their_members() {
        let models = models(TWO_OF_ONE);
        let places = models_on_features(["mel", "fft"].into_iter(), &listed(&models));
        let names: Vec<String> = places.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["mel.knn", "fft.knn", "fft.average", "inner", "vote"]);
        assert_eq!(places[4].features, "+");
    }

    #[test]
    fn a_model_name_suffices_if_it_is_unique() {
        let models = models(TWO_OF_ONE);
        let places = models_on_features(["mel", "fft"].into_iter(), &listed(&models));
        let found = |name: &str| find_member(name, &places).map(ToString::to_string);
        assert_eq!(found("average").unwrap(), "fft.average");
        assert_eq!(found("fft.average").unwrap(), "fft.average");
        assert_eq!((found("+.inner").unwrap(), found("inner").unwrap()), ("inner".to_owned(), "inner".to_owned()));
        assert_eq!(found("knn"), Err(MemberError::Several(vec!["mel.knn".into(), "fft.knn".into()])));
        assert_eq!((found("mel.average"), found("nn")), (Err(MemberError::Unknown), Err(MemberError::Unknown)));
    }

    #[test]
    fn cycles_of_ensembles_are_found() {
        let models = models(
            r#"
            a = { kind = "ensemble", members = ["knn", "b"] }
            b = { kind = "ensemble", members = ["+.c", "knn"] }
            c = { kind = "ensemble", members = ["knn", "a"] }
            d = { kind = "ensemble", members = ["a", "knn"] }
            knn = { kind = "knn" }
            "#,
        );
        let models: IndexMap<&str, &ModelSpec> = models.iter().map(|(name, spec)| (name.as_str(), spec)).collect();
        assert_eq!(cycle("a", &models).unwrap(), ["a", "b", "c", "a"]);
        assert_eq!((cycle("d", &models), cycle("knn", &models)), (None, None));
    }
}
