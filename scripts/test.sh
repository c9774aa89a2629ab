#!/bin/sh
# Everything that must hold: each check says in one line whether it does, and pytest comes last.
# Arguments go to pytest; `--lint-only` leaves pytest out. The exit status is 0 only when all of it holds.
set -u
unset PYTHONDONTWRITEBYTECODE  # each worker would compile every test again
cd "$(dirname "$0")/.." || exit
failed=""

hold() {
    # $1: the check's name; the rest: its command. What it prints is shown only when it fails.
    name=$1
    shift
    if said=$("$@" 2>&1); then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n%s\n' "$name" "$said"
        failed="$failed $name"
    fi
}

hold lint .venv/bin/ruff check .
hold format .venv/bin/ruff format --check .
hold types .venv/bin/mypy
hold imports .venv/bin/lint-imports
hold workflows .venv/bin/zizmor --offline --quiet --no-progress action.yml .github/workflows
if [ "${1:-}" != --lint-only ]; then
    printf 'pods    clean folders; make test-remote starts tasks in containers\n'
    [ -z "$failed" ] || printf 'failed before the tests:%s\n' "$failed"
    .venv/bin/python -m pytest -q -n auto --dist worksteal "$@" || failed="$failed tests"
fi
[ -z "$failed" ]
