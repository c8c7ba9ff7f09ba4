{{- /* What the operator does where runners are. The test of the audit log holds these rules to what is really used. */ -}}
{{- define "deskrun.runnerRules" -}}
# Serving scale sets: watch them, keep a finalizer, say how they are.
- apiGroups: ["deskrun.dev"]
  resources: ["runnerscalesets"]
  verbs: ["get", "list", "watch", "patch"]
- apiGroups: ["deskrun.dev"]
  resources: ["runnerscalesets/status"]
  verbs: ["patch"]
# Runner pods are owned by their scale set; where the API server asks who may block its deletion, this is the answer.
- apiGroups: ["deskrun.dev"]
  resources: ["runnerscalesets/finalizers"]
  verbs: ["update"]
- apiGroups: ["events.k8s.io"]
  resources: ["events"]
  verbs: ["create", "patch"]
# Runners: the pod, and what is left of its job's pods; `patch` puts the job's name on it.
- apiGroups: [""]
  resources: ["pods"]
  verbs: ["get", "list", "watch", "create", "patch", "delete"]
- apiGroups: [""]
  resources: ["pods/log"]
  verbs: ["get"]
# JIT secrets are made and deleted; those with credentials are watched.
- apiGroups: [""]
  resources: ["secrets"]
  verbs: ["get", "list", "watch", "create", "delete"]
# Companions of a scale set, by server-side apply; layers are read from ConfigMaps.
- apiGroups: [""]
  resources: ["configmaps"]
  verbs: ["get", "create", "patch"]
- apiGroups: [""]
  resources: ["serviceaccounts", "persistentvolumeclaims"]
  verbs: ["create", "patch"]
- apiGroups: ["rbac.authorization.k8s.io"]
  resources: ["roles", "rolebindings"]
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
