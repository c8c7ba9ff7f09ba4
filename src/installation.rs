//! The operator's objects, as they are applied without Helm: what `charts/deskrun` renders to, with its definition.
//!
//! `templates/operator/` is written by the chart's tests, so that there is one source. Nothing is applied here.

use serde_json::{Value, json};

use crate::crd::{definition, deletion_policy};
use crate::yaml;

/// Where an operator goes and what it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The operator's namespace; made if it is missing.
    pub namespace: String,
    /// The namespace whose scale sets it serves, made as one for privileged pods; all of them if `None`.
    pub runner_namespace: Option<String>,
    /// The operator's image.
    pub image: String,
}

const NAMESPACED: &str = include_str!("../templates/operator/namespaced.yaml");
const ALL_NAMESPACES: &str = include_str!("../templates/operator/all-namespaces.yaml");

impl Installation {
    /// The objects in an order in which they can be applied: the definition with its policy first, the deployment last.
    pub fn objects(&self) -> Result<Vec<Value>, yaml::SyntaxError> {
        let rendering = if self.runner_namespace.is_some() { NAMESPACED } else { ALL_NAMESPACES };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
        let mut objects = vec![definition()];
        objects.extend(deletion_policy());
        objects.push(namespace);
        for tree in yaml::read(rendering)? {
            let mut object = tree.to_json();
            self.fill(&mut object);
            // Runners beside the operator: the namespace is one, and what the chart says of it counts.
            if object["kind"] == "Namespace" && object["metadata"]["name"] == self.namespace.as_str() {
                objects.retain(|other| other["kind"] != "Namespace");
            }
            objects.push(object);
        }
        Ok(objects)
    }

    fn fill(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                let runners = self.runner_namespace.as_ref().unwrap_or(&self.namespace);
                *text = text
                    .replace("OPERATOR_NAMESPACE", &self.namespace)
                    .replace("RUNNER_NAMESPACE", runners)
                    .replace("OPERATOR_IMAGE", &self.image);
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Object(map) => map.values_mut().for_each(|item| self.fill(item)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(runner_namespace: Option<&str>) -> Vec<Value> {
        let runner_namespace = runner_namespace.map(str::to_owned);
        let image = "localhost/deskrun:test".to_owned();
        Installation { namespace: "ops".to_owned(), runner_namespace, image }.objects().unwrap()
    }

    fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
        objects.iter().filter(|object| object["kind"] == kind).collect()
    }

    #[test]
    fn every_placeholder_is_filled_in() {
        for runner_namespace in [None, Some("ci")] {
            let objects = installation(runner_namespace);
            let text = json!(objects).to_string();
            for placeholder in ["OPERATOR_", "RUNNER_NAMESPACE"] {
                assert!(!text.contains(placeholder), "{text}");
            }
            let deployment = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0];
            assert_eq!(deployment["image"], "localhost/deskrun:test");
            let scope = runner_namespace.map_or("--all-namespaces".to_owned(), |name| format!("--namespace={name}"));
            assert_eq!(deployment["args"][1], json!(scope));
        }
    }

    #[test]
    fn permissions_are_those_of_one_namespace_unless_all_are_served() {
        assert!(of_kind(&installation(Some("ci")), "ClusterRole").is_empty());
        assert_eq!(of_kind(&installation(None), "ClusterRole").len(), 1);
    }

    #[test]
    fn runners_beside_the_operator_have_its_namespace() {
        let objects = installation(Some("ops"));
        let namespaces = of_kind(&objects, "Namespace");
        assert_eq!(namespaces.len(), 1);
        assert_eq!(namespaces[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged");
    }
}
