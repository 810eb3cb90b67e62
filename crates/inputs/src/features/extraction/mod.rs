//! The parallel job over the feature cache: every feature of every recording, each computed once.
//!
//! A recording is read, decoded and resampled once for all the features that miss it, of its clip and of its windows, and its
//! spectra are shared. At most one recording a thread is in memory: what is computed goes to the cache and stays there until
//! a model asks for it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde_json::json;

use crate::data::ClipRecord;
use crate::features::cache::content_hashes::Unreadable;
use crate::features::cache::{CacheEntry, CachedMatrix, FeatureCache, Hash, Recipe};
use crate::features::{ClipAnalysis, Extractor, FeatureSpec};
use timbre_core::cancel::Cancelled;
use timbre_signal::audio::{self, AudioSpec, Recording, Unusable};
use timbre_signal::windows::WindowSpec;

mod windows;

pub use windows::CachedWindows;
use windows::Windowing;

/// Raised by hand when a record of the same recipe must be computed anew for a reason that no stage's version covers.
pub const VERSION: u32 = 1;

/// A recording with the hash of its bytes, and what is wanted of it.
pub struct ExtractionInput<'a> {
    pub record: &'a ClipRecord,
    pub content: &'a Result<Hash, Unreadable>,
    /// The features of its clip.
    pub clip: bool,
    /// The features of its windows, where the experiment has any.
    pub windows: bool,
}

/// The features of one experiment, ready to be computed.
pub struct Extraction<'a> {
    audio: &'a AudioSpec,
    /// Under this recipe the cache remembers that a recording cannot be used.
    decoding: Recipe,
    features: Vec<Feature>,
    windowing: Option<Windowing>,
}

struct Feature {
    name: String,
    recipe: Recipe,
    /// Of the windows, where there are any.
    of_windows: Option<Recipe>,
    extractor: Box<dyn Extractor>,
}

/// Why a recording was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingError {
    pub code: String,
    pub sentence: String,
}

/// The features of one recording, in the order of [`Extraction::names`]; what was not wanted is empty.
#[derive(Clone, Debug, Default)]
pub struct ExtractedFeatures {
    pub clip: Vec<CachedMatrix>,
    pub windows: Vec<CachedWindows>,
}

/// The features of one recording, or why there are none.
pub type ExtractionResult = Result<ExtractedFeatures, RecordingError>;

/// What a job did.
#[derive(Debug, Default)]
pub struct CacheStats {
    /// (recording, feature) pairs found in the cache; the windows of a recording are a pair of their own.
    pub hits: usize,
    /// Pairs computed.
    pub misses: usize,
    /// Why pairs were missed, and how often.
    pub reasons: BTreeMap<String, usize>,
}

