#!/usr/bin/env bash
# Prepare this machine: Java check, .venv/ with pinned dependencies, the Delta jars. Idempotent.
#
#   scripts/setup_environment.sh            set up, or do nothing where all is in place
#   scripts/setup_environment.sh --force    set up again from nothing
#   scripts/setup_environment.sh --s3       with the jars (19 MB) for a lake in an object store (docs/storage.md)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

store=
for argument in "$@"; do
  case "$argument" in
    -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 0 ;;
    --force) rm -rf .venv ;;
    --s3) store=--s3 ;;
    *) echo "setup_environment: unknown argument '$argument'; try --help" >&2; exit 2 ;;
  esac
done

python_is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

java_major() { "$1" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1; }

require_java() {
  local java="${JAVA_HOME:+$JAVA_HOME/bin/}java"
  if command -v "$java" >/dev/null 2>&1 && [ "$(java_major "$java")" -ge 17 ] 2>/dev/null; then return; fi
  if [ -z "${JAVA_HOME:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: installing Java 17 (openjdk-17-jre-headless)"
    apt-get update -qq && apt-get install -y -qq openjdk-17-jre-headless >/dev/null && return
  fi
  echo "setup: Java 17 or newer is needed, found: $(command -v "$java" >/dev/null 2>&1 && "$java" -version 2>&1 | head -n 1 || echo none)." >&2
  echo "Install it (Debian, Ubuntu: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17)" >&2
  echo "and set JAVA_HOME where it is not the first java on the PATH, then run this script again." >&2
  exit 2
}

find_python() {
  local candidate
  for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
    if command -v "$candidate" >/dev/null 2>&1 && python_is_new_enough "$candidate"; then echo "$candidate"; return; fi
  done
  echo "setup: Python 3.11 or newer is needed; install it, or name it with PYTHON=/path/to/python3.11" >&2
  exit 2
}

# uv installs the same pins in a third of pip's time. It does not read pip's own configuration (a mirror, a proxy's
# certificate), so where it can't install, pip does. Both compile what they install: where PYTHONDONTWRITEBYTECODE is set, as
# in many containers, Python keeps nothing that it compiles itself, and each command that checks tables would take 4 s more.
install() {
  local arguments=(--quiet --constraint constraints.txt --editable '.[dev]')
  if .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv &&
    UV_LINK_MODE=copy .venv/bin/uv pip install --python .venv/bin/python --compile-bytecode "${arguments[@]}"; then return; fi
  echo "setup: uv could not install; pip tries"
  .venv/bin/python -m pip install --disable-pip-version-check "${arguments[@]}"
}

wanted=$(cat setup.py constraints.txt | sha256sum | cut -d' ' -f1)
stamp=.venv/.cloudlake-setup

require_java
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
  python=$(find_python)
  if [ ! -x .venv/bin/python ] || ! python_is_new_enough .venv/bin/python; then
    echo "setup: creating .venv"
    rm -rf .venv && "$python" -m venv .venv
  fi
  echo "setup: installing the pinned dependencies (about a minute the first time)"
  install
  echo "setup: resolving the Delta jars"
  .venv/bin/python scripts/fetch_jars.py
  .venv/bin/python -m compileall -q src
  echo "$wanted" >"$stamp"
  echo "setup: done"
fi
[ -z "$store" ] || .venv/bin/python scripts/fetch_jars.py --s3
