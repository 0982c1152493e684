# The daemon's own life. (Sourced by tests/real/run.)
# shellcheck shell=bash

# processor_ticks PID: what it has used so far, of 100 a second.
processor_ticks() {
  awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"
}

a_stopped_reader_stops_nobody_else() {
  local range=19000:19999 at bytes=52428800 sum stopped ticks
  # ssh itself has 2 MB under way at most. With less in the kernel's buffers it is the daemon that
  # has to wait.
  add_host narrow
  add_host sloth
  on narrow sysctl -q net.ipv4.tcp_wmem='4096 16384 131072'
  on sloth sysctl -q net.ipv4.tcp_rmem='4096 65536 131072'
  start_sshd narrow
  start_daemon stopped narrow <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 19000-19999
END
  at=$(v4 narrow)
  head -c $bytes /dev/urandom >"$FOLDER/stream"
  sum=$(checksum "$FOLDER/stream")
  ssh_options hidden
  open_session other member "$at" "$(port $range)" "$at" cat
  expect "another session is there" answers other hello

  # One that takes its time, so that the stop is in the middle of it.
  ip netns exec "$PREFIX-sloth" ssh "${SSH_OPTIONS[@]}" -p "$(port $range)" "$at" "
    exec <$FOLDER/stream
    for megabyte in \$(seq 50); do head -c 1048576; sleep 0.05; done
  " </dev/null >"$FOLDER/received" &
  stopped=$!
  expect "the stream has begun" wait_for 10 has_bytes "$FOLDER/received" 5000000
  kill -STOP "$stopped"
  expect "it stands still, with bytes that wait in the daemon's socket" wait_for 10 stands_still
  ticks=$(processor_ticks "${DAEMON[stopped]}")
  expect "the other session moves" moves other
  sleep 1
  ticks=$(($(processor_ticks "${DAEMON[stopped]}") - ticks))
  expect "the daemon rests meanwhile ($ticks ticks)" test "$ticks" -le 20
  expect "a new one moves 20 MB" moves_20_mb "$at" "$(port $range)"
  expect "the first is not through" fails has_bytes "$FOLDER/received" $bytes
  kill -CONT "$stopped"
  wait "$stopped"
  expect_same "the stopped stream goes on, and is whole" "$sum" "$(checksum "$FOLDER/received")"
  rm -f "$FOLDER/stream" "$FOLDER/received"

  # One that never ends, and whose reader goes away in the middle.
  ip netns exec "$PREFIX-member" ssh "${SSH_OPTIONS[@]}" -p "$(port $range)" "$at" \
    'cat /dev/zero' </dev/null 2>/dev/null | {
    head -c 10M >/dev/null
  }
  expect "a stream whose reader has gone is closed" \
    wait_for 10 has_logged stopped close 'bytes-out=[0-9]\{8,\} ' 3
  expect "the other session is alive" answers other goodbye
}

# has_bytes FILE BYTES: so many at least.
has_bytes() {
  (($(stat -c %s "$1") >= $2))
}

# The same bytes wait for the member twice, half a second apart.
stands_still() {
  local before
  before=$(waiting_bytes)
  sleep 0.5
  [[ $before -gt 0 && $before == "$(waiting_bytes)" ]]
}

waiting_bytes() {
  on narrow ss -Htn "sport >= :19000 and sport <= :19999" |
    awk '$3 > most { most = $3 } END { print most + 0 }'
}

moves() {
  local line
  for line in {1..200}; do
    answers "$1" "line $line" || return
  done
}

moves_20_mb() {
  [[ $(enter member "$1" "$2" 'head -c 20M /dev/zero' | wc -c) == 20971520 ]]
}

