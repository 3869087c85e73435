#!/usr/bin/env bash
# Merge the speed and the batch view into the served tables, once or with --interval SECONDS. --help lists the options.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
submit serve "$@"
