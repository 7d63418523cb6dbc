{{- define "iglu.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "iglu.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "iglu.labels" -}}
{{ include "iglu.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "iglu.account" -}}
{{- .Values.serviceAccount.name | default (ternary (include "iglu.name" .) "default" .Values.serviceAccount.create) }}
{{- end }}

{{- define "iglu.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "iglu.isReplicas" -}}
{{- if eq .Values.mode "replicas" }}yes{{ end }}
{{- end }}

{{/* What would start and then not work is refused before anything is made. */}}
{{- define "iglu.check" -}}
{{- if not .Values.publicUrl }}{{ fail "publicUrl is missing: where people and clients find Iglu, such as https://cache.example.org" }}{{ end }}
{{- if include "iglu.isReplicas" . }}
{{- if not .Values.database.existingSecret }}{{ fail "mode \"replicas\" needs database.existingSecret, a Secret with the key \"url\"" }}{{ end }}
{{- if not .Values.storage.url }}{{ fail "mode \"replicas\" needs storage.url, such as s3://bucket/prefix" }}{{ end }}
{{- if not .Values.masterKey.existingSecret }}{{ fail "mode \"replicas\" needs masterKey.existingSecret, a Secret with the key \"master-key\"" }}{{ end }}
{{- else }}
{{- if .Values.autoscaling.enabled }}{{ fail "autoscaling needs mode \"replicas\"" }}{{ end }}
{{- end }}
{{- if and .Values.runner.enabled (not .Values.runner.existingSecret) }}{{ fail "runner.enabled needs runner.existingSecret, a Secret with the key \"secret\" of `iglu nodes add`" }}{{ end }}
{{- end }}

{{/* What pods may do: nothing. */}}
{{- define "iglu.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{- define "iglu.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{/* The settings, for servers and for the migration alike. */}}
{{- define "iglu.env" -}}
- { name: IGLU_DATA, value: /var/lib/iglu }
- { name: IGLU_LISTEN, value: "[::]:8080" }
- { name: IGLU_OPS_LISTEN, value: "[::]:9464" }
- { name: IGLU_PUBLIC_URL, value: {{ .Values.publicUrl | quote }} }
- { name: IGLU_EMBEDDED_NODE, value: "false" }
- { name: IGLU_LOG, value: {{ .Values.log.filter | quote }} }
- { name: IGLU_LOG_FORMAT, value: {{ .Values.log.format | quote }} }
- { name: IGLU_DRAIN, value: {{ printf "%ds" (int .Values.drainSeconds) | quote }} }
{{- if gt (int .Values.drainDelaySeconds) 0 }}
- { name: IGLU_DRAIN_DELAY, value: {{ printf "%ds" (int .Values.drainDelaySeconds) | quote }} }
{{- end }}
{{- with .Values.cacheDomain }}
- { name: IGLU_CACHE_DOMAIN, value: {{ . | quote }} }
{{- end }}
{{- with .Values.trustedProxies }}
- { name: IGLU_TRUSTED_PROXIES, value: {{ join "," . | quote }} }
{{- end }}
{{- with .Values.database }}
{{- if .existingSecret }}
- name: IGLU_DATABASE_URL
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: url } }
- { name: IGLU_DATABASE_CONNECTIONS, value: {{ .connections | quote }} }
- { name: IGLU_AUTO_MIGRATE, value: {{ .autoMigrate | quote }} }
{{- end }}
{{- end }}
{{- with .Values.masterKey.existingSecret }}
- name: IGLU_MASTER_KEY
  valueFrom: { secretKeyRef: { name: {{ . }}, key: master-key } }
{{- end }}
{{- with .Values.storage }}
{{- if .url }}
- { name: IGLU_STORAGE, value: {{ .url | quote }} }
- { name: IGLU_S3_REGION, value: {{ .region | quote }} }
- { name: IGLU_S3_VIRTUAL_HOSTED, value: {{ .virtualHosted | quote }} }
- { name: IGLU_SERVE, value: {{ .serve | quote }} }
- { name: IGLU_UPLOAD, value: {{ .upload | quote }} }
{{- with .endpoint }}
- { name: IGLU_S3_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- with .publicEndpoint }}
- { name: IGLU_S3_PUBLIC_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- with .existingSecret }}
- name: IGLU_S3_ACCESS_KEY_ID
  valueFrom: { secretKeyRef: { name: {{ . }}, key: access-key-id } }
- name: IGLU_S3_SECRET_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ . }}, key: secret-access-key } }
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "iglu.host" -}}
{{- (urlParse .Values.publicUrl).host | splitList ":" | first }}
{{- end }}
