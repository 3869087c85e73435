#!/usr/bin/env bash
# What cron runs: one at a time, health checks before, a log of its own, then upkeep. Folders and settings are those of
# every command: CLOUDLAKE_LAKE, CLOUDLAKE_LANDING and CLOUDLAKE_CONF, else conf/lake.yaml. --master and --spark-conf say where Spark runs.
#
#   scripts/nightly.sh                                  as cron calls it
#   scripts/nightly.sh --master spark://node-1:7077     on a cluster
set -uo pipefail
cd -- "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null || exit 2
case " $* " in *" -h "* | *" --help "*) sed -n '2,6s/^# \{0,1\}//p' scripts/nightly.sh; exit 0 ;; esac
if [ "$(locale charmap 2>/dev/null)" != UTF-8 ]; then export LC_ALL=C.UTF-8; fi  # cron has none, and names have letters
if [ ! -x .venv/bin/python ]; then scripts/setup_environment.sh || exit; fi
settings=$(.venv/bin/python scripts/settings.py --for-a-run) || exit 2
eval "$settings"
mkdir -p "$logs" || exit 2
log=$logs/nightly-$(date -u +%Y%m%dT%H%M%SZ).log
exec 9>"$logs/.nightly.lock"
if ! flock -n 9; then
  echo "$(date -u +%FT%TZ) another nightly run is still at work" >>"$logs/skipped.log"
  exit 4
fi
{
  echo "$(date -u +%FT%TZ) nightly run begins"
  free_kb=$(df -Pk "${lake:-$logs}" | awk 'NR == 2 {print $(NF - 2)}')
  if [ "$free_kb" -lt 1048576 ]; then
    echo "error: less than 1 GiB is free for ${lake:-$logs} ($free_kb KiB); free space and run scripts/nightly.sh"
    exit 1
  fi
  scripts/setup_environment.sh && scripts/run_batch_pipeline.sh "$@"
  code=$?
  echo "$(date -u +%FT%TZ) nightly run ended with exit code $code"
  if [ "$code" -ne 4 ] && ! .venv/bin/cloudlake maintain "$@" && [ "$code" -eq 0 ]; then code=1; fi
  exit "$code"
} >>"$log" 2>&1
