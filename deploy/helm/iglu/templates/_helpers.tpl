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
{{- if not (has .Values.mode (list "embedded" "replicas")) }}{{ fail (printf "mode is %q: write embedded or replicas" .Values.mode) }}{{ end }}
{{- if not .Values.publicUrl }}{{ fail "publicUrl is missing: where people and clients find Iglu, such as https://cache.example.org" }}{{ end }}
{{- if include "iglu.isReplicas" . }}
{{- if not .Values.database.existingSecret }}{{ fail (printf "mode \"replicas\" needs database.existingSecret, a Secret with the key %q" .Values.database.secretKey) }}{{ end }}
{{- if not .Values.storage.url }}{{ fail "mode \"replicas\" needs storage.url, such as s3://bucket/prefix" }}{{ end }}
{{- if not .Values.masterKey.existingSecret }}{{ fail (printf "mode \"replicas\" needs masterKey.existingSecret, a Secret with the key %q" .Values.masterKey.secretKey) }}{{ end }}
{{- else }}
{{- if .Values.autoscaling.enabled }}{{ fail "autoscaling needs mode \"replicas\"" }}{{ end }}
{{- end }}
{{- with .Values.runner }}
{{- if .enabled }}
{{- if not .existingSecret }}{{ fail (printf "runner.enabled needs runner.existingSecret, a Secret with the key %q of `iglu nodes add`" .secretKey) }}{{ end }}
{{- if or (not .namespace) (eq .namespace $.Release.Namespace) }}{{ fail (printf "runner.enabled needs runner.namespace, another one than %q: its node may read every Secret there" $.Release.Namespace) }}{{ end }}
{{- end }}
{{- end }}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.networkPolicy.enabled (not .Values.networkPolicy.metricsFrom) }}{{ fail "metrics.serviceMonitor.enabled needs networkPolicy.metricsFrom, else Prometheus does not get through: [{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: monitoring } } }], or [{ podSelector: {} }] where it is in this namespace" }}{{ end }}
{{- end }}

{{/* How long a server that is told to end goes on taking requests, and how long those under way may take, in seconds. */}}
{{- define "iglu.drainDelay" -}}
{{- if include "iglu.isReplicas" . }}{{ int .Values.drainDelaySeconds }}{{ else }}0{{ end }}
{{- end }}

{{- define "iglu.drain" -}}
{{- $wanted := max 1 (int .Values.drainSeconds) }}
{{- if include "iglu.isReplicas" . }}{{ $wanted }}{{ else }}{{ min 30 $wanted }}{{ end }}
{{- end }}

{{/* What every command on the data needs. */}}
{{- define "iglu.storeEnv" -}}
- { name: IGLU_DATA, value: /var/lib/iglu }
- { name: IGLU_PUBLIC_URL, value: {{ .Values.publicUrl | quote }} }
{{- with .Values.cacheDomain }}
- { name: IGLU_CACHE_DOMAIN, value: {{ . | quote }} }
{{- end }}
{{- with .Values.database }}
{{- if .existingSecret }}
- name: IGLU_DATABASE_URL
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .secretKey }} } }
{{- end }}
{{- end }}
{{- with .Values.masterKey }}
{{- if .existingSecret }}
- name: IGLU_MASTER_KEY
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .secretKey }} } }
{{- end }}
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
{{- if .existingSecret }}
- name: IGLU_S3_ACCESS_KEY_ID
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .secretKeys.accessKeyId }} } }
- name: IGLU_S3_SECRET_ACCESS_KEY
  valueFrom: { secretKeyRef: { name: {{ .existingSecret }}, key: {{ .secretKeys.secretAccessKey }} } }
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* What servers need besides. */}}
{{- define "iglu.serveEnv" -}}
- { name: IGLU_LISTEN, value: "[::]:8080" }
- { name: IGLU_OPS_LISTEN, value: "[::]:9464" }
- { name: IGLU_EMBEDDED_NODE, value: "false" }
- { name: IGLU_LOG, value: {{ .Values.log.filter | quote }} }
- { name: IGLU_LOG_FORMAT, value: {{ .Values.log.format | quote }} }
- { name: IGLU_DRAIN, value: "{{ include "iglu.drain" . }}s" }
{{- if ne (include "iglu.drainDelay" .) "0" }}
- { name: IGLU_DRAIN_DELAY, value: "{{ include "iglu.drainDelay" . }}s" }
{{- end }}
{{- with .Values.trustedProxies }}
- { name: IGLU_TRUSTED_PROXIES, value: {{ join "," . | quote }} }
{{- end }}
{{- with .Values.anonymousRate }}
- { name: IGLU_ANONYMOUS_RATE, value: {{ int . | quote }} }
{{- end }}
{{- with .Values.tokenRate }}
- { name: IGLU_TOKEN_RATE, value: {{ int . | quote }} }
{{- end }}
{{- with .Values.otlpEndpoint }}
- { name: IGLU_OTLP_ENDPOINT, value: {{ . | quote }} }
{{- end }}
{{- if .Values.database.existingSecret }}
- { name: IGLU_DATABASE_CONNECTIONS, value: {{ int .Values.database.connections | quote }} }
- { name: IGLU_AUTO_MIGRATE, value: {{ .Values.database.autoMigrate | quote }} }
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The volume of the data, where one pod has it for itself. */}}
{{- define "iglu.claim" -}}
{{- .Values.persistence.existingClaim | default (include "iglu.name" .) }}
{{- end }}

{{- define "iglu.backupName" -}}
{{- printf "%s-backup" (include "iglu.name" . | trunc 45 | trimSuffix "-") }}
{{- end }}

{{/* What every pod that ends by itself says: it uses no account. */}}
{{- define "iglu.helper" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext: {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Beside the server, where the volume of the data is: most volumes are for one machine at a time. */}}
{{- define "iglu.besideServer" -}}
podAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    - topologyKey: kubernetes.io/hostname
      labelSelector:
        matchLabels: {{- include "iglu.selector" . | nindent 10 }}
          app.kubernetes.io/component: server
{{- end }}

{{- define "iglu.host" -}}
{{- (urlParse .Values.publicUrl).host | splitList ":" | first }}
{{- end }}
