#!/usr/bin/env bash
# The stream of usage events: start | stop | status of the one in the background, `once` takes what is there and ends,
# `run` stays in the foreground until stopped. --help lists the options.
source "$(dirname "${BASH_SOURCE[0]}")/_environment.sh"
case "${1:-}" in
  start | stop | status) export CLOUDLAKE_PROG="scripts/run_streaming_pipeline.sh"; exec .venv/bin/cloudlake stream "$@" ;;
  *) submit stream "$@" ;;
esac
