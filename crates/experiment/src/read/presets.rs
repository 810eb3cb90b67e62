//! `preset` in the table of a feature: the defaults of another program, or of another version of librosa, for the keys that the table does not
//! set.
//!
//! Sources: librosa 0.8 padded centred frames by reflection (0.10 changed it to zeros); torchaudio's `Spectrogram`, `MelSpectrogram`, `MFCC` and
//! `LFCC`; Kaldi's `compute-fbank-feats` and `compute-mfcc-feats`, without dither and, apart from `kaldi_fbank`, without pre-emphasis and with decibels;
//! Essentia's `MelBands` and `MFCC`, without its normalisation of the bands.

use crate::errors::ErrorCollector;
use crate::read::tree::{Entry, Node, Value, kind_of};
use timbre_core::suggest;
use timbre_inputs::features::FeatureSpec;

/// The key of a feature that names a preset.
pub const PRESET: &str = "preset";

/// The names of the presets.
pub const PRESETS: [&str; 6] = ["librosa-0.8", "librosa-0.10", "librosa-0.11", "torchaudio", "kaldi", "essentia-like"];

/// Whether the frames of the kind can be padded by reflection.
fn is_padded(kind: &str) -> bool {
    let with_key = serde_json::json!({ "kind": kind, "pad_mode": "reflect" });
    serde_json::from_value::<FeatureSpec>(with_key).is_ok()
}

/// The keys that a preset sets for a kind; None if it knows nothing of the kind.
fn keys(preset: &str, kind: &str) -> Option<Vec<(&'static str, Value)>> {
    let text = |word: &str| Value::Text(word.to_owned());
    let (whole, number, truth) = (Value::Integer, Value::Float, Value::Boolean);
    let torch = || vec![("n_fft", whole(400)), ("hop_length", whole(200)), ("pad_mode", text("reflect"))];
    let kaldi = || {
        vec![
            ("n_fft", whole(512)),
            ("win_length", whole(400)),
            ("hop_length", whole(160)),
            ("center", truth(false)),
            ("window", text("hamming")),
            ("n_mels", whole(23)),
            ("fmin", number(20.0)),
            ("htk", truth(true)),
        ]
    };
    let essentia =
        || vec![("n_fft", whole(2048)), ("hop_length", whole(1024)), ("htk", truth(true)), ("top_db", number(0.0))];
    let own = match (preset, kind) {
        // Their defaults are those of this program.
        ("librosa-0.10" | "librosa-0.11", _) => vec![],
        ("librosa-0.8", kind) if is_padded(kind) => vec![("pad_mode", text("reflect"))],
        ("librosa-0.8", _) => vec![],
        ("torchaudio", "stft") => [torch(), vec![("power", number(2.0))]].concat(),
        ("torchaudio", "mel") => {
            [torch(), vec![("htk", truth(true)), ("norm", text("none")), ("db", truth(false))]].concat()
        }
        ("torchaudio", "mfcc") => {
            [torch(), vec![("n_mfcc", whole(40)), ("htk", truth(true)), ("mel_norm", text("none"))]].concat()
        }
        ("torchaudio", "lfcc") => torch(),
        ("kaldi" | "torchaudio", "kaldi_fbank") => vec![],
        ("kaldi", "mel") => [kaldi(), vec![("norm", text("none")), ("top_db", number(0.0))]].concat(),
        ("kaldi", "mfcc") => {
            [kaldi(), vec![("n_mfcc", whole(13)), ("lifter", number(22.0)), ("mel_norm", text("none"))]].concat()
        }
        ("essentia-like", "mel") => [essentia(), vec![("n_mels", whole(24)), ("norm", text("none"))]].concat(),
        ("essentia-like", "mfcc") => {
            let mut own = essentia();
            own.retain(|(key, _)| *key != "top_db");
            own.extend([
                ("n_mels", whole(40)),
                ("n_mfcc", whole(13)),
                ("fmax", number(11000.0)),
                ("mel_norm", text("none")),
            ]);
            own
        }
        _ => return None,
    };
    Some(own)
}

/// Replaces `preset` in the features, and in the features that they are made of, by the keys that it stands for.
pub fn insert_presets(tree: &mut Node, errors: &mut ErrorCollector) {
    let features = tree.table_mut().and_then(|root| root.get_mut("features")).and_then(|entry| entry.node.table_mut());
    features.into_iter().flat_map(|features| features.values_mut()).for_each(|entry| insert(&mut entry.node, errors));
}

fn insert(feature: &mut Node, errors: &mut ErrorCollector) {
    let Some(table) = feature.table_mut() else { return };
    if let Some(of) = table.get_mut("of") {
        match &mut of.node.value {
            Value::List(parts) => parts.iter_mut().for_each(|part| insert(part, errors)),
            _ => insert(&mut of.node, errors),
        }
    }
    // The position of other keys must not change.
    let Some(Entry { key, node }) = table.shift_remove(PRESET) else { return };
    let known = node.text().filter(|name| PRESETS.contains(name));
    let (Some(preset), Some(kind)) = (known, kind_of(table).map(str::to_owned)) else {
        let help = suggest::help(node.text().unwrap_or_default(), PRESETS, "Choices");
        if known.is_none() {
            errors.add(node.at, "`preset`: unknown preset".to_owned(), &help);
        }
        return;
    };
    let Some(own) = keys(preset, &kind) else {
        let help = "remove it, or write the keys themselves";
        return errors.add(key, format!("`preset`: `{preset}` has no defaults for the feature `{kind}`"), help);
    };
    for (name, value) in own {
        table.entry(name.to_owned()).or_insert_with(|| Entry { key, node: Node { value, at: node.at } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Origin;

    #[test]
    fn every_preset_sets_keys_that_its_kinds_have() {
        let at = Origin { source: 0, start: 0, end: 0 };
        for preset in PRESETS {
            for kind in FeatureSpec::KINDS.iter().filter(|kind| !["concat", "stack"].contains(*kind)) {
                let Some(own) = keys(preset, kind) else { continue };
                let mut json = serde_json::json!({ "kind": kind });
                for (key, value) in own {
                    json[key] = Node { value, at }.to_json();
                }
                let spec: Result<FeatureSpec, _> = serde_json::from_value(json);
                assert!(spec.is_ok(), "{preset} {kind}: {spec:?}");
            }
        }
        let old = FeatureSpec::KINDS.iter().filter(|kind| keys("librosa-0.8", kind).is_some_and(|own| !own.is_empty()));
        assert!(old.clone().any(|kind| *kind == "stft") && !old.clone().any(|kind| *kind == "raw"));
    }
}