a_reload_keeps_a_session() {
  local at old
  start_daemon reload <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 20000-20999
END
  at=$(v4 server)
  old=$(port 20000:20999)
  open_session through member "$at" "$old" "$at" cat
  expect "the session is there" answers through "before the reload"

  kill -HUP "${DAEMON[reload]}"
  expect "it reads the configuration again" wait_for 10 has_logged reload reload 'mirages=1 dropped=0'
  expect "the session lives" answers through "after the reload"

  # Now nothing that the session came by is left.
  sed -i 's/range = .*/range = 21000-21999/' "$FOLDER/reload.conf"
  kill -HUP "${DAEMON[reload]}"
  expect "it changes its range" wait_for 10 has_logged reload reload '' 2
  expect "the session lives" answers through "in a range that is gone"
  expect_same "the old range is closed" '' "$(listening_ports server 20000 20999)"
  expect "ssh gets in by the new one" enters member "$at" "$(port 21000:21999)"

  echo 'nonsense = 1' >>"$FOLDER/reload.conf"
  kill -HUP "${DAEMON[reload]}"
  expect "it says what is wrong with a configuration" wait_for 10 has_logged reload error 'nonsense'
  expect "the session lives" answers through "still there"
  expect "and so does what was served" enters member "$at" "$(port 21000:21999)"
}

sigterm_ends_it_at_once() {
  local at began took status=0
  start_daemon ended <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 22000-22999
END
  at=$(v4 server)
  open_session last member "$at" "$(port 22000:22999)" "$at" cat
  expect "a session is there" answers last hello
  began=$(unix_ms)
  stop_daemon ended || status=$?
  took=$(($(unix_ms) - began))
  expect_same "it ends with 0" 0 "$status"
  expect "within a second ($took ms)" test "$took" -lt 1000
  expect "the log's last line says so" grep -q '^[^ ]* end$' <<<"$(tail -n 1 "$FOLDER/ended.log")"
  expect "the member's ssh has noticed" wait_for 5 fails kill -0 "${SESSION[last]}"
  expect_same "its ports are closed" '' "$(listening_ports server 22000 22999)"
}

# As in a router's jail: it is nobody's child there, and those whose parents have ended become its own.
the_first_of_a_namespace_reaps_and_ends() {
  local daemon began took status=0
  start_daemon first server unshare --pid --fork --mount-proc <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 25000-25999
END
  daemon=$(pgrep -P "${DAEMON[first]}")
  expect "it is process 1" grep -q '^NSpid:.*[^0-9]1$' "/proc/$daemon/status"
  mkfifo "$FOLDER/gate"
  # shellcheck disable=SC2016 # It is the inner shell's.
  nsenter --target "$daemon" --pid sh -c 'for orphan in 1 2 3; do cat "$1" & done' orphans "$FOLDER/gate"
  expect "orphans become its children" wait_for 5 has_children "$daemon" 3
  # All that wait for somebody who writes go on at once, and end.
  : >"$FOLDER/gate"
  expect "no zombie stays of them" wait_for 5 has_children "$daemon" 0
  rm "$FOLDER/gate"
  expect "ssh gets in" enters member "$(v4 server)" "$(port 25000:25999)"

  began=$(unix_ms)
  kill -TERM "$daemon"
  # unshare ends as its child does.
  wait "${DAEMON[first]}" || status=$?
  took=$(($(unix_ms) - began))
  unset 'DAEMON[first]'
  expect_same "SIGTERM ends it with 0" 0 "$status"
  expect "within a second ($took ms)" test "$took" -lt 1000
  expect "the log's last line says so" grep -q '^[^ ]* end$' <<<"$(tail -n 1 "$FOLDER/first.log")"
}

# has_children PID COUNT: so many, zombies and all.
has_children() {
  (($(pgrep -c -P "$1") == $2))
}

without_ipv6_it_serves_ipv4() {
  add_host elder without-ipv6
  start_sshd elder
  start_daemon elder elder <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 23000-23999
END
  expect_same "there is no IPv6 address, not even ::1" '' "$(on elder ip -6 -o addr show)"
  expect "ssh gets in" enters member "$(v4 elder)" "$(port 23000:23999)"
  expect_same "the log has no error" 0 "$(logged elder error)"

  start_daemon eldest elder python3 "$HERE/no_ipv6.py" <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 24000-24999
END
  expect "where the kernel has no IPv6 at all, ssh gets in, too" \
    enters member "$(v4 elder)" "$(port 24000:24999)"
  expect_same "the log has no error" 0 "$(logged eldest error)"
}

the_log_goes_to_syslogd() {
  expect "syslogd hears it, may go and come back, may be stuck, may be missing" \
    unshare -m ip netns exec "$PREFIX-server" python3 "$HERE/syslog.py" "$SHIMMER" "$FOLDER"
}

