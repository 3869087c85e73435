#!/usr/bin/env bash
# From a fresh machine to a served answer: environment, landing data where there is none, one batch run (which takes a
# stretch of stream with it), the served view, and a summary.
#
#   scripts/quick_start.sh [--lake DIR] [--landing DIR] [--master URL] [--spark-conf K=V]…
#
# A second run finds nothing new and says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

lake=${CLOUDLAKE_LAKE:-datalake}
landing=${CLOUDLAKE_LANDING:-datalake/landing}
spark=()
while [ $# -gt 0 ]; do
  case "$1" in
    --lake) lake=${2:?--lake needs a folder}; shift 2 ;;
    --landing) landing=${2:?--landing needs a folder}; shift 2 ;;
    --master | --spark-conf) spark+=("$1" "${2:?$1 needs a value}"); shift 2 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: quick_start: unknown argument '$1'; see scripts/quick_start.sh --help" >&2; exit 2 ;;
  esac
done
export CLOUDLAKE_LAKE=$lake CLOUDLAKE_LANDING=$landing

store=()
case "$lake $landing" in *s3a://* | *s3://*) store=(--s3) ;; esac
echo "1/4 environment"
scripts/setup_environment.sh "${store[@]}"
echo "2/4 landing data: $landing"
if [[ $landing == s3*://* ]]; then
  echo "    in an object store, used as it is"
elif [ -z "$(ls -A "$landing" 2>/dev/null)" ]; then
  .venv/bin/python scripts/generate_landing_data.py --out "$landing"
else
  echo "    already there, used as it is"
fi
echo "3/4 batch run: landing → bronze → silver → gold → published → served"
scripts/run_batch_pipeline.sh "${spark[@]}"
echo "4/4 what the lake holds now"
.venv/bin/cloudlake status
echo
echo "What to open: scripts/run_dashboard.sh serves the dashboard on http://127.0.0.1:8090, from what was published just now"
