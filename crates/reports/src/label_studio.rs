//! Exchanges labels with Label Studio: tasks with pre-annotations out, annotations back in.
//!
//! Conventions (Label Studio's documentation, "Import pre-annotated data" and "Export annotations"): a task has `data` with the address of
//! the audio, and `predictions`, whose `result` holds one item of the type `choices`. An export in the format JSON is a list of
//! tasks with `annotations`, whose `result` has the same form. Our `data` also holds the name of the recording, by which the annotations
//! come back.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use timbre_core::labels::Task;
use timbre_core::text::escape_xml;

/// The names of the controls in the labelling configuration.
const CHOICES: &str = "class";
const AUDIO: &str = "audio";

/// A recording to be labelled.
pub struct LabelTask {
    pub recording: String,
    /// The address from which Label Studio's page loads the audio.
    pub address: String,
    /// The part of the audio that is meant, in words.
    pub part: String,
    /// The present labels.
    pub labels: Vec<String>,
    /// What the model predicts, and how sure it is.
    pub predicted: Vec<String>,
    pub score: f64,
}

/// The tasks as JSON. `model` is the version of the predictions.
pub fn tasks(tasks: &[LabelTask], model: &str) -> Value {
    let task = |task: &LabelTask| {
        let result = json!({
            "from_name": CHOICES, "to_name": AUDIO, "type": "choices", "value": { "choices": task.predicted },
        });
        json!({
            "data": {
                "audio": task.address, "recording": task.recording, "part": task.part, "labels": task.labels.join(";"),
            },
            "predictions": [{ "model_version": model, "score": task.score, "result": [result] }],
        })
    };
    tasks.iter().map(task).collect()
}

/// The labelling configuration of the project.
pub fn configuration(classes: &[String], kind: Task) -> String {
    let choice = |class: &String| format!("    <Choice value=\"{}\"/>\n", escape_xml(class));
    let (mode, required) = match kind {
        Task::SingleLabel => ("single", "true"),
        Task::MultiLabel => ("multiple", "false"),
    };
    format!(
        "<View>\n  <Header value=\"$recording\"/>\n  <Text name=\"part\" value=\"$part\"/>\n  <Text name=\"labels\" value=\"$labels\"/>\n  <Audio name=\"{AUDIO}\" value=\"$audio\"/>\n  \
         <Choices name=\"{CHOICES}\" toName=\"{AUDIO}\" choice=\"{mode}\" required=\"{required}\">\n{}  </Choices>\n</View>\n",
        classes.iter().map(choice).collect::<String>()
    )
}

/// What people chose for a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    pub recording: String,
    /// The labels when it was exported.
    pub labels: BTreeSet<String>,
    pub chosen: BTreeSet<String>,
}

/// The classes that people chose. Of several annotations of a task the one that was changed last counts; cancelled ones and
/// tasks without annotations are left out.
pub fn annotations(export: &Value) -> Result<Vec<Annotation>> {
    let tasks = export.as_array().context("it is not a list of tasks: export in the format JSON")?;
    let mut annotated = Vec::new();
    for (n, task) in tasks.iter().enumerate() {
        let place = || format!("task {}", n + 1);
        let Some(recording) = task["data"]["recording"].as_str() else {
            bail!(
                "{} has no data.recording: it is not a task of `timbre data label-studio export`, or not in the format JSON",
                place()
            );
        };
        let all = task["annotations"]
            .as_array()
            .with_context(|| format!("{} has no annotations: export in the format JSON", place()))?;
        let valid = all.iter().filter(|annotation| !annotation["was_cancelled"].as_bool().unwrap_or(false));
        let changed = |annotation: &&Value| {
            let time = |key: &str| annotation[key].as_str().unwrap_or_default().to_owned();
            time("updated_at").max(time("created_at"))
        };
        let Some(last) = valid.max_by_key(changed) else { continue };
        let results =
            last["result"].as_array().with_context(|| format!("an annotation of {} has no result", place()))?;
        let own = results.iter().filter(|result| result["type"] == "choices" && result["from_name"] == CHOICES);
        let classes = own.flat_map(|result| result["value"]["choices"].as_array().into_iter().flatten());
        let classes = classes.filter_map(|class| class.as_str().map(str::to_owned)).collect();
        let labels = task["data"]["labels"].as_str().unwrap_or_default();
        let labels = labels.split(';').filter(|class| !class.is_empty()).map(str::to_owned).collect();
        annotated.push(Annotation { recording: recording.to_owned(), labels, chosen: classes });
    }
    Ok(annotated)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An export as the documentation shows it, with the fields that are not read.
    fn export() -> Value {
        let annotation = |created: &str, cancelled: bool, classes: &[&str]| {
            let result = json!({ "id": "x1", "from_name": "class", "to_name": "audio", "type": "choices", "origin": "manual",
                "value": { "choices": classes } });
            json!({ "id": 1, "completed_by": 1, "was_cancelled": cancelled, "ground_truth": false, "created_at": created,
                "updated_at": created, "lead_time": 3.2, "result": [result] })
        };
        let task = |recording: &str, annotations: Vec<Value>| {
            json!({ "id": 1, "data": { "audio": "x", "recording": recording, "labels": "p" },
            "annotations": annotations, "predictions": [], "project": 1 })
        };
        json!([
            task(
                "a.wav",
                vec![
                    annotation("2024-05-02T10:00:00Z", false, &["q"]),
                    annotation("2024-05-01T10:00:00Z", false, &["p"])
                ]
            ),
            task("b.wav", vec![annotation("2024-05-01T10:00:00Z", true, &["q"])]),
            task("c.wav", vec![annotation("2024-05-01T10:00:00Z", false, &[])]),
            task("d.wav", vec![]),
        ])
    }

    #[test]
    fn the_annotation_that_was_changed_last_counts() {
        let of = |recording: &str, chosen: &[&str]| Annotation {
            recording: recording.to_owned(),
            labels: ["p".to_owned()].into(),
            chosen: chosen.iter().map(|class| (*class).to_owned()).collect(),
        };
        assert_eq!(annotations(&export()).unwrap(), [of("a.wav", &["q"]), of("c.wav", &[])]);
        for (wrong, why) in [
            (json!({}), "not a list"),
            (json!([{ "audio": "x", "class": "p" }]), "no data.recording"),
            (json!([{ "data": { "recording": "a" }, "class": "p" }]), "no annotations"),
        ] {
            assert!(format!("{:#}", annotations(&wrong).unwrap_err()).contains(why));
        }
    }

    #[test]
    fn a_configuration_names_every_class_as_text() {
        let several = configuration(&["a\"b".to_owned(), "c".to_owned()], Task::MultiLabel);
        assert!(
            several.contains("<Choice value=\"a&quot;b\"/>")
                && several.contains("choice=\"multiple\" required=\"false\"")
        );
        assert!(configuration(&[], Task::SingleLabel).contains("choice=\"single\""));
    }
}
