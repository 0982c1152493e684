# The silent gates: a sequence of knocks, and one datagram. (Sourced by tests/real/run.)
#
# Rules of a firewall stay in the hosts on which they are tried, so those have hosts of their own.
# shellcheck shell=bash

# knock_at NAME ADDRESS MIRAGE OPTION…: the member shows that daemon's gate what it wants to see.
knock_at() {
  on member "$SHIMMER" knock "$3" "$2" --config "$FOLDER/$1.conf" "${@:4}"
}

# connect_options NAME MIRAGE: sets ssh's options for a visit by `shimmer connect`. In it are the knocks,
# and what is lost of them costs some seconds.
CONNECT_OPTIONS=()
connect_options() {
  ssh_options hidden
  CONNECT_OPTIONS=("${SSH_OPTIONS[@]}" -o ConnectTimeout=30
    -o "ProxyCommand=$SHIMMER connect $2 %h --config $FOLDER/$1.conf")
}

# connects HOST NAME ADDRESS MIRAGE: shows who it was that answered.
connects() {
  connect_options "$2" "$4"
  # shellcheck disable=SC2016 # It is for the other end.
  [[ $(on "$1" ssh "${CONNECT_OPTIONS[@]}" "$3" 'echo "this is $((6 * 7))"' </dev/null) == "this is 42" ]]
}

# lines_of NAME: of its log.
lines_of() {
  wc -l <"$FOLDER/$1.log"
}

# knockd's client, with a pause: ten milliseconds are enough between two hosts at one switch.
knockds_client() {
  on member knock -d 10 "-${1#v}" "$($1 server)" "${@:2}"
}

knockds_client_opens_a_fixed_sequence() {
  local family opened=$FOLDER/opened open
  mkdir "$opened"
  start_daemon fixed <<END || return
[common]
[mirage-keyless]
gate = knock
sequence = 7000:tcp,8000:udp,9000:tcp
close-sequence = 9000:tcp,8000:udp,7000:tcp
seq-timeout = 15
door = command
open-command = touch $opened/%FAMILY%-%IP%
close-command = rm $opened/%FAMILY%-%IP%
open-timeout = 1h
END
  for family in v4 v6; do
    open=$opened/ip$family-$($family member)
    expect "knockd's client knocks by the wrong protocol ($family)" \
      knockds_client $family 7000:tcp 8000:tcp 9000:tcp
    expect "which the log calls wrong ($family)" \
      wait_for 5 has_logged fixed wrong "source=$($family member) knocks=1"
    expect "and opens nothing ($family)" fails test -e "$open"
    expect "it knocks in the right one ($family)" knockds_client $family 7000:tcp 8000:udp 9000:tcp
    expect "and the command has run for its address ($family)" wait_for 5 test -e "$open"
    expect "it knocks the close-sequence ($family)" \
      knockds_client $family 9000:tcp 8000:udp 7000:tcp
    expect "and the other command has run ($family)" wait_for 5 fails test -e "$open"
    expect "our plain knocker opens it as well ($family)" \
      on member "$SHIMMER" knock "$($family server)" 7000 8000:udp 9000:tcp
    expect "for the same address ($family)" wait_for 5 test -e "$open"
    expect "and with a configuration knows what closes it ($family)" \
      knock_at fixed "$($family server)" keyless --close
    expect "that closes it ($family)" wait_for 5 fails test -e "$open"
  done
  expect_same "no port of it was ever open" '' "$(listening_ports server 7000 9000)"
  expect_same "the log has no error" 0 "$(logged fixed error)"
}

