//! A scale set of a file as objects of a cluster: there are no files there, so layers become text and credentials a
//! Secret, which is never shown.

use anyhow::{Context, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::input::Input;
use super::render::OFFLINE;
use super::run::{load_credentials, specifications};
use crate::crd::{API_VERSION, Document};
use crate::github::{AppIssuer, Credentials};
use crate::manifest::EngineKind;
use crate::scale_set::{LayerSource, ScaleSet};

/// Says who made an object.
pub(super) const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "deskrun");
/// Says that a command made an object, which `deskrun down` and `deskrun remove` take out again.
const MADE_BY: (&str, &str) = ("deskrun.dev/made-by", "command");
/// The label by which objects say whose they are.
const PART_OF: &str = "app.kubernetes.io/instance";

/// What files ask of a cluster.
pub(super) struct Resources {
    /// Where all of it goes.
    pub(super) namespace: String,
    /// ConfigMaps, which layers are read from.
    pub(super) config_maps: Vec<Value>,
    /// The `RunnerScaleSet` objects.
    pub(super) scale_sets: Vec<Value>,
    /// Those whose credentials are in files.
    secrets: Vec<ScaleSet>,
}

/// Everything that files ask for. `given` is the namespace of the command line, `default` what holds where neither it nor
/// a file says one.
pub(super) fn resources(input: &Input, given: Option<&str>, default: &str) -> anyhow::Result<Resources> {
    let namespace = namespace(input, given, default)?;
    let mut all = Resources { namespace, secrets: Vec::new(), config_maps: Vec::new(), scale_sets: Vec::new() };
    for (name, data) in &input.config_maps {
        let metadata = metadata(name, &all.namespace, name);
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
        all.config_maps.push(object);
    }
    for (document, validated) in input.sources.iter().zip(&input.scale_sets) {
        let scale_set = &validated.scale_set;
        // What the operator would say later is said now.
        specifications(scale_set, input, EngineKind::Kubernetes, OFFLINE, None)?;
        all.scale_sets.push(object(document, scale_set, input, &all.namespace)?);
        all.secrets.extend(scale_set.credentials.is_some().then(|| scale_set.clone()));
    }
    Ok(all)
}

fn object(document: &Document, scale_set: &ScaleSet, input: &Input, namespace: &str) -> anyhow::Result<Value> {
    let mut spec = document.spec();
    inline_layers(&mut spec, scale_set, input)?;
    ensure!(
        scale_set.config_secret.is_some() || scale_set.credentials.is_some(),
        "{}: `spec.githubConfigSecret` is missing in `{}`: name a Secret with credentials, or give `credentials` in the \
         file, from which one is made",
        scale_set.file,
        scale_set.name
    );
    if let Some(fields) = spec.as_object_mut().filter(|_| scale_set.credentials.is_some()) {
        fields.remove("credentials");
        fields.insert("githubConfigSecret".to_owned(), secret_name(scale_set).into());
    }
    let metadata = metadata(&scale_set.name, namespace, &scale_set.name);
    Ok(json!({"apiVersion": API_VERSION, "kind": "RunnerScaleSet", "metadata": metadata, "spec": spec}))
}

fn metadata(name: &str, namespace: &str, scale_set: &str) -> Value {
    let labels = json!({MANAGED_BY.0: MANAGED_BY.1, MADE_BY.0: MADE_BY.1, PART_OF: scale_set});
    json!({"name": name, "namespace": namespace, "labels": labels})
}

/// Selects what commands made for a scale set, or for all of them.
pub(super) fn made_for(scale_set: Option<&str>) -> String {
    let its = scale_set.map(|name| format!(",{PART_OF}={name}")).unwrap_or_default();
    format!("{}={}{its}", MADE_BY.0, MADE_BY.1)
}

/// One for all: an operator serves one namespace, and there is one set of credentials for whoever can read it.
fn namespace(input: &Input, given: Option<&str>, default: &str) -> anyhow::Result<String> {
    let mut chosen = given;
    for document in &input.sources {
        let Some(namespace) = document.namespace.as_deref() else { continue };
        ensure!(
            chosen.is_none_or(|chosen| chosen == namespace),
            "{}: `metadata.namespace` is `{namespace}`, and {} is `{}`: one namespace is served at a time",
            document.file,
            if given.is_some() { "`--namespace`" } else { "that of another document" },
            chosen.unwrap_or_default(),
        );
        chosen = Some(namespace);
    }
    Ok(chosen.unwrap_or(default).to_owned())
}

