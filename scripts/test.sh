#!/bin/sh
# Everything that must hold: each check says in one line whether it does, and pytest comes last.
# Arguments go to pytest; `--lint-only` leaves pytest out. The exit status is 0 only when all of it holds.
# The checks run at once, beside pytest, of which nothing is shown before they are told.
# What tests write is in memory where there is enough of it, and is deleted in the end. `TMPDIR=/tmp make test` writes it
# to that folder, where pytest keeps it; so does PYTEST_DEBUG_TEMPROOT, as CI has it.
set -u
unset PYTHONDONTWRITEBYTECODE  # each worker would compile every test again
cd "$(dirname "$0")/.." || exit

memory() {
    # The megabytes that may be written to /dev/shm: what is free there, in the machine, and in its container at most.
    {
        df -Pm /dev/shm | awk 'NR == 2 { print $4 + 0 }'
        awk '/^MemAvailable:/ { printf "%.0f\n", $2 / 1024 - 4000 }' /proc/meminfo  # the tests themselves take some
        for limit in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
            [ ! -r "$limit" ] || awk '$1 != "max" { printf "%.0f\n", $1 / 1048576 - 4000 }' "$limit"
        done
    } 2>/dev/null | sort -n | head -n 1
}

make_scratch() {
    # A new folder in memory, if no other is wanted, there is room for all that tests write, and programs may run there.
    files=$(df -Pi /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 + 0 }')
    if [ -z "${TMPDIR:-}${PYTEST_DEBUG_TEMPROOT:-}" ] && [ -r /proc/meminfo ] && [ "$(memory)" -ge 12000 ] && [ "${files:-0}" -ge 1000000 ]; then
        if scratch=$(mktemp -d /dev/shm/envlock.XXXXXX); then
            printf '#!/bin/sh\n' >"$scratch/program" && chmod +x "$scratch/program"
            if "$scratch/program" 2>/dev/null; then
                export TMPDIR="$scratch"
                return
            fi
            rm -rf "$scratch"
        fi
    fi
    scratch=$(mktemp -d)
}

remove_scratch() {
    # Folders that nobody may write are left by tests, and only root can delete what is in them.
    rm -rf "$scratch" 2>/dev/null || { chmod -R u+rwX "$scratch" && rm -rf "$scratch"; }
}

make_scratch || exit
trap remove_scratch EXIT
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
