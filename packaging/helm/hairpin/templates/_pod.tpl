{{- /* A question for health, asked by the node: on its own network, where the pod is there too. */ -}}
{{- define "hairpin.httpGet" -}}
{{- /* Without the brackets of an IPv6 address, and never the one that stands for all. */ -}}
{{- $address := include "hairpin.adminAddress" .root | trimAll "[]" -}}
{{- $address = get (dict "0.0.0.0" "127.0.0.1" "::" "::1") $address | default $address -}}
httpGet:
  path: {{ .path }}
  port: admin
  {{- if eq .root.Values.mode "hostNetwork" }}
  host: {{ $address | quote }}
  {{- end }}
{{- end -}}

{{- /* The pod, as both the DaemonSet and the Deployment have it. */ -}}
{{- define "hairpin.pod" -}}
{{- $low := false -}}
{{- range .Values.listeners -}}{{- if lt (int .port) 1024 -}}{{- $low = true -}}{{- end -}}{{- end -}}
{{- $onHost := eq .Values.mode "hostNetwork" -}}
{{- /* On the network of nodes a pod cannot lower the first port that is open to all, and a user other than root gets no
capability from Kubernetes: there it is root with that one alone, which hairpin gives up once it listens. */ -}}
{{- $asRoot := and $low $onHost -}}
metadata:
  labels:
    {{- include "hairpin.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # Listeners are read at the start only: another configuration is another pod.
    checksum/config: {{ include "hairpin.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "hairpin.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- if $onHost }}
  hostNetwork: true
  dnsPolicy: ClusterFirstWithHostNet
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    runAsNonRoot: {{ not $asRoot }}
    runAsUser: {{ ternary 0 65532 $asRoot }}
    runAsGroup: 65532
    fsGroup: 65532
    seccompProfile:
      type: RuntimeDefault
    {{- if and $low (not $onHost) }}
    # Ports below 1024 without a capability.
    sysctls:
      - name: net.ipv4.ip_unprivileged_port_start
        value: "0"
    {{- end }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: hairpin
      {{- if .Values.image.digest }}
      image: "{{ .Values.image.repository }}@{{ .Values.image.digest }}"
      {{- else }}
      image: "{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}"
      {{- end }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, --config, /etc/hairpin/hairpin.toml]
      {{- with .Values.relay.externalFrom }}
      env:
        # What clients are told of this node.
        - name: HAIRPIN_EXTERNAL
          valueFrom:
            fieldRef:
              fieldPath: {{ . | quote }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
          {{- if $asRoot }}
          add: [NET_BIND_SERVICE]
          {{- end }}
      ports:
        {{- range .Values.listeners }}
        - name: {{ printf "%s-%d" .transport (int .port) }}
          containerPort: {{ .port }}
          protocol: {{ has .transport (list "udp" "dtls") | ternary "UDP" "TCP" }}
        {{- end }}
        - name: admin
          containerPort: {{ .Values.admin.port }}
          protocol: TCP
      startupProbe:
        {{- include "hairpin.httpGet" (dict "root" $ "path" "/livez") | nindent 8 }}
        periodSeconds: 1
        failureThreshold: 30
      livenessProbe:
        {{- include "hairpin.httpGet" (dict "root" $ "path" "/livez") | nindent 8 }}
        periodSeconds: 10
        timeoutSeconds: 5
        # A restart ends every call: only for a server that is stuck for good.
        failureThreshold: 6
      readinessProbe:
        {{- include "hairpin.httpGet" (dict "root" $ "path" "/readyz") | nindent 8 }}
        periodSeconds: 5
        timeoutSeconds: 3
        failureThreshold: 2
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.drain.preStopSeconds }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/hairpin
          readOnly: true
        - name: secrets
          mountPath: /run/secrets/hairpin
          readOnly: true
        # For `kubectl exec POD -- hairpin ctl`.
        - name: run
          mountPath: /run/hairpin
        {{- if .Values.tls.existingSecret }}
        - name: tls
          mountPath: /run/secrets/tls
          readOnly: true
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "hairpin.fullname" . }}
    - name: secrets
      secret:
        secretName: {{ .Values.auth.existingSecret }}
        defaultMode: 0440
    - name: run
      emptyDir:
        medium: Memory
        sizeLimit: 1Mi
    {{- with .Values.tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
{{- end -}}
