#!/usr/bin/env bash
# From nothing to a trained model: environment, Fashion-MNIST, the default run. Overrides go to the run.
set -euo pipefail
SEEDBED_EXTRAS="${SEEDBED_EXTRAS:-}"
. "$(dirname "$0")/environment.sh"

data="${SEEDBED_DATA:-data}"
file=train-images-idx3-ubyte.gz
# Debian and Ubuntu carry the data set as a package; unpacking it needs no root. Elsewhere the run downloads it.
if [ ! -e "$data/fashion-mnist/$file" ] && [ ! -e "/usr/share/datasets/fashion-mnist/$file" ] &&
    command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
    echo "fetching Fashion-MNIST (Debian's package dataset-fashion-mnist)"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    mkdir -p "$scratch/lists/partial" "$scratch/archives/partial"
    options="-o Dir::State::Lists=$scratch/lists -o Dir::Cache=$scratch -o APT::Sandbox::User= -qq"
    if (cd "$scratch" && apt-get $options update && apt-get $options download dataset-fashion-mnist &&
        dpkg -x dataset-fashion-mnist_*.deb unpacked) >"$scratch/log" 2>&1; then
        mkdir -p "$data"
        mv "$scratch/unpacked/usr/share/datasets/fashion-mnist" "$data/.fashion-mnist.$$"
        mv "$data/.fashion-mnist.$$" "$data/fashion-mnist"
    else
        echo "that did not work; the run will try to download it"
    fi
fi
.venv/bin/python -m run "$@"
