# What others make of it: openssl, fail2ban, and the machine afterwards. (Sourced by tests/real/run.)
# shellcheck shell=bash

# readme_snippet MARKER: the README's fenced block behind it.
readme_snippet() {
  awk -v marker="<!-- $1 -->" '
    $0 == marker { is_near = 1; next }
    is_near && /^```/ { if (is_in) exit; is_in = 1; next }
    is_in { print }
  ' "$ROOT/README.md"
}

# snippet_port NAME LOW HIGH UNIX: what it prints at that time, with the secret where it looks for it.
snippet_port() {
  sed "s/^name=ssh low=10000 high=10999/name=$1 low=$2 high=$3/" "$FOLDER/snippet" >"$FOLDER/edited"
  UNIX=$4 HOME=$FOLDER/snippet-home PATH=$FOLDER/clock:$PATH sh "$FOLDER/edited"
}

openssl_computes_the_same_port() {
  local at=1794000000 wanted='' got='' range
  if ! grep -q -x '<!-- openssl -->' "$ROOT/README.md"; then
    fail "README.md has the line <!-- openssl --> and a block of shell behind it"
    return
  fi
  readme_snippet openssl >"$FOLDER/snippet"
  mkdir "$FOLDER/snippet-home" "$FOLDER/clock"
  cp "$FOLDER/secret" "$FOLDER/snippet-home/.shimmer"
  # A clock that stands where we want it.
  # shellcheck disable=SC2016 # Its own.
  printf '#!/bin/sh\necho "$UNIX"\n' >"$FOLDER/clock/date"
  chmod +x "$FOLDER/clock/date"

  for at in 0 59 60 1199145600 1794000000 4294967296 253402300799; do
    wanted+="$(port 10000:10999 --at $at) "
    got+="$(snippet_port ssh 10000 10999 $at 2>&1) "
  done
  expect_same "the snippet computes the ports of 1970 to 9999" "$wanted" "$got"
  # Of 65,536 words a range of 40,000 ports skips four in ten, one of 32,769 a half.
  for range in '10000 49999' '10000 42768' '1024 65535' '7 7'; do
    wanted='' got=''
    for at in {1..12}; do
      at=$((1794000000 + at * 60))
      # A mirage of one port has no room for decoys, and openssl knows of none.
      wanted+="$(port "${range/ /:}" --decoys 0 --at $at) "
      # shellcheck disable=SC2086 # Two words.
      got+="$(snippet_port ssh $range $at 2>&1) "
    done
    expect_same "and skips the same words in the range $range" "$wanted" "$got"
  done
  expect_same "the name is a part of it" \
    "$("$SHIMMER" port me@example.org:10000:10999 --secret-file "$FOLDER/secret" --at $at)" \
    "$(snippet_port me@example.org 10000 10999 $at 2>&1)"
}

# Points of `systemd-analyze security`, of 100: 20 is what it calls a service that is well shut in.
MOST_EXPOSURE=20

systemd_takes_the_unit() {
  local unit=$FOLDER/shimmer.service said
  readme_snippet systemd | sed "s|/usr/local/bin/shimmer|$SHIMMER|" >"$unit"
  expect_same "it has no mistake" '' "$(systemd-analyze verify "$unit" 2>&1)"
  said=$(systemd-analyze security --offline=true --threshold=$MOST_EXPOSURE "$unit" 2>&1) ||
    fail "it leaves the daemon at most $MOST_EXPOSURE of 100 points" "$said"
  ok "$(grep -o 'Overall exposure.*[0-9]' <<<"$said")"
}

fail2ban_reads_the_log() {
  local bans said
  cat "$FOLDER"/*.log >"$FOLDER/all"
  bans=$(grep '^[^ ]* ban ' "$FOLDER/all" | sort)
  expect "the run has banned somebody, and somebody whose clock is off" grep -q ' clock-off=' <<<"$bans"
  said=$(matches "$FOLDER/all")
  expect_same "fail2ban matches the bans, and nothing else" "$bans" \
    "$(grep -o '[0-9T:.-]*Z ban .*' <<<"$said" | sort)"
  expect_same "it counts as many" "$(wc -l <<<"$bans")" \
    "$(grep -o '[0-9]* matched' <<<"$said" | cut -d ' ' -f 1)"
  expect_same "it has their addresses and times" "$(addresses_and_times <<<"$bans")" \
    "$(matched_addresses "$said")"

  # The same as a syslog has it, and what else is there.
  {
    echo "Nov 21 07:12:57 router shimmer[123]: ban source=192.0.2.7 port=10001 seconds=900 mirage=ssh"
    echo "2026-11-21T07:12:57.123456+01:00 router shimmer[123]: ban source=2001:db8::7 port=10001 seconds=900 mirage=ssh clock-off=-7m"
    echo "Nov 21 07:12:57 router other[123]: ban source=192.0.2.8 port=10001 seconds=900 mirage=ssh"
    echo "Nov 21 07:12:57 router shimmer[123]: unban source=192.0.2.9 attempts=1"
    echo "Nov 21 07:12:57 router shimmer[123]: trap mirage=ssh source=192.0.2.9 reason=grace"
  } >"$FOLDER/syslog"
  expect_same "it reads a syslog's lines, and ours alone" "192.0.2.7 2001:db8::7" \
    "$(matched_addresses "$(matches "$FOLDER/syslog")" | cut -d ' ' -f 1 | xargs)"
}

# The zone of those who look at the log is not the log's: so its Z has to be understood.
ELSEWHERE=JST-9

matches() {
  TZ=$ELSEWHERE fail2ban-regex --print-all-matched --verbose "$1" "$HERE/fail2ban-shimmer.conf" 2>&1
}

# The addresses and times from what `matches` says.
matched_addresses() {
  sed -n 's/^| *\([0-9a-f.:]*\)  \([A-Z][a-z][a-z] [A-Z][a-z][a-z] .*\)/\1 \2/p' <<<"$1" | sort
}

# The same from the log's lines.
addresses_and_times() {
  local time words
  while read -r time words; do
    words=${words#ban source=}
    echo "${words%% *} $(TZ=$ELSEWHERE date -d "$time" '+%a %b %d %T %Y')"
  done | sort
}

nothing_is_left() {
  local namespace
  stop_services
  for namespace in $(namespaces); do
    expect_same "no process is left in ${namespace#"$PREFIX-"}" '' "$(processes_of "$namespace")"
  done
  remove_network
  expect_same "no namespace is left" '' "$(namespaces)"
  rm -rf "$FOLDER"
  expect "no process has the folder in its words" fails pgrep -f -- "$FOLDER"
  expect "no folder is left" fails test -e "$FOLDER"
  expect_same "the machine has no state of ours" "$STATE_BEFORE" "$(state_of_the_machine)"
}

# processes_of NAMESPACE: those that do not end within five seconds of the last one that had a reason.
processes_of() {
  wait_for 5 has_no_process "$1" >/dev/null || ip netns pids "$1" | xargs -r ps -o args= -p
}

has_no_process() {
  [[ -z $(ip netns pids "$1") ]]
}

# What a careless run would leave where the services usually write.
state_of_the_machine() {
  ls -d /var/lib/shimmer /run/sshd /run/dropbear.pid ~/.ssh/known_hosts 2>/dev/null || true
  # The mounts of the services are theirs alone.
  grep -c . /proc/mounts
}
