# What opens for whom, by commands, by the kernel's sets, by services on demand. (Sourced by tests/real/run.)
# shellcheck shell=bash

# start_other_sshd HOST FILE LINE…: an sshd of the usual configuration, but for these lines. In the file's
# place are its configuration, and with .txt behind it its log.
start_other_sshd() {
  other_sshd_config "$2" "${@:3}"
  serve "$1" "$2.txt" "$(type -P sshd)" -D -e -f "$2"
  wait_for 10 grep -q 'Server listening' "$2.txt"
}

# other_sshd_config FILE LINE…: the usual one, in which the first of each key counts.
other_sshd_config() {
  # shellcheck disable=SC2153 # The folder of the run, and not a function's.
  {
    printf '%s\n' "${@:2}"
    grep -v '^ListenAddress' "$FOLDER/sshd_config"
  } >"$1"
}

# expires_in HOST FAMILY: seconds for which the member is still in the set; nothing if he is not.
expires_in() {
  on "$1" nft -j list set inet shimmer "home${2#v}" | python3 -c '
import json, sys
for part in json.load(sys.stdin)["nftables"]:
    for element in part.get("set", {}).get("elem", []):
        if element["elem"]["val"] == sys.argv[1]:
            print(element["elem"]["expires"])
' "$($2 member)"
}

# is_in_set HOST FAMILY [SECONDS]: for so long at least.
is_in_set() {
  local left
  left=$(expires_in "$1" "$2")
  [[ -n $left && $left -ge ${3:-0} ]]
}

# is_almost_out HOST FAMILY SECONDS: he is in for so long at most.
is_almost_out() {
  local left
  left=$(expires_in "$1" "$2")
  [[ -n $left && $left -le $3 ]]
}

a_set_has_who_has_knocked_for_his_time() {
  local family at
  add_host gated
  add_host passer
  start_other_sshd gated "$FOLDER/gated_sshd" 'ListenAddress 0.0.0.0' 'ListenAddress ::'
  start_daemon gated gated <<'END' || return
[common]
[mirage-home]
gate = knock
range = 40000-40299
period = 1h
door = nft
open-set = inet/shimmer/home
open-port = 22
open-timeout = 8s
END
  expect "sshd is there for everybody" enters passer "$(v4 gated)" 22
  expect "the rules load" load_rules gated gated
  expect "and once more" load_rules gated gated
  for family in v4 v6; do
    at=$($family gated)
    expect "before a knock sshd can't be reached ($family)" is_silent member "$at" 22
    expect "the member knocks ($family)" knock_at gated "$at" home
    expect "nft lists him in the set ($family)" wait_for 5 is_in_set gated $family
    expect "ssh gets in ($family)" enters member "$at" 22
  done
  for family in v4 v6; do
    # Within four seconds of the first it would be the network's echo of that.
    expect "his time is almost over ($family)" wait_for 8 is_almost_out gated $family 3
    expect "he knocks once more ($family)" knock_at gated "$($family gated)" home
    expect "and his time begins anew ($family)" wait_for 3 is_in_set gated $family 5
  done
  at=$(v4 gated)
  expect "another still can't reach it" is_silent passer "$at" 22
  open_session gated member "$at" 22 "$at" cat
  expect "a session is there" answers gated hello
  for family in v4 v6; do
    expect "the member is out of the set in the end ($family)" \
      wait_for 10 fails is_in_set gated $family
    expect "and can't reach sshd any more ($family)" is_silent member "$($family gated)" 22
  done
  expect "but his session lives" answers gated goodbye
  expect_same "the log has an entry for each pass" 4 "$(logged gated open 'mirage=home source=')"
  expect_same "and one error, of before the rules were there" "1 1" \
    "$(logged gated error) $(logged gated error 'mirage=home rules=gone ')"
  expect "and when they were" has_logged gated rules 'mirage=home state=back'
  expect_same "no firewall was changed by others" 0 "$(logged gated warn nft)"
}