# Its datagrams are encrypted otherwise, and longer: there is nothing to understand in them.
fwknop_is_refused_calmly() {
  local at before kind
  start_daemon spa <<'END' || return
[common]
[mirage-ssh]
gate = packet
packet-port = 62201
range = 25000-25299
period = 1h
port = 22
END
  at=$(v4 server)
  before=$(lines_of spa)
  for kind in {1..20}; do
    sends_fwknop "$at" || fail "fwknop sends its datagram number $kind"
  done
  expect "and one that signs it" sends_fwknop "$at" --use-hmac --key-hmac other
  # As long as one of ours.
  # shellcheck disable=SC2016 # It is the inner shell's.
  expect "and another program 72 bytes" on member bash -c \
    'head -c 72 /dev/urandom >"/dev/udp/$1/62201"' say_72_bytes "$at"
  # What comes behind them is read after them.
  expect "our own knock is taken" knock_at spa "$at" ssh
  expect "and opens" wait_for 5 has_logged spa open "mirage=ssh source=$(v4 member) seconds=30"
  expect_same "in the log there is that line, and none for fwknop" $((before + 1)) "$(lines_of spa)"
  expect "ssh gets in" enters member "$at" "$(real_port 25000:25299 1h)"
  expect_same "nobody was banned" 0 "$(logged spa ban)"
}

# sends_fwknop ADDRESS OPTION…
sends_fwknop() {
  on member fwknop --no-home-dir --no-rc-file --no-save-args -E "$FOLDER/fwknop.args" -A tcp/22 -a "$(v4 member)" -D "$1" \
    --key-rijndael "not ours" "${@:2}"
}

# scan HOST FAMILY TARGET LOW-HIGH OPTION…: what nmap says of the ports, and of the reason.
scan() {
  on "$1" nmap "-${2#v}" -n -Pn --reason -T4 --max-retries 1 --max-rtt-timeout 200ms --min-rate 1000 -p "$4" "${@:5}" \
    "$($2 "$3")" | sed -n 's/^Not shown: //p; s/^All .* scanned ports .*//p; /^[0-9]*\/[tu][cd]p /p' |
    sed '/^$/d'
}

# sees_nothing HOST FAMILY TARGET LOW-HIGH COUNT: no scan gets an answer from any of so many ports.
sees_nothing() {
  local seen
  seen=$(scan "$1" "$2" "$3" "$4" -sS; scan "$1" "$2" "$3" "$4" -sU)
  expect_same "nmap's half-open and UDP scans get no answer ($2)" "$5 filtered tcp ports (no-response)
$5 open|filtered udp ports (no-response)" "$seen"
}

# real_ports NAME LOW:HIGH: those of three hours, each once.
real_ports() {
  local hour
  for hour in -1 0 1; do
    "$SHIMMER" port "$1:$2" --period 1h --secret-file "$FOLDER/secret" \
      --at $(($(date +%s) + hour * 3600))
  done | sort -nu
}

