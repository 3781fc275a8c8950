#!/usr/bin/env bash
# The tests. Fast ones by default; --all runs those of every marker. Further arguments go to pytest.
# Needs no root and starts no daemons; a test whose component is missing is skipped and says so.
set -euo pipefail
SEEDBED_EXTRAS="[test]"
. "$(dirname "$0")/environment.sh"
command=(.venv/bin/python -m pytest) selected=
for argument in "$@"; do
    if [ "$argument" = --all ]; then command+=(-m ""); else command+=("$argument") selected=yes; fi
done
.venv/bin/ruff check .
.venv/bin/ruff format --check --quiet . || { echo "error: run .venv/bin/ruff format ." >&2; exit 1; }
if [ -n "$selected" ]; then exec "${command[@]}"; fi
# Two processes of one thread each for two cores: the tests of packages, whose output comes last, and the others.
export OMP_NUM_THREADS=1
output="$(mktemp)"
"${command[@]}" tests/*/ >"$output" 2>&1 & packages=$!
trap 'kill "$packages" 2>/dev/null || true; rm -f "$output"' EXIT
code=0
"${command[@]}" tests/*.py || code=$?
wait "$packages" || code=$?
trap 'rm -f "$output"' EXIT
cat "$output"
exit "$code"