who_is_in_stays_in_when_the_rules_are_loaded_again() {
  local family
  start_daemon staying gated <<'END' || return
[common]
[mirage-home]
gate = knock
range = 40500-40799
period = 1h
door = nft
open-set = inet/shimmer/home
open-port = 22
open-timeout = 1h
END
  expect "the rules load" load_rules gated staying
  for family in v4 v6; do
    expect "the member knocks ($family)" knock_at staying "$($family gated)" home
    expect "nft lists him in the set ($family)" wait_for 5 is_in_set gated $family 3590
  done
  expect "the rules load again" load_rules gated staying
  for family in v4 v6; do
    expect "he is still in the set ($family)" is_in_set gated $family 3500
    expect "and ssh gets in ($family)" enters member "$($family gated)" 22
    expect "but nobody else does ($family)" is_silent passer "$($family gated)" 22
  done
  expect_same "the log has nothing to say of it" 0 "$(logged staying warn 'nft missing=')"
  expect "somebody flushes the firewall" on gated nft flush ruleset
  expect "the log says so" wait_for 5 has_logged staying warn 'nft missing=2: '
  expect "and that the door stands open" wait_for 5 has_logged staying error \
    'mirage=home rules=gone inet shimmer home4: the table is not there; to load them: '
  expect "the status says so" status_says staying 'RULES: home: inet shimmer home4: the table is not there'
  expect "for it does" enters passer "$(v4 gated)" 22
  expect "and that the table is not there" \
    wait_for 5 has_logged staying error 'nft inet shimmer home4: the table is not there; retrying'
  expect "the rules load once more" load_rules gated staying
  for family in v4 v6; do
    expect "and he is in the set ($family)" wait_for 5 is_in_set gated $family 3500
  done
  expect "the log says that they are back" wait_for 5 has_logged staying rules 'mirage=home state=back'
  expect_same "the status has nothing to say of it" '' "$(status_says staying RULES || true)"
  expect_same "he has passed twice" 2 "$(logged staying open 'mirage=home source=')"
  stop_daemon staying
  expect "the log says what stays and how to remove it" has_logged staying rules \
    'state=stay the ports behind door = nft stay closed; .* shimmer firewall --remove | nft -f -$'
  for family in v4 v6; do
    expect "nobody gets in any more ($family)" is_silent passer "$($family gated)" 22
    expect "nor does the member ($family)" is_silent member "$($family gated)" 22
  done
  expect "what goes at a stop can be removed" load_rules gated staying --remove --only ports
  expect "which opens nothing" is_silent passer "$(v4 gated)" 22
  expect "all of it can be removed" load_rules gated staying --remove
  expect_same "no table is left" '' "$(on gated nft list tables)"
  expect "and everybody gets in" enters passer "$(v4 gated)" 22
  expect "the rules load for the next" load_rules gated staying
}

# status_says NAME TEXT: the lines of the status that have this text.
status_says() {
  "$SHIMMER" status --control "$FOLDER/$1.control" | grep -F "$2"
}

who_knocks_to_close_is_taken_out_of_the_set() {
  start_daemon shutting gated <<'END' || return
[common]
[mirage-keyless]
gate = knock
sequence = 7000,8000:udp,9000
close-sequence = 9500,8000:udp
door = nft
open-set = inet/shimmer/home
open-port = 22
open-timeout = 1h
END
  expect "the rules load" load_rules gated shutting
  expect "the member knocks" knock_at shutting "$(v4 gated)" keyless
  expect "nft lists him in the set" wait_for 5 is_in_set gated v4
  expect "he knocks to close" knock_at shutting "$(v4 gated)" keyless --close
  expect "nft lists him no more" wait_for 5 fails is_in_set gated v4
  expect "the log says so" wait_for 5 has_logged shutting shut 'mirage=keyless source='
  expect "he knocks again" knock_at shutting "$(v4 gated)" keyless
  expect "and is in the set again" wait_for 5 is_in_set gated v4
  expect_same "the log has no error" 0 "$(logged shutting error)"
}

