//! From what a controller, an engine or a file says to what is compared.

use super::{Asked, Existing, Key, Served, Settings, Specification};
use crate::cli::plan::difference::Life;
use crate::controller::{RunnerPhase, ScaleSetStatus};
use crate::engine::{self, ObservedRunner};
use crate::layers::Unmatched;
use crate::operator::Report;
use crate::render::config_url_hash;

pub(super) fn of_specification(specification: &Specification) -> Asked {
    let prepared = &specification.prepared;
    let without_effect =
        |part: &Unmatched| format!("{}:{}: {}: {}", part.origin.file, part.origin.line, part.path, part.message);
    let unhonoured = prepared.unhonoured.iter().map(|field| format!("not honoured: {}: {}", field.path, field.reason));
    Asked {
        key: Key { config_url: specification.config_url_label().to_owned(), name: specification.name.clone() },
        resource: specification.resource.clone(),
        settings: Settings { min_runners: specification.limits.min, max_runners: specification.limits.max },
        manifest: Some(prepared.hash().to_owned()),
        notes: unhonoured.chain(prepared.unmatched.iter().chain(&prepared.overruled).map(without_effect)).collect(),
    }
}

/// What a running controller serves, and its runners.
pub(super) fn of_report(report: &Report) -> (Vec<Served>, Vec<Existing>) {
    let key =
        |status: &ScaleSetStatus| Key { config_url: config_url_hash(&status.config_url), name: status.name.clone() };
    let served = report.scale_sets.iter().map(|status| Served {
        key: key(status),
        resource: status.resource.clone(),
        settings: Some(Settings { min_runners: status.min_runners, max_runners: status.max_runners }),
        fields: Vec::new(),
    });
    let runners = report.scale_sets.iter().flat_map(|status| {
        status.runners.iter().map(|runner| Existing {
            name: runner.name.clone(),
            key: key(status),
            resource: status.resource.clone(),
            manifest: runner.manifest.clone(),
            life: life(runner.phase, runner.job.as_ref()),
        })
    });
    (served.collect(), runners.collect())
}

fn life(phase: RunnerPhase, job: Option<&String>) -> Life {
    match phase {
        RunnerPhase::Creating | RunnerPhase::Starting => Life::Starting,
        RunnerPhase::Idle => Life::Idle,
        RunnerPhase::Busy => Life::Busy { job: job.cloned() },
        RunnerPhase::Finishing | RunnerPhase::Removing | RunnerPhase::Ended => Life::Ending,
        RunnerPhase::Unknown => Life::Running,
    }
}

/// The runners of one controller among all that an engine has.
pub(super) fn of_snapshot(runners: &[ObservedRunner], controller: &str) -> Vec<Existing> {
    let ours = runners.iter().filter(|runner| runner.owner.controller == controller);
    ours.map(|ObservedRunner { name, owner, phase, .. }| Existing {
        name: name.clone(),
        key: Key { config_url: owner.config_url.clone(), name: owner.scale_set.clone() },
        resource: owner.resource.clone(),
        manifest: Some(owner.manifest.clone()),
        life: match phase {
            engine::RunnerPhase::Starting { .. } => Life::Starting,
            engine::RunnerPhase::Running { .. } | engine::RunnerPhase::Unknown => Life::Running,
            engine::RunnerPhase::Exited { .. } | engine::RunnerPhase::Failed { .. } => Life::Ending,
        },
    })
    .collect()
}
