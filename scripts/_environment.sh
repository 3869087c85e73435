# Sourced by the scripts: the project's folder, its environment, and how a job is submitted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$PWD
if [ ! -x .venv/bin/python ]; then
  echo "error: the environment is not set up; run scripts/setup_environment.sh" >&2
  exit 2
fi
export PYSPARK_PYTHON="${PYSPARK_PYTHON:-$ROOT/.venv/bin/python}" PYSPARK_DRIVER_PYTHON="$ROOT/.venv/bin/python"
export TZ=UTC

# submit COMMAND ARGS…: check the arguments without a JVM, then run them on Spark, where --master says.
submit() {
  export CLOUDLAKE_PROG; CLOUDLAKE_PROG="scripts/$(basename "$0")"
  exec .venv/bin/python -m cloudlake.cli.launch "$@" 2> >(LC_ALL=C grep -av --line-buffered '^WARNING: Using incubator modules' >&2)
}
