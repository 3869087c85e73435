#!/usr/bin/env bash
# The nightly batch run in the user's crontab, and the look at whether all is fresh.
#
#   scripts/setup_cron.sh install [--at "0 2 * * *"] [--check "*/15 * * * *" | never] [--lake DIR] [--landing DIR] [--conf DIR]
#                             [--master URL] [--spark-conf K=V]…
#                                     add or change the entries; every other entry stays
#   scripts/setup_cron.sh uninstall   remove them
#   scripts/setup_cron.sh status      show them, and how the last night went
#
# The one runs scripts/nightly.sh: one at a time (flock), health checks before, upkeep after, a log of its own. The other runs
# cloudlake status --check, which tells the targets of notifications of an overdue feed and of a night that never ran.
set -euo pipefail
cd -- "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null
ROOT=$PWD
# Names are quoted for sh letter by letter where the locale has no letters beyond ASCII, in a way that only bash reads.
if [ "$(locale charmap 2>/dev/null)" != UTF-8 ]; then export LC_ALL=C.UTF-8; fi

usage() { sed -n '2,11s/^# \{0,1\}//p' "$0"; }
fail() { echo "error: setup_cron: $1; see scripts/setup_cron.sh --help" >&2; exit 2; }
# A % in a crontab ends the command, unless a backslash stands before it.
for_cron() { printf '%s' "${1//%/\\%}"; }
MARK="# cloudlake nightly: $(for_cron "$ROOT")"

# The crontab as it is. One that can't be read is no empty one: to write it anew would lose what others have in it.
table() {
  local said
  if said=$(crontab -l 2>&1); then if [ -n "$said" ]; then printf '%s\n' "$said"; fi
  elif ! grep -qi 'no crontab' <<<"$said"; then
    echo "error: setup_cron: the crontab can't be read, so it is left alone: $said" >&2; return 2
  fi
}
# This project's entries end in its mark; another project's may begin with the same folder.
pick() { MARK=$MARK WANTED=$1 awk '{ mark = ENVIRON["MARK"]; at = length($0) - length(mark); mine = at >= 0 && substr($0, at + 1) == mark } mine == ENVIRON["WANTED"]'; }

command=${1:-}
[ $# -gt 0 ] && shift
case "$command" in
  -h | --help) usage; exit 0 ;;
  install | uninstall | status) ;;
  *) fail "unknown command '$command'" ;;
esac
command -v crontab >/dev/null || { echo "error: setup_cron: there is no crontab here; install cron (Debian, Ubuntu: apt-get install cron)" >&2; exit 2; }

before=$(table) || exit 2
others() { if [ -n "$before" ]; then pick 0 <<<"$before"; fi; }
entry() { table | pick 1; }

case "$command" in
  install)
    at="" check="*/15 * * * *" spark=()
    while [ $# -gt 0 ]; do
      case "$1" in
        --at) at=${2:-}; shift; [ $# -gt 0 ] && shift ;;
        --at=*) at=${1#*=}; shift ;;
        --check) check=${2:-}; shift; [ $# -gt 0 ] && shift ;;
        --check=*) check=${1#*=}; shift ;;
        --lake | --landing | --conf)
          name=CLOUDLAKE_$(echo "${1#--}" | tr '[:lower:]' '[:upper:]')
          [ -n "${2:-}" ] || fail "$1 needs a folder"
          declare "$name=$2"; shift 2 ;;
        --master | --spark-conf)
          [ -n "${2:-}" ] || fail "$1 needs a value"
          spark+=("$1" "$2"); shift 2 ;;
        *) fail "unknown argument '$1'" ;;
      esac
    done
    [ -x .venv/bin/python ] || { echo "error: setup_cron: the environment is not set up; run scripts/setup_environment.sh" >&2; exit 2; }
    carried=(CLOUDLAKE_LAKE CLOUDLAKE_LANDING CLOUDLAKE_CONF JAVA_HOME)
    if [ ${#spark[@]} -gt 0 ]; then carried+=(SPARK_HOME SPARK_CONF_DIR HADOOP_CONF_DIR YARN_CONF_DIR); fi
    for name in "${carried[@]}"; do
      if [ -n "${!name:-}" ] && [[ "${!name}" != *://* ]]; then export "$name=$(realpath -m -- "${!name}")"; fi
    done
    settings=$(.venv/bin/python scripts/settings.py) || exit 2
    eval "$settings"
    at=${at:-$nightly}
    fields='^([0-9*/,-]+\ +){4}[0-9a-zA-Z*/,-]+$'
    [[ "$at" =~ $fields ]] || fail "--at '$at' is not five fields such as \"0 2 * * *\""
    [[ "$check" = never || "$check" =~ $fields ]] || fail "--check '$check' is neither five fields such as \"*/15 * * * *\" nor never"
    known=""  # cron starts with an empty environment: what the run needs to know stands in the entry
    for name in "${carried[@]}"; do
      if [ -n "${!name:-}" ]; then known+="$name=$(for_cron "$(printf '%q' "${!name}")") "; fi
    done
    line="$at $known$(for_cron "$(printf '%q' "$ROOT/scripts/nightly.sh")")"
    if [ ${#spark[@]} -gt 0 ]; then line+=$(for_cron "$(printf ' %q' "${spark[@]}")"); fi
    lines=("$line $MARK")
    if [ "$check" != never ]; then
      lines+=("$check $known$(for_cron "$(printf '%q' "$ROOT/.venv/bin/cloudlake")") status --check >/dev/null $MARK")
    fi
    for line in "${lines[@]}"; do
      if [[ "$line" == *[[:cntrl:]]* || "$line" == *"\$'"* ]]; then fail "a folder's name has a control character, which no crontab holds"; fi
      if [ "${#line}" -gt 990 ]; then fail "the entry would have ${#line} letters, and cron reads 990: give the folders shorter names"; fi
    done
    { others; printf '%s\n' "${lines[@]}"; } | crontab -
    entry | sed 's/^/installed: /'
    ;;
  uninstall)
    if [ -z "$(entry)" ]; then echo "nothing to uninstall"; exit 0; fi
    others | crontab -
    echo "uninstalled"
    ;;
  status)
    if [ -z "$(entry)" ]; then echo "not installed; scripts/setup_cron.sh install"; else entry | sed 's/^/installed: /'; fi
    settings=$(.venv/bin/python scripts/settings.py) || exit 2
    eval "$settings"
    last=$(ls -1t -- "$logs"/nightly-*.log 2>/dev/null | head -n 1 || true)
    if [ -n "$last" ]; then echo "last log: $last"; tail -n 3 "$last"; else echo "no nightly run has been logged yet"; fi
    ;;
esac
