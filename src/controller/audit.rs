//! The audit record of every privileged runner (`design.md` 3.23): who asked, which image, which directories of the host,
//! which slot, from when to when.
//!
//! Records go to the log target `deskrun::audit`, which no filter switches off (`telemetry.rs`).

use jiff::Timestamp;
use serde_json::Value;

use super::record::{Job, Record};
use super::specification::Specification;
use crate::manifest::RunnerManifest;

/// The log target of audit records.
pub const TARGET: &str = "deskrun::audit";

/// A privileged runner is about to be handed to the engine.
pub(super) fn begins(specification: &Specification, manifest: &RunnerManifest, at: Timestamp) {
    if specification.audit.privileged {
        tracing::info!(
            target: TARGET,
            event = "runner-begins",
            scale_set = specification.name,
            config_url = specification.config_url,
            runner = manifest.name,
            image = specification.audit.image,
            slot = manifest.slot,
            host_paths = host_paths(&manifest.pod).join(" "),
            at = %at,
        );
    }
}

/// A privileged runner has got a job.
pub(super) fn gets_job(specification: &Specification, record: &Record, at: Timestamp) {
    if let (true, Some(message)) = (specification.audit.privileged, record.job.message()) {
        tracing::info!(
            target: TARGET,
            event = "job-begins",
            scale_set = specification.name,
            runner = record.name,
            repository = message.repository,
            workflow = message.workflow,
            job = message.display_name,
            run = message.run_id,
            slot = record.slot,
            at = %at,
        );
    }
}

/// Nothing of a privileged runner is left.
pub(super) fn ends(specification: &Specification, record: &Record, at: Timestamp) {
    if specification.audit.privileged {
        let message = record.job.message();
        let text = |part: fn(&crate::github::JobMessage) -> &str| message.map(part).unwrap_or_default();
        tracing::info!(
            target: TARGET,
            event = "runner-ends",
            scale_set = specification.name,
            runner = record.name,
            repository = text(|message| &message.repository),
            workflow = text(|message| &message.workflow),
            job = text(|message| &message.display_name),
            had_job = !matches!(record.job, Job::None),
            slot = record.slot,
            from = %record.milestones.created,
            to = %at,
        );
    }
}

/// Directories of the host that a pod mounts.
fn host_paths(pod: &Value) -> Vec<String> {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
    let path = |volume: &Value| volume.pointer("/hostPath/path").and_then(Value::as_str).map(str::to_owned);
    volumes.into_iter().flatten().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_of_the_host_are_found_in_the_manifest() {
        let pod = serde_json::json!({"spec": {"volumes": [
            {"name": "a", "hostPath": {"path": "/nvme/a"}}, {"name": "b", "emptyDir": {}}, {"name": "c", "hostPath": {"path": "/nix/store"}},
        ]}});
        assert_eq!(host_paths(&pod), ["/nvme/a", "/nix/store"]);
    }
}
