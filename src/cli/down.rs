//! `deskrun down`: takes out what `deskrun up` put into a cluster, in the order that GitHub needs: first the scale sets, by the
//! operator, then the operator. It waits no longer than it is told to, and says what is left.

mod judge;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;
use kube::api::ListParams;
use serde_json::Value;
use tokio::time::Instant;

pub(super) use self::judge::{gone, leads};
use super::cluster::{Cluster, ClusterArguments};
use super::installed::{DEFAULT_NAMESPACE, Installed, NAME, Scope, elsewhere, installed};
use super::objects::{api, delete_and_say, get, plain, shown};
use super::resource::{MANAGED_BY, made_for};
use super::scale_sets::{Found, list, scale_sets};
use super::simulator::duration;
use super::up::until;
use super::{ExitCode, Printer};
use crate::crd::{definition, deletion_policy};
use crate::installation::Installation;

#[derive(Debug, Args)]
pub(super) struct Down {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Namespace of the operator
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    operator_namespace: String,
    /// Delete the custom resource definition as well
    #[arg(long)]
    crds: bool,
    /// Do not wait for an operator: scale sets stay at GitHub, and busy runners are ended
    #[arg(long)]
    force: bool,
    /// How long to wait until the scale sets are gone, which busy runners keep
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10m")]
    timeout: Duration,
}

