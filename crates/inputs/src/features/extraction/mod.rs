//! Feature extraction: computes every feature of every recording once, in parallel, into the feature cache.
//!
//! A recording is read, decoded and resampled once for all features of its clip and of its windows that the cache
//! lacks, and these share its spectrograms. Each thread holds at most one recording in memory; computed features go to
//! the cache and stay there until a model reads them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde_json::json;

use crate::augment::{
    chain,
    copies::{FixedCopy, NoClips},
};
use crate::data::ClipRecord;
use crate::features::cache::content_hashes::Unreadable;
use crate::features::cache::{CacheEntry, CachedMatrix, FeatureCache, Hash, Recipe};
use crate::features::{ClipAnalysis, ClipOrigin, Extractor, FeatureSpec};
use timbre_core::cancel::Cancelled;
use timbre_signal::{
    audio::{self, AudioSpec, Clip, Recording},
    windows::WindowSpec,
};

mod decode;
mod records;
mod windows;

use decode::clip_unchanged;
pub use decode::decode_unchanged;
pub use windows::CachedWindows;
use windows::Windowing;

/// Raised by hand when records of the same recipe must be computed again for a reason that no other version covers.
pub const VERSION: u32 = 1;

/// The code of a recording of which a feature cannot be computed.
pub const NO_FEATURE: &str = "no_feature";

/// A recording with its content hash, and which features to extract.
pub struct ExtractionInput<'a> {
    pub record: &'a ClipRecord,
    pub content: &'a Result<Hash, Unreadable>,
    /// Whether to extract the features of its clip.
    pub clip: bool,
    /// Whether to extract the features of its windows, if the experiment has windows.
    pub windows: bool,
    /// Whether to extract the features of its fixed copies, if the experiment has any.
    pub copies: bool,
}

/// The features of one experiment, ready to be extracted.
pub struct Extraction<'a> {
    audio: &'a AudioSpec,
    /// The recipe under which the cache records that a recording cannot be used.
    decoding: Recipe,
    features: Vec<Feature>,
    windowing: Option<Windowing>,
    copies: Vec<FixedCopy>,
}

struct Feature {
    name: String,
    recipe: Recipe,
    /// The recipe for windows, if the experiment has windows.
    window_recipe: Option<Recipe>,
    /// The recipes for the fixed copies.
    copy_recipes: Vec<Recipe>,
    spec: FeatureSpec,
    sample_rate: u32,
    /// Window functions, filters, transforms, networks: built once, for the first recording that the cache lacks.
    extractor: OnceLock<Result<Box<dyn Extractor>, String>>,
}

impl Feature {
    fn extractor(&self) -> Result<&dyn Extractor> {
        let build = || self.spec.as_kind().build(self.sample_rate).map_err(|why| format!("{why:#}"));
        match self.extractor.get_or_init(build) {
            Ok(extractor) => Ok(extractor.as_ref()),
            Err(why) => bail!("cannot set up the feature `{}`: {why}", self.name),
        }
    }
}

/// The reason why a recording gives no features or predictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingError {
    pub code: String,
    pub sentence: String,
}

/// The features of one recording, in the order of [`Extraction::names`]; features that were not requested are missing.
#[derive(Clone, Debug, Default)]
pub struct ExtractedFeatures {
    pub clip: Vec<CachedMatrix>,
    pub windows: Vec<CachedWindows>,
    /// Those of the first fixed copy, then those of the second.
    pub copies: Vec<CachedMatrix>,
}

/// The features of one recording, or the reason why it has none.
pub type ExtractionResult = Result<ExtractedFeatures, RecordingError>;

/// Hits and misses of the feature cache.
#[derive(Debug, Default)]
pub struct CacheStats {
    /// (recording, feature) pairs found in the cache; the windows of a recording and each of its copies count as separate pairs.
    pub hits: usize,
    /// Pairs that were computed.
    pub misses: usize,
    /// Reasons of the misses, with their counts.
    pub reasons: BTreeMap<String, usize>,
}

