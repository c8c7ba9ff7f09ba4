//! What tests do to etcd behind the API server's back, over etcd's own JSON gateway.

use serde_json::{Value, json};

/// The revision after a write of no meaning; the API server's resource versions are these revisions.
pub async fn bump(url: &str) -> Result<i64, String> {
    // `deskrun/bump`, which no API server looks at, and an empty value.
    let answer = call(url, "kv/put", &json!({"key": "ZGVza3J1bi9idW1w", "value": ""})).await?;
    let revision = answer["header"]["revision"].as_str().and_then(|text| text.parse().ok());
    revision.ok_or_else(|| format!("etcd said no revision: {answer}"))
}

/// Forgets all history before a revision.
pub async fn compact(url: &str, revision: i64) -> Result<(), String> {
    call(url, "kv/compaction", &json!({"revision": revision.to_string(), "physical": true})).await.map(drop)
}

async fn call(url: &str, route: &str, body: &Value) -> Result<Value, String> {
    let failed = |error: reqwest::Error| format!("etcd {route}: {error}");
    let request = reqwest::Client::new().post(format!("{url}/v3/{route}")).body(body.to_string());
    let answer = request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
    serde_json::from_str(&answer.text().await.map_err(failed)?).map_err(|error| format!("etcd {route}: {error}"))
}
