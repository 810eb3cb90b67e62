//! `pretrained`: the scores of a pretrained network as a classifier, without training.
//!
//! Conventions:
//! * The columns of the feature are the probabilities of the labels for which the network was trained (`kind = "embedding"` with
//!   `layer = "scores"`, or an imported table). A class has the probability of the most likely of its labels; a class without
//!   labels (`[]`) has 0.
//! * A label without a place in `map` belongs to the class of its name. Names are compared without case, with `_` and `-` as spaces;
//!   of "Violin, fiddle" each part is a name. The codes of IRMAS stand for their instruments.
//! * With one label per clip, the probabilities of the classes are divided by their sum.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ensure_columns, predict_row_by_row};
use crate::classifier::ensure_trainable;
use crate::classifier::probability_row;
use crate::device::Device;
use crate::tensor::{take_matrix, take_tensor};
use crate::{Classifier, FeatureChoice, FitContext, ModelKind, Tensor};
use timbre_core::labels::{Classes, Task};
use timbre_core::registry::Fault;
use timbre_evaluation::predictions::{Predictions, argmax};
use timbre_inputs::data::irmas;
use timbre_inputs::data::table::{TABLE_EXTENSIONS, Table};
use timbre_inputs::dataset::feature_set::FeatureSet;

/// The scores of a pretrained network as a classifier, without training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pretrained {
    /// The feature with the scores: a name or a list of names. Default: every feature of the experiment.
    #[serde(skip_serializing_if = "FeatureChoice::is_all")]
    pub features: FeatureChoice,
    /// The file with the labels of the columns, relative to the folder of the project: a line each, a table with a column
    /// `display_name`, `name` or `label` (AudioSet's `class_labels_indices.csv`), or a `config.json` with `id2label`. Required.
    pub labels: String,
    /// The labels of a class, as in `violin = ["Violin, fiddle", "Fiddle"]`; `[]` for a class that the network does not know. Default: the
    /// labels with the name of the class.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub map: IndexMap<String, Vec<String>>,
}

impl Pretrained {
    fn read_labels(&self) -> Result<Vec<String>> {
        let path = Path::new(&self.labels);
        labels_of(path).with_context(|| format!("cannot read labels from {}", path.display()))
    }

    /// The columns of each class, or what is wrong with `map`.
    fn columns(&self, labels: &[String], classes: &Classes) -> Result<Vec<Vec<usize>>, Fault> {
        let fault = |sentence| Fault::new("map", sentence);
        if let Some(unknown) = self.map.keys().find(|class| classes.index(class).is_none()) {
            let known = classes.names().join(", ");
            return Err(fault(format!("the data set has no class `{unknown}`; its classes are {known}")));
        }
        let column = |label: &String| {
            let found = labels.iter().position(|own| own == label);
            found.ok_or_else(|| fault(format!("{} has no label `{label}`{}", self.labels, similar(label, labels))))
        };
        let of_name = |class: &String| {
            let name = plain(irmas::display_name(classes, class));
            let is_named = |label: &str| plain(label) == name || label.split(',').any(|part| plain(part) == name);
            let found: Vec<usize> = (0..labels.len()).filter(|&at| is_named(&labels[at])).collect();
            if found.is_empty() {
                return Err(fault(format!(
                    "{} has no label for the class `{class}`{}; write `map.{class} = [\"…\"]`, or `[]` for none",
                    self.labels,
                    similar(&name, labels)
                )));
            }
            Ok(found)
        };
        let of_class = |class: &String| match self.map.get(class) {
            Some(own) => own.iter().map(column).collect(),
            None => of_name(class),
        };
        classes.names().iter().map(of_class).collect()
    }
}

/// A name as it is compared.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '-'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Labels that share a word with a name.
fn similar(name: &str, labels: &[String]) -> String {
    const SHOWN: usize = 5;
    let name = plain(name);
    let words: Vec<&str> = name.split([' ', ',']).filter(|word| word.len() > 2).collect();
    let shares = |label: &&String| words.iter().any(|word| plain(label).contains(word));
    let found: Vec<String> = labels.iter().filter(shares).take(SHOWN).map(|label| format!("`{label}`")).collect();
    if found.is_empty() { String::new() } else { format!(" (it has {})", found.join(", ")) }
}