impl<'a> Extraction<'a> {
    /// The features with the recipes under which the cache has them. `window` says how recordings are cut into windows, `copies` which
    /// copies of the training clips have features.
    pub fn new<'s>(
        audio: &'a AudioSpec,
        specs: impl IntoIterator<Item = (&'s String, &'s FeatureSpec)>,
        window: Option<WindowSpec>,
        copies: Vec<FixedCopy>,
    ) -> Result<Self> {
        let stages = json!({ "decoding": audio::VERSION, "cache": VERSION });
        let decoding = json!({ "audio": audio, "decoding": audio::VERSION, "cache": VERSION });
        // The limits decide whether there is a clip, not what is in it.
        let mut of_clip = decoding.clone();
        let keys = of_clip["audio"].as_object_mut().expect("a spec is a table");
        for limit in ["max_bytes", "max_seconds"] {
            keys.remove(limit);
        }
        let windowing = window.map(|spec| Windowing::new(spec, audio, &stages));
        let features = specs
            .into_iter()
            .map(|(name, spec)| {
                let kind = spec.as_kind();
                let mut recipe = of_clip.clone();
                let mut described = json!(spec);
                let files = spec.file_hashes()?;
                if !files.is_empty() {
                    described["files"] = json!(files);
                }
                recipe["feature"] = described.clone();
                recipe["extraction"] = json!(kind.version());
                let of_copy = |copy: &FixedCopy| {
                    let mut recipe = recipe.clone();
                    recipe["copy"] = copy.recipe();
                    Recipe::new(recipe)
                };
                Ok(Feature {
                    copy_recipes: copies.iter().map(of_copy).collect(),
                    name: name.clone(),
                    recipe: Recipe::new(recipe),
                    window_recipe: windowing.as_ref().map(|w| w.recipe(&stages, &described, kind.version())),
                    spec: spec.clone(),
                    sample_rate: audio.sample_rate,
                    extractor: OnceLock::new(),
                })
            })
            .collect::<Result<_>>()?;
        Ok(Extraction { audio, decoding: Recipe::new(decoding), features, windowing, copies })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|f| f.name.as_str())
    }

    /// The numbers of hits and misses for these recordings, without computing anything.
    pub fn count_cached(&self, inputs: &[ExtractionInput], cache: &FeatureCache) -> (usize, usize) {
        let (mut hits, mut misses) = (0, 0);
        for input in inputs {
            let Ok(content) = input.content else { continue };
            // An unusable recording has no features to compute.
            if matches!(cache.get(content, &self.decoding.hash), Some(CacheEntry::Unusable { .. })) {
                continue;
            }
            let found = self.cached(input, content, cache, false);
            hits += found.hits();
            misses += found.misses();
        }
        (hits, misses)
    }

    /// Computes what the cache lacks, on all threads of the pool, and returns the features of every recording.
    pub fn run(
        &self,
        inputs: &[ExtractionInput],
        cache: &FeatureCache,
        stop: &AtomicBool,
        step: impl Fn() + Sync,
    ) -> Result<(Vec<ExtractionResult>, CacheStats)> {
        self.save_recipes(cache)?;
        let (hits, misses) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let reasons = Mutex::new(BTreeMap::new());
        let results: Result<Vec<ExtractionResult>> = inputs
            .par_iter()
            .map(|input| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Cancelled.into());
                }
                let done = self.extract(input, cache)?;
                hits.fetch_add(done.hits, Ordering::Relaxed);
                misses.fetch_add(done.misses.len(), Ordering::Relaxed);
                let mut reasons = reasons.lock().expect("no counting thread panics");
                done.misses.into_iter().for_each(|reason| *reasons.entry(reason).or_insert(0) += 1);
                drop(reasons);
                step();
                Ok(done.result)
            })
            .collect();
        // After an error or a signal too: the next run finds what was finished.
        cache.close()?;
        let stats = CacheStats {
            hits: hits.into_inner(),
            misses: misses.into_inner(),
            reasons: reasons.into_inner().expect("no counting thread panics"),
        };
        Ok((results?, stats))
    }

    /// The requested features of a recording that the cache has. `intact` reads and verifies them.
    fn cached(&self, input: &ExtractionInput, content: &Hash, cache: &FeatureCache, intact: bool) -> CachedFeatures {
        let matrix = |recipe: &Recipe| match cache.get(content, &recipe.hash)? {
            CacheEntry::Matrix(stored) => (!intact || stored.is_intact()).then(|| Ok(stored.clone())),
            CacheEntry::Unusable { sentence, .. } => Some(Err(sentence.clone())),
        };
        let mut found = CachedFeatures::default();
        if input.clip {
            found.clip = self.features.iter().map(|feature| matrix(&feature.recipe)).collect();
        }
        if input.copies {
            found.copies = self.copy_entries().map(|(copy, i)| matrix(&self.features[i].copy_recipes[copy])).collect();
        }
        if let Some(windowing) = self.windowing.as_ref().filter(|_| input.windows) {
            let starts = windowing.starts(content, cache);
            let of_windows = |feature: &Feature| {
                let recipe = feature.window_recipe.as_ref().expect("there are windows");
                if let Some(CacheEntry::Unusable { sentence, .. }) = cache.get(content, &recipe.hash) {
                    return Some(Err(sentence.clone()));
                }
                windowing.find(content, &recipe.hash, starts.as_ref()?, cache, intact).map(Ok)
            };
            found.windows = self.features.iter().map(of_windows).collect();
        }
        found
    }

    /// Every copy with every feature, as indices, in the order of [`ExtractedFeatures::copies`].
    fn copy_entries(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.copies.len()).flat_map(|copy| (0..self.features.len()).map(move |feature| (copy, feature)))
    }

    /// The fixed copies of each training clip.
    pub fn copies(&self) -> &[FixedCopy] {
        &self.copies
    }

    fn extract(&self, input: &ExtractionInput, cache: &FeatureCache) -> Result<Extracted> {
        let content = match input.content {
            Ok(content) => content,
            Err(Unreadable { code, sentence }) => return Ok(Extracted::none(0, code, sentence)),
        };
        if let Some(CacheEntry::Unusable { code, sentence }) = cache.get(content, &self.decoding.hash) {
            let copies = if input.copies { self.copies.len() } else { 0 };
            let wanted = usize::from(input.clip) + usize::from(input.windows && self.windowing.is_some()) + copies;
            return Ok(Extracted::none(wanted * self.features.len(), code, sentence));
        }
        let mut found = self.cached(input, content, cache, true);
        let hits = found.hits();
        if found.misses() == 0 {
            return Ok(Extracted { result: self.complete(found), hits, misses: Vec::new() });
        }
        let (of_clip, of_windows, of_copies) = (missing(&found.clip), missing(&found.windows), missing(&found.copies));
        let window_recipe = |i: usize| self.features[i].window_recipe.as_ref().expect("there are windows");
        let missed = of_clip.iter().map(|&i| &self.features[i].recipe);
        let missed = missed.chain(of_windows.iter().map(|&i| window_recipe(i)));
        let entries: Vec<(usize, usize)> = self.copy_entries().collect();
        let copy_recipe = |entry: usize| {
            let (copy, feature) = entries[entry];
            &self.features[feature].copy_recipes[copy]
        };
        let missed = missed.chain(of_copies.iter().map(|&entry| copy_recipe(entry)));
        let misses = missed.map(|recipe| cache.explain_miss(content, recipe)).collect();
        let (path, excerpt) = (&input.record.path, input.record.excerpt.as_ref());
        // One unusual recording must not end the run: what cannot be computed is remembered, and the rest is computed.
        let no_feature = |recipe: &Recipe, why: anyhow::Error| -> Result<String> {
            let sentence = format!("{why:#}");
            cache.put_unusable(content, &recipe.hash, NO_FEATURE, &sentence)?;
            Ok(sentence)
        };
        let put = |feature: &Feature, recipe: &Recipe, analysis: &ClipAnalysis| {
            Ok::<_, anyhow::Error>(match feature.extractor()?.extract_finite(analysis) {
                Ok(matrix) => Ok(cache.put(content, &recipe.hash, &matrix)?),
                Err(why) => Err(no_feature(recipe, why)?),
            })
        };
        let clip = 'clip: {
            if of_windows.is_empty() && of_copies.is_empty() {
                break 'clip clip_unchanged(path, excerpt, content, self.audio)?;
            }
            match decode_unchanged(path, excerpt, content, self.audio)? {
                Err(why) => Err(why),
                Ok(recording) => {
                    for copy in of_copies.chunk_by(|&a, &b| entries[a].0 == entries[b].0) {
                        let clip = self.copied_clip(&self.copies[entries[copy[0]].0], content, &recording)?;
                        let analysis =
                            ClipAnalysis::new(&clip).at(ClipOrigin { recording: &input.record.id, start: None });
                        for &entry in copy {
                            let feature = &self.features[entries[entry].1];
                            found.copies[entry] = Some(put(feature, copy_recipe(entry), &analysis)?);
                        }
                    }
                    let Some(windowing) = self.windowing.as_ref().filter(|_| !of_windows.is_empty()) else {
                        break 'clip Ok(recording.into_clip(self.audio));
                    };
                    let recording = windowing.whole(recording);
                    let features: Vec<(&Recipe, &dyn Extractor)> = of_windows
                        .iter()
                        .map(|&i| Ok((window_recipe(i), self.features[i].extractor()?)))
                        .collect::<Result<_>>()?;
                    let windows = windowing.compute((&input.record.id, content), &recording, &features, cache)?;
                    for (&i, windows) in of_windows.iter().zip(windows) {
                        let windows = windows.map_err(|why| no_feature(window_recipe(i), why));
                        found.windows[i] = Some(match windows {
                            Ok(windows) => Ok(windows),
                            Err(sentence) => Err(sentence?),
                        });
                    }
                    Ok(recording.into_clip(self.audio))
                }
            }
        };
        let clip = match clip {
            Ok(clip) => clip,
            Err(why) => {
                let (code, sentence) = (why.code(), why.to_string());
                if !why.is_passing() {
                    cache.put_unusable(content, &self.decoding.hash, code, &sentence)?;
                }
                return Ok(Extracted { misses, ..Extracted::none(0, code, &sentence) });
            }
        };
        let analysis = ClipAnalysis::new(&clip).at(ClipOrigin { recording: &input.record.id, start: None });
        for i in of_clip {
            let feature = &self.features[i];
            found.clip[i] = Some(put(feature, &feature.recipe, &analysis)?);
        }
        Ok(Extracted { result: self.complete(found), hits, misses })
    }

    /// The clip of a recording after the draws of a copy.
    fn copied_clip(&self, copy: &FixedCopy, content: &Hash, recording: &Recording) -> Result<Clip> {
        let samples = chain::clip_samples(recording, self.audio);
        let sample_rate = self.audio.sample_rate;
        let draws = copy.draws(content, sample_rate, samples)?;
        let samples = chain::augmented_clip(recording, self.audio, None, &draws, &mut [], &NoClips::default())
            .with_context(|| format!("make a copy of a clip with the augmentation `{}`", copy.name))?;
        Ok(Clip { samples, sample_rate })
    }

    /// The features of a recording of which none is missing, or the first that cannot be computed: every model of a run is
    /// compared on the same recordings.
    fn complete(&self, found: CachedFeatures) -> ExtractionResult {
        let named = |feature: &Feature, why: String| RecordingError {
            code: NO_FEATURE.to_owned(),
            sentence: format!("`{}` cannot be computed: {why}", feature.name),
        };
        let clip = found.clip.into_iter().flatten().zip(&self.features);
        let windows = found.windows.into_iter().flatten().zip(&self.features);
        let features_of_copies = self.copy_entries().map(|(_, feature)| &self.features[feature]);
        let copies = found.copies.into_iter().flatten().zip(features_of_copies);
        Ok(ExtractedFeatures {
            clip: clip.map(|(found, feature)| found.map_err(|why| named(feature, why))).collect::<Result<_, _>>()?,
            windows: windows
                .map(|(found, feature)| found.map_err(|why| named(feature, why)))
                .collect::<Result<_, _>>()?,
            copies: copies
                .map(|(found, feature)| found.map_err(|why| named(feature, why)))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// The features of a recording found so far: `None` for each one that must be computed, a sentence for each one that cannot be.
#[derive(Default)]
struct CachedFeatures {
    clip: Vec<Option<Result<CachedMatrix, String>>>,
    windows: Vec<Option<Result<CachedWindows, String>>>,
    copies: Vec<Option<Result<CachedMatrix, String>>>,
}

impl CachedFeatures {
    fn misses(&self) -> usize {
        missing(&self.clip).len() + missing(&self.windows).len() + missing(&self.copies).len()
    }

    fn hits(&self) -> usize {
        self.clip.len() + self.windows.len() + self.copies.len() - self.misses()
    }
}

fn missing<T>(found: &[Option<T>]) -> Vec<usize> {
    (0..found.len()).filter(|&i| found[i].is_none()).collect()
}

struct Extracted {
    result: ExtractionResult,
    hits: usize,
    misses: Vec<String>,
}

impl Extracted {
    fn none(hits: usize, code: &str, sentence: &str) -> Extracted {
        Extracted {
            result: Err(RecordingError { code: code.to_owned(), sentence: sentence.to_owned() }),
            hits,
            misses: Vec::new(),
        }
    }
}
