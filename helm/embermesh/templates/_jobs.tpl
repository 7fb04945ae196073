{{- define "embermesh.anyJob" -}}
{{- range .Values.jobs }}{{ if .enabled }}true{{ end }}{{ end -}}
{{- end -}}

{{- /* The pod of a job that runs the command line; takes root, arguments, resources, configMap, and optionally image, claim, key and secrets. */ -}}
{{- define "embermesh.jobPod" -}}
{{- $root := .root -}}
metadata:
  labels:
    {{- include "embermesh.selector" (dict "root" $root "name" "job") | nindent 4 }}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  enableServiceLinks: false
  securityContext:
    {{- include "embermesh.podSecurity" $root | nindent 4 }}
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: embermesh
      image: {{ include "embermesh.image" (dict "root" $root "image" (.image | default "embermesh")) }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      args:
        {{- toYaml .arguments | nindent 8 }}
      env:
        - name: POD_NAME
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: EMBERMESH_URL
          value: {{ include "embermesh.gatewayUrl" $root }}
        {{- include "embermesh.secretVariable" (dict "root" $root "variable" "EMBERMESH_ADMIN_KEY" "key" .key) | nindent 8 }}
        {{- include "embermesh.databaseVariables" (dict "root" $root "name" "migrate") | nindent 8 }}
        # the root is read-only
        - name: TMPDIR
          value: /var/lib/embermesh
        {{- range $variable, $key := .secrets }}
        {{- include "embermesh.secretVariable" (dict "root" $root "variable" $variable "key" $key) | nindent 8 }}
        {{- end }}
      resources:
        {{- toYaml .resources | nindent 8 }}
      securityContext:
        {{- include "embermesh.containerSecurity" $root | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/embermesh
          readOnly: true
        - name: data
          mountPath: /var/lib/embermesh
  volumes:
    - name: config
      configMap:
        name: {{ .configMap }}
    - name: data
      {{- if .claim }}
      persistentVolumeClaim:
        claimName: {{ .claim }}
      {{- else }}
      emptyDir: {}
      {{- end }}
{{- end -}}
