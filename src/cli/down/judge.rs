//! Whether an operator leads, and how far a deletion is. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::cli::up::{Progress, condition};

/// A leader renews several times within the duration of its lease.
pub(in crate::cli) fn leads(lease: &Value, now: Timestamp) -> bool {
    let spec = &lease["spec"];
    let held = spec["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty());
    let renewed = spec["renewTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let duration = spec["leaseDurationSeconds"].as_i64().unwrap_or_default();
    // Clocks differ a little.
    held && renewed.is_some_and(|renewed| now.duration_since(renewed).as_secs() <= 2 * duration)
}

/// How far a deletion is, and whom it waits for.
pub(in crate::cli) fn gone(object: Option<&Value>) -> Progress {
    let Some(object) = object else { return Progress::Done };
    let busy = object["status"]["busyRunners"].as_u64().unwrap_or_default();
    if busy > 0 {
        return Progress::Waiting(format!("{busy} busy runners end first"));
    }
    let deleting = condition(object, "Ready").filter(|ready| ready["reason"] == "Deleting");
    let words = deleting.and_then(|ready| ready["message"].as_str()).filter(|words| !words.is_empty());
    Progress::Waiting(words.unwrap_or("the operator takes it out at GitHub").to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_operator_leads_while_its_lease_is_held_and_fresh() {
        let lease = |holder: &str, renewed: &str| json!({"spec": {"holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15}});
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert!(leads(&lease("a", "2026-01-01T00:00:50.123456Z"), now));
        assert!(!leads(&lease("", "2026-01-01T00:00:50.123456Z"), now));
        assert!(!leads(&lease("a", "2026-01-01T00:00:10.000000Z"), now));
        assert!(!leads(&json!({"spec": {}}), now));
    }

    #[test]
    fn a_deletion_says_whom_it_waits_for() {
        assert_eq!(gone(None), Progress::Done);
        let of = |status: Value| match gone(Some(&json!({"status": status}))) {
            Progress::Waiting(words) => words,
            Progress::Done => panic!("it is there"),
        };
        assert_eq!(of(json!({"busyRunners": 2})), "2 busy runners end first");
        let deleting = json!([{"type": "Ready", "reason": "Deleting", "message": "GitHub is away"}]);
        assert_eq!(of(json!({"conditions": deleting})), "GitHub is away");
        assert_eq!(of(json!({})), "the operator takes it out at GitHub");
    }
}
