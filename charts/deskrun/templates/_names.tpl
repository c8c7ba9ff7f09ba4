{{- define "deskrun.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 54 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 54 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "deskrun.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "deskrun.labels" -}}
{{ include "deskrun.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "deskrun.serviceAccount" -}}
{{- default (include "deskrun.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "deskrun.lease" -}}
{{- default (include "deskrun.fullname" .) .Values.leaseName -}}
{{- end -}}

{{- /* A whole number as it was written: Helm reads those of a file as floating-point numbers, and shows large ones so. */ -}}
{{- define "deskrun.number" -}}
{{- if kindIs "float64" . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{- define "deskrun.runnerNamespace" -}}
{{- default .Release.Namespace .Values.runnerNamespace.name -}}
{{- end -}}

{{- /*
Whether the scale sets of the values can be part of this release: not of a first install into a cluster, which does not
know their kind before it has the definition. Without a cluster (`helm template`) they are always printed.
*/ -}}
{{- define "deskrun.knowsScaleSets" -}}
{{- if not .Values.crds.install -}}
true
{{- else if .Capabilities.APIVersions.Has "deskrun.dev/v1alpha1/RunnerScaleSet" -}}
true
{{- else if not (lookup "v1" "Namespace" "" "kube-system") -}}
true
{{- end -}}
{{- end -}}
