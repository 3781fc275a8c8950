#!/usr/bin/env bash
# The tests. Fast ones by default; --all runs those of every marker. Further arguments go to pytest.
# Needs no root and starts no daemons; a test whose component is missing is skipped and says so.
set -euo pipefail
SEEDBED_EXTRAS="[test]"
. "$(dirname "$0")/environment.sh"
arguments=()
for argument in "$@"; do
    if [ "$argument" = --all ]; then arguments+=(-m ""); else arguments+=("$argument"); fi
done
.venv/bin/ruff check .
.venv/bin/ruff format --check --quiet . || { echo "error: run .venv/bin/ruff format ." >&2; exit 1; }
# An empty list is an error to the bash that macOS has.
exec .venv/bin/python -m pytest ${arguments[@]+"${arguments[@]}"}
