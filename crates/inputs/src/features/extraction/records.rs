//! The records of the feature cache that an extraction uses: their recipes, and their keys for each recording.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Extraction, ExtractionInput};
use crate::features::cache::{FeatureCache, Hash, Recipe};

impl Extraction<'_> {
    /// What every record is computed by, feature by feature.
    pub fn recipes(&self) -> Value {
        let of_feature = |feature: &super::Feature| {
            let mut recipes = json!({ "clip": feature.recipe.json });
            if let Some(recipe) = &feature.window_recipe {
                recipes["windows"] = recipe.json.clone();
            }
            for (copy, recipe) in feature.copy_recipes.iter().enumerate() {
                recipes[format!("copy {copy}")] = recipe.json.clone();
            }
            (feature.name.clone(), recipes)
        };
        Value::Object(self.features.iter().map(of_feature).collect())
    }

    /// Stores the recipes, so that a later miss can name what changed.
    pub fn save_recipes(&self, cache: &FeatureCache) -> Result<()> {
        self.all_recipes().try_for_each(|recipe| cache.save_recipe(recipe))
    }

    /// The recipes of everything that is stored.
    pub fn all_recipes(&self) -> impl Iterator<Item = &Recipe> {
        let of_windows = self.features.iter().filter_map(|f| f.window_recipe.as_ref());
        let of_windows = of_windows.chain(self.windowing.as_ref().map(|w| &w.length));
        let of_copies = self.features.iter().flat_map(|f| &f.copy_recipes);
        let of_clips = self.features.iter().map(|f| &f.recipe);
        of_clips.chain([&self.decoding]).chain(of_windows).chain(of_copies)
    }

    /// The keys of everything that the cache has of a recording for this extraction.
    pub fn keys(&self, input: &ExtractionInput, cache: &FeatureCache) -> Vec<(Hash, Hash)> {
        self.keys_by_recipe(input, cache).into_iter().map(|(_, key)| key).collect()
    }

    /// [`keys`](Self::keys), each after the hash of its recipe, which those of windows do not contain.
    pub fn keys_by_recipe(&self, input: &ExtractionInput, cache: &FeatureCache) -> Vec<(Hash, (Hash, Hash))> {
        let Ok(content) = input.content else { return Vec::new() };
        let own = |recipe: &Recipe| (recipe.hash, recipe.hash);
        let mut keys = vec![own(&self.decoding)];
        if input.clip {
            keys.extend(self.features.iter().map(|feature| own(&feature.recipe)));
        }
        if input.copies {
            keys.extend(self.features.iter().flat_map(|feature| &feature.copy_recipes).map(own));
        }
        if let Some(windowing) = self.windowing.as_ref().filter(|_| input.windows) {
            keys.push(own(&windowing.length));
            for recipe in self.features.iter().filter_map(|feature| feature.window_recipe.as_ref()) {
                // A feature that cannot be computed has one record, under the recipe itself.
                keys.push(own(recipe));
                keys.extend(windowing.keys(content, &recipe.hash, cache).into_iter().map(|key| (recipe.hash, key)));
            }
        }
        keys.sort_unstable_by_key(|(_, key)| *key);
        keys.dedup_by_key(|(_, key)| *key);
        let keys = keys.into_iter().map(|(recipe, key)| (recipe, (*content, key)));
        keys.filter(|(_, (content, key))| cache.get(content, key).is_some()).collect()
    }
}
