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

# make_laptop DAEMON HOST MIRAGE…: it has what `shimmer share` printed, pasted into its two files, and
# knows no host yet.
make_laptop() {
  local daemon=$1 host=$2 laptop=$FOLDER/laptop mirage
  shift 2
  mkdir "$laptop" "$laptop/bin" "$laptop/config"
  ln -s "$SHIMMER" "$laptop/bin/shimmer"
  # ssh takes the first value that it reads.
  echo "UserKnownHostsFile $laptop/known_hosts" >"$laptop/ssh_config"
  (umask 077 && : >"$laptop/config/shimmer.conf")
  for mirage; do
    "$SHIMMER" share "$mirage" --host "$host" --config "$FOLDER/$daemon.conf" >"$laptop/shared" || return
    sed '/^Host /,$d' "$laptop/shared" >>"$laptop/config/shimmer.conf"
    sed -n '/^Host /,$p' "$laptop/shared" >>"$laptop/ssh_config"
  done
  { echo "Host *" && cat "$FOLDER/ssh_config"; } >>"$laptop/ssh_config"
  # The server by both of its addresses.
  printf '%s %s\n' "$(v6 server)" "$host" "$(v4 server)" "$host" >"$laptop/hosts"
}

# at_laptop PROGRAM WORD…: ssh, scp or sftp there.
at_laptop() {
  # shellcheck disable=SC2016 # They are the inner shell's.
  on member sh -c '
    mount --bind "$1/hosts" /etc/hosts || exit
    export PATH="$1/bin:$PATH" XDG_CONFIG_HOME="$1/config"
    laptop=$1 program=$2
    shift 2
    exec "$program" -F "$laptop/ssh_config" "$@"
  ' at_laptop "$FOLDER/laptop" "$@" </dev/null
}

# The ports at which the daemon has let somebody in, each once.
entered_ports() {
  sed -n 's/.* accept .*port=\([0-9]*\).*/\1/p' "$FOLDER/$1.log" | sort -u
}

is_another_port_now() {
  [[ $(real_port "$1" "$2") != "$3" ]]
}

ssh_gets_in_by_connect() {
  local range=25000:25999 sum laptop=$FOLDER/laptop remote=$FOLDER/home said
  # Over IPv6 it is refused, so the name's other address has to be found.
  start_daemon connect <<END || return
[common]
[mirage-moving]
name = ssh
port = 22
range = 25000-25999
period = 5s
listen-address = $(v4 server)
[mirage-token]
port = 22
range = 26000-26999
gate = token
END
  expect "share prints what the laptop needs" make_laptop connect hidden.test moving token || return

  expect_same "ssh gets in by what was pasted, to a host that it does not know" "this is 42" \
    "$(at_laptop ssh -o StrictHostKeyChecking=accept-new moving 'echo this is 42' 2>&1)"
  expect "the port turns" \
    wait_for 60 is_another_port_now $range 5s "$(entered_ports connect)"
  expect_same "ssh gets in again, and knows the host without an alias" "this is 42" \
    "$(at_laptop ssh moving 'echo this is 42' 2>&1)"
  expect_same "it has come to two ports" 2 "$(entered_ports connect | wc -l)"
  expect_same "it gets in with a token, where one is wanted" "this is 42" \
    "$(at_laptop ssh token 'echo this is 42' 2>&1)"
  expect_same "and knows one host" hidden.test "$(cut -d ' ' -f 1 "$laptop/known_hosts" | sort -u)"

  head -c 20M /dev/urandom >"$FOLDER/sent"
  sum=$(checksum "$FOLDER/sent")
  expect "scp sends 20 MB" at_laptop scp -q "$FOLDER/sent" "moving:$remote/there"
  expect_same "they are whole there" "$sum" "$(checksum "$remote/there")"
  expect "scp fetches them with a token" at_laptop scp -q "token:$remote/there" "$FOLDER/back"
  expect_same "they are whole here" "$sum" "$(checksum "$FOLDER/back")"
  rm -f "$remote/there" "$FOLDER/back"
  echo "put $FOLDER/sent $remote/there" >"$FOLDER/batch"
  echo "get $remote/there $FOLDER/back" >>"$FOLDER/batch"
  expect "sftp puts and gets" at_laptop sftp -q -b "$FOLDER/batch" moving
  expect_same "that is whole, too" "$sum $sum" \
    "$(checksum "$remote/there" "$FOLDER/back" | xargs)"
  rm -f "$remote/there" "$FOLDER/back" "$FOLDER/sent"
  expect_same "nobody was banned" 0 "$(logged connect ban)"

  stop_daemon connect || fail "the daemon ends with 0"
  said=$(at_laptop ssh moving true 2>&1)
  expect "without a daemon ssh says what connect has found out" \
    grep -q '^shimmer: hidden.test refused the ports of .*Z' <<<"$said"
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

# is_out LOW:HIGH PERIOD PORT: it is not open, nor will be for the next seven turns.
is_out() {
  local now turns
  now=$(date +%s)
  # Each look sees three windows.
  for turns in 0 3 6; do
    ! open_ports "$1" "$2" $((now + turns * $(seconds "$2"))) | grep -q -x "$3" || return
  done
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

# Two sessions that print take all places of their source. Then their laptop loses power: nothing of it is heard any
# more, not even an end. It comes back with the same address.
a_laptop_without_power_makes_room_for_its_owner() {
  local range=29000:29999 at session ports
  local sessions=()
  start_daemon power <<'END' || return
[common]
max-sessions-per-source = 2
[mirage-ssh]
port = 22
range = 29000-29999
END
  at=$(v4 server)
  add_host laptop
  ssh_options hidden
  for session in 1 2; do
    ip netns exec "$PREFIX-laptop" ssh "${SSH_OPTIONS[@]}" -p "$(port $range)" "$at" \
      'while echo; do sleep 0.2; done' </dev/null >"$FOLDER/laptop-$session" 2>/dev/null &
    sessions+=($!)
  done
  # A session that waits for its client would owe no answer.
  for session in 1 2; do
    expect "session $session is there, and prints" wait_for 10 test -s "$FOLDER/laptop-$session"
  done
  expect "a third has no place while they answer" fails enters laptop "$at" "$(port $range)"
  ports=$(on laptop ss -Htn "dport >= :29000 and dport <= :29999" |
    awk '$1 == "ESTAB" { sub(/.*:/, "", $4); print $4 }' | paste -sd,)
  on laptop nft -f - <<END
table inet power {
  chain in {
    type filter hook input priority 0
    tcp dport { $ports } drop
  }
  chain out {
    type filter hook output priority 0
    tcp sport { $ports } drop
  }
}
END
  kill -KILL "${sessions[@]}"
  wait "${sessions[@]}" 2>/dev/null || true
  expect "the owner gets in again" wait_for 40 enters laptop "$at" "$(port $range)"
  expect_same "one of the two made room" 1 "$(logged power close 'end=dead')"
}
