#!/bin/sh
# Starts and stops the Docker daemon of this runner: deskrun-docker start|stop|restart|is-active|status|finish
#
# The daemon starts its own containerd, so that images stay below /var/lib/docker, which outlives the runner. It runs
# below this container's cgroup, so that limits hold for what it runs. The data root is never deleted: a slow start
# must not cost the cache.
set -eu

pid_file=/var/run/docker.pid
log=/var/log/deskrun-dockerd.log
start_seconds=${DESKRUN_DOCKER_START_SECONDS:-60}
stop_seconds=${DESKRUN_DOCKER_STOP_SECONDS:-20}

fail() {
    echo "deskrun-docker: $*" >&2
    exit 1
}

daemon_pid() {
    pid=$(cat "$pid_file" 2>/dev/null) || return 1
    # A pid file may be older than this container; only a process called dockerd counts.
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] || return 1
    echo "$pid"
}

# Tries the command five times a second until it succeeds; fails after so many seconds.
wait_until() {
    tries=$(($1 * 5))
    shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.2
    done
}

# With cgroup v2 a privileged container sees the host's whole tree, and a daemon would make its groups there. In a
# namespace of its own the container's group is the root; it must hold no process itself to have controllers below.
nested() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        # shellcheck disable=SC2016
        unshare --cgroup --mount --propagation slave -- /bin/sh -ec '
            umount -l /sys/fs/cgroup 2>/dev/null || true
            mount -t cgroup2 cgroup2 /sys/fs/cgroup
            mkdir -p /sys/fs/cgroup/deskrun
            # A process may be forked in between: until no one is left in the root, controllers are refused.
            controllers=$(sed "s/ / +/g; s/^/+/" /sys/fs/cgroup/cgroup.controllers)
            tries=50
            until echo "$controllers" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null; do
                tries=$((tries - 1))
                [ "$tries" -gt 0 ] || break
                for process in $(cat /sys/fs/cgroup/cgroup.procs); do
                    echo "$process" >/sys/fs/cgroup/deskrun/cgroup.procs 2>/dev/null || true
                done
            done
            exec "$@"' nested "$@"
    else
        "$@"
    fi
}

# The runner image has dockerd but no iptables, without which it does not come up.
install_iptables() {
    if command -v iptables >/dev/null; then return; fi
    echo "deskrun-docker: installing iptables, which this image lacks; an image with it starts sooner" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update && apt-get install --yes --no-install-recommends iptables; } >>"$log" 2>&1 ||
        fail "there is no iptables in this image and it could not be installed; see $log"
}

answers_or_died() {
    docker info || ! kill -0 "$launched"
}

start() {
    if daemon_pid >/dev/null; then
        wait_until "$start_seconds" docker info || fail "the daemon runs but does not answer; see $log"
        return
    fi
    command -v dockerd >/dev/null || fail "there is no dockerd in this image; install Docker before starting it"
    rm -f "$pid_file"
    : >"$log"
    install_iptables
    group=
    if grep -q '^docker:' /etc/group; then group=--group=docker; fi
    # Without RUNNER_TRACKING_ID the runner does not take the daemon for a leftover of a step.
    (
        unset RUNNER_TRACKING_ID
        # shellcheck disable=SC2086
        nested dockerd $group
    ) </dev/null >>"$log" 2>&1 &
    launched=$!
    if wait_until "$start_seconds" answers_or_died && docker info >/dev/null 2>&1; then
        return
    fi
    tail -n 30 "$log" >&2
    if grep -qE 'timeout waiting for containerd to start|volume store metadata database: timeout' "$log"; then
        fail "cache slot busy: another daemon holds /var/lib/docker"
    fi
    fail "the daemon did not start within ${start_seconds} s; the cache is untouched"
}

gone() {
    ! daemon_pid
}

stop() {
    pid=$(daemon_pid) || return 0
    kill -TERM "$pid"
    wait_until "$stop_seconds" gone || fail "the daemon did not stop within ${stop_seconds} s"
}

# The end of a job: its containers with their anonymous volumes and its networks go, images and build cache stay.
finish() {
    daemon_pid >/dev/null || return 0
    # Job hooks have no limit of their own, and a daemon that hangs must not hold the runner.
    containers=$(timeout 20 docker ps --all --quiet 2>/dev/null) || containers=
    # shellcheck disable=SC2086
    [ -z "$containers" ] || timeout 60 docker rm --force --volumes $containers >/dev/null || true
    timeout 20 docker network prune --force >/dev/null || true
    stop
}

case "${1:-}" in
start | stop | restart | finish)
    if [ "$(id -u)" != 0 ]; then
        exec sudo -n -- env "DESKRUN_DOCKER_START_SECONDS=$start_seconds" "DESKRUN_DOCKER_STOP_SECONDS=$stop_seconds" \
            "$0" "$@"
    fi
    ;;
esac

case "${1:-}" in
start) start ;;
stop) stop ;;
restart)
    stop
    start
    ;;
finish) finish ;;
is-active) daemon_pid >/dev/null ;;
status)
    if pid=$(daemon_pid); then echo "dockerd runs as process $pid, log in $log"; else
        echo "dockerd is not running"
        exit 3
    fi
    ;;
*)
    echo "usage: deskrun-docker start|stop|restart|is-active|status|finish" >&2
    exit 2
    ;;
esac
