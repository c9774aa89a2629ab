#!/bin/sh
# Everything that must hold: each check says in one line whether it does, and pytest comes last.
# Arguments go to pytest; `--lint-only` leaves pytest out. The exit status is 0 only when all of it holds.
# The checks run at once, beside pytest, of which nothing is shown before they are told.
set -u
unset PYTHONDONTWRITEBYTECODE  # each worker would compile every test again
cd "$(dirname "$0")/.." || exit
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
running=""

begin() {
    # $1: the check's name; the rest: its command.
    name=$1
    shift
    "$@" >"$scratch/$name" 2>&1 &
    running="$running $name:$!"
}

hold() {
    # Run all checks, and say in order which hold. What one printed is shown only when it fails.
    begin lint .venv/bin/ruff check .
    begin format .venv/bin/ruff format --check .
    begin types .venv/bin/mypy
    begin imports .venv/bin/lint-imports
    begin workflows .venv/bin/zizmor --offline --quiet --no-progress action.yml .github/workflows
    trap 'for each in $running; do kill "${each#*:}" 2>/dev/null; done' INT TERM
    for each in $running; do
        name=${each%:*}
        if wait "${each#*:}"; then
            printf 'ok      %s\n' "$name"
        else
            printf 'FAILED  %s\n' "$name"
            cat "$scratch/$name"
            echo "$name" >>"$scratch/failed"
        fi
    done
}

run_tests() {
    # One worker more than processors: a third of the time, a test waits for a server or a process.
    if .venv/bin/python -m pytest -q -n "$(($(getconf _NPROCESSORS_ONLN) + 1))" --dist worksteal "$@" 2>&1; then
        : >"$scratch/passed"
    fi
}

if [ "${1:-}" = --lint-only ]; then
    hold
else
    color=no
    [ ! -t 1 ] || color=yes
    run_tests --color="$color" "$@" | {
        hold
        printf 'pods    clean folders; make test-remote starts tasks in containers\n'
        [ ! -s "$scratch/failed" ] || printf 'failed beside the tests: %s\n' "$(tr '\n' ' ' <"$scratch/failed")"
        trap '' INT  # what pytest says of an interrupt comes after it
        cat
    }
    [ -e "$scratch/passed" ] || echo tests >>"$scratch/failed"
fi
[ ! -s "$scratch/failed" ]
