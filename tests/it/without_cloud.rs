//! URLs in a program that was built without `cloud`.

use crate::test_dir::{TestDir, text};

const EXPERIMENT: &str = r#"
[data]
kind = "folder"
root = "set"
[split]
kind = "holdout"
test = 0.2
[features.fft]
[models.knn]
"#;

#[test]
fn a_url_names_the_feature_that_is_missing() {
    let dir = TestDir::with(&[("x.toml", EXPERIMENT)]);
    for arguments in [
        ["run", "x.toml", "--set", "data.root=s3://bucket/set"],
        ["check", "x.toml", "--set", "data.root=gs://bucket/set"],
        ["run", "x.toml", "--cache", "s3://bucket/cache"],
    ] {
        let output = dir.timbre(&[&arguments[..], &["-q"]].concat());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("built without `cloud`") && said.contains("--features cloud"), "{said}");
    }
}