a_scan_of_silent_gates_sees_nothing_at_all() {
  local family at range=26000-26299 gate once dump
  add_host silent
  add_host prober
  start_sshd silent
  # The kernel gives few errors in a second, and nmap is to hear one for each port.
  on silent sysctl -q net.ipv4.icmp_ratelimit=0 net.ipv4.icmp_msgs_per_sec=100000 \
    net.ipv4.icmp_msgs_burst=100000 net.ipv6.icmp.ratelimit=0
  start_daemon silent silent <<'END' || return
[common]
[mirage-knock]
gate = knock
protocols = mixed
range = 26000-26149
period = 1h
port = 22
[mirage-packet]
gate = packet
range = 26150-26299
period = 1h
port = 22
END
  for family in v4 v6; do
    expect_same "without the rules all ports are closed ($family)" \
      "300 closed tcp ports (reset)
300 closed udp ports (port-unreach)" \
      "$(scan prober $family silent $range -sS; scan prober $family silent $range -sU)"
  done
  expect "the rules load" load_rules silent silent
  once=$(on silent nft list ruleset)
  expect "and once more" load_rules silent silent
  expect_same "which changes nothing" "$once" "$(on silent nft list ruleset)"

  ip netns exec "$PREFIX-silent" tcpdump -n -i eth0 -Q out --immediate-mode -U -w "$FOLDER/answers" \
    "(dst host $(v4 prober) or dst host $(v6 prober)) and not arp and not (icmp6 and ip6[40] >= 133)" \
    2>"$FOLDER/tcpdump.txt" &
  dump=$!
  expect "tcpdump looks on" wait_for 5 grep -q 'listening on' "$FOLDER/tcpdump.txt"
  for family in v4 v6; do
    sees_nothing prober $family silent $range 300
  done
  expect_same "nor does its connect scan" "300 filtered tcp ports (no-response)" \
    "$(scan prober v4 silent $range -sT)"
  for gate in knock packet; do
    at=$(v4 silent)
    expect "a member gets in by the gate $gate" connects member silent "$at" $gate
    expect "and is let in for a while" has_logged silent open "mirage=$gate source=$(v4 member)"
  done
  for family in v4 v6; do
    sees_nothing prober $family silent $range 300
  done
  expect "the member is let in meanwhile" fails has_logged silent shut
  expect_same "and sees the real ports of three minutes" \
    "$({ real_ports knock 26000:26149; real_ports packet 26150:26299; } | sort -n)" \
    "$(syn_scan member v4 $range silent)"
  kill -TERM "$dump"
  wait "$dump" || true
  expect_same "not one packet has left the host for the prober" '' \
    "$(tcpdump -n -r "$FOLDER/answers" 2>/dev/null)"

  # Whoever scans has knocked wrong, or begun.
  scan member v6 silent $range -sS >/dev/null
  for gate in knock packet; do
    expect "who has scanned by himself gets in at once ($gate)" connects member silent "$(v6 silent)" $gate
    expect "and so does who was there before ($gate)" connects member silent "$(v4 silent)" $gate
  done
  expect_same "nobody was banned" 0 "$(logged silent ban)"
}

# What a firewall rejects has come there, and has been seen.
a_firewall_that_rejects_sees_knocks() {
  local family number how hows=('icmpx admin-prohibited' 'icmpx host-unreachable' 'tcp reset')
  add_host strict
  add_host rejected
  # One kernel that has both hosts answers a connect before that has begun to wait. So any processor
  # takes what comes in.
  on strict sysctl -q net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
  for how in strict rejected; do
    [[ $(getconf _NPROCESSORS_ONLN) -lt 2 ]] ||
      on "$how" sh -c 'echo 3 >/sys/class/net/eth0/queues/rx-0/rps_cpus'
  done
  start_daemon strict strict < <(
    echo '[common]'
    for number in "${!hows[@]}"; do
      printf '%s\n' "[mirage-keyless-$number]" 'gate = knock' 'door = command' 'open-command = true' \
        "sequence = 700$number,800$number,900$number"
    done
  ) || return
  for number in "${!hows[@]}"; do
    how=${hows[number]}
    on strict nft -f - <<END
table inet strict
delete table inet strict
table inet strict {
  chain input {
    type filter hook input priority filter;
    tcp dport 1-65535 reject with $how
  }
}
END
    for family in v4 v6; do
      expect "knocks go on where they are rejected with $how ($family)" \
        on rejected "$SHIMMER" knock "$($family strict)" "700$number" "800$number" "900$number"
      expect "and open ($family)" \
        wait_for 5 has_logged strict open "mirage=keyless-$number source=$($family rejected) "
    done
  done
}

# lose_packets HOST: one in ten of those from it, and of those to it. Where the kernel has netem, that
# also delays and reorders.
lose_packets() {
  # shellcheck disable=SC2153 # The network's numbers, and not a function's.
  local port=port${NUMBER[$1]} end
  if ip netns exec "$PREFIX-switch" tc qdisc add dev "$port" root netem loss 10% delay 20ms reorder 10% &&
    on "$1" tc qdisc add dev eth0 root netem loss 10% delay 20ms reorder 10%; then
    echo netem
    return
  fi 2>/dev/null
  # On the way in, at both ends of its cable: its own way out would tell whoever sends.
  for end in "switch $port" "$1 eth0"; do
    on "${end% *}" nft -f - <<END
table netdev loss-$port {
  chain lost {
    type filter hook ingress device "${end#* }" priority 0;
    meta protocol { ip, ip6 } numgen random mod 10 == 0 counter drop
  }
}
END
  done
  echo "nft, which reorders nothing"
}

