#!/usr/bin/env bash
# Environment, then style, types, layers and tests. Arguments go to pytest; --soak runs the long fault tests too.
#
#   scripts/run_tests.sh                       everything
#   scripts/run_tests.sh tests/pure            those that need neither Spark nor a lake
#   scripts/run_tests.sh tests/delta -k csv    a part of the tests
#   scripts/run_tests.sh --soak                with the tests of many restarts
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case "${1:-}" in -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;; esac

scripts/setup_environment.sh --s3
scripts/install_test_services.sh
export SPARK_CONF_DIR="$PWD/conf" TZ=UTC
echo "style";  .venv/bin/ruff check .
echo "types";  .venv/bin/mypy
echo "layers"; .venv/bin/lint-imports
echo "tests"
# Two processes side by side, each with its Spark; a file's tests stay together, because they share a lake. They run in the
# order of the rooms in pyproject.toml, the long ones first, so that neither process is left with one at the end.
exec .venv/bin/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
