#!/bin/sh
# Installs Debian packages whose command is missing: install-packages.sh PACKAGE:COMMAND…
set -eu

missing=
for pair in "$@"; do
    command -v "${pair#*:}" >/dev/null 2>&1 || missing="$missing ${pair%%:*}"
done
[ -n "$missing" ] || exit 0

install="apt-get install --yes --no-install-recommends$missing"
as_root=
if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "missing:$missing; run this once: sudo apt-get update && sudo $install" >&2
        exit 1
    fi
    as_root="sudo -n"
fi
echo "installing:$missing"
# shellcheck disable=SC2086
$as_root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root $install -qq >/dev/null
