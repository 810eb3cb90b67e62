//! The records of the feature cache that an extraction uses: their recipes, and their keys for each recording.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Extraction, ExtractionInput};
use crate::features::cache::{FeatureCache, Hash};

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
        let of_windows = self.features.iter().filter_map(|f| f.window_recipe.as_ref());
        let of_windows = of_windows.chain(self.windowing.as_ref().map(|w| &w.length));
        let of_copies = self.features.iter().flat_map(|f| &f.copy_recipes);
        let of_clips = self.features.iter().map(|f| &f.recipe);
        let mut recipes = of_clips.chain([&self.decoding]).chain(of_windows).chain(of_copies);
        recipes.try_for_each(|recipe| cache.save_recipe(recipe))
    }

    /// The keys of everything that the cache has of a recording for this extraction.
    pub fn keys(&self, input: &ExtractionInput, cache: &FeatureCache) -> Vec<(Hash, Hash)> {
        let Ok(content) = input.content else { return Vec::new() };
        let mut recipes = vec![self.decoding.hash];
        if input.clip {
            recipes.extend(self.features.iter().map(|feature| feature.recipe.hash));
        }
        if input.copies {
            recipes.extend(self.features.iter().flat_map(|feature| &feature.copy_recipes).map(|recipe| recipe.hash));
        }
        if let Some(windowing) = self.windowing.as_ref().filter(|_| input.windows) {
            recipes.push(windowing.length.hash);
            for recipe in self.features.iter().filter_map(|feature| feature.window_recipe.as_ref()) {
                // A feature that cannot be computed has one record, under the recipe itself.
                recipes.push(recipe.hash);
                recipes.extend(windowing.keys(content, &recipe.hash, cache));
            }
        }
        recipes.sort_unstable();
        recipes.dedup();
        let keys = recipes.into_iter().map(|recipe| (*content, recipe));
        keys.filter(|(content, recipe)| cache.get(content, recipe).is_some()).collect()
    }
}
