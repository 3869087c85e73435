#!/usr/bin/env bash
# The stream of usage events: `once` takes what is there and ends, `run` stays in the foreground until stopped.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
submit stream "$@"
