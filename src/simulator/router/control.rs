//! The control API below `/control`, for people and tests. No credentials, and no faults: it is not GitHub's.
//!
//! | route | |
//! | --- | --- |
//! | `POST jobs` | `{"repository", "labels", "count", "script", "durationSeconds", "conclusion", "displayName", "public"}` → `{"ids"}` |
//! | `POST jobs/{id}/cancel`, `POST jobs/{id}/drop` | cancel; take an assigned job away without a message |
//! | `POST faults`, `DELETE faults` | a list of rules or `{"faults", "levers"}`; forget all rules |
//! | `POST levers` | changes those that are named |
//! | `POST groups` | `{"scope", "name", "allowsPublicRepositories"}` → `{"id"}` |
//! | `POST clock` | `{"advanceSeconds"}` → `{"now"}` |
//! | `POST restart`, `POST tokens/{kind}/expire`, `POST scalesets/{id}/end-session` | |
//! | `GET state`, `GET calls` | the ledger; every call in order |
//! | `GET wait?ids=A,B` | held until the jobs (or all) have ended → `{"ended", "jobs"}` |

use std::convert::Infallible;
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, Content};
use super::{Call, field, text};
use crate::simulator::control::FaultsFile;
use crate::simulator::simulation::Simulator;
use crate::simulator::state::{Conclusion, JobRequest, Refusal, Scope, date};

/// How long a wait is held, by the wall.
const WAIT: Duration = Duration::from_secs(30);

pub(super) async fn answer(simulator: &Simulator, call: &Call, parts: &[String]) -> Answer {
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    if (call.method.as_str(), parts.as_slice()) == ("GET", &["wait"]) {
        return Answer::json(wait(simulator, call).await);
    }
    match call.json().map_err(|error| error.to_string()).and_then(|body| change(simulator, call, &parts, body)) {
        Ok(Some(value)) => Answer::json(value),
        Ok(None) => Answer::from(Refusal::NoRoute),
        Err(message) => Answer::new(400, Content::Json(json!({ "error": message }))),
    }
}

/// None where there is no such route or thing.
fn change(simulator: &Simulator, call: &Call, parts: &[&str], body: Value) -> Result<Option<Value>, String> {
    let done = |done: bool| done.then(|| json!({}));
    Ok(match (call.method.as_str(), parts) {
        ("GET", ["state"]) => Some(simulator.ledger()),
        ("GET", ["calls"]) => Some(simulator.calls()),
        ("POST", ["jobs"]) => Some(json!({ "ids": queue(simulator, body)? })),
        ("POST", ["jobs", id, "cancel"]) => done(simulator.cancel(id)),
        ("POST", ["jobs", id, "drop"]) => done(simulator.drop_job(id)),
        ("POST", ["faults"]) => done(add_faults(simulator, body)?),
        ("DELETE", ["faults"]) => {
            simulator.clear_faults();
            done(true)
        }
        ("POST", ["levers"]) => done(set_levers(simulator, &body)?),
        ("POST", ["groups"]) => Some(json!({ "id": add_group(simulator, &body)? })),
        ("POST", ["clock"]) => Some(advance(simulator, &body)?),
        ("POST", ["restart"]) => {
            simulator.restart();
            done(true)
        }
        ("POST", ["tokens", kind, "expire"]) => {
            simulator.expire_tokens(kind);
            done(true)
        }
        ("POST", ["scalesets", id, "end-session"]) => {
            let id = id.parse().map_err(|_| "a scale set has a number".to_owned())?;
            simulator.with(|state| state.drop_session(id));
            done(true)
        }
        _ => None,
    })
}

fn queue(simulator: &Simulator, body: Value) -> Result<Vec<String>, String> {
    let request: JobRequest = serde_json::from_value(body).map_err(|error| error.to_string())?;
    if request.repository.as_ref().is_some_and(|repository| repository.matches('/').count() != 1) {
        return Err("`repository` is OWNER/NAME".to_owned());
    }
    if request.labels.is_empty() {
        return Err("`labels` must not be empty".to_owned());
    }
    let asked = request.conclusion.as_deref();
    if asked.is_some_and(|word| !matches!(Conclusion::of(word), Some(Conclusion::Success | Conclusion::Failure))) {
        return Err("`conclusion` is success or failure".to_owned());
    }
    if request.duration_seconds.is_some_and(|seconds| !(0.0..1e9).contains(&seconds)) {
        return Err("`durationSeconds` is not a duration".to_owned());
    }
    Ok(simulator.queue(&request))
}

fn add_faults(simulator: &Simulator, body: Value) -> Result<bool, String> {
    let file = FaultsFile::from_json(body).map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    })?;
    simulator.add_faults(file.faults);
    if let Some(levers) = file.levers {
        simulator.set_levers(|own| *own = levers);
    }
    Ok(true)
}

fn set_levers(simulator: &Simulator, body: &Value) -> Result<bool, String> {
    let mut merged = simulator.with(|state| serde_json::to_value(&state.levers)).map_err(|error| error.to_string())?;
    for (name, value) in body.as_object().into_iter().flatten() {
        merged[name] = value.clone();
    }
    let levers = serde_json::from_value(merged).map_err(|error| error.to_string())?;
    simulator.set_levers(|own| *own = levers);
    Ok(true)
}

fn add_group(simulator: &Simulator, body: &Value) -> Result<i64, String> {
    let scope = text(body, "scope").and_then(|path| Scope::of_path(&path));
    let scope = scope.ok_or_else(|| "`scope` is the path of a config URL".to_owned())?;
    let name = text(body, "name").ok_or_else(|| "`name` is missing".to_owned())?;
    let public = field(body, "allowsPublicRepositories").and_then(Value::as_bool).unwrap_or(false);
    simulator.with(|state| state.add_group(&scope, &name, public)).map_err(|error| error.to_string())
}

fn advance(simulator: &Simulator, body: &Value) -> Result<Value, String> {
    let seconds = field(body, "advanceSeconds").and_then(Value::as_f64);
    let by = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    simulator.advance(by.ok_or_else(|| "`advanceSeconds` is a number that is not negative".to_owned())?);
    Ok(json!({ "now": date(Some(simulator.now())), "explicit": simulator.is_explicit() }))
}

async fn wait(simulator: &Simulator, call: &Call) -> Value {
    let ids = call.query.get("ids").map(String::as_str).unwrap_or_default();
    let ids: Vec<String> = ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
    let ended = simulator.hold(jiff::SignedDuration::MAX, |state| {
        let (ended, jobs) = state.jobs_json(&ids);
        Ok::<_, Infallible>(ended.then_some(jobs))
    });
    match tokio::time::timeout(WAIT, ended).await {
        Ok(Ok(Some(jobs))) => json!({ "ended": true, "jobs": jobs }),
        _ => json!({ "ended": false, "jobs": simulator.with(|state| state.jobs_json(&ids).1) }),
    }
}
