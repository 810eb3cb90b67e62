//! The parallel job over the feature cache: every feature of every recording, each computed once.
//!
//! A recording is read, decoded and resampled once for all the features that miss it, and its spectra are shared. At most one
//! recording a thread is in memory: what is computed goes to the cache and stays there until a model asks for it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use rayon::prelude::*;
use serde_json::json;

use crate::audio::{self, AudioSpec};
use crate::data::ClipRecord;
use crate::features::{ClipAnalysis, Extractor, FeatureSpec};
use crate::store::contents::Unreadable;
use crate::store::{Found, Hash, Recipe, Store, Stored};

/// Raised by hand when a record of the same recipe must be computed anew for a reason that no stage's version covers.
pub const VERSION: u32 = 1;

/// A recording with the hash of its bytes.
pub struct Input<'a> {
    pub record: &'a ClipRecord,
    pub content: &'a Result<Hash, Unreadable>,
}

/// The features of one experiment, ready to be computed.
pub struct Extraction<'a> {
    audio: &'a AudioSpec,
    /// Under this recipe the cache remembers that a recording cannot be used.
    decoding: Recipe,
    features: Vec<Feature>,
}

struct Feature {
    name: String,
    recipe: Recipe,
    extractor: Box<dyn Extractor>,
}

/// Why a recording was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    pub code: String,
    pub sentence: String,
}

/// The features of one recording, in the order of [`Extraction::names`], or why there are none.
pub type Outcome = Result<Vec<Stored>, LeftOut>;

/// What a job did.
#[derive(Debug, Default)]
pub struct Work {
    /// (recording, feature) pairs found in the cache.
    pub hits: usize,
    /// Pairs computed.
    pub misses: usize,
    /// Why pairs were missed, and how often.
    pub reasons: BTreeMap<String, usize>,
}

/// The job was stopped by a signal; everything finished so far is in the cache.
#[derive(Debug, thiserror::Error)]
#[error("stopped: run the same command again to go on")]
pub struct Stopped;

impl<'a> Extraction<'a> {
    /// Plans the features: windows, filters and transforms are made here, once.
    pub fn new<'s>(
        audio: &'a AudioSpec,
        specs: impl IntoIterator<Item = (&'s String, &'s FeatureSpec)>,
    ) -> Result<Self> {
        let decoding = json!({ "audio": audio, "decoding": audio::VERSION, "cache": VERSION });
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
                    extractor: kind
                        .build(audio.sample_rate)
                        .with_context(|| format!("cannot set up the feature `{name}`"))?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Extraction { audio, decoding: Recipe::new(decoding), features })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|f| f.name.as_str())
    }

    /// What the cache holds of these recordings: (hits, misses), without computing anything.
    pub fn look(&self, inputs: &[Input], store: &Store) -> (usize, usize) {
        let (mut hits, mut misses) = (0, 0);
        // What cannot be used has no features to compute.
        let usable = |content: &&Hash| !matches!(store.get(content, &self.decoding.hash), Some(Found::Unusable { .. }));
        for content in inputs.iter().filter_map(|i| i.content.as_ref().ok()).filter(usable) {
            let found = self.features.iter().filter(|f| store.get(content, &f.recipe.hash).is_some()).count();
            hits += found;
            misses += self.features.len() - found;
        }
        (hits, misses)
    }

    /// Computes what the cache lacks, on all threads of the pool, and says where everything lies.
    pub fn run(
        &self,
        inputs: &[Input],
        store: &Store,
        stop: &AtomicBool,
        step: impl Fn() + Sync,
    ) -> Result<(Vec<Outcome>, Work)> {
        self.features.iter().map(|f| &f.recipe).chain([&self.decoding]).try_for_each(|r| store.note_recipe(r))?;
        let (hits, misses) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let reasons = Mutex::new(BTreeMap::new());
        let outcomes: Result<Vec<Outcome>> = inputs
            .par_iter()
            .map(|input| {
                if stop.load(Ordering::Relaxed) {
                    return Err(Stopped.into());
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
        let work = Work {
            hits: hits.into_inner(),
            misses: misses.into_inner(),
            reasons: reasons.into_inner().expect("no counting thread panics"),
        };
        Ok((outcomes?, work))
    }

    fn one(&self, input: &Input, store: &Store) -> Result<Done> {
        let content = match input.content {
            Ok(content) => content,
            Err(Unreadable(why)) => return Ok(Done::left_out(0, "unreadable", why)),
        };
        if let Some(Found::Unusable { code, sentence }) = store.get(content, &self.decoding.hash) {
            return Ok(Done::left_out(self.features.len(), code, sentence));
        }
        let mut found: Vec<Option<Stored>> = self
            .features
            .iter()
            .map(|f| match store.get(content, &f.recipe.hash) {
                Some(Found::Matrix(stored)) if stored.is_intact() => Some(stored.clone()),
                _ => None,
            })
            .collect();
        let missing: Vec<usize> = (0..found.len()).filter(|&i| found[i].is_none()).collect();
        let hits = found.len() - missing.len();
        if missing.is_empty() {
            return Ok(Done { outcome: Ok(found.into_iter().flatten().collect()), hits, misses: Vec::new() });
        }
        let misses = missing.iter().map(|&i| store.why_missed(content, &self.features[i].recipe)).collect();
        let record = input.record;
        // It could be read a moment ago, to be hashed: this will pass, and must not become part of a result.
        let bytes = std::fs::read(&record.path)
            .with_context(|| format!("cannot read {} any more: run again", record.path.display()))?;
        // What lands in the cache under this hash must be made of these very bytes.
        if blake3::hash(&bytes).as_bytes() != content {
            bail!("{} was changed while this run was reading it: run again", record.path.display());
        }
        let extension = record.path.extension().and_then(|e| e.to_str());
        let clip = match audio::load(&bytes, extension, self.audio) {
            Ok(clip) => clip,
            Err(why) => {
                let (code, sentence) = (why.code(), why.to_string());
                store.put_unusable(content, &self.decoding.hash, code, &sentence)?;
                return Ok(Done { misses, ..Done::left_out(0, code, &sentence) });
            }
        };
        let analysis = ClipAnalysis::new(&clip);
        for i in missing {
            let feature = &self.features[i];
            match feature.extractor.extract(&analysis) {
                Ok(matrix) => found[i] = Some(store.put(content, &feature.recipe.hash, &matrix)?),
                // One odd recording must not end the run; another feature may still like it, so the cache stays silent.
                Err(e) => {
                    let sentence = format!("`{}` cannot be computed: {e:#}", feature.name);
                    return Ok(Done { misses, ..Done::left_out(hits, "no_feature", &sentence) });
                }
            }
        }
        Ok(Done { outcome: Ok(found.into_iter().flatten().collect()), hits, misses })
    }
}

struct Done {
    outcome: Outcome,
    hits: usize,
    misses: Vec<String>,
}

impl Done {
    fn left_out(hits: usize, code: &str, sentence: &str) -> Done {
        Done {
            outcome: Err(LeftOut { code: code.to_owned(), sentence: sentence.to_owned() }),
            hits,
            misses: Vec::new(),
        }
    }
}
