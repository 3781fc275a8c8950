#!/usr/bin/env bash
# The report's table: runs presets to their ends and writes docs/results/. Words go to scripts/reproduce.py; see --help.
set -euo pipefail
. "$(dirname "$0")/environment.sh"
exec .venv/bin/python scripts/reproduce.py "$@"