# A daemon that is not root changes the kernel's sets, and can't run nft.
nobody_knocks_and_is_in_the_set() {
  local pid folder=$FOLDER/knocked
  chmod 711 "$FOLDER"
  mkdir -m 755 "$folder"
  chown nobody "$folder"
  cat >"$folder/conf" <<END
[common]
user = nobody
log = $folder/log
state-file = none
control = none
[mirage-home]
secret = $(cat "$FOLDER/secret")
gate = knock
range = 41000-41299
period = 1h
door = nft
open-set = inet/shimmer/home
[mirage-other]
secret = $(cat "$FOLDER/secret")
gate = knock
range = 42000-42299
period = 1h
door = command
open-command = sh -c "echo %MIRAGE% && grep ^Cap /proc/self/status >$folder/rights"
END
  chmod 600 "$folder/conf"
  chown nobody "$folder/conf"
  ln -s "$folder/log" "$FOLDER/knocked.log"
  ln -s "$folder/conf" "$FOLDER/knocked.conf"
  add_host humble
  expect "the rules load" load_rules humble knocked
  ip netns exec "$PREFIX-humble" "$SHIMMER" daemon --config "$folder/conf" \
    </dev/null 2>"$FOLDER/knocked.stderr" &
  DAEMON["knocked"]=$!
  expect "it starts" wait_for 15 has_logged knocked listen
  pid=${DAEMON[knocked]}
  expect_same "it is nobody" "$(id -u nobody)" "$(status_of "$pid" Uid | cut -f 1)"
  # CAP_NET_ADMIN is number 12, CAP_NET_RAW 13.
  expect_same "with two capabilities" 0000000000003000 "$(status_of "$pid" CapEff)"
  expect_same "and never another" 0000000000003000 "$(status_of "$pid" CapBnd)"
  expect "a knock is seen" knock_at knocked "$(v4 humble)" home
  expect "and the address is in the set" wait_for 5 is_in_set humble v4
  expect "a knock at the other one is seen" knock_at knocked "$(v4 humble)" other
  expect "and its command runs" wait_for 5 grep -q CapAmb "$folder/rights"
  expect_same "without a right" "0000000000000000 0000000000000000" \
    "$(awk '/^CapEff|^CapAmb/ { print $2 }' "$folder/rights" | xargs)"
  expect_same "nor has the daemon one to hand on" "0000000000000000 0000000000000000" \
    "$(status_of "$pid" CapAmb) $(status_of "$pid" CapInh)"
  expect_same "the log has no error" 0 "$(logged knocked error)"
}

# opened NAME MIRAGE: how often its service was started.
opened() {
  logged "$1" open "mirage=$2 service"
}

sshd_runs_while_somebody_needs_it() {
  local at sum remote=$FOLDER/home began took said visitor visitors=() in=0
  add_host asleep
  other_sshd_config "$FOLDER/asleep_sshd" 'ListenAddress 127.0.0.1' 'Port 2022' \
    "PidFile $FOLDER/asleep.pid"
  sed "s|^HostKey .*|HostKey $FOLDER/missing|; s|^Port 2022|Port 2023|" "$FOLDER/asleep_sshd" >"$FOLDER/broken_sshd"
  start_daemon asleep asleep "$FOLDER/private" <<END || return
[common]
[mirage-ssh]
gate = packet
range = 43000-43299
period = 1h
port = 2022
open-command = $(type -P sshd) -f $FOLDER/asleep_sshd -E $FOLDER/asleep_sshd.txt
close-command = pkill -F $FOLDER/asleep.pid
open-timeout = 2s
[mirage-broken]
gate = knock
range = 43300-43599
period = 1h
port = 2023
open-command = $(type -P sshd) -f $FOLDER/broken_sshd
ready-timeout = 8s
[mirage-mute]
gate = packet
range = 43600-43899
period = 1h
port = 2024
open-command = true
ready-timeout = 2s
END
  at=$(v4 asleep)
  expect "no sshd listens" is_refused asleep 127.0.0.1 2022
  expect "ssh gets in by a sshd that is started for it" connects member asleep "$at" ssh
  expect_same "which was started once" 1 "$(opened asleep ssh)"
  connect_options asleep ssh
  head -c 20M /dev/urandom >"$FOLDER/sent"
  sum=$(checksum "$FOLDER/sent")
  expect "scp sends 20 MB" on member \
    scp -q "${CONNECT_OPTIONS[@]}" "$FOLDER/sent" "$at:$remote/there"
  expect_same "they are whole there" "$sum" "$(checksum "$remote/there")"
  rm -f "$remote/there" "$FOLDER/sent"
  expect "it is stopped when nobody has come for a while" \
    wait_for 10 has_logged asleep shut 'mirage=ssh service'
  expect "and does not listen" wait_for 5 is_refused asleep 127.0.0.1 2022

  for visitor in 1 2 3; do
    connects member asleep "$(v6 asleep)" ssh &
    visitors+=($!)
  done
  for visitor in "${visitors[@]}"; do
    wait "$visitor" && in=$((in + 1))
  done
  expect_same "three who come at once get in" 3 "$in"
  expect_same "by a sshd that was started once more" 2 "$(opened asleep ssh)"
  open_session asleep member "$at" 22 -o "ConnectTimeout=30" \
    -o "ProxyCommand=$SHIMMER connect ssh %h --config $FOLDER/asleep.conf" "$at" cat
  expect "a session is there" answers asleep hello
  # Longer than open-timeout.
  sleep 3
  expect "with which sshd runs on" fails is_refused asleep 127.0.0.1 2022
  expect "and which lives" answers asleep goodbye
  close_session asleep
  expect "and without which it is stopped" wait_for 10 has_logged asleep shut 'mirage=ssh service' 2

  began=$(unix_ms)
  said=$(connects member asleep "$at" broken 2>&1) && fail "nobody gets in where sshd can't start"
  took=$(($(unix_ms) - began))
  expect "where sshd can't start its visitor is let go ($took ms)" \
    grep -q ' hung up ' <<<"$said"
  expect "within the time that it has" test "$took" -lt 8000
  expect "the log has sshd's last word" has_logged asleep error \
    'mirage=broken service open-command: exit=1: sshd: no hostkeys available -- exiting.'
  said=$(connects member asleep "$at" mute 2>&1) && fail "nobody gets in where no sshd comes"
  expect "where none comes, too" grep -q ' hung up ' <<<"$said"
  expect "the log says so" has_logged asleep error 'mirage=mute service: not ready within 2s: '

  # A sshd of the administrator's.
  expect "the port is free" wait_for 5 is_refused asleep 127.0.0.1 2022
  sed -i '/^PidFile/d' "$FOLDER/asleep_sshd"
  serve asleep "$FOLDER/asleep_own.txt" "$(type -P sshd)" -D -e -f "$FOLDER/asleep_sshd"
  expect "another sshd is up" wait_for 10 grep -q 'Server listening' "$FOLDER/asleep_own.txt"
  expect "ssh gets in by that" connects member asleep "$at" ssh
  sleep 3
  expect "which stays" connects member asleep "$at" ssh
  expect_same "nothing was started" 2 "$(opened asleep ssh)"
  expect_same "and nothing stopped" 2 "$(logged asleep shut 'mirage=ssh service')"
}

