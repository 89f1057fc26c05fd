#!/bin/sh
# Prints the rules of the installed crplugins as a PrometheusRule:
#   sh rules.sh --runbook-url https://wiki.example.com/RUNBOOK.md > prometheusrule.yaml
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
crplugins rules export "$folder" "$@" > /dev/null 2>&1
cat <<END
# Made by rules.sh beside it, from what \`crplugins rules export\` writes.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: crplugins
  labels: { release: prometheus } # what your Prometheus selects by
spec:
  groups:
END
sed -e '/^#/d' -e '/^groups:/d' -e 's/^/    /' "$folder/recording.yaml" "$folder/alerts.yaml"
