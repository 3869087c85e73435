#!/bin/bash
# Do the pure tests notice small changes of the code? Changes single places of modules that need no Spark, in a copy, and
# runs their tests: scripts/mutation.sh [--sites N] [--seed N] [MODULE…]. Its tool lives in .mutation/, made at the first run.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ ! -x .mutation/venv/bin/cosmic-ray ]; then
  python3 -m venv .mutation/venv
  .mutation/venv/bin/pip install --quiet cosmic-ray==8.7.0
fi
exec nice -n 10 .mutation/venv/bin/python scripts/mutation.py "$@"
