#!/usr/bin/env bash
# What cron runs: one at a time, health checks before, a log of its own, old logs removed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
lake=${CLOUDLAKE_LAKE:-datalake}
logs=$lake/logs
mkdir -p "$logs" || exit 2
log=$logs/nightly-$(date -u +%Y%m%dT%H%M%SZ).log
keep=$(sed -n 's/^ *keep_logs_days: *\([0-9]*\).*/\1/p' conf/lake.yaml)
exec 9>"$logs/.nightly.lock"
if ! flock -n 9; then
  echo "$(date -u +%FT%TZ) another nightly run is still at work" >>"$logs/skipped.log"
  exit 4
fi
{
  echo "$(date -u +%FT%TZ) nightly run begins"
  free_kb=$(df -Pk "$lake" | awk 'NR == 2 {print $4}')
  if [ "$free_kb" -lt 1048576 ]; then
    echo "error: less than 1 GiB is free for $lake ($free_kb KiB); free space and run scripts/nightly.sh"
    exit 1
  fi
  scripts/setup_environment.sh && scripts/run_batch_pipeline.sh
  code=$?
  echo "$(date -u +%FT%TZ) nightly run ended with exit code $code"
  find "$logs" -name 'nightly-*.log' -mtime "+${keep:-30}" -delete
  exit "$code"
} >>"$log" 2>&1
