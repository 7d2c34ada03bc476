{{/* The services: where each listens, and how many there are of it. */}}
{{- define "forge.services" -}}
accounts: {port: 7103, replicas: 1}
billing-estimate: {port: 7102, replicas: 1}
catalog: {port: 7101, replicas: 1}
traces: {port: 7106, replicas: 1}
web: {port: 7105, replicas: 1}
scheduler: {port: 7104, replicas: {{ .Values.schedulers.replicas }}}
{{- end }}

{{/* Who a program says it is: with "name", its name. */}}
{{- define "forge.identity" -}}
{{- if eq . "edge" }}edge{{ else if eq . "inference-worker" }}worker{{ else }}service/{{ . }}{{ end }}
{{- end }}

{{- define "forge.selector" -}}
app.kubernetes.io/name: forge
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "forge.labels" -}}
{{ include "forge.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "forge.image" -}}
{{ required "image.repository: name where the images of deploy/docker/Dockerfile are" .root.Values.image.repository }}/{{ .target }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* What is the same in the specification of every pod. */}}
{{- define "forge.pod" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* What is the same in every container. */}}
{{- define "forge.container" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{/* Where programs find each other, and what they show. A service listens at its own address, at every one of its pod. */}}
{{- define "forge.environment" -}}
- {name: FORGE_HOME, value: /var/lib/forge}
- {name: FORGE_TLS_DIR, value: /etc/forge/tls}
{{- $own := .component }}
{{- range $name, $service := include "forge.services" .root | fromYaml }}
- name: FORGE_{{ $name | upper | replace "-" "_" }}_ADDRESS
  value: {{ ternary "0.0.0.0" (printf "%s-%s" $.root.Release.Name $name) (eq $name $own) }}:{{ $service.port }}
{{- end }}
{{- range $name, $value := .root.Values.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* The bucket, for the scheduler and for workers. */}}
{{- define "forge.objects" -}}
- {name: FORGE_OBJECTS_URL, value: {{ required "objects.url: name a bucket" .Values.objects.url | quote }}}
- {name: AWS_REGION, value: {{ .Values.objects.region | quote }}}
{{- with .Values.objects.endpoint }}
- {name: AWS_ENDPOINT_URL, value: {{ . | quote }}}
{{- end }}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" }}
- name: {{ . }}
  valueFrom: {secretKeyRef: {name: {{ $.Values.objects.secret }}, key: {{ . }}}}
{{- end }}
{{- end }}

{{/* What the Ray cluster asks everybody for. */}}
{{- define "forge.ray" -}}
- {name: RAY_AUTH_MODE, value: token}
- name: RAY_AUTH_TOKEN
  valueFrom: {secretKeyRef: {name: {{ .Values.ray.secret.name }}, key: {{ .Values.ray.secret.key }}}}
{{- end }}

{{/* The certificate of a program as its files are called. */}}
{{- define "forge.tls" -}}
- name: tls
  secret:
    secretName: {{ .root.Release.Name }}-{{ .component }}-tls
    defaultMode: 0440
    items:
      - {key: ca.crt, path: ca.pem}
      - {key: tls.crt, path: {{ .component }}.pem}
      - {key: tls.key, path: {{ .component }}.key}
{{- end }}