# status_of PID FIELD: from /proc/PID/status.
status_of() {
  sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

# Some ports of the range are for root, and each minute binds others.
user_drops_root() {
  local pid at uid key status=0
  uid=$(id -u nobody)
  chmod 711 "$FOLDER"
  mkdir -m 755 "$FOLDER/dropped"
  chown nobody "$FOLDER/dropped"
  sed "s|^\[mirage-.*|&\nsecret = $(cat "$FOLDER/secret")|" >"$FOLDER/dropped/conf" <<END
[common]
user = nobody
log = $FOLDER/dropped/log
state-file = $FOLDER/dropped-state/state
control = $FOLDER/dropped-run/control
[mirage-ssh]
port = 22
range = 900-1099
period = 2s
END
  chmod 600 "$FOLDER/dropped/conf"
  expect "nobody's configuration is his to read, or it says whose it is" \
    says_whose "$FOLDER/dropped/conf" root

  chown nobody "$FOLDER/dropped/conf"
  ln -s "$FOLDER/dropped/log" "$FOLDER/dropped.log"
  ip netns exec "$PREFIX-server" "$SHIMMER" daemon --config "$FOLDER/dropped/conf" \
    </dev/null 2>"$FOLDER/dropped.stderr" &
  DAEMON["dropped"]=$!
  expect "it starts" wait_for 15 has_logged dropped listen
  pid=${DAEMON[dropped]}
  expect_same "it is nobody" "$uid $uid $uid $uid" "$(status_of "$pid" Uid | tr '\t' ' ')"
  expect_same "in no group but nobody's" '' "$(status_of "$pid" Groups | tr -d ' ')"
  # CAP_NET_BIND_SERVICE is number 10.
  expect_same "with one capability" 0000000000000400 "$(status_of "$pid" CapEff)"
  expect_same "and never another" 0000000000000400 "$(status_of "$pid" CapBnd)"
  at=$(v4 server)
  expect "ports below 1024 turn" wait_for 10 has_logged dropped rotate 'open=4[0-9] ' 3
  expect_same "all of them can be opened" 0 "$(logged dropped error)"
  expect "ssh gets in" enters member "$at" "$(real_port 900:1099 2s)"
  kill -HUP "$pid"
  expect "it reads the configuration again" wait_for 10 has_logged dropped reload mirages=1
  expect_same "root asks what it does" 0 \
    "$(on server "$SHIMMER" status --control "$FOLDER/dropped-run/control" >"$FOLDER/dropped.status" 2>&1; echo $?)"
  stop_daemon dropped || status=$?
  expect_same "it ends with 0" 0 "$status"
  expect "its state file is his" test "$(stat -c %u "$FOLDER/dropped-state/state.lock")" = "$uid"

  sed -i 's/^range = .*/range = 2000-2099/' "$FOLDER/dropped/conf"
  ip netns exec "$PREFIX-server" "$SHIMMER" daemon --config "$FOLDER/dropped/conf" \
    </dev/null 2>"$FOLDER/dropped.stderr" &
  DAEMON["dropped"]=$!
  expect "it starts again" wait_for 15 has_logged dropped listen range=2000
  expect_same "where no port is root's, with no capability at all" 0000000000000000 \
    "$(status_of "${DAEMON[dropped]}" CapEff)"
  stop_daemon dropped || true

  mkdir "$FOLDER/closed"
  for key in log state-file control; do
    sed "s|^$key = .*|$key = $FOLDER/closed/it|" "$FOLDER/dropped/conf" >"$FOLDER/dropped/$key.conf"
    chown nobody "$FOLDER/dropped/$key.conf"
    expect "a $key that nobody may not use is named, and whose it is" \
      says_whose "$FOLDER/dropped/$key.conf" "$FOLDER/closed belongs to root"
  done
  install -m 644 "$FOLDER/dropped/conf" "$FOLDER/dropped/open.conf"
  expect "only root becomes another" says_whose "$FOLDER/dropped/open.conf" 'only root can become nobody' \
    setpriv --reuid 12345 --clear-groups --bounding-set -all
}

# says_whose CONFIGURATION PATTERN [COMMAND…]: the daemon does not start, and says why.
says_whose() {
  local said
  said=$(on server "${@:3}" timeout 10 "$SHIMMER" daemon --config "$1" 2>&1) && return 1
  grep -q "$2" <<<"$said" || {
    echo "$said" >&2
    return 1
  }
}
