//! What a failed call means for who wanted it done: our words first, the server's after them.

use kube::core::Status;

use super::super::EngineError;
use super::service::CallError;

/// In words, for errors.
pub(super) const ENGINE: &str = "the Kubernetes API server";

/// Turns a failed call into the engine's words.
pub(super) fn failure(call: &'static str, namespace: &str, error: CallError) -> EngineError {
    if let CallError::Kube(kube::Error::SerdeError(error)) = &error {
        return EngineError::Failed { call, message: format!("{ENGINE} gave an answer that is none: {error}") };
    }
    let Some(status) = error.status() else {
        return EngineError::Unreachable { call, engine: ENGINE.to_owned(), source: Box::new(error) };
    };
    judged(call, namespace, status)
}

/// Whether it failed for want of something that runners share: someone took it away.
pub(super) fn misses_companion(error: &CallError) -> bool {
    error.status().is_some_and(|status| is_missing_companion(&status.message))
}

/// Whether these words, of an error or of an event, miss something that runners share.
pub(super) fn is_missing_companion(words: &str) -> bool {
    let missed = ["serviceaccount", "configmap", "ServiceAccount", "ConfigMap"];
    words.contains("not found") && missed.iter().any(|kind| words.contains(kind))
}

fn judged(call: &'static str, namespace: &str, status: &Status) -> EngineError {
    let said = status.message.as_str();
    let failed = |words: String| EngineError::Failed { call, message: words };
    let refused =
        |words: String, hint: Option<String>| EngineError::Refused { call, message: words, hint: hint.map(Into::into) };
    match status.code {
        401 => refused(
            format!("the API server does not know who we are: {said}"),
            Some("renew the kubeconfig's credentials, or the pod's service account".to_owned()),
        ),
        403 if said.contains("exceeded quota") => {
            let message = format!("the quota of the namespace `{namespace}` is used up: {said}");
            EngineError::NoRoom { call, message }
        }
        403 if said.contains("violates PodSecurity") => refused(
            format!("the namespace `{namespace}` does not admit such pods: {said}"),
            Some(format!(
                "let it: `kubectl label namespace {namespace} pod-security.kubernetes.io/enforce=privileged --overwrite`, \
                 or choose a `containerMode` that is not privileged"
            )),
        ),
        403 if said.contains("being terminated") => refused(
            format!("the namespace `{namespace}` is being deleted: {said}"),
            Some("wait until it is gone and make it anew, or choose another one".to_owned()),
        ),
        403 if said.contains("attempting to grant RBAC permissions") => refused(
            format!("what runners may do, DeskRun's own account may not: {said}"),
            Some("install the chart's Role in this namespace: no one can grant what they do not hold".to_owned()),
        ),
        403 if is_missing_companion(said) => failed(format!("something that runners share is gone: {said}")),
        403 => match right(said) {
            Some((verb, resource)) => refused(
                format!("DeskRun's account may not {verb} {resource} in the namespace `{namespace}`: {said}"),
                Some(format!("grant its Role the verb `{verb}` on `{resource}`, as the chart does")),
            ),
            None => refused(format!("the cluster does not admit it: {said}"), None),
        },
        404 if said.contains("namespaces") => refused(
            format!("there is no namespace `{namespace}`: {said}"),
            Some(format!("make it: `kubectl create namespace {namespace}`")),
        ),
        400 | 422 => refused(format!("the API server does not accept {}: {said}", fields(status)), None),
        404 if call_is_unknown(said) => refused(
            format!("the cluster does not know this kind of object: {said}"),
            Some("install its CustomResourceDefinition, or leave the object out of the layers".to_owned()),
        ),
        413 => refused(format!("it is too large for the API server: {said}"), None),
        429 => failed(format!("the API server has too much to do: {said}")),
        code if code >= 500 => failed(format!("the API server failed: {said}")),
        _ => failed(said.to_owned()),
    }
}

