{{- /* Names and labels. */ -}}

{{- define "embermesh.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Name of one service; takes a dict of root and name. */ -}}
{{- define "embermesh.name" -}}
{{- $service := get (include "embermesh.services" .root | fromYaml) .name -}}
{{- $own := (index .root.Values $service.key).nameOverride -}}
{{- $own | default (printf "%s-%s" (include "embermesh.fullname" .root) .name) -}}
{{- end -}}

{{- /* What a release and a component are found by. */ -}}
{{- define "embermesh.selector" -}}
app.kubernetes.io/name: embermesh
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "embermesh.labels" -}}
{{ include "embermesh.selector" . }}
app.kubernetes.io/part-of: embermesh
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- /* Image of one of the targets of the Dockerfile; takes a dict of root and image. */ -}}
{{- define "embermesh.image" -}}
{{- $image := .root.Values.image -}}
{{- $name := printf "%s/%s" $image.repository .image | trimPrefix "/" -}}
{{- $digest := get $image.digests .image -}}
{{- if $image.registry }}{{ $image.registry }}/{{ end }}{{ $name }}{{ if $digest }}@{{ $digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end -}}
