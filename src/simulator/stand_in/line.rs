//! The stand-in's calls to its simulator.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::jit::Registration;
use crate::secret::Secret;

/// Clearly above the longest hold of a simulator.
const PATIENCE: Duration = Duration::from_mins(3);

/// The way to the simulator.
pub(super) struct Line {
    client: reqwest::Client,
    base: String,
    secret: Secret,
}

/// A job to run.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    #[serde(rename = "jobId")]
    pub(super) id: String,
    pub(super) display_name: String,
    #[serde(default)]
    pub(super) script: Option<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
}

/// The answer to going online.
pub(super) enum Connected {
    Online,
    /// Another process is this runner.
    Conflict,
    /// The registration does not exist.
    Gone,
}

/// The answer to asking for a job.
pub(super) enum Next {
    Job(Job),
    Nothing,
    /// The registration was deleted; or the job was cancelled, while it runs.
    Gone,
}

impl Line {
    pub(super) fn new(registration: &Registration) -> Self {
        let base = format!("{}/sim/runners/{}", registration.url.trim_end_matches('/'), registration.id);
        // Simulators speak plain HTTP, and the image may have no certificates at all.
        let client = reqwest::Client::builder().tls_certs_only([]).build().unwrap_or_default();
        Self { client, base, secret: registration.secret.clone() }
    }

    pub(super) async fn connect(&self) -> Result<Connected, reqwest::Error> {
        let response = self.post("connect", "{}".to_owned()).await?;
        Ok(match response.status().as_u16() {
            404 | 410 | 401 => Connected::Gone,
            409 => Connected::Conflict,
            _ => {
                response.error_for_status().map_err(reqwest::Error::without_url)?;
                Connected::Online
            }
        })
    }

    /// Waits for a job; while one runs, only for its cancelation.
    pub(super) async fn next(&self, running: Option<&str>) -> Result<Next, reqwest::Error> {
        let query = running.map(|job| format!("?job={job}")).unwrap_or_default();
        let request = self.client.get(format!("{}/next{query}", self.base)).timeout(PATIENCE);
        let response = self.authorised(request).send().await.map_err(reqwest::Error::without_url)?;
        match response.status().as_u16() {
            404 | 410 => Ok(Next::Gone),
            204 => Ok(Next::Nothing),
            _ => {
                let text = response.error_for_status().map_err(reqwest::Error::without_url)?.text().await?;
                // What cannot be read is no job; the simulator assigns it again.
                Ok(serde_json::from_str(&text).map_or(Next::Nothing, Next::Job))
            }
        }
    }

    /// Sends output; losing some is no reason to stop.
    pub(super) async fn log(&self, text: String) {
        let _ = self.post("log", text).await;
    }

    pub(super) async fn finish(&self, result: &str) -> Result<(), reqwest::Error> {
        let response = self.post("finish", serde_json::json!({"result": result}).to_string()).await?;
        // A cancelled job's registration is gone already.
        if matches!(response.status().as_u16(), 404 | 410) {
            return Ok(());
        }
        response.error_for_status().map(|_| ()).map_err(reqwest::Error::without_url)
    }

    async fn post(&self, route: &str, body: String) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.client.post(format!("{}/{route}", self.base)).body(body).timeout(PATIENCE);
        let request = request.header("content-type", "application/json");
        self.authorised(request).send().await.map_err(reqwest::Error::without_url)
    }

    fn authorised(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.bearer_auth(self.secret.expose())
    }
}