impl<'a> Extraction<'a> {
    /// Plans the features: windows, filters and transforms are made here, once. `window`: how recordings are cut of which
    /// every part is wanted.
    pub fn new<'s>(
        audio: &'a AudioSpec,
        specs: impl IntoIterator<Item = (&'s String, &'s FeatureSpec)>,
        window: Option<WindowSpec>,
    ) -> Result<Self> {
        let stages = json!({ "decoding": audio::VERSION, "cache": VERSION });
        let decoding = json!({ "audio": audio, "decoding": audio::VERSION, "cache": VERSION });
        let windowing = window.map(|spec| Windowing::new(spec, audio.sample_rate, &stages));
        let features = specs
            .into_iter()
            .map(|(name, spec)| {
                let kind = spec.as_kind();
                let mut recipe = decoding.clone();
                recipe["feature"] = json!(spec);
                recipe["extraction"] = json!(kind.version());
                Ok(Feature {
                    name: name.clone(),
                    recipe: Recipe::new(recipe),
                    of_windows: windowing.as_ref().map(|w| w.recipe(&stages, &json!(spec), kind.version())),
                    extractor: kind
                        .build(audio.sample_rate)
                        .with_context(|| format!("cannot set up the feature `{name}`"))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Extraction { audio, decoding: Recipe::new(decoding), features, windowing })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|f| f.name.as_str())
    }

    /// What the cache holds of these recordings: (hits, misses), without computing anything.
    pub fn count_cached(&self, inputs: &[ExtractionInput], store: &FeatureCache) -> (usize, usize) {
        let (mut hits, mut misses) = (0, 0);
        for input in inputs {
            let Ok(content) = input.content else { continue };
            // What cannot be used has no features to compute.
            if matches!(store.get(content, &self.decoding.hash), Some(CacheEntry::Unusable { .. })) {
                continue;
            }
            let found = self.found(input, content, store, false);
            hits += found.hits();
            misses += found.misses();
        }
        (hits, misses)
    }

    /// Computes what the cache lacks, on all threads of the pool, and says where everything lies.
    pub fn run(
        &self,
        inputs: &[ExtractionInput],
        store: &FeatureCache,
        stop: &AtomicBool,
        step: impl Fn() + Sync,
    ) -> Result<(Vec<ExtractionResult>, CacheStats)> {
        let of_windows = self.features.iter().filter_map(|f| f.of_windows.as_ref());
        let of_windows = of_windows.chain(self.windowing.as_ref().map(|w| &w.length));
        let recipes = self.features.iter().map(|f| &f.recipe).chain([&self.decoding]).chain(of_windows);
        recipes.into_iter().try_for_each(|recipe| store.note_recipe(recipe))?;
        let (hits, misses) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let reasons = Mutex::new(BTreeMap::new());
        let outcomes: Result<Vec<ExtractionResult>> = inputs
            .par_iter()
            .map(|input| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Cancelled.into());
                }
                let done = self.one(input, store)?;
                hits.fetch_add(done.hits, Ordering::Relaxed);
                misses.fetch_add(done.misses.len(), Ordering::Relaxed);
                let mut reasons = reasons.lock().expect("no counting thread panics");
                done.misses.into_iter().for_each(|reason| *reasons.entry(reason).or_insert(0) += 1);
                drop(reasons);
                step();
                Ok(done.outcome)
            })
            .collect();
        // Also after an error or a signal: what was finished is to be found by the next run.
        store.close()?;
        let work = CacheStats {
            hits: hits.into_inner(),
            misses: misses.into_inner(),
            reasons: reasons.into_inner().expect("no counting thread panics"),
        };
        Ok((outcomes?, work))
    }

    /// What the cache has of what is wanted of a recording. Whether it is `intact` costs reading it.
    fn found(&self, input: &ExtractionInput, content: &Hash, store: &FeatureCache, intact: bool) -> Partly {
        let of_clip = |feature: &Feature| match store.get(content, &feature.recipe.hash) {
            Some(CacheEntry::Matrix(stored)) if !intact || stored.is_intact() => Some(stored.clone()),
            _ => None,
        };
        let mut found = Partly::default();
        if input.clip {
            found.clip = self.features.iter().map(of_clip).collect();
        }
        if let Some(windowing) = self.windowing.as_ref().filter(|_| input.windows) {
            let starts = windowing.starts(content, store);
            let of_windows = |feature: &Feature| {
                let recipe = feature.of_windows.as_ref().expect("there are windows");
                windowing.find(content, &recipe.hash, starts.as_ref()?, store, intact)
            };
            found.windows = self.features.iter().map(of_windows).collect();
        }
        found
    }

    fn one(&self, input: &ExtractionInput, store: &FeatureCache) -> Result<Done> {
        let content = match input.content {
            Ok(content) => content,
            Err(Unreadable(why)) => return Ok(Done::left_out(0, "unreadable", why)),
        };
        if let Some(CacheEntry::Unusable { code, sentence }) = store.get(content, &self.decoding.hash) {
            let wanted = usize::from(input.clip) + usize::from(input.windows && self.windowing.is_some());
            return Ok(Done::left_out(wanted * self.features.len(), code, sentence));
        }
        let mut found = self.found(input, content, store, true);
        let hits = found.hits();
        if found.misses() == 0 {
            return Ok(Done { outcome: Ok(found.complete()), hits, misses: Vec::new() });
        }
        let (of_clip, of_windows) = (missing(&found.clip), missing(&found.windows));
        let recipe_of_windows = |i: usize| self.features[i].of_windows.as_ref().expect("there are windows");
        let missed = of_clip.iter().map(|&i| &self.features[i].recipe);
        let missed = missed.chain(of_windows.iter().map(|&i| recipe_of_windows(i)));
        let misses = missed.map(|recipe| store.why_missed(content, recipe)).collect();
        let mut recording = match self.decode(input.record, content)? {
            Ok(recording) => recording,
            Err(why) => {
                let (code, sentence) = (why.code(), why.to_string());
                store.put_unusable(content, &self.decoding.hash, code, &sentence)?;
                return Ok(Done { misses, ..Done::left_out(0, code, &sentence) });
            }
        };
        // One odd recording must not end the run; another feature may still like it, so the cache stays silent.
        let left_out = |misses, i: usize, why: anyhow::Error| {
            let sentence = format!("`{}` cannot be computed: {why:#}", self.features[i].name);
            Ok(Done { misses, ..Done::left_out(hits, "no_feature", &sentence) })
        };
        if let Some(windowing) = self.windowing.as_ref().filter(|_| !of_windows.is_empty()) {
            recording = windowing.whole(recording);
            let features: Vec<(&Recipe, &dyn Extractor)> =
                of_windows.iter().map(|&i| (recipe_of_windows(i), self.features[i].extractor.as_ref())).collect();
            match windowing.compute(content, &recording, &features, store)? {
                Ok(windows) => of_windows.iter().zip(windows).for_each(|(&i, w)| found.windows[i] = Some(w)),
                Err((place, why)) => return left_out(misses, of_windows[place], why),
            }
        }
        if !of_clip.is_empty() {
            let clip = recording.into_clip(self.audio);
            let analysis = ClipAnalysis::new(&clip);
            for i in of_clip {
                let feature = &self.features[i];
                match feature.extractor.extract(&analysis) {
                    Ok(matrix) => found.clip[i] = Some(store.put(content, &feature.recipe.hash, &matrix)?),
                    Err(why) => return left_out(misses, i, why),
                }
            }
        }
        Ok(Done { outcome: Ok(found.complete()), hits, misses })
    }

    /// The recording of a file that could be read a moment ago, to be hashed: that it cannot any more will pass, and must not
    /// become part of a result.
    fn decode(&self, record: &ClipRecord, content: &Hash) -> Result<Result<Recording, Unusable>> {
        let bytes = std::fs::read(&record.path)
            .with_context(|| format!("cannot read {} any more: run again", record.path.display()))?;
        // What lands in the cache under this hash must be made of these very bytes.
        if blake3::hash(&bytes).as_bytes() != content {
            bail!("{} was changed while this run was reading it: run again", record.path.display());
        }
        let extension = record.path.extension().and_then(|e| e.to_str());
        Ok(audio::decode(&bytes, extension))
    }
}

/// What is there of a recording; nothing in the places of what has to be computed.
#[derive(Default)]
struct Partly {
    clip: Vec<Option<CachedMatrix>>,
    windows: Vec<Option<CachedWindows>>,
}

impl Partly {
    fn misses(&self) -> usize {
        missing(&self.clip).len() + missing(&self.windows).len()
    }

    fn hits(&self) -> usize {
        self.clip.len() + self.windows.len() - self.misses()
    }

    fn complete(self) -> ExtractedFeatures {
        ExtractedFeatures {
            clip: self.clip.into_iter().flatten().collect(),
            windows: self.windows.into_iter().flatten().collect(),
        }
    }
}

fn missing<T>(found: &[Option<T>]) -> Vec<usize> {
    (0..found.len()).filter(|&i| found[i].is_none()).collect()
}

struct Done {
    outcome: ExtractionResult,
    hits: usize,
    misses: Vec<String>,
}

impl Done {
    fn left_out(hits: usize, code: &str, sentence: &str) -> Done {
        Done {
            outcome: Err(RecordingError { code: code.to_owned(), sentence: sentence.to_owned() }),
            hits,
            misses: Vec::new(),
        }
    }
}
