{{/* The start of every name: the release's, which says lumen or gets it appended. */}}
{{- define "lumen.fullname" -}}
{{- $name := .Values.fullnameOverride | default (contains "lumen" .Release.Name | ternary .Release.Name (printf "%s-lumen" .Release.Name)) -}}
{{- $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of a component's objects. Takes (list $ COMPONENT). */}}
{{- define "lumen.name" -}}
{{- printf "%s-%s" (include "lumen.fullname" (first .)) (last .) -}}
{{- end -}}

{{/* The name of a component's objects that have no namespace: releases may share their name. */}}
{{- define "lumen.clusterName" -}}
{{- printf "%s.%s" (include "lumen.name" .) (first .).Release.Namespace -}}
{{- end -}}

{{/* What selects a component's pods. Takes (list $ COMPONENT). */}}
{{- define "lumen.selector" -}}
app.kubernetes.io/name: lumen
app.kubernetes.io/instance: {{ (first .).Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end -}}

{{/* The labels that are the chart's to give. Takes (list $ COMPONENT). */}}
{{- define "lumen.ownLabels" -}}
{{- $root := first . -}}
{{ include "lumen.selector" . }}
app.kubernetes.io/part-of: lumen
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The labels of every object. Takes (list $ COMPONENT). */}}
{{- define "lumen.labels" -}}
{{ include "lumen.ownLabels" . }}
{{- with (first .).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The labels of a pod: without the versions, which would restart pods that did not change. */}}
{{- define "lumen.podLabels" -}}
{{- $root := first . -}}
{{ include "lumen.selector" . }}
app.kubernetes.io/part-of: lumen
{{- with mustMergeOverwrite (dict) $root.Values.commonLabels (index $root.Values (last .)).podLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The variables that the chart sets itself. Takes COMPONENT. */}}
{{- define "lumen.ownVariables" -}}
{{- if eq . "operator" -}}
LUMEN_WATCH_NAMESPACE LUMEN_OPERATOR_NAMESPACE LUMEN_POD_NAME LUMEN_MONITORING_NAMESPACE LUMEN_IMAGE_PREFIX LUMEN_IMAGE_TAG LUMEN_IMAGE_PULL_POLICY LUMEN_SOURCE_ENV LUMEN_EXTERNAL_NETWORKS LUMEN_DEFAULT_POOLS LUMEN_LEASE_NAME LUMEN_HEALTH_PORT LUMEN_METRICS_PORT LUMEN_WORKERS LUMEN_RESYNC_S LUMEN_AUDIT_S LUMEN_DRAIN_DELAY_S LUMEN_GRACE_S LUMEN_LOG_FORMAT LUMEN_LOG_LEVEL
{{- else -}}
LUMEN_ROUTES_FROM LUMEN_NAMESPACE LUMEN_GRPC_PORT LUMEN_HEALTH_PORT LUMEN_METRICS_PORT LUMEN_HOLD_S LUMEN_HELD_CALLS LUMEN_HELD_BYTES LUMEN_DRAIN_DELAY_S LUMEN_GRACE_S LUMEN_LOG_FORMAT LUMEN_LOG_LEVEL
{{- end -}}
{{- end -}}

{{/* Where images come from. A chart around this one may name the registry for all its parts. */}}
{{- define "lumen.imagePrefix" -}}
{{- with (.Values.global).imageRegistry }}{{ . }}/{{ end }}{{ .Values.images.prefix }}
{{- end -}}

{{/* An image of ours. Takes (list $ NAME). */}}
{{- define "lumen.image" -}}
{{- $root := first . -}}
{{- printf "%s/%s:%s" (include "lumen.imagePrefix" $root) (last .) ($root.Values.images.tag | default $root.Chart.AppVersion) -}}
{{- end -}}

{{/* The ServiceAccount of a component. Takes (list $ COMPONENT). */}}
{{- define "lumen.serviceAccount" -}}
{{- $given := (index (first .).Values (last .)).serviceAccount.name -}}
{{- $given | default (include "lumen.name" .) -}}
{{- end -}}

{{/* The pod's half of what restricted Pod Security asks for. */}}
{{- define "lumen.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The container's half. */}}
{{- define "lumen.securityContext" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Where a component's pods run. Takes (list $ COMPONENT). */}}
{{- define "lumen.scheduling" -}}
{{- $values := index (first .).Values (last .) -}}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "lumen.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end -}}

{{/* Prometheus may read metrics; probes come from the node, which no policy keeps out. */}}
{{- define "lumen.metricsIngress" -}}
- from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ .Values.monitoring.namespace }}
  ports:
    - {port: 9090, protocol: TCP}
{{- end -}}

{{/* Names and the API server. Its address is not known here, so any address at its ports. */}}
{{- define "lumen.clusterEgress" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* The networks in which servers of `external` services may be. */}}
{{- define "lumen.externalNetworks" -}}
{{- range .Values.external.allowedNetworks }}
- ipBlock: {cidr: {{ . | quote }}}
{{- end }}
{{- end -}}

{{/* The pods of every LumenModelService. */}}
{{- define "lumen.modelPods" -}}
matchExpressions:
  - {key: lumen.dev/service, operator: Exists}
{{- end -}}
