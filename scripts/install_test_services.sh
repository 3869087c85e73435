#!/usr/bin/env bash
# What tests need beside Python and Java: Chromium, for the dashboard, PostgreSQL, and an S3 server, which Go builds. As root on Debian or
# Ubuntu it is installed where it is missing; anybody else is told what to type, and those tests say that they were left out.
#
#   scripts/install_test_services.sh
set -euo pipefail
case "${1:-}" in -h | --help) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

server=github.com/johannesboyne/gofakes3/cmd/gofakes3@v1.2.0
go=$(command -v go || ls /usr/local/go/bin/go 2> /dev/null || true)
if [ ! -x .venv/bin/gofakes3 ] && [ -n "$go" ]; then
  echo "building the S3 server of the tests"
  GOBIN="$PWD/.venv/bin" "$go" install "$server" || echo "note: $server could not be built; its tests are left out, in CI they fail" >&2
fi
[ -x .venv/bin/gofakes3 ] || echo "note: the tests of an object store are left out; to have them: GOBIN=\$PWD/.venv/bin go install $server" >&2

missing=()
command -v chromium chromium-browser google-chrome > /dev/null || missing+=(chromium fonts-dejavu-core)
ls -d /usr/lib/postgresql/*/bin > /dev/null 2>&1 || command -v initdb > /dev/null || missing+=(postgresql)
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
  echo "note: ${missing[*]} not found; the tests that need it are left out. To have them: sudo apt-get install ${missing[*]}" >&2
  exit 0
fi
echo "installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update -q && apt-get install -qy --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  tail -5 "$log" >&2
  echo "note: ${missing[*]} could not be installed; the tests that need it are left out, in CI they fail" >&2
fi
