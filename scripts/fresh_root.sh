#!/bin/sh
# Make a fresh Debian 12 (python3, make and git, nothing else) in a folder, and run README's two commands in it.
# What is committed here is cloned into it. Package registries are reached as this machine reaches them: its apt source
# of Debian, its settings for pip, uv and npm, its proxies and certificates.
set -eu

usage() {
    cat <<'END'
usage: scripts/fresh_root.sh [--demo] [--keep FOLDER] [-- COMMAND...]

Make a fresh Debian 12, and run `make demo` and `make test` in it.

  --demo         run `make demo` alone
  --keep FOLDER  make the root in FOLDER, and leave it there; a root that is there already is used as it is
  -- COMMAND     run this instead, in the clone of what is committed here

Needs root, on a machine with apt; debootstrap is installed where it is missing.
Exit status: what the commands end with; 77 where no root can be made on this machine.

Examples:
  scripts/fresh_root.sh --demo
  scripts/fresh_root.sh --keep /var/tmp/fresh
  scripts/fresh_root.sh --keep /var/tmp/fresh -- .venv/bin/python -m pytest -q tests/cli
END
}

say() { printf 'fresh_root: %s\n' "$*" >&2; }

cannot() {
    say "$1"
    exit 77
}

part=whole
kept=""
while [ $# -gt 0 ]; do
    case $1 in
    --demo) part=demo ;;
    --keep)
        [ $# -gt 1 ] || { usage >&2; exit 2; }
        kept=$2
        shift
        ;;
    --help | -h) usage; exit 0 ;;
    --) shift; break ;;
    *) usage >&2; exit 2 ;;
    esac
    shift
done

here=$(cd "$(dirname "$0")/.." && pwd -P)
home=/root  # root's home, in the root that is made
[ "$(id -u)" -eq 0 ] || cannot "a root is made as root only: run \`sudo scripts/fresh_root.sh\`, or \`make demo\` in a container of Debian 12"
command -v apt-get >/dev/null 2>&1 || cannot "debootstrap comes by apt, which is not here: run \`make demo\` in a container of Debian 12"
unshare --mount true 2>/dev/null || cannot "this machine allows no mounts: run \`make demo\` in a container of Debian 12"

debian_source() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1
}

install_debootstrap() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends debootstrap >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }
}

bring() {
    # Each of these files and folders of this machine, where it is there, at the same place in the root.
    for path in "$@"; do
        [ -e "$path" ] || continue
        mkdir -p "$root$(dirname "$path")"
        cp -RLp "$path" "$root$(dirname "$path")/"
    done
}

names() {
    # The variables by which this machine's tools are told of registries, proxies and certificates.
    env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' |
        grep -E -i '^((https?|ftp|all|no)_proxy|(pip|uv|npm_config)_.*|.*(_CA_BUNDLE|_CA_CERTS|_CERT|_CERT_FILE|_CERT_DIR|_CAINFO))$' || true
}

make_root() {
    command -v debootstrap >/dev/null 2>&1 || install_debootstrap
    source=$(debian_source)
    if [ -z "$source" ]; then
        apt-get update -qq
        source=$(debian_source)
    fi
    [ -n "$source" ] || cannot "no apt source of this machine has Debian's own packages: run \`make demo\` in a container of Debian 12"
    say "making Debian 12 in $root"
    debootstrap --variant=minbase --include=ca-certificates,python3,make,git bookworm "$root" "$source" >"$root.log" 2>&1 ||
        { tail -n 5 "$root.log" >&2; say "debootstrap failed"; exit 1; }
    rm -f "$root.log"
    bring /etc/resolv.conf /etc/apt/auth.conf /etc/apt/auth.conf.d /usr/local/share/ca-certificates
    apt-config dump | grep -E -i '^Acquire::(https?|Check)' >"$root/etc/apt/apt.conf.d/90host" || true
    # Debian's installer writes this file; debootstrap does not.
    printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
    chroot "$root" update-ca-certificates >/dev/null 2>&1
    bring /etc/pip.conf /etc/xdg/pip /etc/uv /etc/npmrc /usr/etc/npmrc
    for name in .pip .config/pip .config/uv .npmrc .netrc; do
        [ ! -e "$HOME/$name" ] || { mkdir -p "$root$home/$(dirname "$name")" && cp -RLp "$HOME/$name" "$root$home/$name"; }
    done
    for name in $(names); do
        path=$(printenv "$name")
        case $path in
        /etc/ssl/*) bring /etc/ssl/certs/ca-certificates.crt ;;
        /*) [ ! -f "$path" ] || bring "$path" ;;
        esac
    done
    touch "$root/.fresh-root"
}

run() {
    # A command in the clone, with mounts and processes that end with it.
    set -- chroot "$root" /bin/sh -c 'cd /srv/envlock && exec "$@"' sh "$@"
    for name in $(names) CI; do
        value=$(printenv "$name" || true)
        [ -z "$value" ] || set -- "$name=$value" "$@"
    done
    ROOT=$root unshare --mount --pid --fork --kill-child sh -c '
        mount -t proc proc "$ROOT/proc" && mount --rbind /sys "$ROOT/sys" && mount --rbind /dev "$ROOT/dev" && exec "$@"
    ' sh env -i HOME="$home" LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

if [ -n "$kept" ]; then
    mkdir -p "$kept"
    root=$(cd "$kept" && pwd -P)
else
    root=$(mktemp -d "${TMPDIR:-/tmp}/fresh-root.XXXXXX")
    trap 'rm -rf "$root" "$root.log"' EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
fi
chmod 755 "$root"
[ -e "$root/.fresh-root" ] || make_root
export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'
clone=$root/srv/envlock
[ -d "$clone/.git" ] || git init --quiet "$clone"
git -C "$clone" fetch --quiet "$here" HEAD
git -C "$clone" -c advice.detachedHead=false checkout --quiet --force FETCH_HEAD
git -C "$clone" clean --quiet --force -d

if [ $# -gt 0 ]; then
    run "$@"
elif [ $part = demo ]; then
    run make demo
else
    run make demo
    run make test
fi
