//! Golden suite: Kubernetes' merge rules, case by case, in `testdata/merge/<case>/`.
//!
//! `layers.yaml` holds the layers as documents, the first is the base. `expected.yaml` is the result with comments for
//! what changed nothing, or `expected-error.txt` what is refused. That the rules are Kubernetes' own is proven against
//! `kubectl` in `tests/kubectl.rs`.

mod support;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use deskrun::layers::{Lines, MergeError, Node, Unmatched, merge};
use deskrun::yaml;
use support::golden::{Case, Goldens, folders, name, run_suite};

const INPUTS: &[&str] = &["layers.yaml"];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/merge");
    let accept = Goldens::accepts(std::env::var("ACCEPT_DIFF").ok().as_deref());
    let mut cases: Vec<Case> = Vec::new();
    for folder in folders(&root) {
        let name = name(&folder);
        cases.push((name.clone(), Box::new(move |goldens| case(goldens, &name, &folder))));
    }
    run_suite(Goldens::new(root, "merge", accept), INPUTS, cases)
}

struct File;

impl Lines for File {
    fn find(&self, line: u32) -> (Arc<str>, u32) {
        (Arc::from("layers.yaml"), line)
    }
}

fn case(goldens: &Goldens, name: &str, folder: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(folder.join("layers.yaml")).map_err(|error| error.to_string())?;
    match merged(&text).map_err(|error| error.to_string())? {
        Ok((node, unmatched)) => {
            let mut result = yaml::write(&node.to_json());
            for part in unmatched {
                result.push_str(&format!("# line {}: {}: {}\n", part.origin.line, part.path, part.message));
            }
            goldens.check(&format!("{name}/expected.yaml"), &result)
        }
        Err(error) => goldens.check(&format!("{name}/expected-error.txt"), &format!("{error}\n{}\n", error.hint)),
    }
}

type Merged = Result<(Node, Vec<Unmatched>), MergeError>;

fn merged(text: &str) -> Result<Merged, yaml::SyntaxError> {
    let mut documents = yaml::read(text)?.into_iter().enumerate();
    let node = |(number, tree): (usize, yaml::Tree)| Node::from_tree(&tree, &Arc::from(format!("{number}")), &File);
    let Some(mut base) = documents.next().map(node) else { return Ok(Ok((empty(), Vec::new()))) };
    let mut unmatched = Vec::new();
    for layer in documents {
        if let Err(error) = merge(&mut base, node(layer), "", &mut unmatched) {
            return Ok(Err(error));
        }
    }
    Ok(Ok((base, unmatched)))
}

fn empty() -> Node {
    let tree = yaml::Tree { at: yaml::Position::default(), kind: yaml::Kind::Mapping(Vec::new()) };
    Node::from_tree(&tree, &Arc::from("none"), &File)
}