fn inline_layers(spec: &mut Value, scale_set: &ScaleSet, input: &Input) -> anyhow::Result<()> {
    let texts = input.layers(scale_set, &[])?;
    let entries = spec.get_mut("layers").and_then(Value::as_array_mut).into_iter().flatten();
    for ((entry, layer), source) in entries.zip(texts).zip(&scale_set.layers) {
        if matches!(source, LayerSource::File(_)) {
            *entry = json!({"inline": layer.text});
        }
    }
    Ok(())
}

impl Resources {
    /// Reads the credentials that files name, as Secrets.
    pub(super) fn secrets(&self) -> anyhow::Result<Vec<Value>> {
        let secrets = self.secrets.iter().map(|scale_set| secret(scale_set, &self.namespace));
        secrets.filter_map(Result::transpose).collect()
    }
}

fn secret_name(scale_set: &ScaleSet) -> String {
    format!("{}-github", scale_set.name)
}

fn secret(scale_set: &ScaleSet, namespace: &str) -> anyhow::Result<Option<Value>> {
    let Some(given) = &scale_set.credentials else { return Ok(None) };
    let loaded = load_credentials(given, &scale_set.file)
        .with_context(|| format!("{}: `spec.credentials` of `{}` cannot be used", scale_set.file, scale_set.name))?;
    let metadata = metadata(&secret_name(scale_set), namespace, &scale_set.name);
    let data = data(&loaded);
    Ok(Some(json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data})))
}

fn data(credentials: &Credentials) -> Map<String, Value> {
    let encoded = |(key, text): (&str, &str)| (key.to_owned(), BASE64_STANDARD.encode(text).into());
    match credentials {
        Credentials::Token(token) => Map::from_iter([encoded(("github_token", token.expose()))]),
        Credentials::App { issuer: AppIssuer(issuer), installation_id, private_key } => [
            ("github_app_id", issuer.as_str()),
            ("github_app_installation_id", &installation_id.to_string()),
            ("github_app_private_key", private_key.expose()),
        ]
        .into_iter()
        .map(encoded)
        .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::input::documents;

    const FILE: &str = "\
apiVersion: deskrun.dev/v1alpha1
kind: RunnerScaleSet
metadata: {name: metal}
spec:
  githubConfigUrl: https://github.com/acme/app
  containerMode: cached-privileged-kubernetes
  credentials: {patFile: TOKEN}
  layers: [{file: LAYER}, {inline: 'metadata: {labels: {b: c}}'}]
";

    fn of(text: &str, given: Option<&str>) -> anyhow::Result<Resources> {
        resources(&documents(vec![("metal.yaml".to_owned(), text.to_owned())], None, &[])?, given, "default")
    }

    #[test]
    fn what_lies_in_files_goes_into_the_objects() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let text = FILE.replace("TOKEN", &file("token", "ghp_example\n"));
        let text = text.replace("LAYER", &file("layer", "metadata: {labels: {a: b}}"));
        let all = of(&text, Some("ci")).unwrap();
        assert_eq!(all.namespace, "ci");
        let secret = &all.secrets().unwrap()[0];
        assert_eq!(secret["metadata"]["name"], "metal-github");
        assert_eq!(secret["data"]["github_token"], BASE64_STANDARD.encode("ghp_example"));
        let spec = &all.scale_sets[0]["spec"];
        assert_eq!((&spec["githubConfigSecret"], spec.get("credentials")), (&json!("metal-github"), None));
        assert_eq!(spec["layers"][0], json!({"inline": "metadata: {labels: {a: b}}"}));
        assert_eq!(spec["layers"][1], json!({"inline": "metadata: {labels: {b: c}}"}));
        assert_eq!(all.scale_sets[0]["metadata"]["namespace"], "ci");
    }

    #[test]
    fn namespaces_that_contradict_each_other_and_missing_credentials_are_refused() {
        let named = FILE.replace("{name: metal}", "{name: metal, namespace: other}");
        let refused = |text: &str, given| of(text, given).map(drop).unwrap_err().to_string();
        assert!(refused(&named, Some("ci")).contains("`metadata.namespace` is `other`, and `--namespace` is `ci`"));
        let without = FILE.replace("  credentials: {patFile: TOKEN}\n", "").replace("{file: LAYER}, ", "");
        assert!(refused(&without, None).contains("`spec.githubConfigSecret` is missing"));
        let secret = without.replace("  layers", "  githubConfigSecret: github\n  layers");
        assert_eq!(of(&secret, None).unwrap().namespace, "default");
    }
}