# lost_packets HOST: how many.
lost_packets() {
  local host
  for host in switch "$1"; do
    on "$host" tc -s qdisc show
    on "$host" nft list ruleset
  done | grep -o -E '(dropped|packets) [0-9]+' | awk '{ lost += $2 } END { print lost + 0 }'
}

# visits NUMBER: five visits, each from another address, for whom the gate has not opened yet.
visits() {
  local host=traveller$1 visit
  for visit in 1 2 3 4 5; do
    ip -n "$PREFIX-$host" route replace "$(v4 lossy)" dev eth0 src "10.77.1$1.$visit"
    connects "$host" lossy "$(v4 lossy)" ssh || echo "out: 10.77.1$1.$visit"
  done
}

loss_keeps_nobody_out() {
  local number visit host first visitors=() second
  add_host lossy
  start_sshd lossy
  ip -n "$PREFIX-lossy" route add 10.77.0.0/16 dev eth0
  start_daemon lossy lossy <<'END' || return
[common]
[mirage-ssh]
gate = knock
protocols = mixed
range = 28000-28999
period = 1h
port = 22
END
  for number in 1 2 3 4; do
    host=traveller$number
    add_host "$host"
    for visit in 1 2 3 4 5; do
      ip -n "$PREFIX-$host" addr add "10.77.1$number.$visit/32" dev eth0
    done
    ok "one in ten of the packets of $host is lost by $(lose_packets "$host")"
  done
  first=$(real_port 28000:28999 1h)
  for number in 1 2 3 4; do
    visits $number >"$FOLDER/visits-$number" 2>&1 &
    visitors+=($!)
  done
  wait "${visitors[@]}"
  second=$(grep ' accept ' "$FOLDER/lossy.log" | grep -vc " port=$first\$" || true)
  expect_same "twenty members get in, $second of them by the sequence of another minute" '' \
    "$(cat "$FOLDER"/visits-*)"
  expect_same "the log has twenty" 20 \
    "$(grep ' accept ' "$FOLDER/lossy.log" | cut -d ' ' -f 4 | sort -u | wc -l)"
  for number in 1 2 3 4; do
    host=traveller$number
    expect "$(lost_packets "$host") packets were lost to and from $host" \
      test "$(lost_packets "$host")" -gt 5
  done
}

# Ports to knock at are bound where packets can't be seen.
without_net_raw_it_says_what_it_gives_away() {
  local at family range=29000:29299 hops
  start_daemon deaf server setpriv --bounding-set -net_raw <<'END' || return
[common]
[mirage-ssh]
gate = knock
range = 29000-29299
period = 1h
port = 22
END
  expect "the log says that ports are opened" \
    has_logged deaf warn 'without CAP_NET_RAW the ports to knock at are opened: a scan finds them'
  add_host finder
  hops=$(on member "$SHIMMER" knock ssh --print --config "$FOLDER/deaf.conf" | cut -d : -f 1 | sort -n)
  expect_same "which one does" "$hops" \
    "$(syn_scan finder v4 29000-29299 | grep -x -F "$hops")"
  expect "the minute's port is closed" is_refused member "$(v4 server)" "$(real_port $range 1h)"
  for family in v4 v6; do
    at=$($family server)
    expect "a member gets in by knocking ($family)" connects member deaf "$at" ssh
    expect "and no other gets to it ($family)" is_silent finder "$at" "$(real_port $range 1h)"
  done
}
