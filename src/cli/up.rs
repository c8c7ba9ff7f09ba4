//! `deskrun up`: puts the operator and what files ask for into a cluster, and waits until it serves. Everything is applied
//! server-side, so it may be repeated: after a change, after an upgrade, after a failure.

mod judge;
mod wait;

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio::time::Instant;

pub(super) use self::judge::{Progress, condition, definition as judge_definition};
pub(super) use self::wait::until;
use super::cluster::{Cluster, ClusterArguments};
use super::installed::{DEFAULT_NAMESPACE, Installed, NAME, Scope, elsewhere, installed};
use super::objects::{api, apply, delete_and_say, plain, shown};
use super::resource::{MANAGED_BY, Resources, resources};
use super::run::Files;
use super::simulator::duration;
use super::{ExitCode, Printer};
use crate::crd::{API_VERSION, definition};
use crate::installation::Installation;

/// No image is published: one is built with the Containerfile.
const DEFAULT_IMAGE: &str = concat!("localhost/deskrun:", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Args)]
pub(super) struct Up {
    /// Files with `RunnerScaleSet` documents; those of `deskrun add` if not given
    #[arg(short, long = "file", value_name = "FILE")]
    files: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArguments,
    /// Namespace of the operator
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    operator_namespace: String,
    /// Image of the operator; that of the operator which is there, or else the one that the Containerfile makes
    #[arg(long)]
    image: Option<String>,
    /// Let the operator serve every namespace; it holds its permissions in the whole cluster then
    #[arg(short = 'A', long, conflicts_with = "no_operator")]
    all_namespaces: bool,
    /// Leave the operator to others, such as the chart
    #[arg(long)]
    no_operator: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// How long to wait until everything is ready
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "5m")]
    timeout: Duration,
}

impl Up {
    pub(super) async fn run(self, printer: &mut Printer<impl Write, impl Write>) -> anyhow::Result<ExitCode> {
        let input = Files::of(&self.files)?.look()?;
        for warning in input.scale_sets.iter().flat_map(|validated| &validated.warnings) {
            printer.warning(warning)?;
        }
        for (file, _) in &input.podman_hosts {
            printer.note("note", &format!("{file}: a PodmanHost means nothing in a cluster"))?;
        }
        let deadline = Instant::now() + self.timeout;
        let cluster = self.cluster.connect().await?;
        let wanted = resources(&input, self.cluster.namespace.as_deref(), &cluster.namespace)?;
        let secrets = wanted.secrets()?;
        let before = if self.no_operator { None } else { self.before(&cluster, &wanted.namespace, printer).await? };
        let first = self.first(&wanted.namespace, before.as_ref())?;
        for object in &first {
            // What is there is someone's, and stays as it is.
            if object["kind"] == "Namespace" && is_there(&cluster, object).await? {
                continue;
            }
            // Where there can be none of these, it is left to the users not to delete in the foreground.
            if shown(object).starts_with("validatingadmissionpolicy")
                && let Some(words) = cannot_be(&cluster, object).await?
            {
                printer.note("note", &format!("{} is left out: {words}", shown(object)))?;
                continue;
            }
            self.apply(&cluster, object, printer).await?;
        }
        if !self.dry_run {
            self.outgrow(&cluster, before.as_ref(), &first, printer).await?;
            self.served(&cluster, deadline, printer).await?;
        }
        for object in secrets.iter().chain(&wanted.config_maps).chain(&wanted.scale_sets) {
            self.apply(&cluster, object, printer).await?;
        }
        if self.dry_run {
            printer.note("note", "nothing was changed")?;
            return Ok(0);
        }
        self.wait(&cluster, &wanted, deadline, printer).await
    }

