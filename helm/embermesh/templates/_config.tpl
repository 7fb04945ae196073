{{- /* embermesh.yaml: what the chart knows, and over it `config` of the values. Every service gets the same file. */ -}}
{{- define "embermesh.config" -}}
{{- $router := .Values.router -}}
{{- $routers := ternary $router.autoscaling.maxReplicas $router.replicas $router.autoscaling.enabled -}}
{{- $services := dict "router" (include "embermesh.url" (dict "root" . "name" "provider-router")) "ledger" (include "embermesh.url" (dict "root" . "name" "cost-ledger")) "store" (include "embermesh.url" (dict "root" . "name" "vector-store")) "admin" (include "embermesh.url" (dict "root" . "name" "admin")) -}}
{{- $server := dict "shutdown_grace" (printf "%ds" (int .Values.shutdown.graceSeconds)) "public_url" (.Values.publicUrl | default (include "embermesh.gatewayUrl" .)) -}}
{{- if .Values.mtls.enabled -}}
{{- $_ := set $server "tls" (dict "certificate" "/etc/embermesh/tls/tls.crt" "key" "/etc/embermesh/tls/tls.key" "authority" "/etc/embermesh/tls/ca.crt") -}}
{{- end -}}
{{- $database := dict "host" (include "embermesh.databaseHost" .) "port" (int .Values.database.port) "name" .Values.database.name "user" .Values.database.user "ssl_mode" .Values.database.sslMode -}}
{{- $embedding := dict "router" (dict "replicas" (int $routers)) -}}
{{- if .Values.localModel.enabled -}}
{{- $_ := set $embedding.router "local_model_dir" "/opt/minilm" -}}
{{- end -}}
{{- $config := dict "environment" .Values.environment "server" $server "services" $services "database" $database "embedding" $embedding "logging" (dict "level" .Values.logging.level "format" .Values.logging.format) -}}
{{- $endpoints := include "embermesh.redisEndpoints" . | fromYamlArray -}}
{{- if $endpoints -}}
{{- $_ := set $config "redis" (dict "cluster_endpoints" $endpoints) -}}
{{- end -}}
{{- if .Values.secrets.keys.auditKey -}}
{{- $_ := set $config "admin" (dict "audit_key_file" "/etc/embermesh/audit/audit.key") -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{- define "embermesh.databaseHost" -}}
{{- if .Values.trial.postgresql.enabled -}}
{{ include "embermesh.fullname" . }}-postgresql
{{- else -}}
{{- required "database.host: say where PostgreSQL is, or set trial.postgresql.enabled for one of this release's own" .Values.database.host -}}
{{- end -}}
{{- end -}}

{{- define "embermesh.redisEndpoints" -}}
{{- if .Values.trial.redis.enabled -}}
- {{ include "embermesh.fullname" . }}-redis:6379
{{- else -}}
{{ .Values.redis.endpoints | toYaml }}
{{- end -}}
{{- end -}}

{{- define "embermesh.secretName" -}}
{{- .Values.secrets.name | default (printf "%s-secrets" (include "embermesh.fullname" .)) -}}
{{- end -}}

{{- /* One variable from the Secret; takes root, variable, key. Nothing where no key is named. */ -}}
{{- define "embermesh.secretVariable" -}}
{{- if .key }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "embermesh.secretName" .root }}
      key: {{ .key }}
{{- end -}}
{{- end -}}

{{- /* The credentials of the databases that a service has; takes root and name. */ -}}
{{- define "embermesh.databaseVariables" -}}
{{- $keys := .root.Values.secrets.keys -}}
{{- include "embermesh.secretVariable" (dict "root" .root "variable" "DB_PASSWORD" "key" $keys.databasePassword) -}}
{{- include "embermesh.secretVariable" (dict "root" .root "variable" "DATABASE_URL" "key" $keys.databaseUrl) -}}
{{- if has .name (list "admin" "migrate") -}}
{{- include "embermesh.secretVariable" (dict "root" .root "variable" "EMBERMESH__DATABASE__ADMIN_URL" "key" $keys.adminUrl) -}}
{{- end -}}
{{- if has .name (list "cost-ledger" "migrate") -}}
{{- include "embermesh.secretVariable" (dict "root" .root "variable" "EMBERMESH__DATABASE__LEDGER_URL" "key" $keys.ledgerUrl) -}}
{{- end -}}
{{- if has .name (list "vector-store" "migrate") -}}
{{- include "embermesh.secretVariable" (dict "root" .root "variable" "EMBERMESH__DATABASE__STORE_URL" "key" $keys.storeUrl) -}}
{{- end -}}
{{- if eq .name "vector-store" -}}
{{- include "embermesh.secretVariable" (dict "root" .root "variable" "DATABASE_REPLICA_URLS" "key" $keys.databaseReplicaUrls) -}}
{{- end -}}
{{- end -}}

{{- /* The environment of a service: addresses, and those secrets that are its business; takes root, name, service, values. */ -}}
{{- define "embermesh.variables" -}}
{{- $root := .root -}}
{{- $keys := $root.Values.secrets.keys -}}
- name: EMBERMESH__SERVER__LISTEN
  value: {{ printf "%s:%d" $root.Values.listenAddress (int .service.port) | quote }}
- name: EMBERMESH__SERVER__OPERATIONS
  value: {{ printf "%s:%s" $root.Values.listenAddress (include "embermesh.operationsPort" $root) | quote }}
- name: EMBERMESH__DATA_DIR
  value: /var/lib/embermesh
{{- if eq .name "admin" }}
- name: EMBERMESH_DATA_DIR
  value: /var/lib/embermesh
{{- end }}
{{- if and $root.Values.mtls.enabled (eq .name "gateway") }}
- name: EMBERMESH__SERVER__TLS__CLIENTS
  value: {{ $root.Values.mtls.gatewayClients }}
{{- end }}
{{- if has "postgres" .service.reaches -}}
{{- include "embermesh.databaseVariables" (dict "root" $root "name" .name) -}}
{{- end -}}
{{- if has "redis" .service.reaches -}}
{{- include "embermesh.secretVariable" (dict "root" $root "variable" "REDIS_URL" "key" $keys.redisUrl) -}}
{{- end -}}
{{- if has .name (list "provider-router" "admin") -}}
{{- include "embermesh.secretVariable" (dict "root" $root "variable" "EMBERMESH__EMBEDDING__SECURITY__CREDENTIAL_KEYS" "key" $keys.credentialKeys) -}}
{{- end -}}
{{- if has "providers" .service.reaches -}}
{{- range $variable, $key := $root.Values.secrets.providers -}}
{{- include "embermesh.secretVariable" (dict "root" $root "variable" $variable "key" $key) -}}
{{- end -}}
{{- end -}}
{{- range $variable, $value := .values.env }}
- name: {{ $variable }}
  value: {{ $value | quote }}
{{- end -}}
{{- end -}}
