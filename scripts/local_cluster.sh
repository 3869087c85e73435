#!/usr/bin/env bash
# A Spark cluster on this machine, to try --master with: a master and two workers of the installed pyspark, on loopback only.
# --help lists the options.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
exec .venv/bin/python scripts/local_cluster.py "$@"
