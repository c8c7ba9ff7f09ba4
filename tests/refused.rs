//! Golden suite: every rule that a spec can break, `testdata/refused/<rule>/`.
//!
//! `refused.yaml` breaks the rule and `expected.txt` holds what the user is told, a way out included; `accepted.yaml`
//! is the nearest input that is fine. Every rule of the program has a folder.

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use deskrun::scale_set::Rule;
use support::command::{deskrun, lines};
use support::golden::{Case, Goldens, folders, name, run_suite};

const INPUTS: &[&str] = &["refused.yaml", "accepted.yaml", "refused-arguments", "accepted-arguments"];
/// Rules of the shape of a document; the others are [`Rule::ALL`].
const SHAPE: &[&str] = &[
    "set-path",
    "yaml-syntax",
    "unknown-kind",
    "unknown-field",
    "unknown-value",
    "missing-field",
    "wrong-type",
    "out-of-range",
];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/refused");
    let accept = Goldens::accepts(std::env::var("ACCEPT_DIFF").ok().as_deref());
    let mut cases: Vec<Case> = Vec::new();
    for folder in folders(&root) {
        let rule = name(&folder);
        cases.push((rule.clone(), Box::new(move |goldens| case(goldens, &rule, &folder))));
    }
    let folders: BTreeSet<String> = folders(&root).iter().map(|folder| name(folder)).collect();
    cases.push(("every-rule-has-a-case-and-every-case-a-rule".to_owned(), Box::new(move |_| coverage(&folders))));
    run_suite(Goldens::new(root, "refused", accept), INPUTS, cases)
}

fn coverage(folders: &BTreeSet<String>) -> Result<(), String> {
    let rules: BTreeSet<String> =
        Rule::ALL.iter().map(|rule| rule.id()).chain(SHAPE.iter().copied()).map(str::to_owned).collect();
    let difference: Vec<&String> = rules.symmetric_difference(folders).collect();
    if difference.is_empty() {
        Ok(())
    } else {
        Err(format!("rules without a case, or cases without a rule: {difference:?}"))
    }
}

fn case(goldens: &Goldens, rule: &str, folder: &Path) -> Result<(), String> {
    let run = |name: &str| {
        let further = lines(&folder.join(format!("{name}-arguments")));
        let mut arguments = vec!["render".to_owned(), format!("{name}.yaml")];
        arguments.extend(further);
        deskrun(folder, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let refused = run("refused");
    if refused.code != Some(1) || !refused.stdout.is_empty() {
        return Err(format!("not refused: {refused:?}"));
    }
    goldens.check(&format!("{rule}/expected.txt"), &refused.stderr)?;
    let lines: Vec<&str> = refused.stderr.lines().collect();
    let Some(at) = lines.iter().position(|line| line.ends_with(&format!("[{rule}]"))) else {
        return Err(format!("the rule is not named: {}", refused.stderr));
    };
    let has_hint = lines.get(at + 1).is_some_and(|line| line.starts_with("hint: "));
    if !has_hint && !["set-path", "yaml-syntax", "wrong-type"].contains(&rule) {
        return Err(format!("there is no way out: {}", refused.stderr));
    }
    let accepted = run("accepted");
    if accepted.code == Some(0) { Ok(()) } else { Err(format!("not accepted: {}", accepted.stderr)) }
}
