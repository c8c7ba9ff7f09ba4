//! Calls of the control API. Knows addresses and errors, not what is asked.

use anyhow::{Context, bail};
use reqwest::{Method, Url};
use serde_json::Value;

/// Calls one control route; `url` is what `serve` printed as `controlUrl`.
pub(super) async fn call(url: &str, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
    let target = Url::parse(&format!("{}/{path}", url.trim_end_matches('/')));
    let target = target.with_context(|| format!("`{url}` is not a URL"))?;
    let mut request = reqwest::Client::new().request(method, target.clone());
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let response = request.send().await.with_context(|| format!("cannot reach the simulator at {target}"))?;
    let status = response.status();
    let text = response.text().await.context("the simulator's answer broke off")?;
    if !status.is_success() {
        let message = serde_json::from_str::<Value>(&text).ok();
        let message = message.as_ref().and_then(|value| value["error"].as_str()).unwrap_or(&text);
        bail!("the simulator refused: {message}");
    }
    serde_json::from_str(&text).with_context(|| format!("{target} is not a simulator's control API"))
}