impl Down {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let deadline = Instant::now() + self.timeout;
        let cluster = self.cluster.connect().await?;
        let installed = installed(&cluster, &self.operator_namespace).await?;
        let namespace = self.served(&cluster, installed.as_ref())?;
        let scope = Scope::of(namespace.as_deref());
        // One that serves others stays, and knows nothing of these.
        let serving = match installed.as_ref().filter(|installed| installed.serves_some_of(&scope)) {
            Some(installed) => Some(installed.clone()),
            None => elsewhere(&cluster, &scope).await?,
        };
        let installed = installed.or_else(|| serving.clone());
        let kept = installed.as_ref().and_then(|installed| self.keeps(installed, &scope));
        if let (Some(words), None) = (&kept, &self.cluster.namespace) {
            bail!("{words}: name the namespace whose scale sets shall go by `-n`, for the operator stays");
        }
        let found = list(&cluster, namespace.as_deref()).await?;
        let held = found.iter().filter(|found| found.is_held()).count();
        if held > 0 && !self.force && !self.operator_leads(&cluster, serving.as_ref()).await? {
            printer.note(
                "error",
                &format!(
                    "no operator runs in {}, and {held} scale sets are registered at GitHub: nothing was taken out",
                    self.operator_namespace
                ),
            )?;
            let hint = "`deskrun up` starts one; `deskrun down --force` goes on without, and says what stays at GitHub";
            printer.hint(Some(hint))?;
            return Ok(1);
        }
        let left = self.scale_sets(&cluster, &found, deadline, printer).await?;
        if left > 0 {
            let hint = format!(
                "the operator goes on, and is left in place: run `deskrun down` again; `--force` waits for no one ({} s \
                 were not enough)",
                self.timeout.as_secs()
            );
            printer.hint(Some(&hint))?;
            return Ok(1);
        }
        delete_made(&cluster, namespace.as_deref(), None, printer).await?;
        match &kept {
            Some(words) => printer.note("kept", words)?,
            None => self.operator(&cluster, namespace, printer).await?,
        }
        if self.crds { self.definition(&cluster, kept, printer).await } else { Ok(0) }
    }

    /// Why an operator stays, if it does.
    fn keeps(&self, installed: &Installed, scope: &Scope) -> Option<String> {
        let is_elsewhere = !installed.is_in(&self.operator_namespace);
        let words = installed.is_not_ours(scope).or(is_elsewhere.then(|| "it is elsewhere".to_owned()));
        words.map(|words| format!("{}: {words}", installed.shown()))
    }

    /// The namespace that is meant; `None` for all of them. The operator's own arguments say so, unless the command line does.
    fn served(&self, cluster: &Cluster, installed: Option<&Installed>) -> anyhow::Result<Option<String>> {
        let named = self.cluster.namespace.is_some();
        match installed.filter(|_| !named).map(|installed| &installed.scope) {
            None => Ok(Some(cluster.namespace.clone())),
            Some(Some(Scope::Namespace(namespace))) => Ok(Some(namespace.clone())),
            Some(Some(Scope::All)) => Ok(None),
            Some(None) => bail!(
                "the arguments of deployment/{NAME} in {} do not say what it serves: name a namespace by `-n`",
                self.operator_namespace
            ),
        }
    }

    async fn operator_leads(&self, cluster: &Cluster, installed: Option<&Installed>) -> anyhow::Result<bool> {
        let usual = (self.operator_namespace.clone(), NAME.to_owned());
        let (namespace, name) = installed.map_or(&usual, |installed| &installed.lease);
        let leases = api(&cluster.client, "coordination.k8s.io/v1", "Lease", Some(namespace));
        let lease = leases.get_opt(name).await.map_err(plain).context("cannot read the operator's lease")?;
        Ok(lease.is_some_and(|lease| leads(&lease.data, Timestamp::now())))
    }

    /// Deletes the scale sets and waits; how many are left.
    async fn scale_sets(
        &self,
        cluster: &Cluster,
        found: &[Found],
        deadline: Instant,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<usize> {
        for found in found {
            found.delete(cluster).await?;
        }
        let mut left = 0;
        for found in found {
            if self.force && found.is_held() {
                found.let_go(cluster).await?;
                let names = found.instances().join(", ");
                let words = format!("at {}: scale set {names} and its runners", found.text("githubConfigUrl"));
                printer.note("left behind", &words)?;
            }
            let shown = shown(&found.json());
            let api = scale_sets(cluster, Some(found.namespace()));
            match until(api, found.name(), &shown, gone, deadline, printer).await? {
                Ok(()) => printer.data(&format!("{shown} deleted\n"))?,
                Err(words) => {
                    printer.note("error", &format!("{shown} is still there: {words}"))?;
                    left += 1;
                }
            }
        }
        Ok(left)
    }

    async fn operator(
        &self,
        cluster: &Cluster,
        namespace: Option<String>,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        if namespace.is_some() {
            self.rights_everywhere(cluster, printer).await?;
        }
        for object in self.objects(namespace)?.iter().rev() {
            match object["kind"].as_str() {
                // These go together, and only if they are told to.
                Some("CustomResourceDefinition" | "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding") => {
                }
                // What else is in there is not ours.
                Some("Namespace") => {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    printer
                        .note("kept", &format!("namespace/{name}: `kubectl delete namespace {name}` takes it out"))?;
                }
                _ => drop(delete_and_say(cluster, object, printer).await?),
            }
        }
        let metadata = serde_json::json!({"name": NAME, "namespace": self.operator_namespace});
        let lease = serde_json::json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata});
        delete_and_say(cluster, &lease, printer).await.map(drop)
    }

    /// Deletes what a command that broke off may have left of an operator for all namespaces: once its Deployment is gone,
    /// nothing says what it served.
    async fn rights_everywhere(
        &self,
        cluster: &Cluster,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        let objects = self.objects(None)?;
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind);
        let (Some(role), Some(binding)) = (of_kind("ClusterRole"), of_kind("ClusterRoleBinding")) else {
            return Ok(());
        };
        // Whoever may not see it, could not delete it either.
        let Ok(Some(found)) = get(&cluster.client, binding).await else { return Ok(()) };
        let labels = found.metadata.labels.unwrap_or_default();
        let is_commands = labels.get(MANAGED_BY.0).is_some_and(|manager| manager == MANAGED_BY.1);
        if is_commands && found.data["subjects"] == binding["subjects"] {
            delete_and_say(cluster, binding, printer).await?;
            delete_and_say(cluster, role, printer).await?;
        }
        Ok(())
    }

    /// The operator's objects, to be deleted by their names.
    fn objects(&self, runner_namespace: Option<String>) -> anyhow::Result<Vec<Value>> {
        let namespace = self.operator_namespace.clone();
        let installation = Installation { namespace, runner_namespace, image: String::new() };
        let objects = installation.objects().map_err(|error| anyhow!("{}", error.message));
        objects.context("the operator's objects cannot be read")
    }

    /// Deletes the definition, unless someone still needs it: all objects of the kind would go with it.
    async fn definition(
        &self,
        cluster: &Cluster,
        kept: Option<String>,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<ExitCode> {
        let others = list(cluster, None).await?;
        if !others.is_empty() {
            let names: Vec<String> = others.iter().map(|found| shown(&found.json())).collect();
            bail!("the definition is kept, for there are others: {}", names.join(", "));
        }
        if let Some(operator) = kept {
            bail!("the definition is kept, for an operator needs it: {operator}");
        }
        for object in deletion_policy().iter().rev().chain([&definition()]) {
            delete_and_say(cluster, object, printer).await?;
        }
        Ok(0)
    }
}

/// Takes out the Secrets and ConfigMaps that commands made for a scale set, or for all of them; how many. Others are their
/// makers'.
pub(super) async fn delete_made(
    cluster: &Cluster,
    namespace: Option<&str>,
    scale_set: Option<&str>,
    printer: &mut Printer<impl Write, impl Write>,
) -> anyhow::Result<usize> {
    let mut deleted = 0;
    let selected = ListParams::default().labels(&made_for(scale_set));
    for kind in ["Secret", "ConfigMap"] {
        let listed = api(&cluster.client, "v1", kind, namespace).list(&selected).await.map_err(plain);
        for object in listed.with_context(|| format!("cannot list what was made: {kind}s"))?.items {
            let mut object = serde_json::to_value(object).unwrap_or_default();
            (object["apiVersion"], object["kind"]) = ("v1".into(), kind.into());
            deleted += usize::from(delete_and_say(cluster, &object, printer).await?);
        }
    }
    Ok(deleted)
}
