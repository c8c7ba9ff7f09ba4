//! The operator that a cluster has already: whose it is, what it serves, and whether a command may change it.

use anyhow::Context;
use kube::api::ListParams;
use serde_json::Value;

use super::cluster::Cluster;
use super::objects::{api, plain};
use super::resource::MANAGED_BY;

/// The name of the operator's objects, its lease among them.
pub(super) const NAME: &str = "deskrun";
/// The label by which an operator's Deployment is known, whatever its release calls it.
const OPERATOR: &str = "deskrun.dev/operator";
/// Where the operator lives unless it is told otherwise.
pub(super) const DEFAULT_NAMESPACE: &str = "deskrun-system";

/// An operator as its Deployment tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    namespace: String,
    name: String,
    /// Namespace and name of the Lease by which its processes lead.
    pub(super) lease: (String, String),
    /// Who manages it; nobody says so of an object that was made by hand.
    manager: Option<String>,
    /// `None` if its arguments do not say.
    pub(super) scope: Option<Scope>,
    pub(super) image: Option<String>,
}

/// What an operator serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Namespace(String),
}

impl Scope {
    pub(super) fn of(namespace: Option<&str>) -> Self {
        namespace.map_or(Self::All, |namespace| Self::Namespace(namespace.to_owned()))
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => formatter.write_str("all namespaces"),
            Self::Namespace(namespace) => write!(formatter, "the namespace {namespace}"),
        }
    }
}

/// The operator that commands would make in a namespace, if it is there.
pub(super) async fn installed(cluster: &Cluster, namespace: &str) -> anyhow::Result<Option<Installed>> {
    let deployments = api(&cluster.client, "apps/v1", "Deployment", Some(namespace));
    let deployment = deployments.get_opt(NAME).await.map_err(plain);
    let deployment = deployment.with_context(|| format!("the cluster at {} cannot be asked", cluster.url))?;
    Ok(deployment.and_then(|deployment| serde_json::to_value(deployment).ok()).as_ref().map(Installed::read))
}

