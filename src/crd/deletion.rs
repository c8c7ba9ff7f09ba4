//! What keeps a deletion in the foreground away from a `RunnerScaleSet`.
//!
//! In the foreground the garbage collector deletes what belongs to a resource at once, and the resource last: it waits for no
//! finalizer, so busy runners would end in the middle of their jobs. Some deployment tools delete so unless they are told
//! otherwise. The API server refuses it, with the way out. Nothing is applied here.

use serde_json::{Value, json};

use super::definition::{GROUP, PLURAL};

/// The policy and its binding; part of the definition, and named like it. A cluster knows their kinds since Kubernetes 1.30.
pub fn deletion_policy() -> [Value; 2] {
    let name = format!("{PLURAL}.{GROUP}");
    let metadata = json!({"name": name});
    let api_version = "admissionregistration.k8s.io/v1";
    let policy = json!({
        "apiVersion": api_version,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": metadata,
        "spec": {
            "failurePolicy": "Fail",
            // With the API server's defaults: this is one value for a server-side apply, and would differ without them.
            "matchConstraints": {
                "matchPolicy": "Equivalent",
                "namespaceSelector": {},
                "objectSelector": {},
                "resourceRules": [{
                    "apiGroups": [GROUP],
                    "apiVersions": ["*"],
                    "operations": ["DELETE"],
                    "resources": [PLURAL],
                    "scope": "*",
                }],
            },
            "validations": [{
                "expression": "!has(request.options.propagationPolicy) || \
                               request.options.propagationPolicy != 'Foreground'",
                "message": "a deletion in the foreground would end busy runners in the middle of their jobs: delete it in the \
                            background (kubectl's default; in Argo CD the sync option `PrunePropagationPolicy=background`)",
                "reason": "Forbidden",
            }],
        },
    });
    let binding = json!({
        "apiVersion": api_version,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": metadata,
        "spec": {"policyName": name, "validationActions": ["Deny"]},
    });
    [policy, binding]
}
