#!/bin/sh
# Prints where Helm 3 is, for the chart's tests: on PATH, in the cache directory, or built there once by `go`.
# `helm.sh find` builds nothing.
set -eu

version=v3.21.3
cache=${DESKRUN_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/deskrun}
program=$cache/helm-$version/helm

if found=$(command -v helm) && helm version --template '{{.Version}}' 2>/dev/null | grep -q '^v3\.'; then
    echo "$found"
    exit 0
fi
if [ ! -x "$program" ]; then
    if [ "${1:-}" = find ]; then
        echo "Helm is not built: run make tools" >&2
        exit 1
    fi
    if ! command -v go >/dev/null 2>&1; then
        echo "missing: helm 3 on PATH, or go to build it" >&2
        exit 1
    fi
    echo "building Helm $version once, into $cache: this takes a minute or two" >&2
    new=$cache/helm-$version/new.$$
    trap 'rm -rf "$new"' EXIT
    GOBIN=$new CGO_ENABLED=0 go install -trimpath "helm.sh/helm/v3/cmd/helm@$version"
    mv "$new/helm" "$program"
fi
echo "$program"
