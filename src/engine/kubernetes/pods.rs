//! What of a pod is worth knowing.

use k8s_openapi::api::core::v1::Pod;

use super::super::{ObservedRunner, label};
use super::documents::{self, Companion};
use super::judge;

/// Label by which a pod of GitHub's container hooks names its runner.
pub(super) const HOOK_OF: &str = "runner-pod";

/// A runner's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RunnerPod {
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) node: Option<String>,
    /// What it shares with others and no custom resource owns.
    pub(super) companions: Vec<Companion>,
    pub(super) uses_hooks: bool,
    pub(super) speaks: Option<String>,
    pub(super) observed: ObservedRunner,
}

/// A pod that a workflow made through GitHub's container hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HookPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) runner: String,
    pub(super) controller: String,
}

/// What a pod is to us.
pub(super) enum Read {
    Runner(Box<RunnerPod>),
    Hook(HookPod),
}

/// What a pod is; `None`: nothing of ours.
pub(super) fn read(pod: &Pod) -> Option<Read> {
    let metadata = &pod.metadata;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let uid = metadata.uid.clone().unwrap_or_default();
    if let Some(observed) = judge::runner(pod) {
        return Some(Read::Runner(Box::new(RunnerPod {
            namespace,
            uid,
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            companions: documents::noted_companions(metadata.annotations.as_ref()),
            uses_hooks: documents::uses_hooks(pod),
            speaks: judge::speaks(pod).map(str::to_owned),
            observed,
        })));
    }
    let labels = metadata.labels.as_ref()?;
    Some(Read::Hook(HookPod {
        namespace,
        name: metadata.name.clone()?,
        uid,
        runner: labels.get(HOOK_OF)?.clone(),
        controller: labels.get(label::CONTROLLER).cloned().unwrap_or_default(),
    }))
}
