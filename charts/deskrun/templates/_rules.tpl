{{- /* What the operator does where runners are. The test of the audit log holds these rules to what is really used. */ -}}
{{- define "deskrun.runnerRules" -}}
# The operator: watches scale sets, keeps a finalizer on them, says how they are.
- apiGroups: ["deskrun.dev"]
  resources: ["runnerscalesets"]
  verbs: ["list", "watch", "patch"]
- apiGroups: ["deskrun.dev"]
  resources: ["runnerscalesets/status"]
  verbs: ["patch"]
- apiGroups: ["events.k8s.io"]
  resources: ["events"]
  verbs: ["create", "patch"]
# Secrets with credentials are watched one by one; JIT secrets are made, looked up and deleted.
- apiGroups: [""]
  resources: ["secrets"]
  verbs: ["get", "list", "watch", "create", "delete"]
# The engine: runner pods and what their jobs left behind; `patch` notes the job on the pod.
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
- apiGroups: [""]
  resources: ["pods/log"]
  verbs: ["get"]
# Why a pod does not start.
- apiGroups: [""]
  resources: ["events"]
  verbs: ["list"]
# Companions of runners, by server-side apply; they go with the scale set that owns them. ConfigMaps with layers are
# watched one by one.
- apiGroups: [""]
  resources: ["configmaps"]
  verbs: ["list", "watch", "create", "patch"]
- apiGroups: [""]
  resources: ["serviceaccounts"]
  verbs: ["create", "patch"]
- apiGroups: ["rbac.authorization.k8s.io"]
  resources: ["roles", "rolebindings"]
  verbs: ["create", "patch"]
# A companion that a user's layers may add.
- apiGroups: [""]
  resources: ["persistentvolumeclaims"]
  verbs: ["create", "patch"]
# Held only to be granted: GitHub's container hooks run with these, and nobody can grant what he does not hold.
- apiGroups: [""]
  resources: ["pods/exec"]
  verbs: ["get", "create"]
- apiGroups: [""]
  resources: ["pods/log"]
  verbs: ["list", "watch"]
- apiGroups: ["batch"]
  resources: ["jobs"]
  verbs: ["get", "list", "create", "delete"]
{{- end -}}