/// The labels of a file, in the order of the columns.
fn labels_of(path: &Path) -> Result<Vec<String>> {
    let extension = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    let labels: Vec<String> = if extension == "json" {
        let config: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let names = config["id2label"].as_object().context("it has no `id2label`")?;
        let label = |number: usize| names.get(&number.to_string()).and_then(Value::as_str).map(str::to_owned);
        (0..names.len())
            .map(|number| label(number).with_context(|| format!("`id2label` has no number {number}")))
            .collect::<Result<_>>()?
    } else if TABLE_EXTENSIONS.contains(&extension.as_str()) {
        let table = Table::read(path)?;
        if let Some(fault) = table.faults.first() {
            bail!("{fault}");
        }
        let column = ["display_name", "name", "label"].into_iter().find_map(|name| table.column(name));
        let column = column.context("it has no column `display_name`, `name` or `label`")?;
        table.rows.iter().map(|row| row.cells[column].text()).collect()
    } else {
        let text = std::fs::read_to_string(path)?;
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    ensure!(!labels.is_empty(), "it has no label");
    Ok(labels)
}

impl ModelKind for Pretrained {
    fn version(&self) -> u32 {
        1
    }

    fn features(&self) -> &FeatureChoice {
        &self.features
    }

    fn fit(&self, train: &FeatureSet, context: &FitContext) -> Result<Box<dyn Classifier>> {
        ensure_trainable(self, train)?;
        let labels = self.read_labels()?;
        ensure_columns(train, labels.len())?;
        let columns = self
            .columns(&labels, context.classes)
            .map_err(|Fault { key, sentence }| anyhow::anyhow!("`{key}`: {sentence}"))?;
        Ok(Box::new(Fitted {
            columns,
            labels: labels.len(),
            sums_to_one: context.decision_rule.task == Task::SingleLabel,
        }))
    }

    fn restore(&self, mut tensors: Vec<Tensor>, n_classes: usize, _device: &Device) -> Result<Box<dyn Classifier>> {
        let (classes, labels, values) = take_matrix(&mut tensors, "labels_of_classes")?;
        ensure!(classes == n_classes, "`labels_of_classes` has {classes} classes, expected {n_classes}");
        let of_class = |row: &[f32]| (0..labels).filter(|&label| row[label] != 0.0).collect();
        let columns = (0..classes).map(|class| of_class(&values[class * labels..][..labels])).collect();
        let sums_to_one = take_tensor(&mut tensors, "sums_to_one")? == [1.0];
        Ok(Box::new(Fitted { columns, labels, sums_to_one }))
    }

    fn learns(&self) -> bool {
        false
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![PathBuf::from(&self.labels)]
    }

    fn faults(&self) -> Vec<Fault> {
        let sentence = "name the file with the labels of the network, such as \"weights/mtt_musicnn.txt\" or AudioSet's \
                        \"class_labels_indices.csv\" (docs/pretrained.md)";
        Fault::of_keys([("labels", self.labels.is_empty().then(|| sentence.to_owned()))])
    }

    fn size_faults(&self, _clips: usize, columns: Option<usize>) -> Vec<Fault> {
        let labels = match self.read_labels() {
            Ok(labels) => labels.len(),
            Err(error) => return vec![Fault::new("labels", format!("{error:#}"))],
        };
        let other = columns.filter(|&columns| columns != labels);
        let sentence = |columns: usize| {
            format!(
                "{} has {labels} labels and the feature {columns} values: the feature has to be the scores of the network \
                 (`kind = \"embedding\"` with `layer = \"scores\"`)",
                self.labels
            )
        };
        Fault::of_keys([("labels", other.map(sentence))])
    }

    fn class_faults(&self, classes: &Classes) -> Vec<Fault> {
        // A file that cannot be read is a fault of its own.
        self.read_labels().ok().and_then(|labels| self.columns(&labels, classes).err()).into_iter().collect()
    }
}

struct Fitted {
    /// The columns of each class.
    columns: Vec<Vec<usize>>,
    /// The number of labels.
    labels: usize,
    /// One label per clip: the probabilities are divided by their sum.
    sums_to_one: bool,
}

impl Classifier for Fitted {
    fn predict(&self, set: &FeatureSet) -> Result<Predictions> {
        ensure_columns(set, self.labels)?;
        predict_row_by_row(set, None, self.columns.len(), |row| {
            let most = |columns: &Vec<usize>| columns.iter().map(|&at| f64::from(row[at])).fold(0.0, f64::max);
            let scores: Vec<f64> = self.columns.iter().map(most).collect();
            if !self.sums_to_one {
                return scores.into_iter().map(|score| score as f32).collect();
            }
            let sum: f64 = scores.iter().sum();
            let even = 1.0 / scores.len() as f64;
            let shares: Vec<f64> = scores.iter().map(|score| if sum > 0.0 { score / sum } else { even }).collect();
            let shares_as_f32: Vec<f32> = shares.iter().map(|&share| share as f32).collect();
            probability_row(&shares, argmax(&shares_as_f32))
        })
    }

    fn tensors(&self) -> Result<Vec<Tensor>> {
        let mut values = vec![0.0; self.columns.len() * self.labels];
        for (class, columns) in self.columns.iter().enumerate() {
            columns.iter().for_each(|column| values[class * self.labels + column] = 1.0);
        }
        let shape = vec![self.columns.len(), self.labels];
        let sums_to_one = vec![f32::from(u8::from(self.sums_to_one))];
        Ok(vec![Tensor::new("labels_of_classes", shape, values), Tensor::new("sums_to_one", vec![1], sums_to_one)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use timbre_core::seed::Seed;
    use timbre_evaluation::metrics::DecisionRule;

    const LABELS: [&str; 5] = ["Violin, fiddle", "Fiddle", "Cello", "Electric guitar", "Singing"];

    fn spec(map: &[(&str, &[&str])]) -> Pretrained {
        let own = |(class, labels): &(&str, &[&str])| {
            ((*class).to_owned(), labels.iter().map(|label| (*label).to_owned()).collect())
        };
        Pretrained { labels: "labels.txt".to_owned(), map: map.iter().map(own).collect(), ..Default::default() }
    }

    fn columns(map: &[(&str, &[&str])], classes: &[&str]) -> Result<Vec<Vec<usize>>, String> {
        let labels: Vec<String> = LABELS.iter().map(|label| (*label).to_owned()).collect();
        spec(map).columns(&labels, &Classes::new(classes.iter().copied())).map_err(|fault| fault.sentence)
    }

    #[test]
    fn a_class_has_the_labels_of_its_name_or_those_of_the_map() {
        assert_eq!(columns(&[], &["violin", "CELLO", "electric_guitar"]).unwrap(), [vec![0], vec![2], vec![3]]);
        assert_eq!(columns(&[], &["fiddle"]).unwrap(), [vec![0, 1]]);
        assert_eq!(columns(&[("voice", &["Singing"])], &["cello", "voice"]).unwrap(), [vec![2], vec![4]]);
        // The codes of IRMAS stand for their names.
        assert_eq!(
            columns(&[("pia", &[])], &["cel", "gel", "vio", "pia"]).unwrap(),
            [vec![2], vec![3], vec![0], vec![]]
        );
    }

    #[test]
    fn a_class_or_label_that_does_not_exist_is_named_with_similar_ones() {
        let missing = columns(&[], &["cello", "bass guitar"]).unwrap_err();
        assert!(missing.contains("`bass guitar`") && missing.contains("`Electric guitar`"), "{missing}");
        let label = columns(&[("cello", &["Violin"])], &["cello"]).unwrap_err();
        assert!(label.contains("no label `Violin`") && label.contains("`Violin, fiddle`"), "{label}");
        let class = columns(&[("oboe", &["Cello"])], &["cello"]).unwrap_err();
        assert!(class.contains("no class `oboe`"), "{class}");
    }

    #[test]
    fn labels_are_read_from_lines_tables_and_configurations() {
        let folder = tempfile::tempdir().unwrap();
        let read = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
            labels_of(&folder.path().join(name)).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(read("a.txt", "guitar\r\n\nno vocals\n").unwrap(), ["guitar", "no vocals"]);
        let table = "index,mid,display_name\n0,/m/09x0r,Speech\n1,/m/05zppz,\"Male speech, man speaking\"\n";
        assert_eq!(read("a.csv", table).unwrap(), ["Speech", "Male speech, man speaking"]);
        let config = r#"{"model_type": "x", "id2label": {"1": "b", "0": "a", "10": "k"}}"#;
        assert!(read("gap.json", config).unwrap_err().contains("number 2"));
        assert_eq!(read("a.json", r#"{"id2label": {"1": "b", "0": "a"}}"#).unwrap(), ["a", "b"]);
        assert!(read("b.csv", "index\n0\n").unwrap_err().contains("display_name"));
    }

    #[test]
    fn the_most_likely_label_counts_and_one_class_per_clip_sums_to_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.txt");
        std::fs::write(&path, LABELS.join("\n")).unwrap();
        let mut spec = spec(&[("violin", &["Violin, fiddle", "Fiddle"]), ("oboe", &[])]);
        spec.labels = path.to_str().unwrap().to_owned();
        let classes = Classes::new(["cello", "violin", "oboe"]);
        let rows = vec![0.1, 0.6, 0.2, 0.9, 0.9, 0.0, 0.0, 0.0, 0.9, 0.9];
        let set = FeatureSet::from_matrices(rows, [5, 1], vec![vec![0], vec![1]], 3);
        let fitted = |task| {
            let decision_rule = DecisionRule { task, ..DecisionRule::default() };
            let context = FitContext { decision_rule, classes: &classes, ..FitContext::standalone(Seed::new(1)) };
            let fitted = spec.fit(&set, &context).unwrap();
            let restored = spec.restore(fitted.tensors().unwrap(), 3, &Device::cpu()).unwrap();
            let predictions = fitted.predict(&set).unwrap();
            assert_eq!(predictions, restored.predict(&set).unwrap());
            predictions
        };
        assert_eq!(fitted(Task::MultiLabel).row(0), [0.2, 0.6, 0.0]);
        assert_eq!(fitted(Task::SingleLabel).row(0), [0.25, 0.75, 0.0]);
        let undecided = fitted(Task::SingleLabel);
        assert!(undecided.row(1).iter().all(|share| (share - 1.0 / 3.0).abs() < 1e-6), "{:?}", undecided.row(1));
        let other = spec.size_faults(2, Some(4));
        assert!(other[0].sentence.contains("5 labels and the feature 4 values"), "{other:?}");
    }
}
