#!/usr/bin/env bash
# The nightly batch run in the user's crontab.
#
#   scripts/setup_cron.sh install [--at "0 2 * * *"] [--lake DIR] [--landing DIR] [--conf DIR]
#                                     add or change the entry; every other entry stays
#   scripts/setup_cron.sh uninstall   remove it
#   scripts/setup_cron.sh status      show it, and how the last night went
#
# The entry runs scripts/nightly.sh: one at a time (flock), health checks before, a log kept 30 days.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
MARK="# cloudlake nightly: $ROOT"

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }
fail() { echo "error: setup_cron: $1; see scripts/setup_cron.sh --help" >&2; exit 2; }
others() { crontab -l 2>/dev/null | grep -vF "$MARK" || true; }
entry() { crontab -l 2>/dev/null | grep -F "$MARK" || true; }

command=${1:-}
[ $# -gt 0 ] && shift
case "$command" in
  -h | --help) usage; exit 0 ;;
  install | uninstall | status) ;;
  *) fail "unknown command '$command'" ;;
esac
command -v crontab >/dev/null || { echo "error: setup_cron: there is no crontab here; install cron (Debian, Ubuntu: apt-get install cron)" >&2; exit 2; }

case "$command" in
  install)
    at=$(sed -n 's/^ *nightly: *"\(.*\)".*/\1/p' conf/lake.yaml)
    while [ $# -gt 0 ]; do
      case "$1" in
        --at) at=${2:-}; shift; [ $# -gt 0 ] && shift ;;
        --at=*) at=${1#*=}; shift ;;
        --lake | --landing | --conf)
          name=CLOUDLAKE_$(echo "${1#--}" | tr '[:lower:]' '[:upper:]')
          [ -n "${2:-}" ] || fail "$1 needs a folder"
          declare "$name=$2"; shift 2 ;;
        *) fail "unknown argument '$1'" ;;
      esac
    done
    [[ "$at" =~ ^([0-9*/,-]+\ +){4}[0-9a-zA-Z*/,-]+$ ]] || fail "--at '$at' is not five fields such as \"0 2 * * *\""
    settings=""  # cron starts with an empty environment: what the run needs to know stands in the entry
    for name in CLOUDLAKE_LAKE CLOUDLAKE_LANDING CLOUDLAKE_CONF JAVA_HOME; do
      if [ -n "${!name:-}" ]; then settings+="$name=$(printf '%q' "$(realpath -m "${!name}")") "; fi
    done
    { others; echo "$at $settings$(printf '%q' "$ROOT/scripts/nightly.sh") $MARK"; } | crontab -
    echo "installed: $(entry)"
    ;;
  uninstall)
    if [ -z "$(entry)" ]; then echo "nothing to uninstall"; exit 0; fi
    others | crontab -
    echo "uninstalled"
    ;;
  status)
    if [ -z "$(entry)" ]; then echo "not installed; scripts/setup_cron.sh install"; else echo "installed: $(entry)"; fi
    last=$(ls -1t "${CLOUDLAKE_LAKE:-datalake}"/logs/nightly-*.log 2>/dev/null | head -n 1 || true)
    if [ -n "$last" ]; then echo "last log: $last"; tail -n 3 "$last"; else echo "no nightly run has been logged yet"; fi
    ;;
esac
