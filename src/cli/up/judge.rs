//! Whether an object is as far as it should be, and what it waits for. Pure.

use serde_json::Value;

/// How far an object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Progress {
    Done,
    /// Not yet, and why, in words.
    Waiting(String),
}

impl Progress {
    fn waiting(words: &str) -> Self {
        Self::Waiting(words.to_owned())
    }
}

/// The entry of a condition.
pub(in crate::cli) fn condition<'a>(object: &'a Value, type_: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

pub(in crate::cli) fn definition(object: Option<&Value>) -> Progress {
    let Some(object) = object else { return Progress::waiting("it is not there") };
    let refused = condition(object, "NamesAccepted").filter(|condition| condition["status"] == "False");
    match (condition(object, "Established"), refused) {
        (_, Some(refused)) => Progress::Waiting(words(refused)),
        (Some(established), None) if established["status"] == "True" => Progress::Done,
        _ => Progress::waiting("the API server does not serve it yet"),
    }
}

pub(in crate::cli) fn deployment(object: Option<&Value>) -> Progress {
    let Some(object) = object else { return Progress::waiting("it is not there") };
    let count = |field: &str| object["status"][field].as_u64().unwrap_or_default();
    let wanted = object["spec"]["replicas"].as_u64().unwrap_or(1);
    if !is_observed(object, &object["status"]) {
        return Progress::waiting("its change was not looked at yet");
    }
    let (all, updated, available) = (count("replicas"), count("updatedReplicas"), count("availableReplicas"));
    // While pods of the form before are there, they are what is available. One of several is enough: the others stand by.
    if updated >= wanted && all <= updated && available >= 1 {
        return Progress::Done;
    }
    match condition(object, "ReplicaFailure").filter(|failure| failure["status"] == "True") {
        Some(failure) => Progress::Waiting(words(failure)),
        None if all > updated && available > 0 => {
            Progress::Waiting(format!("{} of the pods before it are there still", all - updated))
        }
        None => Progress::Waiting(format!("{available} of {wanted} pods are available")),
    }
}

pub(in crate::cli) fn scale_set(object: Option<&Value>) -> Progress {
    let Some(object) = object else { return Progress::waiting("it is not there") };
    match condition(object, "Ready") {
        None => Progress::waiting("no operator has looked at it yet"),
        Some(ready) if !is_observed(object, ready) => Progress::waiting("its change was not looked at yet"),
        Some(ready) if ready["status"] == "True" => Progress::Done,
        Some(ready) => Progress::Waiting(words(ready)),
    }
}

/// Whether what is said is about the object as it is now.
fn is_observed(object: &Value, said: &Value) -> bool {
    let generation = |value: &Value| value.as_i64().unwrap_or_default();
    generation(&said["observedGeneration"]) >= generation(&object["metadata"]["generation"])
}

fn words(condition: &Value) -> String {
    let text = |field: &str| condition[field].as_str().unwrap_or_default();
    match (text("reason"), text("message")) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(generation: i64, status: &Value) -> Value {
        json!({"metadata": {"generation": generation}, "spec": {"replicas": 1}, "status": status})
    }

    fn waits(words: &str) -> Progress {
        Progress::waiting(words)
    }

    #[test]
    fn a_definition_is_done_when_it_is_served() {
        let named = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "R", "message": "m"});
        let of = |conditions: Value| definition(Some(&with(1, &json!({"conditions": conditions}))));
        assert_eq!(definition(None), waits("it is not there"));
        assert_eq!(of(json!([named("Established", "True")])), Progress::Done);
        assert_eq!(of(json!([])), waits("the API server does not serve it yet"));
        assert_eq!(of(json!([named("NamesAccepted", "False")])), waits("R: m"));
    }

    #[test]
    fn a_deployment_is_done_when_a_pod_of_its_newest_form_is_available() {
        let of = |generation, status| deployment(Some(&with(generation, &status)));
        let status = json!({"observedGeneration": 2, "updatedReplicas": 1, "availableReplicas": 1});
        assert_eq!(of(2, status.clone()), Progress::Done);
        assert_eq!(of(3, status), waits("its change was not looked at yet"));
        // The new pod cannot start, and the old one serves on.
        let status = json!({"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1});
        assert_eq!(of(2, status), waits("1 of the pods before it are there still"));
        let status = json!({"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1});
        assert_eq!(of(2, status), waits("0 of 1 pods are available"));
        let failure = json!([{"type": "ReplicaFailure", "status": "True", "reason": "Forbidden", "message": "no"}]);
        assert_eq!(of(2, json!({"observedGeneration": 2, "conditions": failure})), waits("Forbidden: no"));
    }

    #[test]
    fn a_scale_set_is_done_when_its_newest_form_is_ready() {
        let ready = |status: &str, observed: i64| {
            let condition = json!({
                "type": "Ready", "status": status, "reason": "Credentials", "message": "the token is wrong",
                "observedGeneration": observed,
            });
            scale_set(Some(&with(2, &json!({"conditions": [condition]}))))
        };
        assert_eq!(ready("True", 2), Progress::Done);
        assert_eq!(ready("True", 1), waits("its change was not looked at yet"));
        assert_eq!(ready("False", 2), waits("Credentials: the token is wrong"));
        assert_eq!(scale_set(Some(&with(2, &json!({})))), waits("no operator has looked at it yet"));
    }
}
