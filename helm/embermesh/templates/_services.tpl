{{- /*
The five services: where their values stand, their image, their port, whom they call, and what of the outside they need. Environment,
network policies and certificates all come from here.
*/ -}}
{{- define "embermesh.services" -}}
gateway:
  key: gateway
  image: rest-api
  port: 8081
  calls: [provider-router, cost-ledger, vector-store, admin]
  reaches: []
provider-router:
  key: router
  image: provider-router
  port: 8082
  calls: [cost-ledger, vector-store, admin]
  reaches: [providers]
cost-ledger:
  key: ledger
  image: cost-ledger
  port: 8083
  calls: [admin]
  reaches: [postgres]
vector-store:
  key: store
  image: vector-store
  port: 8084
  calls: [admin]
  reaches: [postgres, redis]
admin:
  key: admin
  image: admin
  port: 8085
  calls: []
  reaches: [postgres]
{{- end -}}

{{- define "embermesh.operationsPort" -}}9090{{- end -}}

{{- /* What another service is called at: every address of its pods, over which the caller balances. */ -}}
{{- define "embermesh.url" -}}
{{- $service := get (include "embermesh.services" .root | fromYaml) .name -}}
{{- $scheme := ternary "https" "http" .root.Values.mtls.enabled -}}
{{ $scheme }}://{{ include "embermesh.name" . }}-pods.{{ .root.Release.Namespace }}.svc.{{ .root.Values.clusterDomain }}:{{ $service.port }}
{{- end -}}

{{- /* Where clients find the gateway inside the cluster. */ -}}
{{- define "embermesh.gatewayUrl" -}}
{{- $isPlain := or (not .Values.mtls.enabled) (eq .Values.mtls.gatewayClients "plain") -}}
{{ ternary "http" "https" $isPlain }}://{{ include "embermesh.name" (dict "root" . "name" "gateway") }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ int .Values.gateway.service.port }}
{{- end -}}
