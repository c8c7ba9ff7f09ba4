//! Asks a Podman host, and tries containers out on it.

use std::collections::BTreeSet;

use super::findings::{Finding, NeededPath, Needs, of_host, of_trial};
use crate::causes::in_one_line;
use crate::cli::input::Input;
use crate::cli::render::{OFFLINE, hint};
use crate::cli::run::{EngineArguments, specifications};
use crate::controller::Specification;
use crate::engine::EngineError;
use crate::manifest::EngineKind;
use crate::render::RunnerIdentity;
use crate::scale_set::RunnerName;

/// More directories of one cache are not looked at: what holds for the first ones holds for the rest.
const SLOTS: u32 = 4;
/// Where a Nix daemon has its socket.
const NIX_SOCKETS: &str = "/nix/var/nix/daemon-socket";

pub(super) async fn look(engine: &EngineArguments, input: &Input) -> Vec<Finding> {
    let (needs, mut findings) = needs(input);
    let engine = match engine.podman(input) {
        Ok(Some(engine)) => engine,
        Ok(None) => return findings,
        Err(error) => {
            findings.push(Finding::problem(format!("{error:#}"), None));
            return findings;
        }
    };
    let host = match engine.host().await {
        Ok(host) => host,
        Err(error) => {
            let (words, hint) = words(&error);
            findings.push(Finding::problem(words, hint));
            return findings;
        }
    };
    findings.extend(of_host(&engine.to_string(), &host));
    for needs in needs {
        let paths: Vec<String> = needs.paths.iter().map(|needed| needed.path.clone()).collect();
        let trial = engine.try_out(&needs.image, &paths).await.map_err(|error| words(&error));
        findings.extend(of_trial(&needs, &host, &trial));
    }
    findings
}

fn words(error: &EngineError) -> (String, Option<String>) {
    (in_one_line(error), error.hint().map(str::to_owned))
}

/// What each scale set needs; what cannot run under Podman at all is a finding.
fn needs(input: &Input) -> (Vec<Needs>, Vec<Finding>) {
    let (mut all, mut findings) = (Vec::new(), Vec::new());
    for validated in &input.scale_sets {
        let scale_set = &validated.scale_set;
        match specifications(scale_set, input, EngineKind::Podman, OFFLINE, None) {
            Ok(specifications) => all.extend(specifications.iter().map(needs_of)),
            Err(error) => findings.push(Finding::problem(format!("{}: {error:#}", scale_set.name), hint(&error))),
        }
        let warnings = validated.warnings.iter();
        findings.extend(
            warnings.map(|warning| Finding::warning(warning.to_string(), warning.hint.clone().unwrap_or_default())),
        );
    }
    (all, findings)
}

fn needs_of(specification: &Specification) -> Needs {
    let mut seen = BTreeSet::new();
    let mut paths = Vec::new();
    for slot in 0..specification.limits.max.min(SLOTS) {
        let Ok(name) = RunnerName::new(&specification.name, "doctor") else { continue };
        let manifest = specification.prepared.fill(&RunnerIdentity { name, id: 0, slot });
        for volume in manifest.pod["spec"]["volumes"].as_array().into_iter().flatten() {
            let text = |field: &str| volume["hostPath"][field].as_str().map(str::to_owned);
            let Some(path) = text("path") else { continue };
            if !seen.insert(path.clone()) {
                continue;
            }
            // The directory is mounted; what matters is that the daemon listens in it.
            let socket = path.ends_with(NIX_SOCKETS).then(|| format!("{path}/socket"));
            paths.push(NeededPath { path, type_: text("type").unwrap_or_default() });
            paths.extend(socket.map(|path| NeededPath { path, type_: "Socket".to_owned() }));
        }
    }
    Needs {
        scale_set: specification.name.clone(),
        image: specification.audit.image.clone(),
        privileged: specification.audit.privileged,
        paths,
    }
}
