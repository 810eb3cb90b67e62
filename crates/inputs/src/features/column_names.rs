//! The names of the columns of a feature, for tables of coefficients and importances.

use super::FeatureSpec;

/// The name of each column of the feature `name`, for clips of `samples` samples: `mfcc.mean[3]` is the mean over time of row 3, `mel row 3,
/// frame 7` a value of an image, `fft[3]` one of a vector. The columns of `concat` and `stack` have the names of their parts, which `part_name`
/// gives. None if the feature has no shape for such clips.
pub fn column_names(
    name: &str,
    spec: &FeatureSpec,
    samples: usize,
    part_name: &dyn Fn(&FeatureSpec) -> String,
) -> Option<Vec<String>> {
    let [rows, cols] = spec.as_kind().shape(samples)?;
    if let FeatureSpec::Concat(concat) = spec {
        let parts = concat.of.iter().zip(numbered(&concat.of, part_name));
        let all = parts.map(|(part, name)| column_names(&name, part, samples, part_name));
        return Some(all.collect::<Option<Vec<_>>>()?.concat());
    }
    if let FeatureSpec::Stack(stack) = spec {
        let parts = stack.of.iter().zip(numbered(&stack.of, part_name));
        let all = parts.map(|(part, name)| Some(grid(&name, part.as_kind().shape(samples)?)));
        return Some(all.collect::<Option<Vec<_>>>()?.concat());
    }
    let statistics = summary(spec);
    if statistics.is_empty() || cols != 1 || !rows.is_multiple_of(statistics.len()) {
        return Some(grid(name, [rows, cols]));
    }
    let bands = rows / statistics.len();
    Some(statistics.iter().flat_map(|own| (0..bands).map(move |row| format!("{name}.{own}[{row}]"))).collect())
}

/// The name of each part; of equal names the second ends in `#2`, and so on.
fn numbered(parts: &[FeatureSpec], part_name: &dyn Fn(&FeatureSpec) -> String) -> Vec<String> {
    let names: Vec<String> = parts.iter().map(part_name).collect();
    let number = |at: usize| names[..=at].iter().filter(|name| **name == names[at]).count();
    let name = |at: usize| if number(at) == 1 { names[at].clone() } else { format!("{}#{}", names[at], number(at)) };
    (0..names.len()).map(name).collect()
}

fn grid(name: &str, [rows, cols]: [usize; 2]) -> Vec<String> {
    if rows == 1 || cols == 1 {
        return (0..rows * cols).map(|at| format!("{name}[{at}]")).collect();
    }
    (0..rows).flat_map(|row| (0..cols).map(move |frame| format!("{name} row {row}, frame {frame}"))).collect()
}

/// The statistics of the key `summary`, in their order; `harmonic` and `percussive` have those of their feature.
fn summary(spec: &FeatureSpec) -> Vec<String> {
    match spec {
        FeatureSpec::Harmonic(part) => return summary(&part.of),
        FeatureSpec::Percussive(part) => return summary(&part.of),
        _ => {}
    }
    let table = serde_json::to_value(spec).unwrap_or_default();
    let statistics = table["summary"].as_array().cloned().unwrap_or_default();
    statistics.iter().filter_map(|statistic| statistic.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn names(spec: serde_json::Value) -> Vec<String> {
        let spec: FeatureSpec = serde_json::from_value(spec).unwrap();
        let names = column_names("f", &spec, 4096, &|part| part.kind().to_owned()).unwrap();
        let [rows, cols] = spec.as_kind().shape(4096).unwrap();
        assert_eq!(names.len(), rows * cols, "{spec:?}");
        names
    }

    #[test]
    fn a_column_is_named_after_its_statistic_its_place_in_the_image_or_its_index() {
        let summary = json!({ "kind": "mfcc", "n_mfcc": 3, "summary": ["mean", "q25"] });
        assert_eq!(names(summary), ["f.mean[0]", "f.mean[1]", "f.mean[2]", "f.q25[0]", "f.q25[1]", "f.q25[2]"]);
        let image = names(json!({ "kind": "mfcc", "n_mfcc": 3 }));
        assert_eq!([&image[0], &image[8], &image[9]], ["f row 0, frame 0", "f row 0, frame 8", "f row 1, frame 0"]);
        assert_eq!(names(json!({ "kind": "zcr" }))[8], "f[8]");
        let harmonic = json!({ "kind": "harmonic", "of": { "kind": "rms", "summary": ["std"] } });
        assert_eq!(names(harmonic), ["f.std[0]"]);
    }

    #[test]
    fn joined_features_have_the_names_of_their_parts() {
        let parts = |summary: &[&str]| {
            json!([{ "kind": "mfcc", "n_mfcc": 2, "summary": summary }, { "kind": "rms", "summary": summary },
                { "kind": "rms", "frame_length": 1024, "summary": summary }])
        };
        let concat = names(json!({ "kind": "concat", "of": parts(&["max"]) }));
        assert_eq!(concat, ["mfcc.max[0]", "mfcc.max[1]", "rms.max[0]", "rms#2.max[0]"]);
        let stack = names(json!({ "kind": "stack", "of": parts(&[]) }));
        assert_eq!([&stack[9], &stack[18], &stack[27]], ["mfcc row 1, frame 0", "rms[0]", "rms#2[0]"]);
    }
}
