#!/bin/sh
# Make a virtual environment with pip: tools/make-venv.sh FOLDER [PYTHON]
#
# Debian and Ubuntu ship `python3` without pip and without ensurepip, which is what `python3 -m venv`
# takes pip from. Where it is missing, pip comes from the distribution's own package
# python3-pip-whl: fetched and checked by apt into the new folder, with no need to be root and
# without installing anything on the machine.
set -eu

venv=$1
python=${2:-python3}

fail() {
    echo "$*" >&2
    exit 1
}

command -v "$python" >/dev/null ||
    fail "There is no '$python' here; Narrows needs Python 3.11 or newer: name one (make PYTHON=/path/to/python3)."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "'$python' is $("$python" --version 2>&1); Narrows needs Python 3.11 or newer: name one (make PYTHON=python3.12)."

rm -rf "$venv"
if "$python" -c 'import ensurepip' 2>/dev/null; then
    exec "$python" -m venv "$venv"
fi

no_pip="Python's module 'ensurepip' is missing and pip could not be had otherwise"
remedy="install it (apt install python3-venv, as root) and run make again."
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "$no_pip; $remedy"

"$python" -m venv --without-pip "$venv"
trap 'status=$?; rm -rf "$venv/apt"; [ $status -eq 0 ] || rm -rf "$venv"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$venv/apt/lists/partial" "$venv/apt/cache/archives/partial"
venv=$(cd "$venv" && pwd)
cd "$venv/apt"
own_state() {
    apt-get -qq -o Dir::State::Lists="$venv/apt/lists" -o Dir::Cache="$venv/apt/cache" \
        -o APT::Sandbox::User=root "$@"
}
echo "This Python comes without pip: fetching the package python3-pip-whl into $venv"
apt-get -qq download python3-pip-whl 2>/dev/null ||
    { own_state update && own_state download python3-pip-whl; } ||
    fail "$no_pip; $remedy"
dpkg-deb --extract python3-pip-whl_*.deb .
wheel=$(echo "$PWD"/usr/share/python-wheels/pip-*.whl)
"$venv/bin/python" "$wheel/pip" install --quiet --no-index --find-links "${wheel%/*}" pip
