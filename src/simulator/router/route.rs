//! Which call a method and a path are. Routes have names: fault rules, the ledger and the call log use them.

use axum::http::Method;

use crate::simulator::options::Generation;
use crate::simulator::state::Scope;

/// A call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Route {
    InstallationToken,
    RegistrationToken(Scope),
    RunnerRegistration,
    RunnerGroups,
    ScaleSetList,
    ScaleSetGet(i64),
    ScaleSetCreate,
    ScaleSetUpdate(i64),
    ScaleSetDelete(i64),
    JitConfig(i64),
    RunnerList,
    RunnerGet(i64),
    RunnerDelete(i64),
    SessionCreate(i64),
    SessionRefresh(i64, String),
    SessionDelete(i64, String),
    /// The scale set is in the path of the pipelines back end only.
    Poll(Option<i64>),
    Acknowledge(Option<i64>, i64),
    Acquire(i64),
    Acquirable(i64),
    SimConnect(i64),
    SimNext(i64),
    SimFinish(i64),
    SimLog(i64),
    /// The control API; method and path are told apart there.
    Control(Vec<String>),
    /// The Actions service beside its base path.
    OutsideService,
    Unknown,
}

impl Route {
    /// The name of the route.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::InstallationToken => "installation-token",
            Self::RegistrationToken(_) => "registration-token",
            Self::RunnerRegistration => "runner-registration",
            Self::RunnerGroups => "runner-groups",
            Self::ScaleSetList => "scale-set-list",
            Self::ScaleSetGet(_) => "scale-set-get",
            Self::ScaleSetCreate => "scale-set-create",
            Self::ScaleSetUpdate(_) => "scale-set-update",
            Self::ScaleSetDelete(_) => "scale-set-delete",
            Self::JitConfig(_) => "jit-config",
            Self::RunnerList => "runner-list",
            Self::RunnerGet(_) => "runner-get",
            Self::RunnerDelete(_) => "runner-delete",
            Self::SessionCreate(_) => "session-create",
            Self::SessionRefresh(..) => "session-refresh",
            Self::SessionDelete(..) => "session-delete",
            Self::Poll(_) => "poll",
            Self::Acknowledge(..) => "acknowledge",
            Self::Acquire(_) => "acquire",
            Self::Acquirable(_) => "acquirable",
            Self::SimConnect(_) => "sim-connect",
            Self::SimNext(_) => "sim-next",
            Self::SimFinish(_) => "sim-finish",
            Self::SimLog(_) => "sim-log",
            Self::Control(_) => "control",
            Self::OutsideService => "outside-service",
            Self::Unknown => "unknown",
        }
    }

    /// Reads a path. `tenant` comes back where the path of the pipelines back end names one.
    pub(super) fn of(method: &Method, path: &str, generation: Generation) -> (Self, Option<String>) {
        let decoded: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        let rest = parts.strip_prefix(&["api", "v3"]).unwrap_or(&parts);
        match (generation, parts.as_slice()) {
            (Generation::Broker, ["rest", "_apis", api @ ..]) => (service(method, api, generation), None),
            (Generation::Broker, ["scalesets", "message", id @ ..]) => (queue(method, None, id), None),
            (Generation::Pipelines, ["_services", "pipelines", tenant, "_apis", api @ ..]) => {
                (service(method, api, generation), Some((*tenant).to_owned()))
            }
            (_, ["_apis", ..]) => (Self::OutsideService, None),
            (_, ["control", rest @ ..]) => (Self::Control(rest.iter().map(|part| (*part).to_owned()).collect()), None),
            (_, ["sim", "runners", id, verb]) => (stand_in(method, id, verb), None),
            _ => (rest_call(method, rest), None),
        }
    }
}

fn rest_call(method: &Method, parts: &[&str]) -> Route {
    let scope = match (method.as_str(), parts) {
        ("POST", ["app", "installations", _, "access_tokens"]) => return Route::InstallationToken,
        ("POST", ["actions", "runner-registration"]) => return Route::RunnerRegistration,
        ("POST", ["orgs", org, "actions", "runners", "registration-token"]) => Scope::Organisation((*org).to_owned()),
        ("POST", ["enterprises", name, "actions", "runners", "registration-token"]) => {
            Scope::Enterprise((*name).to_owned())
        }
        ("POST", ["repos", owner, name, "actions", "runners", "registration-token"]) => {
            Scope::Repository((*owner).to_owned(), (*name).to_owned())
        }
        _ => return Route::Unknown,
    };
    Route::RegistrationToken(scope)
}

