#!/bin/sh
# Make .venv: Python's own venv, uv in it, and by uv everything else. Doing it again is cheap and mends a broken one.
# `--servers` installs Azurite into it, on Node.js: it takes the place of Azure in the tests and in `make demo-team`.
# `--registry` unpacks docker-registry into it, to which the tests push images.
# `--browser` installs Chromium, in which `make test-slow` looks at the pages of cards.
# `--pods` unpacks docker into it, and makes the images of the pods in which `make test-remote` starts tasks.
# Whatever is missing is installed where we may (as root, on Debian and its kin), and named with one command where not.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "setup: $1"
    say "  run: $2"
    exit 1
}

install_packages() {
    # $1: what is missing, in words; the rest: the Debian packages that bring it.
    missing=$1
    shift
    if ! command -v apt-get >/dev/null 2>&1; then
        fail "$missing" "your system's package manager, for what Debian calls: $*"
    elif [ "$(id -u)" -ne 0 ]; then
        fail "$missing" "sudo apt-get install -y $*"
    fi
    say "setup: $missing; installing $*"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
        { apt-get update -qq >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null; } ||
        fail "$missing, and apt-get could not install it" "apt-get update && apt-get install -y $*"
}

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$name" >/dev/null 2>&1 && fits "$name"; then
            command -v "$name"
            return
        fi
    done
}

works() { [ -x .venv/bin/python ] && fits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; }

set_up_python() {
    python=$(find_python)
    if [ -z "$python" ]; then
        install_packages "there is no Python 3.10 or newer" python3 python3-venv
        python=$(find_python)
        [ -n "$python" ] || fail "this system's python3 is older than 3.10" "install Python 3.10 or newer, and put it on PATH"
    fi

    if ! works; then
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            series=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
            if [ "$(command -v python3 || true)" = "$python" ]; then
                install_packages "$python cannot make virtual environments" python3-venv
            else
                install_packages "$python cannot make virtual environments" "$series-venv"
            fi
        fi
        rm -rf .venv
        "$python" -m venv .venv
    fi

    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input "uv>=0.9,<1"
    .venv/bin/uv pip install --quiet --python .venv/bin/python --editable '.[metaflow,all]' --group dev
    touch .venv/envlock-ready
}

# Azurite's versions are in a lock file of their own, and no script of theirs is run.
set_up_servers() {
    installed=.venv/azurite/node_modules/.installed
    if ! cmp -s tests/servers/azurite/package-lock.json "$installed"; then
        command -v node >/dev/null 2>&1 || install_packages "there is no Node.js, which Azurite runs on" nodejs
        command -v npm >/dev/null 2>&1 || install_packages "there is no npm, which installs Azurite" npm
        mkdir -p .venv/azurite
        cp tests/servers/azurite/package.json tests/servers/azurite/package-lock.json .venv/azurite/
        npm ci --prefix .venv/azurite --omit=dev --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null ||
            fail "npm could not install Azurite" "npm ci --prefix .venv/azurite"
        cp tests/servers/azurite/package-lock.json "$installed"
    fi
    touch "$installed"
}

# docker-registry from Debian's package, unpacked and not installed: no service.
set_up_registry() {
    rm -rf .venv/registry
    mkdir -p .venv/registry
    if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg >/dev/null 2>&1; then
        say "setup: docker-registry comes by apt, which is not here: the tests that push images are skipped"
        touch .venv/registry/.installed
        return
    fi
    (cd .venv/registry && { apt-get download -qq docker-registry || { apt-get update -qq && apt-get download -qq docker-registry; }; }) >/dev/null 2>&1 ||
        fail "apt-get could not download docker-registry" "apt-get update && apt-get download docker-registry"
    for package in .venv/registry/*.deb; do dpkg -x "$package" .venv/registry; done
    rm -f .venv/registry/*.deb
    touch .venv/registry/.installed
}

set_up_browser() {
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 ||
        install_packages "there is no Chromium, which draws pages" chromium
    touch .venv/browser-is-there
}

# docker from Debian's packages, unpacked and not installed: no service, no bridge, no rule of a firewall.
set_up_pods() {
    [ "$(id -u)" -eq 0 ] || fail "only root may run containers" "sudo make setup-pods"
    command -v apt-get >/dev/null 2>&1 || fail "docker's packages come by apt, which is not here" "make test, whose pods are clean folders"
    pods=$PWD/.venv/pods
    mkdir -p "$pods"
    if [ ! -e "$pods/docker/is-made" ]; then
        rm -rf "$pods/docker" "$pods/debs"
        mkdir -p "$pods/docker" "$pods/debs"
        wanted="docker.io containerd runc libdevmapper1.02.1 libseccomp2"
        # shellcheck disable=SC2086 - one word for each package
        (cd "$pods/debs" && { apt-get download -qq $wanted || { apt-get update -qq && apt-get download -qq $wanted; }; }) >/dev/null 2>&1 ||
            fail "apt-get could not download docker's packages" "apt-get update && apt-get download $wanted"
        for package in "$pods"/debs/*.deb; do dpkg -x "$package" "$pods/docker"; done
        rm -rf "$pods/debs"
        touch "$pods/docker/is-made"
    fi
    if [ ! -e "$pods/debian/is-made" ]; then
        rm -rf "$pods/debian"
        command -v debootstrap >/dev/null 2>&1 || install_packages "there is no debootstrap, which makes the images" debootstrap
        say "setup: making Debian for the images, which takes a minute"
        libraries=ca-certificates,libssl3,libsqlite3-0,libffi8,zlib1g,libbz2-1.0,liblzma5,libreadline8,libncursesw6,libuuid1
        packages=$(.venv/bin/python -c 'from tests.pods.docker import debian_packages; print(*debian_packages(), sep=",")')
        source=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1)
        debootstrap --variant=minbase --include="$libraries${packages:+,$packages}" bookworm "$pods/debian" "$source" >"$pods/debootstrap.log" 2>&1 ||
            fail "debootstrap failed" "tail $pods/debootstrap.log"
        touch "$pods/debian/is-made"
    fi
    .venv/bin/python -c 'from tests.pods.docker import make_images; make_images()'
}

began=$(date +%s)
if [ "${1:-}" = --servers ]; then
    set_up_servers
    say "setup: Azurite is ready ($(($(date +%s) - began)) s)"
elif [ "${1:-}" = --registry ]; then
    set_up_registry
elif [ "${1:-}" = --browser ]; then
    set_up_browser
elif [ "${1:-}" = --pods ]; then
    set_up_pods
    say "setup: docker and the images of the pods are ready ($(($(date +%s) - began)) s)"
else
    set_up_python
    say "setup: .venv is ready ($(.venv/bin/python -V), $(($(date +%s) - began)) s)"
fi
