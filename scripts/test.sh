#!/usr/bin/env bash
# The tests. Fast ones by default; --all runs those of every marker. Further words go to pytest.
# Needs no root and starts no daemons; a test whose component is missing is skipped and says so.
set -euo pipefail
SEEDBED_EXTRAS="[test]"
. "$(dirname "$0")/environment.sh"
words=()
for word in "$@"; do
    if [ "$word" = --all ]; then words+=(-m ""); else words+=("$word"); fi
done
.venv/bin/ruff check .
.venv/bin/ruff format --check --quiet . || { echo "error: run .venv/bin/ruff format ." >&2; exit 1; }
# An empty list is an error to the bash that macOS has.
exec .venv/bin/python -m pytest ${words[@]+"${words[@]}"}
