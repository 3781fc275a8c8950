# Sourced by the other scripts: puts the environment into .venv of the clone, once for each state of pyproject.toml.
# PYTHON names the interpreter to make it with; SEEDBED_EXTRAS the extras to install.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ -z "${PYTHON:-}" ]; then
    for name in python3.11 python3.12 python3.13 python3; do
        if command -v "$name" >/dev/null 2>&1 &&
            "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            PYTHON=$name
            break
        fi
    done
fi
if [ -z "${PYTHON:-}" ]; then
    echo "error: no Python 3.11, 3.12 or 3.13 with venv found; install one, or name it: PYTHON=/path/to/python" >&2
    exit 1
fi
stamp=$({ cat pyproject.toml; echo "${SEEDBED_EXTRAS:-}"; pwd; } | cksum | tr ' ' '-')
if [ "$(cat .venv/stamp 2>/dev/null)" != "$stamp" ]; then
    echo "setting up .venv (torch is large: this takes a minute or more, once)"
    # A stop in the middle leaves one without pip.
    .venv/bin/python -m pip --version >/dev/null 2>&1 || "$PYTHON" -m venv --clear .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${SEEDBED_EXTRAS:-}"
    echo "$stamp" >.venv/stamp
fi