fn call_is_unknown(said: &str) -> bool {
    said.contains("could not find the requested resource") || said.contains("page not found")
}

/// The verb and the resource of `User "x" cannot create resource "pods" in API group "" in the namespace "y"`.
fn right(said: &str) -> Option<(&str, &str)> {
    let (_, rest) = said.split_once(" cannot ")?;
    let (verb, rest) = rest.split_once(" resource \"")?;
    let (resource, _) = rest.split_once('"')?;
    Some((verb, resource))
}

/// The fields that are wrong, as the server lists them.
fn fields(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<String> =
        causes.filter(|cause| !cause.field.is_empty()).map(|cause| format!("`{}`", cause.field)).collect();
    if fields.is_empty() { "the object".to_owned() } else { fields.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: u16, message: &str) -> CallError {
        CallError::Kube(kube::Error::Api(Status::failure(message, "").with_code(code).boxed()))
    }

    #[test]
    fn each_refusal_is_told_in_our_words_with_a_way_out() {
        let right = "pods is forbidden: User \"system:serviceaccount:ci:deskrun\" cannot create resource \"pods\" in API \
                     group \"\" in the namespace \"ci\"";
        let security = "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \
                        \"runner\" must not set securityContext.privileged=true)";
        for (code, message, words, hint) in [
            (403, security, "`ci` does not admit such pods", "kubectl label namespace ci pod-security.kubernetes.io"),
            (403, right, "may not create pods in the namespace `ci`", "the verb `create` on `pods`"),
            (404, "namespaces \"ci\" not found", "there is no namespace `ci`", "kubectl create namespace ci"),
            (
                403,
                "roles \"a\" is forbidden: user \"x\" is attempting to grant RBAC permissions not currently held",
                "own account may not",
                "the chart's Role",
            ),
            (
                403,
                "unable to create new content in namespace ci because it is being terminated",
                "is being deleted",
                "choose another",
            ),
            (401, "Unauthorized", "does not know who we are", "renew"),
            (404, "the server could not find the requested resource", "does not know this kind", "CustomResource"),
        ] {
            let error = failure("make a runner", "ci", said(code, message));
            let EngineError::Refused { message: told, .. } = &error else { panic!("{error:?}") };
            assert!(told.contains(words) && told.ends_with(message), "{told}");
            assert!(error.hint().is_some_and(|told| told.contains(hint)), "{error:?}");
        }
        let hook = "admission webhook \"policy\" denied the request: no";
        assert!(matches!(failure("make a runner", "ci", said(403, hook)), EngineError::Refused { hint: None, .. }));
    }

    #[test]
    fn what_is_no_refusal_may_be_tried_again() {
        let quota = "pods \"a\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=5, limited: pods=5";
        assert!(matches!(failure("make a runner", "ci", said(403, quota)), EngineError::NoRoom { .. }));
        let account = "pods \"a\" is forbidden: error looking up service account ci/hooks: serviceaccount \"hooks\" not \
                       found";
        assert!(misses_companion(&said(403, account)));
        for (code, message) in [(403, account), (429, "too many"), (500, "etcd is away"), (409, "conflict")] {
            let error = failure("make a runner", "ci", said(code, message));
            assert!(matches!(error, EngineError::Failed { .. }), "{error:?}");
        }
        assert!(matches!(failure("make a runner", "ci", CallError::Slow), EngineError::Unreachable { .. }));
        let counted = "Operation cannot be fulfilled on resourcequotas \"small\": the object has been modified";
        assert!(said(409, counted).is_passing() && said(429, "").is_passing() && !said(409, "exists").is_passing());
        let denied =
            "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"ci\"";
        let starting = format!("{denied}: RBAC: role.rbac.authorization.k8s.io \"deskrun-runners\" not found");
        assert!(said(403, &starting).is_passing() && !said(403, denied).is_passing());
    }
}
