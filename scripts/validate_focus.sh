#!/usr/bin/env bash
# Check a FOCUS export with tools of others: files of 1.2 with the official validator, files of 1.4 with a linter.
#
#   cloudlake export focus --version 1.2 --out exports && scripts/validate_focus.sh exports
#
# Each tool gets an environment of its own, .focus/ (the validator 650 MB; it needs Python 3.12 or newer, and is skipped with
# a word where there is none). Exit codes: 0 as expected, 1 a line is red that should not be, or the other way round, 2 bad usage.
set -euo pipefail
case "${1:-}" in
  -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  "" | -*) echo "validate_focus: name the folder of an export; try --help" >&2; exit 2 ;;
esac
export_dir=$(cd "$1" 2>/dev/null && pwd) || { echo "validate_focus: $1: there is no such folder" >&2; exit 2; }
[ -d "$export_dir/focus" ] || { echo "validate_focus: $1 holds no export; make one with cloudlake export focus --out $1" >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The validator needs numpy 1, which pyarrow 26 does not take.
validator=("focus-validator==2.2.1" "pyarrow<26")
linter=("focus-data-toolkit[parquet]==0.14.1")

find_python() {
  local candidate
  for candidate in "${FOCUS_PYTHON:-python3}" python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; then echo "$candidate"; return; fi
  done
}

# install NAME PYTHON PACKAGE…: an environment of these packages; again only where they have changed.
install() {
  local folder=".focus/$1" python=$2
  shift 2
  if [ "$(cat "$folder/.installed" 2>/dev/null)" != "$*" ]; then
    echo "validate_focus: installing $* into $folder"
    rm -rf "$folder" && "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
    echo "$*" >"$folder/.installed"
  fi
}

mkdir -p .focus
if [ -d "$export_dir/focus/1.2" ]; then
  python=$(find_python)
  if [ -n "$python" ]; then install validator "$python" "${validator[@]}"
  else echo "validate_focus: 1.2 skipped: the official validator needs Python 3.12 or newer, and none was found (FOCUS_PYTHON names one)"; fi
fi
if [ -d "$export_dir/focus/1.4" ]; then install linter .venv/bin/python "${linter[@]}"; fi
exec .venv/bin/python scripts/validate_focus.py "$export_dir/focus" .focus