    /// The operator that is there. One that is not ours to change, or whose scale sets would be left to no one, is an error.
    async fn before(
        &self,
        cluster: &Cluster,
        namespace: &str,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<Option<Installed>> {
        let wanted = Scope::of((!self.all_namespaces).then_some(namespace));
        let Some(before) = installed(cluster, &self.operator_namespace).await? else {
            if let Some(other) = elsewhere(cluster, &wanted).await? {
                bail!(
                    "{} serves {wanted} already, or some of it: `--no-operator` leaves the serving to it, and \
                     `--operator-namespace` names that of one that `deskrun up` made",
                    other.shown()
                );
            }
            return Ok(None);
        };
        if let Some(words) = before.may_not_become(&wanted) {
            bail!(
                "{} is not changed: {words}. `--no-operator` leaves it as it is, `--all-namespaces` lets one of ours serve \
                 every namespace, `--operator-namespace` puts another one elsewhere",
                before.shown()
            );
        }
        if let (None, Some(image)) = (&self.image, chosen_image(&before)) {
            printer.note("note", &format!("the operator's image stays {image}: `--image` changes it"))?;
        }
        Ok(Some(before))
    }

    /// Takes away the rights in one namespace that an operator for all of them does not need any more.
    async fn outgrow(
        &self,
        cluster: &Cluster,
        before: Option<&Installed>,
        objects: &[Value],
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        let Some(Some(Scope::Namespace(namespace))) = before.map(|before| &before.scope) else { return Ok(()) };
        for object in self.installation(Some(namespace.clone()), before)? {
            let is_a_right = object["kind"] == "Role" || object["kind"] == "RoleBinding";
            let is_same = |other: &Value| shown(other) == shown(&object);
            if is_a_right && !objects.iter().any(is_same) {
                delete_and_say(cluster, &object, printer).await?;
            }
        }
        Ok(())
    }

    fn installation(&self, runner_namespace: Option<String>, before: Option<&Installed>) -> anyhow::Result<Vec<Value>> {
        let kept = before.and_then(chosen_image);
        let image = self.image.as_deref().or(kept).unwrap_or(DEFAULT_IMAGE).to_owned();
        let installation = Installation { namespace: self.operator_namespace.clone(), runner_namespace, image };
        installation.objects().map_err(|error| anyhow!("the operator's objects cannot be read: {}", error.message))
    }

    /// What the scale sets need before they come: the operator, or at least their namespace.
    fn first(&self, namespace: &str, before: Option<&Installed>) -> anyhow::Result<Vec<Value>> {
        let metadata = json!({"name": namespace, "labels": {MANAGED_BY.0: MANAGED_BY.1}});
        let plain = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        if self.no_operator {
            return Ok(vec![plain]);
        }
        let mut objects = self.installation((!self.all_namespaces).then(|| namespace.to_owned()), before)?;
        if self.all_namespaces {
            objects.push(plain);
        }
        Ok(objects)
    }

    async fn apply(
        &self,
        cluster: &Cluster,
        object: &Value,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        let applied = apply(&cluster.client, object, self.dry_run).await?;
        Ok(printer.data(&format!("{} {applied}\n", shown(object)))?)
    }

    /// Waits for the definition: nothing of its kind is taken before.
    async fn served(
        &self,
        cluster: &Cluster,
        deadline: Instant,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<()> {
        let definition = definition();
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let definitions = api(&cluster.client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
        let is_hidden = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 403);
        // Whoever may do everything in a namespace need not see it; whether it is there the next calls tell.
        if self.no_operator && definitions.get_opt(name).await.is_err_and(|error| is_hidden(&error)) {
            return Ok(());
        }
        match until(definitions, name, &shown(&definition), judge::definition, deadline, printer).await? {
            Ok(()) => Ok(()),
            Err(words) => bail!("{} is not served: {words}", shown(&definition)),
        }
    }

    async fn wait(
        &self,
        cluster: &Cluster,
        wanted: &Resources,
        deadline: Instant,
        printer: &mut Printer<impl Write, impl Write>,
    ) -> anyhow::Result<ExitCode> {
        let mut late = Vec::new();
        if !self.no_operator {
            let deployments = api(&cluster.client, "apps/v1", "Deployment", Some(&self.operator_namespace));
            let name = format!("deployment/{NAME} in {}", self.operator_namespace);
            if let Err(words) = until(deployments, NAME, &name, judge::deployment, deadline, printer).await? {
                late.push(format!("{name} is not available: {words}"));
                late.extend(self.pods_wait_for(cluster).await);
            }
        }
        for scale_set in &wanted.scale_sets {
            let name = scale_set["metadata"]["name"].as_str().unwrap_or_default();
            let api = api(&cluster.client, API_VERSION, "RunnerScaleSet", Some(&wanted.namespace));
            match until(api, name, &shown(scale_set), judge::scale_set, deadline, printer).await? {
                Ok(()) => printer.data(&format!("{} ready\n", shown(scale_set)))?,
                Err(words) => late.push(format!("{} is not ready: {words}", shown(scale_set))),
            }
        }
        for words in &late {
            printer.note("error", words)?;
        }
        if !late.is_empty() {
            let seconds = self.timeout.as_secs();
            let hint =
                format!("waited for {seconds} s; `deskrun up` again waits on, `deskrun doctor` looks for the cause");
            printer.hint(Some(&hint))?;
            return Ok(1);
        }
        Ok(0)
    }

    /// What keeps the operator's pods, where they say so.
    async fn pods_wait_for(&self, cluster: &Cluster) -> Vec<String> {
        let pods = api(&cluster.client, "v1", "Pod", Some(&self.operator_namespace));
        let labels = format!("app.kubernetes.io/name={NAME},app.kubernetes.io/instance={NAME}");
        let Ok(pods) = pods.list(&ListParams::default().labels(&labels)).await else { return Vec::new() };
        let words = pods.items.iter().filter_map(|pod| {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let waiting = pod.data.pointer("/status/containerStatuses/0/state/waiting");
            let unscheduled = judge::condition(&pod.data, "PodScheduled").filter(|said| said["status"] == "False");
            let said = waiting.or(unscheduled)?;
            let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
            Some(format!("pod {name}: {} {}", text("reason"), text("message")))
        });
        words.collect()
    }
}

/// The image of an operator that is there, if someone chose it: that of another version of ours was not chosen.
fn chosen_image(before: &Installed) -> Option<&str> {
    before.image.as_deref().filter(|image| !is_default_image(image))
}

fn is_default_image(image: &str) -> bool {
    let parts: Option<Vec<&str>> = image.strip_prefix("localhost/deskrun:").map(|version| version.split('.').collect());
    parts.is_some_and(|parts| parts.len() == 3 && parts.iter().all(|part| part.parse::<u32>().is_ok()))
}

/// Why there can be no object of this kind, which is in no namespace, if so.
async fn cannot_be(cluster: &Cluster, object: &Value) -> anyhow::Result<Option<&'static str>> {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let api = api(&cluster.client, text("apiVersion"), text("kind"), None);
    match api.list(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(None),
        // Kubernetes 1.29.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Some("the cluster does not know the kind")),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Some("you may not see such objects")),
        Err(error) => Err(plain(error)).with_context(|| format!("the cluster at {} cannot be asked", cluster.url)),
    }
}

async fn is_there(cluster: &Cluster, namespace: &Value) -> anyhow::Result<bool> {
    let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
    let there = api(&cluster.client, "v1", "Namespace", None).get_opt(name).await.map_err(plain);
    Ok(there.with_context(|| format!("the cluster at {} cannot be asked", cluster.url))?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_kept_unless_it_is_that_of_some_version_of_ours() {
        for (image, is_default) in [
            (DEFAULT_IMAGE, true),
            ("localhost/deskrun:0.0.9", true),
            ("localhost/deskrun:dev", false),
            ("registry.example.com/deskrun:0.1.0", false),
        ] {
            assert_eq!(is_default_image(image), is_default, "{image}");
        }
    }
}
