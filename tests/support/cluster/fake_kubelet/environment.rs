//! A container's environment, with what it refers to.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};
use kube::{Api, Client};

/// Resolves it; the error is what the container waits for, in a kubelet's words.
pub(super) async fn resolve(
    client: &Client,
    pod: &Pod,
    container: &Container,
) -> Result<BTreeMap<String, String>, String> {
    let mut environment = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => variable.value.clone(),
            Some(source) => refer(client, pod, source).await?,
        };
        environment.insert(variable.name.clone(), value.unwrap_or_default());
    }
    Ok(environment)
}

async fn refer(client: &Client, pod: &Pod, source: &EnvVarSource) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(reference) = &source.secret_key_ref {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = secrets.get_opt(&reference.name).await.map_err(|error| error.to_string())?;
        let optional = reference.optional == Some(true);
        let value = secret.as_ref().and_then(|secret| secret.data.as_ref()?.get(&reference.key));
        return match value {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None if secret.is_none() => Err(format!("secret \"{}\" not found", reference.name)),
            None => Err(format!("couldn't find key {} in Secret {namespace}/{}", reference.key, reference.name)),
        };
    }
    if let Some(reference) = &source.config_map_key_ref {
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let map = maps.get_opt(&reference.name).await.map_err(|error| error.to_string())?;
        let map = map.ok_or_else(|| format!("configmap \"{}\" not found", reference.name))?;
        return Ok(map.data.and_then(|mut data| data.remove(&reference.key)));
    }
    let path = source.field_ref.as_ref().map(|reference| reference.field_path.as_str()).unwrap_or_default();
    let spec = pod.spec.as_ref();
    let value = match path {
        "metadata.name" => pod.metadata.name.clone(),
        "metadata.namespace" => pod.metadata.namespace.clone(),
        "metadata.uid" => pod.metadata.uid.clone(),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.hostIP" => Some("127.0.0.1".to_owned()),
        _ => {
            let label = path.strip_prefix("metadata.labels['").and_then(|rest| rest.strip_suffix("']"));
            label.and_then(|label| pod.metadata.labels.as_ref()?.get(label).cloned())
        }
    };
    Ok(value)
}
