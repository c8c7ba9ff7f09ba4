//! From flags to a `RunnerScaleSet` document, and back from its fields to the flags that set them.

use std::path::Path;

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::Add;
use crate::crd::API_VERSION;
use crate::problem::{Problem, Segment};
use crate::yaml;

impl Add {
    /// The text of the file.
    pub(super) fn document(&self) -> anyhow::Result<String> {
        let mut spec = Map::new();
        let mut set = |field: &str, value: Option<Value>| spec.extend(value.map(|value| (field.to_owned(), value)));
        set("githubConfigUrl", Some(json!(self.repository)));
        match &self.secret {
            Some(secret) => set("githubConfigSecret", Some(json!(secret))),
            None => set("credentials", Some(self.credentials()?)),
        }
        set("containerMode", Some(json!(self.mode)));
        set("image", self.image.as_ref().map(|image| json!(image)));
        set("instances", self.instances.map(|count| json!(count)));
        set("minRunners", self.min_runners.map(|count| json!(count)));
        set("maxRunners", self.max_runners.map(|count| json!(count)));
        let caches: Vec<Value> = self.caches.iter().map(super::cache::CacheArgument::entry).collect();
        set("cachePaths", Some(json!(caches)).filter(|_| !caches.is_empty()));
        let metadata = json!({"name": self.name});
        Ok(yaml::write(
            &json!({"apiVersion": API_VERSION, "kind": "RunnerScaleSet", "metadata": metadata, "spec": spec}),
        ))
    }

    fn credentials(&self) -> anyhow::Result<Value> {
        if let Some(file) = &self.pat_file {
            return Ok(json!({"patFile": absolute("--pat-file", file)?}));
        }
        if let Some(variable) = &self.pat_env {
            return Ok(json!({"patEnv": variable}));
        }
        let mut app = Map::new();
        app.extend(self.app_id.map(|id| ("id".to_owned(), json!(id))));
        app.extend(self.app_client_id.as_ref().map(|id| ("clientId".to_owned(), json!(id))));
        app.extend(self.app_installation_id.map(|id| ("installationId".to_owned(), json!(id))));
        if let Some(file) = &self.app_private_key_file {
            app.insert("privateKeyFile".to_owned(), json!(absolute("--app-private-key-file", file)?));
        }
        Ok(json!({"app": app}))
    }

    /// The argument that a problem is about, as it was typed.
    pub(super) fn flag(&self, problem: &Problem) -> String {
        let keys: Vec<&Segment> = problem.path.segments().iter().skip(1).take(2).collect();
        let shown =
            |flag: &str, count: Option<u32>| count.map_or_else(|| flag.to_owned(), |count| format!("{flag} {count}"));
        let field = match keys.first() {
            Some(Segment::Key(key)) => key.as_str(),
            _ => "",
        };
        match (field, keys.get(1)) {
            // What is before an `@` may be a token.
            ("githubConfigUrl", _) if self.repository.contains('@') => "--repository".to_owned(),
            ("githubConfigUrl", _) => format!("--repository {}", self.repository),
            ("containerMode", _) => format!("--mode {}", self.mode),
            ("image", _) => format!("--image {}", self.image.as_deref().unwrap_or_default()),
            ("instances", _) => shown("--instances", self.instances),
            ("minRunners", _) => shown("--min-runners", self.min_runners),
            ("maxRunners", _) => shown("--max-runners", self.max_runners),
            ("githubConfigSecret", _) => format!("--secret {}", self.secret.as_deref().unwrap_or_default()),
            ("credentials", _) if self.pat_file.is_some() => "--pat-file".to_owned(),
            ("credentials", _) if self.pat_env.is_some() => "--pat-env".to_owned(),
            ("credentials", _) => "--app-id".to_owned(),
            ("cachePaths", Some(Segment::Index(index))) => match self.caches.get(*index) {
                Some(cache) => format!("--cache {cache}"),
                None => "--cache".to_owned(),
            },
            ("name", _) => format!("NAME {}", self.name),
            _ => problem.path.to_string(),
        }
    }
}

/// The controller starts in another folder.
fn absolute(flag: &str, file: &Path) -> anyhow::Result<String> {
    let path = std::path::absolute(file).with_context(|| format!("`{flag}` cannot be used"))?;
    Ok(path.display().to_string())
}
