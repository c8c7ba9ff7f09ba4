//! What a `hookTemplate` may say.
//!
//! The container hooks merge the template into the pods they make, but only some keys: others replace what the hook
//! needs, or are ignored (`runner-pods.md` 3.3). Both are refused here with the reason, instead of failing in a job.

use super::path::{is_in, normalise};
use super::report::{Broken, Report};
use super::rule::Rule;
use crate::problem::{FieldPath, Problem, Segment};
use crate::yaml::Tree;

/// Checks the template that stands at `hookTemplate` of the spec.
pub(super) fn validate(template: &Tree, report: &mut Report<'_>) {
    let path = FieldPath::root().key("hookTemplate");
    for (path, finding) in findings(template, &path) {
        match finding {
            Finding::Refused(broken) => report.refuse(&path, broken),
            Finding::Warned { id, message, hint } => report.warn(id, &path, message, hint),
        }
    }
}

/// What a layer's hook template breaks; `path` is where the template stands in `document`, a text called `file`.
pub fn hook_template_problems(file: &str, document: &Tree, path: &FieldPath) -> Vec<Problem> {
    let node_at = |path: &FieldPath| {
        path.segments().iter().try_fold(document, |node, segment| match segment {
            Segment::Key(key) => node.get(key),
            Segment::Index(index) => node.items().get(*index),
        })
    };
    let Some(template) = node_at(path) else { return Vec::new() };
    let refused = findings(template, path).into_iter().filter_map(|(path, finding)| match finding {
        Finding::Refused(broken) => Some((path, broken)),
        Finding::Warned { .. } => None,
    });
    refused
        .map(|(path, broken)| Problem {
            rule: broken.rule.id(),
            file: file.to_owned(),
            at: node_at(&path).map_or(document.at, |node| node.at),
            path,
            message: broken.message,
            hint: Some(broken.hint),
        })
        .collect()
}

enum Finding {
    Refused(Broken),
    Warned { id: &'static str, message: String, hint: &'static str },
}

type Findings = Vec<(FieldPath, Finding)>;

fn findings(template: &Tree, path: &FieldPath) -> Findings {
    let mut findings = Vec::new();
    check_metadata(template, &path.key("metadata"), &mut findings);
    if let Some(spec) = template.get("spec") {
        check_pod(spec, &path.key("spec"), &mut findings);
    }
    findings
}

fn refuse(findings: &mut Findings, path: FieldPath, broken: Broken) {
    findings.push((path, Finding::Refused(broken)));
}

fn check_metadata(template: &Tree, path: &FieldPath, findings: &mut Findings) {
    for entry in template.get("metadata").map(Tree::entries).unwrap_or_default() {
        if !matches!(entry.key.as_str(), "labels" | "annotations") {
            let message = format!("the hook ignores `{}`", entry.key);
            let broken = Broken::new(Rule::HookTemplateMetadata, message, "only `labels` and `annotations` are merged");
            refuse(findings, path.key(&entry.key), broken);
        }
    }
    let labels = template.get("metadata").and_then(|metadata| metadata.get("labels"));
    for label in labels.map(Tree::entries).unwrap_or_default().iter().filter(|label| label.key == "runner-pod") {
        let message = "by this label the hook finds its pods, and we what a lost runner left behind";
        let broken = Broken::new(Rule::HookTemplateLabel, message, "choose another label");
        refuse(findings, path.key("labels").key(&label.key), broken);
    }
}

fn check_pod(spec: &Tree, path: &FieldPath, findings: &mut Findings) {
    for entry in spec.entries() {
        if let Some(broken) = pod_field(&entry.key, &entry.value) {
            refuse(findings, path.key(&entry.key), broken);
        }
    }
    let volumes = path.key("volumes");
    for (index, volume) in spec.get("volumes").map(Tree::items).unwrap_or_default().iter().enumerate() {
        let name = volume.get("name").and_then(Tree::as_str).unwrap_or_default();
        if matches!(name, "externals" | "work" | "github") {
            let message = format!("the hook makes a volume `{name}` itself, and the API refuses the second one");
            let broken =
                Broken::new(Rule::HookTemplateVolume, message, format!("call it something else, such as `my-{name}`"));
            refuse(findings, volumes.index(index).key("name"), broken);
        }
    }
    let containers = path.key("containers");
    for (index, container) in spec.get("containers").map(Tree::items).unwrap_or_default().iter().enumerate() {
        check_container(container, &containers.index(index), findings);
    }
}

/// Pod fields that replace what the hook sets. Node selectors, tolerations and affinities are fine: the hook sets
/// none, and the user's are merged with ours before the hook sees them (that the pin to the node survives is checked
/// after merging).
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

fn check_container(container: &Tree, path: &FieldPath, findings: &mut Findings) {
    let name = container.get("name").and_then(Tree::as_str).unwrap_or_default();
    check_mounts(container, path, findings);
    let Some(image) = name.strip_prefix('$') else {
        if name == "job" {
            let message = "the job's own container is called `job`, and the API refuses the second one";
            let broken = Broken::new(Rule::HookTemplateContainerName, message, "write `$job` to change it");
            refuse(findings, path.key("name"), broken);
        }
        return;
    };
    if image.is_empty() {
        let message = "`$` names no container";
        let hint = "write `$job` for the job's container, or `$` and the base name of a service's image";
        refuse(findings, path.key("name"), Broken::new(Rule::HookTemplateContainerName, message, hint));
    } else if image != "job" {
        let message =
            format!("this applies only to services whose image is called `{image}`; the hook says nothing else");
        let hint = "for the job's container write `$job`";
        findings.push((path.key("name"), Finding::Warned { id: "hook-template-service", message, hint }));
    }
    for entry in container.entries() {
        let reason = match entry.key.as_str() {
            "image" => "the hook ignores it: the image is the workflow's",
            "command" | "args" if image == "job" => {
                "it would replace the `tail -f /dev/null` that keeps the container alive"
            }
            "workingDir" if image == "job" => "it would replace the hook's own",
            _ => continue,
        };
        let broken = Broken::new(Rule::HookTemplateContainerField, reason, "remove it");
        refuse(findings, path.key(&entry.key), broken);
    }
}

fn check_mounts(container: &Tree, path: &FieldPath, findings: &mut Findings) {
    for (index, mount) in container.get("volumeMounts").map(Tree::items).unwrap_or_default().iter().enumerate() {
        let target = mount.get("mountPath").and_then(Tree::as_str).unwrap_or_default();
        let target = normalise(target).unwrap_or_else(|_| target.to_owned());
        if let Some(owned) = ["/__e", "/__w", "/github"].iter().find(|owned| is_in(&target, owned)) {
            let message = format!("`{owned}` is the hook's own mount");
            let broken = Broken::new(Rule::HookTemplateMount, message, "choose another `mountPath`");
            refuse(findings, path.key("volumeMounts").index(index).key("mountPath"), broken);
        }
    }
}
