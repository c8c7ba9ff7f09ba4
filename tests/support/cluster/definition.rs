//! The custom resource's definition, made known to a cluster.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use serde_json::json;

/// Applies it and waits until objects of it can be made.
pub async fn establish(client: &Client) -> Result<(), String> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let mut definition = serde_json::to_value(deskrun::crd::definition()).map_err(|error| error.to_string())?;
    definition["apiVersion"] = json!("apiextensions.k8s.io/v1");
    definition["kind"] = json!("CustomResourceDefinition");
    let name = definition["metadata"]["name"].as_str().ok_or("it has no name")?.to_owned();
    let applied = definitions.patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&definition)).await;
    applied.map_err(|error| format!("the definition is refused: {error}"))?;
    established(client).await
}

/// Waits until objects of it can be made.
pub async fn established(client: &Client) -> Result<(), String> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = format!("{}.{}", deskrun::crd::PLURAL, deskrun::crd::GROUP);
    let established = await_condition(definitions, &name, conditions::is_crd_established());
    match tokio::time::timeout(Duration::from_secs(30), established).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("the definition cannot be watched: {error}")),
        Err(_) => Err("the definition is not established".to_owned()),
    }
}
