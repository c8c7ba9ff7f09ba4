//! What a `hookTemplate` may say.
//!
//! The container hooks merge the template into the pods they make, but only some keys: others replace what the hook
//! needs, or are ignored (`runner-pods.md` 3.3). Both are refused here with the reason, instead of failing in a job.

use super::report::{Broken, Report};
use super::rule::Rule;
use crate::problem::FieldPath;
use crate::yaml::Tree;

/// Checks the template that stands at `hookTemplate` of the spec.
pub(super) fn validate(template: &Tree, report: &mut Report<'_>) {
    let path = FieldPath::root().key("hookTemplate");
    check_metadata(template, &path.key("metadata"), report);
    if let Some(spec) = template.get("spec") {
        check_pod(spec, &path.key("spec"), report);
    }
}

fn check_metadata(template: &Tree, path: &FieldPath, report: &mut Report<'_>) {
    for entry in template.get("metadata").map(Tree::entries).unwrap_or_default() {
        if !matches!(entry.key.as_str(), "labels" | "annotations") {
            let message = format!("the hook ignores `{}`", entry.key);
            let broken = Broken::new(Rule::HookTemplateMetadata, message, "only `labels` and `annotations` are merged");
            report.refuse(&path.key(&entry.key), broken);
        }
    }
}

fn check_pod(spec: &Tree, path: &FieldPath, report: &mut Report<'_>) {
    for entry in spec.entries() {
        if let Some(broken) = pod_field(&entry.key, &entry.value) {
            report.refuse(&path.key(&entry.key), broken);
        }
    }
    let volumes = path.key("volumes");
    for (index, volume) in spec.get("volumes").map(Tree::items).unwrap_or_default().iter().enumerate() {
        let name = volume.get("name").and_then(Tree::as_str).unwrap_or_default();
        if matches!(name, "externals" | "work" | "github") {
            let message = format!("the hook makes a volume `{name}` itself, and the API refuses the second one");
            let broken =
                Broken::new(Rule::HookTemplateVolume, message, format!("call it something else, such as `my-{name}`"));
            report.refuse(&volumes.index(index).key("name"), broken);
        }
    }
    let containers = path.key("containers");
    for (index, container) in spec.get("containers").map(Tree::items).unwrap_or_default().iter().enumerate() {
        check_container(container, &containers.index(index), report);
    }
}

/// Pod fields that replace what the hook sets. Node selectors, tolerations and affinities are fine: the hook sets
/// none, and ours are merged with the user's before the hook sees them.
fn pod_field(key: &str, value: &Tree) -> Option<Broken> {
    let broken = |rule, message: &str, hint: &str| Some(Broken::new(rule, message, hint));
    match key {
        "initContainers" => broken(
            Rule::HookTemplateInitContainers,
            "it would replace the hook's `fs-init`, and every JavaScript action would fail",
            "do the work in a step, or in the image of the job",
        ),
        "securityContext" if value.get("fsGroup").map(Tree::to_json) != Some(1001.into()) => broken(
            Rule::HookTemplateSecurityContext,
            "it would replace the hook's, and with it `fsGroup: 1001`",
            "repeat `fsGroup: 1001` in it, or set the `securityContext` of the container `$job`",
        ),
        "restartPolicy" if value.as_str() != Some("Never") => {
            broken(Rule::HookTemplatePodField, "it would replace the hook's `restartPolicy: Never`", "remove it")
        }
        "nodeName" => broken(
            Rule::HookTemplatePodField,
            "it would place the job's pod apart from its runner",
            "remove it; the pod follows its runner",
        ),
        "imagePullSecrets" => broken(
            Rule::HookTemplatePodField,
            "it would replace the secret that the hook makes from the workflow's `container.credentials`",
            "add the secret to the service account `default` of the namespace",
        ),
        _ => None,
    }
}

fn check_container(container: &Tree, path: &FieldPath, report: &mut Report<'_>) {
    let name = container.get("name").and_then(Tree::as_str).unwrap_or_default();
    for (index, mount) in container.get("volumeMounts").map(Tree::items).unwrap_or_default().iter().enumerate() {
        let target = mount.get("mountPath").and_then(Tree::as_str).unwrap_or_default();
        if let Some(owned) = ["/__e", "/__w", "/github"].iter().find(|owned| super::path::is_in(target, owned)) {
            let message = format!("`{owned}` is the hook's own mount");
            let broken = Broken::new(Rule::HookTemplateMount, message, "choose another `mountPath`");
            report.refuse(&path.key("volumeMounts").index(index).key("mountPath"), broken);
        }
    }
    let Some(image) = name.strip_prefix('$') else { return };
    if image.is_empty() {
        let message = "`$` names no container";
        let hint = "write `$job` for the job's container, or `$` and the base name of a service's image";
        report.refuse(&path.key("name"), Broken::new(Rule::HookTemplateContainerName, message, hint));
    } else if image != "job" {
        let message =
            format!("this applies only to services whose image is called `{image}`; the hook says nothing else");
        report.warn("hook-template-service", &path.key("name"), message, "for the job's container write `$job`");
    }
    for entry in container.entries() {
        let reason = match entry.key.as_str() {
            "image" => "the hook ignores it: the image is the workflow's",
            "command" | "args" => "it would replace the `tail -f /dev/null` that keeps the container alive",
            "workingDir" => "it would replace the hook's own",
            _ => continue,
        };
        let broken = Broken::new(Rule::HookTemplateContainerField, reason, "remove it");
        report.refuse(&path.key(&entry.key), broken);
    }
}
