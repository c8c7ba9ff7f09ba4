#!/bin/sh
# Prints where the parts of a Kubernetes control plane are that the tests run: a program that is all of them
# (`PROGRAM kube-apiserver FLAGS…`) or a folder with one program each. `control-plane.sh find` builds nothing.
#
# Looked for in KUBEBUILDER_ASSETS, then in the cache directory; else `go` builds tests/control-plane into the cache,
# which takes minutes once. Upstream's envtest archives are no way out: they lack all parts but two.
set -eu

version=v1.34.4
cache=${DESKRUN_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/deskrun}
cd "$(dirname "$0")/../tests/control-plane"

assets=${KUBEBUILDER_ASSETS:-}
if [ -n "$assets" ]; then
    missing=
    for part in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet; do
        [ -x "$assets/$part" ] || missing="$missing $part"
    done
    if [ -z "$missing" ]; then
        echo "$assets"
        exit 0
    fi
    echo "KUBEBUILDER_ASSETS has no$missing, so it is not used" >&2
fi

# Other sources, another program.
key=$(cat go.mod go.sum main.go | sha256sum | cut -c 1-12)
folder=$cache/control-plane-$version-$key
program=$folder/control-plane
if [ -x "$program" ]; then
    echo "$program"
    exit 0
fi
if [ "${1:-}" = find ]; then
    echo "the control plane is not built: run make tools" >&2
    exit 1
fi
if ! command -v go >/dev/null 2>&1; then
    echo "missing: go (1.24 or later) to build the control plane, or KUBEBUILDER_ASSETS with all its parts" >&2
    exit 1
fi

echo "building a Kubernetes $version control plane once, into $folder: this takes minutes" >&2
flags="-s -w"
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=34"
done
mkdir -p "$folder"
new=$folder/new.$$
trap 'rm -f "$new"' EXIT
# What is no package's name is an error's text. A pipe knows the exit code of its last command only.
CGO_ENABLED=0 go build -v -trimpath -mod=readonly -ldflags "$flags" -o "$new" . 2>&1 |
    awk '/^[^ #]+$/ { if (++packages % 100 == 0) { print packages " packages are built"; fflush() }; next } { print }' >&2
if [ ! -x "$new" ]; then
    echo "the control plane could not be built" >&2
    exit 1
fi
mv "$new" "$program"
echo "$program"
