#!/bin/sh
# Make .venv with a Python of 3.11 or newer and install the given package into it, such as '.' or '.[dev]'.
set -eu

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if ! [ -x .venv/bin/python ] || ! fits .venv/bin/python; then
  python=
  for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
    if fits "$candidate"; then
      python=$candidate
      break
    fi
  done
  if [ -z "$python" ]; then
    echo "Isthmus needs Python 3.11 or newer. On Debian and Ubuntu: apt-get install python3 python3-venv" >&2
    exit 1
  fi
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "installing $package, which makes Python environments" >&2
      apt-get install -y -q "$package" >&2 || { apt-get update -q >&2 && apt-get install -y -q "$package" >&2; }
    else
      echo "$python cannot make environments. On Debian and Ubuntu: sudo apt-get install $package" >&2
      exit 1
    fi
  fi
  "$python" -m venv --clear .venv
fi

echo "installing Isthmus and what it needs into .venv" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$1"