sshd_gets_the_connection_itself() {
  local at family log=$FOLDER/inetd_sshd.txt status=0
  other_sshd_config "$FOLDER/inetd_sshd"
  add_host inetd
  start_daemon inetd inetd "$FOLDER/private" <<END || return
[common]
[mirage-ssh]
gate = token
range = 44000-44299
period = 1h
exec = $(type -P sshd) -i -f $FOLDER/inetd_sshd -E $log
END
  for family in v4 v6; do
    at=$($family inetd)
    expect "ssh gets in to a sshd of its own ($family)" connects member inetd "$at" ssh
    expect "whose log has the real address ($family)" \
      grep -q "Accepted publickey for root from $($family member) port" "$log"
  done
  expect_same "nothing else listens" '' "$(listening_ports inetd 1 43999)"
  open_session inetd member "$at" 22 -o "ProxyCommand=$SHIMMER connect ssh %h --config $FOLDER/inetd.conf" \
    "$at" cat
  expect "a session is there" answers inetd hello
  expect "the status has it" wait_for 5 sessions_are inetd 1
  stop_daemon inetd || status=$?
  expect_same "the daemon ends with 0" 0 "$status"
  expect "and the session lives" answers inetd goodbye
  close_session inetd
}

# sessions_are NAME COUNT
sessions_are() {
  "$SHIMMER" status --json --control "$FOLDER/$1.control" | python3 -c '
import json, sys
status = json.load(sys.stdin)
print(status["sessions"])
sys.exit(len(status["sessions"]) != int(sys.argv[1]))
' "$2"
}

# The commands of a door, of which half fail or hang.
make_moody_command() {
  mkdir "$FOLDER/moods"
  cat >"$FOLDER/moody" <<END
#!/bin/sh
# moody open|close ADDRESS: by the address's last number.
number=\${2##*.}
cd "$FOLDER/moods" || exit
case \$1-\$((number % 4)) in
  open-1) echo "it is never open for \$2"; exit 7 ;;
  open-3) echo "it takes long for \$2"; sleep 300 ;;
  close-2) [ -e "tried-\$2" ] || { touch "tried-\$2"; echo "not yet, \$2"; exit 3; } ;;
