#!/bin/sh
# Stands in for systemctl where nothing runs systemd: it starts and stops Docker, and refuses everything else.
set -eu

if [ -d /run/systemd/system ]; then
    for real in /usr/bin/systemctl /bin/systemctl; do
        [ ! -x "$real" ] || exec "$real" "$@"
    done
fi

verb=
units=
now=
quiet=
for argument in "$@"; do
    case "$argument" in
    --now) now=yes ;;
    -q | --quiet) quiet=yes ;;
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$argument; else units="$units $argument"; fi ;;
    esac
done

unsupported() {
    echo "systemctl: $* is not supported: this runner has no systemd, only Docker can be started and stopped" >&2
    exit 1
}

say() {
    [ -n "$quiet" ] || echo "$*"
}

tool=${DESKRUN_DOCKER:-/usr/local/sbin/deskrun-docker}
case "$verb" in
daemon-reload | daemon-reexec | reset-failed) exit 0 ;;
start | stop | restart | reload | reload-or-restart | try-restart | is-active | is-enabled | enable | disable | status) ;;
*) unsupported "\`${verb:-no verb}\`" ;;
esac
[ -n "$units" ] || unsupported "\`$verb\` without a unit"

docker=
for unit in $units; do
    case "${unit%.service}" in
    docker) docker=yes ;;
    # dockerd makes its socket itself and runs a containerd of its own: nothing to do for these.
    docker.socket | containerd) ;;
    *) unsupported "\`$verb $unit\`" ;;
    esac
done
[ -n "$docker" ] || exit 0

case "$verb" in
start) exec "$tool" start ;;
stop) exec "$tool" stop ;;
restart | reload | reload-or-restart | try-restart) exec "$tool" restart ;;
status) exec "$tool" status ;;
enable) if [ -n "$now" ]; then exec "$tool" start; fi ;;
disable) if [ -n "$now" ]; then exec "$tool" stop; fi ;;
is-enabled) say enabled ;;
is-active)
    if "$tool" is-active; then say active; else
        say inactive
        exit 3
    fi
    ;;
esac