/// An operator of another name or in another namespace, as a release of Helm may be, that serves some of this. Whoever may not
/// look into all namespaces does not hear of it.
pub(super) async fn elsewhere(cluster: &Cluster, scope: &Scope) -> anyhow::Result<Option<Installed>> {
    let deployments = api(&cluster.client, "apps/v1", "Deployment", None);
    let labelled = ListParams::default().labels(OPERATOR);
    match deployments.list(&labelled).await {
        Ok(found) => {
            let found = found.items.into_iter().filter_map(|deployment| serde_json::to_value(deployment).ok());
            Ok(found.map(|deployment| Installed::read(&deployment)).find(|operator| operator.serves_some_of(scope)))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(None),
        Err(error) => Err(plain(error)).with_context(|| format!("the cluster at {} cannot be asked", cluster.url)),
    }
}

impl Installed {
    fn read(deployment: &Value) -> Self {
        let containers = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array);
        // Others may stand beside it.
        let ours = containers.into_iter().flatten().find(|container| container["name"] == NAME);
        let arguments = || ours.and_then(|container| container["args"].as_array()).into_iter().flatten();
        let after = |flag: &str| {
            let mut texts = arguments().filter_map(Value::as_str);
            texts.find_map(|argument| argument.strip_prefix(flag)).map(str::to_owned)
        };
        let is_for_all = arguments().any(|argument| argument == "--all-namespaces" || argument == "-A");
        let scope = if is_for_all { Some(Scope::All) } else { after("--namespace=").map(Scope::Namespace) };
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let metadata = &deployment["metadata"];
        let namespace = text(&metadata["namespace"]).unwrap_or_default();
        Self {
            lease: (
                after("--lease-namespace=").unwrap_or_else(|| namespace.clone()),
                after("--lease=").unwrap_or_else(|| NAME.to_owned()),
            ),
            namespace,
            name: text(&metadata["name"]).unwrap_or_default(),
            manager: text(&deployment["metadata"]["labels"][MANAGED_BY.0]),
            scope,
            image: ours.and_then(|container| text(&container["image"])),
        }
    }

    /// Its Deployment, as it is printed.
    pub(super) fn shown(&self) -> String {
        format!("deployment/{} in {}", self.name, self.namespace)
    }

    /// Whether it is the one that commands would make in this namespace.
    pub(super) fn is_in(&self, namespace: &str) -> bool {
        self.namespace == namespace && self.name == NAME
    }

    pub(super) fn serves_some_of(&self, wanted: &Scope) -> bool {
        self.scope.as_ref().is_some_and(|scope| scope == wanted || *scope == Scope::All || *wanted == Scope::All)
    }

    /// Why it is not a command's to change or to take out for what is meant, if it is not.
    pub(super) fn is_not_ours(&self, meant: &Scope) -> Option<String> {
        match (&self.manager, &self.scope) {
            (Some(manager), _) if manager != MANAGED_BY.1 => Some(format!("it is managed by {manager}")),
            (None, _) => Some("it does not say that `deskrun up` made it".to_owned()),
            (_, Some(scope)) if scope == meant => None,
            (_, Some(scope)) => Some(format!("it serves {scope}")),
            (_, None) => Some("its arguments do not say what it serves".to_owned()),
        }
    }

    /// The same for one that is installed anew: to serve more is no harm to anyone.
    pub(super) fn may_not_become(&self, wanted: &Scope) -> Option<String> {
        let is_widened = self.manager.as_deref() == Some(MANAGED_BY.1) && *wanted == Scope::All;
        if is_widened { None } else { self.is_not_ours(wanted) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(manager: &str, arguments: &[&str]) -> Installed {
        let beside = json!({"name": "proxy", "image": "proxy:1", "args": ["--namespace=mesh"]});
        let ours = json!({"name": "deskrun", "image": "deskrun:1", "args": arguments});
        Installed::read(&json!({
            "metadata": {"name": "ci", "namespace": "ops", "labels": {"app.kubernetes.io/managed-by": manager}},
            "spec": {"template": {"spec": {"containers": [beside, ours]}}},
        }))
    }

    fn namespace(name: &str) -> Scope {
        Scope::of(Some(name))
    }

    #[test]
    fn what_an_operator_serves_is_read_from_its_own_containers_arguments() {
        let read = deployment("deskrun", &["operator", "--namespace=ci"]);
        assert_eq!((read.scope, read.image.as_deref()), (Some(namespace("ci")), Some("deskrun:1")));
        assert_eq!(deployment("deskrun", &["operator", "--all-namespaces"]).scope, Some(Scope::All));
        assert_eq!(deployment("deskrun", &["operator"]).scope, None);
    }

    #[test]
    fn an_operator_of_another_name_is_told_by_what_it_serves_and_found_by_its_lease() {
        let helms =
            deployment("Helm", &["operator", "--namespace=ci", "--lease=ci-deskrun", "--lease-namespace=leases"]);
        assert_eq!(
            (helms.shown().as_str(), &helms.lease),
            ("deployment/ci in ops", &("leases".into(), "ci-deskrun".into()))
        );
        for (scope, serves) in [(namespace("ci"), true), (Scope::All, true), (namespace("other"), false)] {
            assert_eq!(helms.serves_some_of(&scope), serves, "{scope}");
        }
        let silent = deployment("Helm", &["operator", "--all-namespaces"]);
        assert!(silent.serves_some_of(&namespace("other")));
        assert_eq!(silent.lease, ("ops".into(), "deskrun".into()));
    }

    #[test]
    fn an_operator_is_a_commands_if_a_command_made_it_for_the_same_namespace() {
        let ours = deployment("deskrun", &["--namespace=ci"]);
        assert_eq!(ours.is_not_ours(&namespace("ci")), None);
        assert_eq!(ours.is_not_ours(&namespace("other")).unwrap(), "it serves the namespace ci");
        assert_eq!(ours.is_not_ours(&Scope::All).unwrap(), "it serves the namespace ci");
        let helms = deployment("Helm", &["--namespace=ci"]);
        assert_eq!(helms.is_not_ours(&namespace("ci")).unwrap(), "it is managed by Helm");
        let silent = deployment("deskrun", &[]);
        assert_eq!(silent.is_not_ours(&Scope::All).unwrap(), "its arguments do not say what it serves");
    }

    #[test]
    fn an_operator_may_come_to_serve_more_but_not_others() {
        let ours = deployment("deskrun", &["--namespace=ci"]);
        assert_eq!((ours.may_not_become(&namespace("ci")), ours.may_not_become(&Scope::All)), (None, None));
        assert!(ours.may_not_become(&namespace("other")).is_some());
        assert!(deployment("deskrun", &["--all-namespaces"]).may_not_become(&namespace("ci")).is_some());
        assert!(deployment("Helm", &["--namespace=ci"]).may_not_become(&Scope::All).is_some());
    }
}
