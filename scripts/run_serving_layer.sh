#!/usr/bin/env bash
# Bring the served tables to this moment, once or with --interval SECONDS. Needs no Spark. --help lists the options.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
export CLOUDLAKE_PROG=scripts/run_serving_layer.sh
exec .venv/bin/cloudlake serve "$@"
