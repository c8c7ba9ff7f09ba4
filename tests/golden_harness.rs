//! The golden harness itself: a mismatch fails with a diff and the command to accept it, `ACCEPT_DIFF=1` rewrites just
//! that, and a left-over golden fails a full run.

mod support;

use std::fs;

use support::golden::Goldens;

fn goldens(folder: &std::path::Path, accept: bool) -> Goldens {
    Goldens::new(folder, "render", accept)
}

#[test]
fn a_mismatch_fails_with_a_diff_and_the_command_to_accept_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "one\ntwo\nthree\n").unwrap();
    let error = goldens(folder.path(), false).check("a.yaml", "one\n2\nthree\n").unwrap_err();
    for part in ["-two\n", "+2\n", " one\n", "a.yaml (expected)", "ACCEPT_DIFF=1 cargo test --test render"] {
        assert!(error.contains(part), "{part:?} is missing in {error}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("a.yaml")).unwrap(), "one\ntwo\nthree\n", "nothing was rewritten");
}

#[test]
fn accepting_rewrites_what_differs_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["same.yaml", "other.yaml"] {
        fs::write(folder.path().join(file), "old\n").unwrap();
    }
    let before = fs::metadata(folder.path().join("same.yaml")).unwrap().modified().unwrap();
    let goldens = goldens(folder.path(), true);
    goldens.check("same.yaml", "old\n").unwrap();
    goldens.check("other.yaml", "new\n").unwrap();
    goldens.check("case/new.yaml", "new\n").unwrap();
    assert_eq!(fs::metadata(folder.path().join("same.yaml")).unwrap().modified().unwrap(), before);
    assert_eq!(fs::read_to_string(folder.path().join("other.yaml")).unwrap(), "new\n");
    assert_eq!(fs::read_to_string(folder.path().join("case/new.yaml")).unwrap(), "new\n");
}

#[test]
fn a_missing_golden_fails_even_if_nothing_was_printed() {
    let folder = tempfile::tempdir().unwrap();
    assert!(goldens(folder.path(), false).check("a.yaml", "").is_err());
}

#[test]
fn a_left_over_golden_fails_a_full_run_and_accepting_deletes_it() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["input.yaml", "kept.yaml", "left.yaml"] {
        fs::write(folder.path().join(file), "a\n").unwrap();
    }
    let strict = goldens(folder.path(), false);
    strict.check("kept.yaml", "a\n").unwrap();
    let error = strict.check_leftovers(&["input.yaml"]).unwrap_err();
    assert!(error.contains("left.yaml") && !error.contains("kept.yaml") && !error.contains("input.yaml"), "{error}");
    let accepting = goldens(folder.path(), true);
    accepting.check("kept.yaml", "a\n").unwrap();
    accepting.check_leftovers(&["input.yaml"]).unwrap();
    assert!(!folder.path().join("left.yaml").exists());
    assert!(folder.path().join("input.yaml").exists() && folder.path().join("kept.yaml").exists());
}

#[test]
fn only_the_value_1_accepts() {
    assert!(Goldens::accepts(Some("1")));
    for value in [None, Some(""), Some("0"), Some("true"), Some("yes")] {
        assert!(!Goldens::accepts(value), "{value:?}");
    }
}
