//! The way from a spec's text to manifests, in process.

use deskrun::crd;
use deskrun::layers::{UserLayer, stack};
use deskrun::manifest::{EngineKind, RunnerManifest};
use deskrun::render::{PreparedRunner, Request, RunnerIdentity, prepare};
use deskrun::scale_set::{RunnerName, ScaleSet, validate};
use serde_json::Value;

/// The scale set of a text with one document.
pub fn scale_set(text: &str) -> Result<ScaleSet, String> {
    let crd::Read { documents, problems } = crd::read("spec.yaml", text, &[]);
    if !problems.is_empty() {
        return Err(format!("{problems:?}"));
    }
    let validated = documents.first().and_then(|document| validate(document, None)).ok_or("there is no scale set")?;
    validated.map(|validated| validated.scale_set).map_err(|problems| format!("{:?}", problems.as_slice()))
}

/// The prepared runner of a scale set's first instance.
pub fn prepared(scale_set: &ScaleSet, engine: EngineKind, users: &[UserLayer]) -> Result<PreparedRunner, String> {
    let instance = scale_set.instances().remove(0);
    let stack = stack(scale_set, engine, users).map_err(|error| error.to_string())?;
    let request = Request { scale_set, instance: &instance, engine, stack: &stack, controller: "test", owner: None };
    prepare(&request).map_err(|error| error.to_string())
}

/// A runner of a slot.
pub fn runner(slot: u32) -> RunnerIdentity {
    RunnerIdentity { name: RunnerName::parse(&format!("spec-{slot}x9d4m")).expect("a name"), id: 7, slot }
}

/// The manifest of one runner.
pub fn manifest(text: &str, engine: EngineKind, slot: u32) -> Result<RunnerManifest, String> {
    let scale_set = scale_set(text)?;
    Ok(prepared(&scale_set, engine, &[])?.fill(&runner(slot)))
}

/// All objects of a manifest.
pub fn objects(manifest: &RunnerManifest) -> Vec<Value> {
    manifest.companions.iter().chain([&*manifest.pod]).cloned().collect()
}

/// What the runner container mounts at a target: the mount and its volume.
pub fn mounted(pod: &Value, target: &str) -> Option<(Value, Value)> {
    let mounts = pod.pointer("/spec/containers/0/volumeMounts")?.as_array()?;
    let mount = mounts.iter().find(|mount| mount["mountPath"] == target)?;
    let volumes = pod.pointer("/spec/volumes")?.as_array()?;
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"])?;
    Some((mount.clone(), volume.clone()))
}
