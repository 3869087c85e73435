#!/usr/bin/env bash
# Imports the bundle of integrations/superset into a real Superset and opens its dashboard in Chromium: an optional check, 150
# packages and some minutes. Superset gets an environment of its own (build/superset), because its pins are not ours.
#
#   scripts/check_superset.sh [PICTURE.png]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
scripts/setup_environment.sh
scripts/install_test_services.sh
env=${CLOUDLAKE_SUPERSET:-build/superset}
if [ ! -x "$env/bin/superset" ]; then
  .venv/bin/python -m venv "$env"
  # What pip leaves out or resolves to a version that Superset does not start with is named too.
  "$env/bin/pip" install -q apache-superset==6.1.0 psycopg2-binary rich cachetools flask-caching==2.3.1
fi
exec .venv/bin/python integrations/superset/check.py --superset "$env/bin/superset" --picture "${1:-build/superset.png}"
