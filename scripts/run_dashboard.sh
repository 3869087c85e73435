#!/usr/bin/env bash
# The dashboard and the JSON API, on http://127.0.0.1:8090 until interrupted. Needs no Spark. --help lists the options.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
export CLOUDLAKE_PROG=scripts/run_dashboard.sh
exec .venv/bin/cloudlake dashboard "$@"
