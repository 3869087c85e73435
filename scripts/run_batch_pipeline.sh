#!/usr/bin/env bash
# The batch run: landing → bronze → silver → gold → published → served. --help lists the options.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
submit batch "$@"
