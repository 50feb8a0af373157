{{- /*
hairpin.toml: what the chart knows by itself, and over it `config`.
*/ -}}

{{- /* A value as TOML. Helm's own toToml makes 3478.0 of 3478. */ -}}
{{- define "hairpin.toml.value" -}}
{{- if kindIs "map" . -}}
{
{{- range $index, $key := keys . | sortAlpha -}}
{{- if $index }}, {{ end -}}
{{- $value := index $ $key -}}
{{- if and (has $key (list "not_before" "not_after")) (kindIs "string" $value) -}}
{{- /* The only keys that are points in time, which TOML writes without quotes. */ -}}
{{ $key | quote }} = {{ $value }}
{{- else -}}
{{ $key | quote }} = {{ include "hairpin.toml.value" $value }}
{{- end -}}
{{- end -}}
}
{{- else if kindIs "slice" . -}}
[
{{- range $index, $item := . -}}
{{- if $index }}, {{ end -}}
{{ include "hairpin.toml.value" $item }}
{{- end -}}
]
{{- else if kindIs "string" . -}}
{{ . | toJson }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else -}}
{{ int64 . }}
{{- end -}}
{{- end -}}

{{- /* A document: single values and lists of tables stand before the first section. */ -}}
{{- define "hairpin.toml" -}}
{{- range $key := keys . | sortAlpha -}}
{{- $value := index $ $key -}}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ include "hairpin.toml.value" $value }}
{{- end -}}
{{- end -}}
{{- range $section := keys . | sortAlpha -}}
{{- $table := index $ $section -}}
{{- if kindIs "map" $table }}

[{{ $section }}]
{{- range $key := keys $table | sortAlpha }}
{{ $key }} = {{ include "hairpin.toml.value" (index $table $key) }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "hairpin.adminAddress" -}}
{{- if .Values.admin.address -}}
{{- .Values.admin.address -}}
{{- else if eq .Values.mode "hostNetwork" -}}
127.0.0.1
{{- else -}}
0.0.0.0
{{- end -}}
{{- end -}}

{{- define "hairpin.config" -}}
{{- $listeners := list -}}
{{- range $listener := .Values.listeners -}}
{{- range $address := $.Values.addresses -}}
{{- $listeners = append $listeners (dict "transport" $listener.transport "address" (printf "%s:%d" $address (int $listener.port))) -}}
{{- end -}}
{{- end -}}
{{- $secrets := list (dict "file" "/run/secrets/hairpin/secret") -}}
{{- range .Values.auth.olderKeys -}}
{{- $secrets = append $secrets (dict "file" (printf "/run/secrets/hairpin/%s" .)) -}}
{{- end -}}
{{- $admin := dict "socket" "/run/hairpin/hairpin.sock" "address" (printf "%s:%d" (include "hairpin.adminAddress" .) (int .Values.admin.port)) -}}
{{- $token := dict "name" "metrics" "token" (dict "file" (printf "/run/secrets/hairpin/%s" .Values.admin.tokenKey)) -}}
{{- $_ := set $admin "token" (list $token) -}}
{{- $relay := dict "ports" (printf "%d-%d" (int .Values.relay.minPort) (int .Values.relay.maxPort)) -}}
{{- if .Values.relay.externalFrom -}}
{{- $_ := set $relay "address" (list (dict "address" "ipv4" "external" (dict "env" "HAIRPIN_EXTERNAL"))) -}}
{{- end -}}
{{- $own := dict
    "listener" $listeners
    "relay" $relay
    "auth" (dict "secrets" $secrets)
    "admin" $admin
    "metrics" (dict "address" "")
    "reload" (dict "watch" "everything")
    "server" (dict "drain" (printf "%ds" (int .Values.drain.deadlineSeconds)))
-}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $own "tls" (dict "certificate" (list (dict "certificate" "/run/secrets/tls/tls.crt" "key" "/run/secrets/tls/tls.key"))) -}}
{{- end -}}
{{- include "hairpin.toml" (mergeOverwrite $own (deepCopy .Values.config)) | trim -}}
{{- end -}}
