# What is shown, and how it went. (Sourced by tests/real/run.)
# shellcheck shell=bash

PASSED=0
FAILED=0
CURRENT=preparation
IS_FINISHED=

# begin NAME: the check of this name comes now.
begin() {
  CURRENT=${1//_/ }
  echo "$CURRENT"
}

ok() {
  PASSED=$((PASSED + 1))
  echo "ok   $*"
}

# fail WHAT [DETAILS]
fail() {
  FAILED=$((FAILED + 1))
  echo "FAIL $1"
  [[ -z ${2:-} ]] || head -n 20 <<<"$2" | sed 's/^/     | /'
}

# expect WHAT COMMAND…: shows that the command succeeds; what it prints is for when it does not.
expect() {
  local what=$1 said
  shift
  if said=$("$@" 2>&1); then
    ok "$what"
  else
    fail "$what" "${said:-$(printf '%q ' "$@") said nothing}"
    return 1
  fi
}

# expect_same WHAT WANTED GOT
expect_same() {
  if [[ $2 == "$3" ]]; then
    ok "$1"
  else
    fail "$1" "$(printf 'wanted:\n%s\ngot:\n%s' "$2" "$3")"
    return 1
  fi
}

# wait_for SECONDS COMMAND…: until the command succeeds, so long at most.
wait_for() {
  local until=$((SECONDS + $1 + 1))
  shift
  until "$@" >/dev/null 2>&1; do
    if ((SECONDS >= until)); then
      echo "in vain: $*"
      return 1
    fi
    sleep 0.05
  done
}

fails() {
  if "$@"; then
    echo "this succeeded: $*"
    return 1
  fi
}

# unix_ms: milliseconds since 1970.
unix_ms() {
  date +%s%3N
}

finish() {
  IS_FINISHED=yes
  echo "$PASSED passed, $FAILED failed"
  [[ $FAILED -eq 0 ]]
}

# Whatever ended the run, nothing stays behind, and a run that broke off has not passed.
end() {
  local status=$?
  set +e
  trap '' INT TERM PIPE
  if [[ -z $IS_FINISHED ]]; then
    fail "$CURRENT: it broke off with status $status"
    finish
    status=1
  fi
  stop_sessions
  stop_daemons
  stop_services
  remove_network
  rm -rf "$FOLDER"
  exit "$status"
}