esac
echo "\$1" >>"\$2"
END
  chmod 755 "$FOLDER/moody"
}

# moody_configuration PORT LOW-HIGH
moody_configuration() {
  cat <<END
[common]
[mirage-door]
gate = packet
packet-port = $1
range = $2
door = command
open-command = $FOLDER/moody open %IP%
close-command = $FOLDER/moody close %IP%
open-timeout = 4s
[mirage-ssh]
gate = packet
range = $((${2#*-} + 1))-$((${2#*-} + 300))
period = 1h
port = 22
END
}

# admit NAME NUMBER…: the member asks for these addresses to be let in.
admit() {
  local number
  for number in "${@:2}"; do
    knock_at "$1" "$(v4 server)" door --address "192.0.2.$number" || return
  done
}

# has_history NUMBER WORDS: that was done for that address.
has_history() {
  [[ $(xargs <"$FOLDER/moods/192.0.2.$1") == "$2" ]]
}

half_the_commands_fail_or_hang() {
  local number at
  at=$(v4 server)
  make_moody_command
  start_daemon moody < <(moody_configuration 45000 45000-45299) || return
  expect "of the commands for eight addresses two fail, two hang and two can't close at first" \
    admit moody 1 2 3 4 5 6 7 8
  for number in 2 4 6 8; do
    expect "192.0.2.$number is let in" wait_for 5 has_logged moody open "source=192.0.2.$number "
  done
  for number in 1 5; do
    expect "192.0.2.$number is not, and the log has the command's last line" \
      wait_for 5 has_logged moody error \
      "mirage=door source=192.0.2.$number open-command: exit=7: it is never open for 192.0.2.$number\$"
  done
  expect "a member gets in meanwhile at the other mirage" connects member moody "$at" ssh
  expect "who passes while he is let in" admit moody 8
  expect "stays in for longer" wait_for 5 has_logged moody open "source=192.0.2.8 " 2
  for number in 2 4 6 8; do
    expect "what was opened once for 192.0.2.$number is closed once" \
      wait_for 15 has_history $number "open close"
  done
  for number in 2 6; do
    expect "though it failed at first, which the log has" has_logged moody error \
      "source=192.0.2.$number close-command: exit=3: not yet, 192.0.2.$number\$"
  done
  what_is_open_is_closed_whatever_happens
  for number in 3 7; do
    expect "who hangs is killed after 30 seconds" wait_for 30 has_logged moody error \
      "source=192.0.2.$number open-command: killed, its time was over: it takes long for 192.0.2.$number\$"
  done
  expect_same "those for whom it failed or hung were never let in" 0 \
    "$(logged moody open 'source=192.0.2.[1357] ')"
}

what_is_open_is_closed_whatever_happens() {
  local number
  start_daemon killed < <(moody_configuration 46000 46000-46299) || return
  expect "others pass at another daemon" admit killed 12 16 20
  for number in 12 16 20; do
    expect "192.0.2.$number is let in" wait_for 5 has_history $number open
  done
  {
    kill -KILL "${DAEMON[killed]}"
    wait "${DAEMON[killed]}" || true
  } 2>/dev/null
  unset 'DAEMON[killed]'
  mv "$FOLDER/killed.log" "$FOLDER/killed-before.log"
  ip netns exec "$PREFIX-server" "$SHIMMER" daemon --config "$FOLDER/killed.conf" \
    </dev/null 2>"$FOLDER/killed.stderr" &
  DAEMON["killed"]=$!
  expect "after SIGKILL it starts again" wait_for 15 has_logged killed listen
  expect "and knows what was open" has_logged killed state open=3
  expect "others pass" admit killed 24 28
  for number in 24 28; do
    expect "192.0.2.$number is let in" wait_for 5 has_history $number open
  done
  sed -i '/^\[mirage-door\]/,/^open-timeout/d' "$FOLDER/killed.conf"
  kill -HUP "${DAEMON[killed]}"
  expect "a reload drops the mirage" wait_for 10 has_logged killed reload 'mirages=1 dropped=1'
  for number in 12 16 20 24 28; do
    expect "what was opened for 192.0.2.$number is closed" \
      wait_for 15 has_history $number "open close"
  done
}