fn service(method: &Method, parts: &[&str], generation: Generation) -> Route {
    match parts {
        ["runtime", "runnergroups"] if method == Method::GET => Route::RunnerGroups,
        ["runtime", "runnerscalesets", rest @ ..] => scale_sets(method, rest, generation),
        ["distributedtask", "pools", "0", "agents"] if method == Method::GET => Route::RunnerList,
        ["distributedtask", "pools", "0", "agents", id] => match (method.as_str(), id.parse()) {
            ("GET", Ok(id)) => Route::RunnerGet(id),
            ("DELETE", Ok(id)) => Route::RunnerDelete(id),
            _ => Route::Unknown,
        },
        ["runtime", "messagequeue", set, id @ ..] if generation == Generation::Pipelines => match set.parse() {
            Ok(set) => queue(method, Some(set), id),
            Err(_) => Route::Unknown,
        },
        _ => Route::Unknown,
    }
}

fn scale_sets(method: &Method, parts: &[&str], generation: Generation) -> Route {
    let method = method.as_str();
    let Some((id, rest)) = parts.split_first() else {
        return match method {
            "GET" => Route::ScaleSetList,
            "POST" => Route::ScaleSetCreate,
            _ => Route::Unknown,
        };
    };
    let Ok(id) = id.parse() else { return Route::Unknown };
    match (method, rest) {
        ("GET", []) => Route::ScaleSetGet(id),
        ("PATCH", []) => Route::ScaleSetUpdate(id),
        ("DELETE", []) => Route::ScaleSetDelete(id),
        ("POST", ["generatejitconfig"]) => Route::JitConfig(id),
        ("POST", ["sessions"]) => Route::SessionCreate(id),
        ("PATCH", ["sessions", session]) => Route::SessionRefresh(id, (*session).to_owned()),
        ("DELETE", ["sessions", session]) => Route::SessionDelete(id, (*session).to_owned()),
        // The broker's router does not know it.
        ("POST", ["acquirejobs"]) if generation == Generation::Pipelines => Route::Acquire(id),
        ("GET", ["acquirablejobs"]) => Route::Acquirable(id),
        _ => Route::Unknown,
    }
}

fn queue(method: &Method, set: Option<i64>, id: &[&str]) -> Route {
    match (method.as_str(), id) {
        ("GET", []) => Route::Poll(set),
        ("DELETE", [id]) => id.parse().map_or(Route::Unknown, |id| Route::Acknowledge(set, id)),
        _ => Route::Unknown,
    }
}

fn stand_in(method: &Method, id: &str, verb: &str) -> Route {
    let Ok(id) = id.parse() else { return Route::Unknown };
    match (method.as_str(), verb) {
        ("POST", "connect") => Route::SimConnect(id),
        ("GET" | "POST", "next") => Route::SimNext(id),
        ("POST", "finish") => Route::SimFinish(id),
        ("POST", "log") => Route::SimLog(id),
        _ => Route::Unknown,
    }
}

/// One part of a path without its percent encoding.
fn decode(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = (bytes[at] == b'%').then(|| part.get(at + 1..at + 3)).flatten();
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_has_its_method_and_base_path() {
        use Generation::{Broker, Pipelines};
        for (generation, method, path, name) in [
            (Broker, "POST", "/api/v3/orgs/acme/actions/runners/registration-token", "registration-token"),
            (Broker, "POST", "/orgs/acme/actions/runners/registration-token", "registration-token"),
            (Broker, "GET", "/rest/_apis/runtime/runnergroups/", "runner-groups"),
            (Broker, "GET", "/rest/_apis/runtime/runnergroups", "runner-groups"),
            (Broker, "GET", "/_apis/runtime/runnergroups", "outside-service"),
            (Broker, "POST", "/rest/_apis/runtime/runnerscalesets/1/acquirejobs", "unknown"),
            (Pipelines, "POST", "/_services/pipelines/x/_apis/runtime/runnerscalesets/1/acquirejobs", "acquire"),
            (Pipelines, "GET", "/rest/_apis/runtime/runnerscalesets", "unknown"),
            (Broker, "GET", "/rest/_apis/runtime/runnerscalesets/1/acquirablejobs", "acquirable"),
            (Broker, "GET", "/scalesets/message", "poll"),
            (Broker, "DELETE", "/scalesets/message/100000001", "acknowledge"),
            (Broker, "PUT", "/scalesets/message/100000001", "unknown"),
            (Broker, "DELETE", "/rest/_apis/distributedtask/pools/0/agents/0", "runner-delete"),
            (Broker, "POST", "/sim/runners/7/connect", "sim-connect"),
        ] {
            let method = Method::from_bytes(method.as_bytes()).expect("a method");
            assert_eq!(Route::of(&method, path, generation).0.name(), name, "{method} {path}");
        }
    }

    #[test]
    fn parts_of_a_path_are_percent_decoded() {
        assert_eq!(decode("a%2Fb%20c%zz"), "a/b c%zz");
    }
}
