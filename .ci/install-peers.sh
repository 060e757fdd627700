#!/bin/sh
# Installs the programs that the tests need beside the harness: .ci/install-peers.sh FOLDER
#
# From Go modules into FOLDER: the real Toxiproxy and its command line, act (runs action.yml on this machine)
# and actionlint. From Debian: PostgreSQL, Redis, Chromium, zsh, fish, HAProxy, libfaketime, Prometheus, and
# python3-venv. It names each program that cannot be installed; the tests that need it skip with a reason.
set -eu
folder=$1
toxiproxy=v2.12.0
act=v0.2.80
actionlint=v1.7.12
mkdir -p "$folder"

if command -v go >/dev/null 2>&1; then
    # A folder of its own first: go install names the binaries `server` and `cli`.
    for pair in server:toxiproxy-server cli:toxiproxy-cli; do
        CGO_ENABLED=0 GOBIN="$folder/go" go install "github.com/Shopify/toxiproxy/v2/cmd/${pair%%:*}@$toxiproxy"
        mv "$folder/go/${pair%%:*}" "$folder/${pair#*:}"
    done
    for module in "github.com/nektos/act@$act" "github.com/rhysd/actionlint/cmd/actionlint@$actionlint"; do
        CGO_ENABLED=0 GOBIN="$folder" go install "$module" \
            || echo "install-peers: $module cannot be installed here, so tests of the hosted files skip" >&2
    done
else
    echo "install-peers: no Go here, so no real Toxiproxy to compare with, no act, no actionlint" >&2
fi

if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    missing=
    [ -n "$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || missing="$missing postgresql"
    command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
    command -v zsh >/dev/null 2>&1 || missing="$missing zsh"
    command -v fish >/dev/null 2>&1 || missing="$missing fish"
    command -v setpriv >/dev/null 2>&1 || missing="$missing util-linux"
    command -v chromium >/dev/null 2>&1 || missing="$missing chromium"
    command -v promtool >/dev/null 2>&1 || missing="$missing prometheus"
    command -v prometheus-blackbox-exporter >/dev/null 2>&1 || missing="$missing prometheus-blackbox-exporter"
    [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null 2>&1 || missing="$missing haproxy"
    [ -n "$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null)" ] || missing="$missing libfaketime"
    /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
    if [ -n "$missing" ]; then
        apt-get update -qq
        # shellcheck disable=SC2086  # a list of names
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    fi
else
    echo "install-peers: no apt-get for root here, so no PostgreSQL, Redis, Chromium, HAProxy, libfaketime, Prometheus" >&2
fi
