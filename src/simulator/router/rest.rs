//! The three REST calls that lead to an admin connection.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::json;

use super::answer::{Answer, Content};
use super::{Call, Route, text};
use crate::simulator::simulation::Simulator;
use crate::simulator::state::{Grant, Refusal, Scope, State};

pub(super) fn answer(simulator: &Simulator, call: &Call) -> Result<Answer, Refusal> {
    match &call.route {
        Route::InstallationToken => installation_token(simulator, call),
        Route::RegistrationToken(scope) => registration_token(simulator, call, scope),
        _ => runner_registration(simulator, call),
    }
}

fn installation_token(simulator: &Simulator, call: &Call) -> Result<Answer, Refusal> {
    let token = call.bearer();
    let now = simulator.now();
    let good = simulator.app_key().map_or(!token.is_empty(), |key| key.accepts(token, now));
    if !good {
        return Err(Refusal::BadCredentials);
    }
    let (token, expires) = simulator.with(State::installation_token);
    Ok(created(&token, &rest_date(expires, "Z")))
}

fn registration_token(simulator: &Simulator, call: &Call, scope: &Scope) -> Result<Answer, Refusal> {
    let bearer = call.bearer();
    let options = simulator.options();
    let as_app = simulator.with(|state| state.grant(bearer) == Some(&Grant::Installation));
    if as_app && matches!(scope, Scope::Enterprise(_)) {
        return Err(Refusal::Forbidden);
    }
    let as_person = match &options.pat {
        Some(pat) => bearer == pat,
        // A token that was ours and is dead is not somebody's PAT.
        None => options.app_key.is_none() && !bearer.is_empty() && !bearer.starts_with("ghs_"),
    };
    if !as_app && !as_person {
        return Err(Refusal::BadCredentials);
    }
    let (token, expires) = simulator.with(|state| {
        let tenant = state.tenant(scope);
        state.registration_token(&tenant)
    });
    Ok(created(&token, &rest_date(expires, ".000+00:00")))
}

fn runner_registration(simulator: &Simulator, call: &Call) -> Result<Answer, Refusal> {
    let token = call.authorization("RemoteAuth").unwrap_or_default();
    let grant = simulator.with(|state| state.grant(token).cloned());
    let Some(Grant::Registration(tenant)) = grant else { return Err(Refusal::BadCredentials) };
    let body = call.json().map_err(|_| Refusal::NotFound)?;
    let url: Option<http::Uri> = text(&body, "url").and_then(|url| url.parse().ok());
    let scope = url.and_then(|url| Scope::of_path(url.path()));
    let named = scope.is_some_and(|scope| scope.key() == tenant);
    if !named || text(&body, "runner_event").as_deref() != Some("register") {
        return Err(Refusal::NotFound);
    }
    let (id, token) = simulator.with(|state| (state.tenant_id(&tenant), state.admin_token(&tenant)));
    Ok(Answer::json(json!({
        "url": call.links(simulator, id).service(),
        "token": token?,
        "token_schema": "OAuthAccessToken",
        "use_v2_flow": true,
    })))
}

fn created(token: &str, expires: &str) -> Answer {
    Answer::new(201, Content::Json(json!({ "token": token, "expires_at": expires })))
}

fn rest_date(at: Timestamp, zone: &str) -> String {
    format!("{}{zone}", at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%S"))
}
