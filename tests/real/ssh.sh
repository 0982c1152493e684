# What a member does: ssh and what comes with it. (Sourced by tests/real/run.)
# shellcheck shell=bash

ssh_gets_in_through_48_rotating_ports() {
  local range=10000:10999 turned before after
  start_daemon minutes <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 10000-10999
END
  # The schedule and the sockets have to be looked at within one minute.
  for turned in no yes; do
    before=$(open_ports $range 60s)
    after=$(listening_ports server 10000 10999)
    [[ $before != "$after" && $turned == no ]] || break
  done
  expect_same "the open ports are those of three minutes" "$before" "$after"

  expect "ssh gets in over IPv4" enters member "$(v4 server)" "$(port $range)"
  expect "ssh gets in over IPv6" enters member "$(v6 server)" "$(port $range)"
  expect "ssh of somebody whose clock is a minute behind gets in" \
    enters member "$(v4 server)" "$(real_port $range 60s -1)"
  expect "ssh of somebody whose clock is a minute ahead gets in" \
    enters member "$(v4 server)" "$(real_port $range 60s 1)"
  expect "the log names who came" has_logged minutes accept "source=$(v6 member) "
  expect_same "nobody was banned" 0 "$(logged minutes ban)"
}

checksum() {
  sha256sum "$@" | cut -d ' ' -f 1
}

files_arrive_whole() {
  local range=13000:13999 at sum remote=$FOLDER/home
  start_daemon files <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 13000-13999
END
  ssh_options hidden
  at=$(v4 server)
  head -c 100M /dev/urandom >"$FOLDER/sent"
  sum=$(checksum "$FOLDER/sent")

  expect "scp sends 100 MB" on member \
    scp -q "${SSH_OPTIONS[@]}" -P "$(port $range)" "$FOLDER/sent" "$at:$remote/there"
  expect_same "they are whole there" "$sum" "$(checksum "$remote/there")"
  expect "scp fetches them over IPv6" on member \
    scp -q "${SSH_OPTIONS[@]}" -P "$(port $range)" "[$(v6 server)]:$remote/there" "$FOLDER/back"
  expect_same "they are whole here" "$sum" "$(checksum "$FOLDER/back")"
  expect "the log has counted them, both ways" wait_for 5 counts_of_100_mb
  rm -f "$remote/there" "$FOLDER/back"

  echo "put $FOLDER/sent $remote/there" >"$FOLDER/batch"
  echo "get $remote/there $FOLDER/back" >>"$FOLDER/batch"
  expect "sftp puts and gets" on member \
    sftp -q "${SSH_OPTIONS[@]}" -P "$(port $range)" -b "$FOLDER/batch" "$at"
  expect_same "that is whole, too" "$sum $sum" \
    "$(checksum "$remote/there" "$FOLDER/back" | xargs)"
  rm -f "$remote/there" "$FOLDER/back"

  if type -P rsync >/dev/null; then
    expect "rsync sends a folder" on member \
      rsync -r -e "ssh ${SSH_OPTIONS[*]} -p $(port $range)" "$FOLDER/home/.ssh" "$at:$remote/copy"
    expect "it is whole" diff -r "$FOLDER/home/.ssh" "$remote/copy/.ssh"
    rm -rf "$remote/copy"
  fi
  rm -f "$FOLDER/sent"
}

# The totals of two sessions: 100 MB and what ssh adds to them, in and out.
counts_of_100_mb() {
  awk '
    / close / {
      for (i = 1; i <= NF; i++) { split($i, pair, "="); value[pair[1]] = pair[2] }
      if (value["bytes-in"] > 104857600 && value["bytes-in"] < 120000000) sent++
      if (value["bytes-out"] > 104857600 && value["bytes-out"] < 120000000) fetched++
    }
    END { exit !(sent == 1 && fetched == 1) }
  ' "$FOLDER/files.log"
}

a_session_lives_through_rotations() {
  local range=14000:14999 first line=0 wrong=0 out=0 rotations
  start_daemon fast <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 14000-14999
period = 5s
END
  first=$(real_port $range 5s)
  open_session shell member "$(v4 server)" "$first" -tt "$(v4 server)" 'tty; exec cat'
  expect "the session has a terminal" grep -q '^/dev/pts/' <<<"$(hear shell)"
  add_host regular
  rotations=$(logged fast rotate)
  while (($(logged fast rotate) < rotations + 5 && line < 1000)); do
    line=$((line + 1))
    say shell "line $line of what is typed"
    # Once from the terminal, once from cat.
    for _ in 1 2; do
      [[ $(hear shell) == "line $line of what is typed" ]] || wrong=$((wrong + 1))
    done
    enters regular "$(v6 server)" "$(real_port $range 5s)" || out=$((out + 1))
  done
  expect_same "each of the lines typed through five turns has come back" 0 "$wrong"
  expect "it were five turns" has_logged fast rotate '' $((rotations + 5))

  expect_same "and whoever came meanwhile got in, before a turn and behind it ($line times)" 0 "$out"

  add_host newcomer
  # By chance it may be open as one of the other ports for a while.
  expect "its port is no longer one of the open ones" wait_for 60 is_out $range 5s "$first"
  expect "a newcomer is refused there" \
    wait_for 2 is_refused newcomer "$(v4 server)" "$first"
  expect "the session is alive" said_twice shell "the last line"
  expect "a newcomer gets in at the port of now" \
    enters newcomer "$(v4 server)" "$(real_port $range 5s)"
}

# is_out LOW:HIGH PERIOD PORT: it is not open, nor will be at the next turn.
is_out() {
  local next=$(($(date +%s) + $(seconds "$2")))
  ! { open_ports "$1" "$2" && open_ports "$1" "$2" "$next"; } | grep -q -x "$3"
}

is_refused() {
  [[ $(touch_port "$@") == *'Connection refused'* ]]
}

said_twice() {
  say "$1" "$2" && [[ $(hear "$1") == "$2" && $(hear "$1") == "$2" ]]
}

dropbear_hides_as_well() {
  start_dropbear
  start_daemon dropbear <<'END' || return
[common]
[mirage-ssh]
forward = 127.0.0.1:2222
range = 15000-15999
END
  ssh_options hidden-dropbear
  expect_same "ssh finds dropbear behind the port" "this is 42" \
    "$(on member ssh "${SSH_OPTIONS[@]}" -p "$(port 15000:15999)" "$(v4 server)" \
      "echo this is 42" </dev/null 2>&1)"
}
