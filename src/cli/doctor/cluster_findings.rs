//! What facts about a cluster mean. Pure.

use serde_json::Value;

use super::findings::Finding;
use crate::cli::up::{Progress, judge_definition};

/// Where a right is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Cluster,
    Operator,
    Runners,
}

/// A right: place, verb, group, resource.
pub(super) type Right = (Place, &'static str, &'static str, &'static str);

/// What commands do in a cluster.
pub(super) const NEEDED: [Right; 16] = [
    (Place::Cluster, "patch", "apiextensions.k8s.io", "customresourcedefinitions"),
    (Place::Cluster, "patch", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
    (Place::Cluster, "patch", "admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    (Place::Operator, "patch", "apps", "deployments"),
    (Place::Operator, "patch", "networking.k8s.io", "networkpolicies"),
    (Place::Operator, "patch", "rbac.authorization.k8s.io", "roles"),
    (Place::Operator, "patch", "", "serviceaccounts"),
    (Place::Runners, "patch", "rbac.authorization.k8s.io", "roles"),
    (Place::Runners, "patch", "rbac.authorization.k8s.io", "rolebindings"),
    (Place::Runners, "create", "deskrun.dev", "runnerscalesets"),
    (Place::Runners, "patch", "deskrun.dev", "runnerscalesets"),
    (Place::Runners, "delete", "deskrun.dev", "runnerscalesets"),
    (Place::Runners, "patch", "", "secrets"),
    (Place::Runners, "patch", "", "configmaps"),
    (Place::Runners, "list", "", "pods"),
    (Place::Runners, "create", "", "pods"),
];

pub(super) fn of_definition(definition: Option<&Value>) -> Finding {
    match judge_definition(definition) {
        Progress::Done => Finding::ok("RunnerScaleSet is known to the API server"),
        Progress::Waiting(words) => Finding::problem(
            format!("RunnerScaleSet is not known to the API server: {words}"),
            Some(
                "`deskrun up`, the chart, or `deskrun crd | kubectl apply --server-side -f -` makes it known"
                    .to_owned(),
            ),
        ),
    }
}

pub(super) fn of_policy(there: bool) -> Finding {
    if there {
        return Finding::ok("a deletion of scale sets in the foreground is refused");
    }
    let hint = "`deskrun up` and the chart make the policy that refuses it, in a cluster of Kubernetes 1.30 or newer, for whoever \
                may make admission policies; until then delete in the background, which is kubectl's default";
    Finding::warning("a deletion of scale sets in the foreground is not refused: it would end busy runners", hint)
}

/// Rights that are missing, in one finding. `namespaces` are the operator's and the runners'.
pub(super) fn of_rights((operator, runners): (&str, &str), rights: &[(Right, bool)]) -> Finding {
    let missing: Vec<String> = rights
        .iter()
        .filter(|(_, allowed)| !allowed)
        .map(|((place, verb, group, resource), _)| {
            let resource = if group.is_empty() { (*resource).to_owned() } else { format!("{resource}.{group}") };
            match place {
                Place::Cluster => format!("{verb} {resource}"),
                Place::Operator => format!("{verb} {resource} in {operator}"),
                Place::Runners => format!("{verb} {resource} in {runners}"),
            }
        })
        .collect();
    if missing.is_empty() {
        return Finding::ok(format!("you may do in {runners} and {operator} what `deskrun up` does"));
    }
    Finding::warning(
        format!("you may not {}", missing.join(", ")),
        "`deskrun up` and `deskrun down` want an administrator; files may be applied by whoever may in their namespace",
    )
}

pub(super) fn of_operator(namespace: &str, leads: bool) -> Finding {
    if leads {
        return Finding::ok(format!("an operator leads in {namespace}"));
    }
    let hint = "`deskrun up` or the chart starts one; `--operator-namespace` looks elsewhere";
    Finding::warning(format!("no operator leads in {namespace}: scale sets there are not served"), hint)
}

/// Whether a pod finds a node: its node selector, and the taints it does not stand. Affinity and room are the scheduler's.
pub(super) fn of_nodes(scale_set: &str, pod: &Value, nodes: &[Value]) -> Finding {
    let fitting = nodes.iter().filter(|node| fits(pod, node)).count();
    if fitting > 0 {
        return Finding::ok(format!("{scale_set}: {fitting} of {} nodes may run its runners", nodes.len()));
    }
    Finding::problem(
        format!("{scale_set}: none of {} nodes may run its runners", nodes.len()),
        Some("check `nodeSelector` and `tolerations` against `kubectl describe nodes`".to_owned()),
    )
}

fn fits(pod: &Value, node: &Value) -> bool {
    let spec = &pod["spec"];
    let wanted = spec["nodeSelector"].as_object().into_iter().flatten();
    let selected = wanted.into_iter().all(|(name, value)| node["metadata"]["labels"][name] == *value);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let tolerations = list(&spec["tolerations"]);
    let taints = list(&node["spec"]["taints"]);
    let hard = |taint: &&Value| taint["effect"] == "NoSchedule" || taint["effect"] == "NoExecute";
    selected
        && node["spec"]["unschedulable"] != true
        && taints.iter().filter(hard).all(|taint| tolerations.iter().any(|toleration| stands(toleration, taint)))
}

fn stands(toleration: &Value, taint: &Value) -> bool {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let (key, effect) = (text(toleration, "key"), text(toleration, "effect"));
    let exists = text(toleration, "operator") == "Exists";
    (effect.is_empty() || effect == text(taint, "effect"))
        && (key.is_empty() && exists || key == text(taint, "key"))
        && (exists || text(toleration, "value") == text(taint, "value"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::findings::Level;

    #[test]
    fn a_node_is_judged_by_labels_and_taints() {
        let node = json!({"metadata": {"labels": {"disk": "nvme"}}, "spec": {"taints": [
            {"key": "runners", "value": "yes", "effect": "NoSchedule"},
            {"key": "soft", "effect": "PreferNoSchedule"},
        ]}});
        let level = |spec: Value| of_nodes("metal", &json!({"spec": spec}), std::slice::from_ref(&node)).level;
        let toleration = |value: &str| json!([{"key": "runners", "value": value, "effect": "NoSchedule"}]);
        let selector = json!({"disk": "nvme"});
        let table = [
            (json!({"nodeSelector": selector, "tolerations": toleration("yes")}), Level::Ok),
            (json!({"tolerations": [{"key": "runners", "operator": "Exists"}]}), Level::Ok),
            (json!({"tolerations": [{"operator": "Exists"}]}), Level::Ok),
            (json!({"nodeSelector": selector, "tolerations": toleration("no")}), Level::Problem),
            (json!({"nodeSelector": selector}), Level::Problem),
            (json!({"nodeSelector": {"disk": "ssd"}, "tolerations": [{"operator": "Exists"}]}), Level::Problem),
        ];
        for (spec, expected) in table {
            assert_eq!(level(spec.clone()), expected, "{spec}");
        }
        let cordoned = json!({"spec": {"unschedulable": true}});
        assert_eq!(of_nodes("metal", &json!({}), &[cordoned]).level, Level::Problem);
    }

    #[test]
    fn rights_that_are_missing_are_named_together() {
        let rights = [(NEEDED[0], false), (NEEDED[3], false), (NEEDED[12], false), (NEEDED[13], true)];
        let finding = of_rights(("ops", "ci"), &rights);
        assert_eq!(finding.level, Level::Warning);
        let words = "you may not patch customresourcedefinitions.apiextensions.k8s.io, patch deployments.apps in ops, \
                     patch secrets in ci";
        assert_eq!(finding.text, words);
        assert_eq!(of_rights(("ops", "ci"), &[(NEEDED[0], true)]).level, Level::Ok);
    }

    #[test]
    fn a_missing_definition_is_a_problem_and_a_missing_operator_a_warning() {
        assert_eq!(of_definition(None).level, Level::Problem);
        assert_eq!((of_operator("ops", true).level, of_operator("ops", false).level), (Level::Ok, Level::Warning));
        assert_eq!((of_policy(true).level, of_policy(false).level), (Level::Ok, Level::Warning));
    }
}
