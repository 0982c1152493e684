# What strangers do, and what becomes of them. (Sourced by tests/real/run.)
#
# The windows last an hour here: nothing rotates between a look at the schedule and what it is for,
# unless the hour turns, and then the look is repeated.
# shellcheck shell=bash

nmap_is_banned_and_the_member_is_not() {
  local range=16000:16999 family at
  start_daemon scanned <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 16000-16999
period = 1h
END
  add_host scanner
  for family in v4 v6; do
    at=$($family server)
    expect "nmap's connect scan ends ($family)" on scanner \
      nmap "-${family#v}" -n -Pn -sT -T5 -p 16000-16999 "$at"
    expect "the log has its ban ($family)" wait_for 5 has_logged scanned ban \
      "source=$($family scanner)\( port=16[0-9]*\)\? seconds=900 mirage=ssh"
    expect "ssh from there is refused at the real port ($family)" \
      fails enters scanner "$at" "$(real_port $range 1h)"
    expect "ssh of the member gets in ($family)" enters member "$at" "$(real_port $range 1h)"
  done
  expect_same "two addresses, two bans" 2 "$(logged scanned ban)"
}

# syn_scan HOST FAMILY LOW-HIGH [TARGET]: the ports of the server, or of another target, that nmap finds
# open, without ever finishing a handshake.
syn_scan() {
  on "$1" nmap "-${2#v}" -n -Pn -sS -T4 -p "$3" -oG - "$($2 "${4:-server}")" |
    grep -o '[0-9]*/open/' | cut -d / -f 1 | sort -nu
}

a_half_open_scan_sees_the_schedule() {
  local family before after seen
  start_daemon watched <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 17000-17999
period = 1h
END
  add_host watcher
  for family in v4 v6; do
    for _ in 1 2; do
      before=$(open_ports 17000:17999 1h)
      seen=$(syn_scan watcher $family 17000-17999)
      after=$(open_ports 17000:17999 1h)
      [[ $before != "$after" ]] || break
    done
    expect_same "nmap sees the schedule's ports and no other ($family)" "$before" "$seen"
  done
  expect "ssh from there gets in: nobody is banned for half a handshake" \
    enters watcher "$(v4 server)" "$(real_port 17000:17999 1h)"
  expect_same "the log has no ban" 0 "$(logged watched ban)"
}

a_banned_member_is_out_until_the_ban_ends() {
  local range=18000:18999 at port answered=0 began until tries=0 gone
  start_daemon brief <<'END' || return
[common]
ban-time = 8s
[mirage-ssh]
port = 22
range = 18000-18999
period = 1h
END
  add_host roamer
  at=$(v4 server)
  expect "the member gets in" enters roamer "$at" "$(real_port $range 1h)"
  # A live session would be forgiven the touch.
  expect "its session ends" wait_for 5 has_logged brief close
  expect "it touches a trap, which is open" touch_port roamer "$at" "$(trap_port $range 1h)"
  expect "and is banned" wait_for 5 has_logged brief ban "source=$(v4 roamer) .*seconds=8 "

  while read -r port; do
    [[ $(touch_port roamer "$at" "$port") != SSH-* ]] || answered=$((answered + 1))
  done <<<"$(open_ports $range 1h)"
  # The last touch of a trap was before now, and the ban's time runs from there.
  began=$(unix_ms)
  expect_same "it is out at every open port" 0 "$answered"

  # What autossh does: again and again, at the real port. That must not renew the ban.
  until=$((SECONDS + 30))
  until enters roamer "$at" "$(real_port $range 1h)" 2>/dev/null || ((SECONDS > until)); do
    tries=$((tries + 1))
    sleep 0.2
  done
  gone=$(($(unix_ms) - began))
  expect "it is out for the ban's time, and then in again (after $gone ms and $tries attempts)" \
    test "$tries" -gt 3 -a "$gone" -gt 7000 -a "$gone" -lt 20000
  expect "the log has the ban's end" has_logged brief unban "source=$(v4 roamer) "
}

# late_port LOW:HIGH PERIOD: an open trap and for which clock it would be the real port, as in
# `12007 5h`. In a small range there are several.
late_port() {
  local traps window port
  traps=$(comm -23 <(open_ports "$1" "$2") <(
    for window in {-4..4}; do real_port "$1" "$2" "$window"; done | sort -n
  ))
  for window in {5..14}; do
    for sign in - ''; do
      port=$(real_port "$1" "$2" "$sign$window")
      if grep -q -x "$port" <<<"$traps"; then
        echo "$port $sign${window}h"
        return
      fi
    done
  done
  return 1
}

the_log_says_whose_clock_is_off() {
  local host port off before window named
  start_daemon late <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 12000-12059
period = 1h
END
  for host in late early; do
    add_host "$host"
    before=$(late_port 12000:12059 1h)
    read -r port off <<<"$before"
    touch_port "$host" "$(v6 server)" "$port" >/dev/null
    [[ $before != "$(late_port 12000:12059 1h)" ]] || break
  done
  # A port that is still to be the real one is not named: in a small range one that was may be again.
  named=" port=$port"
  for window in {1..15}; do
    [[ $(real_port 12000:12059 1h "$window") != "$port" ]] || named=
  done
  expect "a touched trap that is real for a clock that is off says by how much" \
    wait_for 5 has_logged late ban "source=$(v6 "$host")$named seconds=.* clock-off=$off\$"
}
