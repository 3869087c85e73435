# Sourced by the scripts: the project's folder, its environment, and how a job is submitted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
if [ ! -x .venv/bin/python ]; then
  echo "error: the environment is not set up; run scripts/setup_environment.sh" >&2
  exit 2
fi
export SPARK_CONF_DIR="${SPARK_CONF_DIR:-$ROOT/conf}"
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$ROOT/.venv/bin/python}" PYSPARK_DRIVER_PYTHON="$ROOT/.venv/bin/python"
export TZ=UTC

# submit COMMAND ARGS…: check the arguments without a JVM, then run them on Spark. --master URL and --conf-spark K=V go to
# spark-submit, everything else to cloudlake.
submit() {
  local command=$1 spark=() args=()
  shift
  while [ $# -gt 0 ]; do
    case "$1" in
      --master) spark+=(--master "${2:?--master needs a URL}"); shift 2 ;;
      --master=*) spark+=(--master "${1#*=}"); shift ;;
      *) args+=("$1"); shift ;;
    esac
  done
  export CLOUDLAKE_PROG; CLOUDLAKE_PROG="scripts/$(basename "$0")"
  case " ${args[*]-} " in *" --help "* | *" -h "*) exec .venv/bin/cloudlake "$command" --help ;; esac
  if [ ${#spark[@]} -gt 0 ] && [[ "${spark[1]}" != local* ]]; then
    mkdir -p dist && (cd .typing && zip -qr ../dist/cloudlake.zip cloudlake -x '*/__pycache__/*')
    local jars; jars=$(ls .venv/lib/python3*/site-packages/pyspark/jars/delta-*.jar | paste -sd, -)
    spark+=(--py-files dist/cloudlake.zip --jars "$jars")
  fi
  exec .venv/bin/spark-submit "${spark[@]}" scripts/submit.py "$command" "${args[@]}" 2> >(grep -v --line-buffered '^WARNING: Using incubator modules' >&2)
}
