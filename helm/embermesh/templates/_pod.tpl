{{- /* What every pod of ours has: no rights, nothing to write to. */ -}}
{{- define "embermesh.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "embermesh.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* Certificates and key of one service; takes root and name. */ -}}
{{- define "embermesh.tlsSecret" -}}
{{- $given := get .root.Values.mtls.secrets .name -}}
{{- $given | default (printf "%s-tls" (include "embermesh.name" .)) -}}
{{- end -}}

{{- define "embermesh.spread" -}}
{{- $root := .root -}}
{{- $name := .name -}}
{{- range $root.Values.topologySpread }}
- maxSkew: {{ int .maxSkew }}
  topologyKey: {{ .topologyKey }}
  whenUnsatisfiable: {{ .whenUnsatisfiable }}
  labelSelector:
    matchLabels:
      {{- include "embermesh.selector" (dict "root" $root "name" $name) | nindent 6 }}
{{- end -}}
{{- end -}}

{{- /* A probe over the operations port; takes a path and what the values say. */ -}}
{{- define "embermesh.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .port }}
{{ .settings | toYaml }}
{{- end -}}

{{- /* The pod of a service; takes root, name, service, values. */ -}}
{{- define "embermesh.pod" -}}
{{- $root := .root -}}
{{- $name := include "embermesh.name" . -}}
{{- $values := .values -}}
{{- $isRouter := eq .name "provider-router" -}}
{{- $image := ternary "provider-router-minilm" .service.image (and $isRouter $root.Values.localModel.enabled) -}}
metadata:
  labels:
    {{- include "embermesh.selector" . | nindent 4 }}
    app: {{ $name }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "embermesh.config" $root | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ $name }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  # what precedes the signal, what the process may take after it, and a margin
  terminationGracePeriodSeconds: {{ add (int $root.Values.shutdown.pauseSeconds) (int $root.Values.shutdown.graceSeconds) 10 }}
  securityContext:
    {{- include "embermesh.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: {{ $values.containerName | default .name }}
      image: {{ include "embermesh.image" (dict "root" $root "image" $image) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args: [--config, /etc/embermesh/embermesh.yaml]
      ports:
        - name: grpc
          containerPort: {{ .service.port }}
        - name: operations
          containerPort: {{ include "embermesh.operationsPort" $root }}
      env:
        {{- include "embermesh.variables" . | nindent 8 }}
      {{- with $values.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      # migrations of a first start may take long, and nothing else may
      startupProbe:
        {{- include "embermesh.probe" (dict "path" "/health/live" "port" "operations" "settings" $root.Values.probes.startup) | nindent 8 }}
      livenessProbe:
        {{- include "embermesh.probe" (dict "path" "/health/live" "port" "operations" "settings" $root.Values.probes.liveness) | nindent 8 }}
      readinessProbe:
        {{- include "embermesh.probe" (dict "path" "/health/ready" "port" "operations" "settings" $root.Values.probes.readiness) | nindent 8 }}
      # endpoints and callers' lists of addresses forget the pod first; then it is told to stop
      lifecycle:
        preStop:
          sleep:
            seconds: {{ int $root.Values.shutdown.pauseSeconds }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        {{- include "embermesh.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/embermesh/embermesh.yaml
          subPath: embermesh.yaml
          readOnly: true
        - name: data
          mountPath: /var/lib/embermesh
        {{- if $root.Values.mtls.enabled }}
        - name: tls
          mountPath: /etc/embermesh/tls
          readOnly: true
        {{- end }}
        {{- if and (eq .name "admin") $root.Values.secrets.keys.auditKey }}
        - name: audit
          mountPath: /etc/embermesh/audit
          readOnly: true
        {{- end }}
        {{- with $values.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "embermesh.fullname" $root }}-config
    {{- if not $values.persistence.enabled }}
    # outlives a restart of the container, not the pod
    - name: data
      emptyDir:
        sizeLimit: {{ $values.persistence.size }}
    {{- end }}
    {{- if $root.Values.mtls.enabled }}
    - name: tls
      secret:
        secretName: {{ include "embermesh.tlsSecret" . }}
        defaultMode: 0440
    {{- end }}
    {{- if and (eq .name "admin") $root.Values.secrets.keys.auditKey }}
    - name: audit
      secret:
        secretName: {{ include "embermesh.secretName" $root }}
        defaultMode: 0440
        items:
          - key: {{ $root.Values.secrets.keys.auditKey }}
            path: audit.key
    {{- end }}
    {{- with $values.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with include "embermesh.spread" . }}
  topologySpreadConstraints:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
