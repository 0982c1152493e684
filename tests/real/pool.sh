# A pool: the firewall leads a whole range to one listener. (Sourced by tests/real/run.)
#
# The rules stay in the hosts on which they are tried, so each check has hosts of its own.
# shellcheck shell=bash

# load_rules HOST NAME [OPTION]: the rules of the configuration of this name, by the real nft.
load_rules() {
  "$SHIMMER" firewall --config "$FOLDER/$2.conf" "${@:3}" | on "$1" nft -f -
}

# start_answerer HOST ADDRESS PORT: what says to everybody where he dialled.
start_answerer() {
  local said=$FOLDER/answerer-${#SERVICES[@]}.txt
  ip netns exec "$PREFIX-$1" python3 "$HERE/original.py" "$2" "$3" </dev/null &>"$said" &
  SERVICES+=($!)
  wait_for 10 grep -q listening "$said"
}

# answers_as HOST ADDRESS PORT: somebody who is led to the answerer hears where he dialled.
answers_as() {
  local said
  said=$(touch_port "$1" "$2" "$3")
  [[ $said == "$2 $3" ]] || {
    echo "$said"
    return 1
  }
}

# is_silent HOST ADDRESS PORT: not even a refusal comes back.
is_silent() {
  local status=0
  # shellcheck disable=SC2016 # They are the inner shell's.
  on "$1" timeout 1 bash -c 'exec 3<>"/dev/tcp/$1/$2"' is_silent "$2" "$3" || status=$?
  [[ $status == 124 ]]
}

the_rules_load_twice_and_go() {
  local once rules
  add_host ruled
  write_configuration ruled <<'END'
[common]
[mirage-ssh]
port = 22
range = 10000-59999
listen = pool
[mirage-web]
port = 80
range = 2000-2999
listen = pool
pool-port = 3000
listen-address = 0.0.0.0 fd77::1 ::1
[mirage-mail]
port = 25
range = 4000-4999
END
  on ruled nft add table inet other
  expect "the rules load" load_rules ruled ruled
  once=$(on ruled nft list ruleset)
  for rules in ssh web mail; do
    expect "there are some for the mirage $rules" grep -q "comment \"$rules\"" <<<"$once"
  done
  expect "they load once more" load_rules ruled ruled
  expect_same "which changes nothing" "$once" "$(on ruled nft list ruleset)"
  expect "they can be removed" load_rules ruled ruled --remove
  expect_same "and are gone, and nothing else is" "table inet other" "$(on ruled nft list tables)"
  expect "they can be removed where they are not" load_rules ruled ruled --remove
  expect_same "which changes nothing" "table inet other" "$(on ruled nft list tables)"
}

every_port_of_a_pool_leads_to_one_listener() {
  local family at port
  add_host pooled
  write_configuration pooled <<'END'
[common]
[mirage-ssh]
port = 22
range = 10000-59999
listen = pool
END
  start_answerer pooled :: 9999
  start_answerer pooled 127.0.0.1 20000
  start_answerer pooled 127.0.0.1 9000
  for family in v4 v6; do
    expect_same "without a rule the kernel knows no other port ($family)" ENOENT \
      "$(touch_port member "$($family pooled)" 9999)"
  done
  expect "the rules load" load_rules pooled pooled
  for family in v4 v6; do
    at=$($family pooled)
    for port in 10000 10001 34567 59999; do
      expect "the listener hears that $port was dialled ($family)" answers_as member "$at" $port
    done
    expect "above the range nobody listens ($family)" is_refused member "$at" 60000
    expect "nor at the listener's own port, it seems ($family)" is_refused member "$at" 9999
    expect_same "which nmap can't tell from a closed one ($family)" \
      "$(closed_as member $family pooled 9998)" "$(closed_as member $family pooled 9999)"
    expect "the machine itself gets in as well ($family)" answers_as pooled "$at" 10001
  done
  expect "but its loopback ports are its own" is_refused pooled 127.0.0.1 10001
  expect_same "even one in the range" "$(touch_port pooled 127.0.0.1 9000 | sed s/9000/20000/)" \
    "$(touch_port pooled 127.0.0.1 20000)"
  expect "and the listener's" is_refused pooled ::1 9999
}

# closed_as HOST FAMILY TARGET PORT: nmap's reason why the port is closed.
closed_as() {
  on "$1" nmap "-${2#v}" -n -Pn -sS --reason -p "$4" "$($2 "$3")" | sed -n "s|^$4/tcp *||p" |
    awk '{ print $1, $3, $4, $5 }'
}

a_pool_at_one_address_leaves_the_others_alone() {
  local other4=10.77.1.1 other6=fd77:ffff::1 at
  add_host double
  ip -n "$PREFIX-double" addr add $other4/16 dev eth0
  ip -n "$PREFIX-double" addr add $other6/16 dev eth0 nodad
  ip -n "$PREFIX-member" route add $other4 dev eth0
  write_configuration double <<END
[common]
[mirage-ssh]
port = 22
range = 10000-10999
listen = pool
listen-address = $other4 $other6
[mirage-local]
port = 22
range = 12000-12999
listen = pool
listen-address = 127.0.0.1
END
  for at in $other4 $other6; do
    start_answerer double "$at" 9999
  done
  start_answerer double 127.0.0.1 11999
  expect "the rules load" load_rules double double
  for at in $other4 $other6; do
    expect "the listener hears what was dialled ($at)" answers_as member "$at" 10500
  done
  for at in "$(v4 double)" "$(v6 double)"; do
    expect "another address of the machine is closed ($at)" is_refused member "$at" 10500
    start_answerer double "$at" 10501
    # Conntrack knows it, as what it is.
    expect "or has a service of its own there ($at)" answers_as member "$at" 10501
  done
  expect "a mirage that listens on the loopback by name is there" answers_as double 127.0.0.1 12345
}

what_a_router_passes_on_is_left_alone() {
  local family at port=10123
  add_host router
  add_host far
  # A host behind the router.
  ip netns add "$PREFIX-inner"
  ip -n "$PREFIX-router" link add lan type veth peer name eth0 netns "$PREFIX-inner"
  ip -n "$PREFIX-router" link set lan up
  ip -n "$PREFIX-inner" link set eth0 up
  ip -n "$PREFIX-router" addr add 10.78.0.1/24 dev lan
  ip -n "$PREFIX-inner" addr add 10.78.0.2/24 dev eth0
  ip -n "$PREFIX-router" addr add fd78::1/64 dev lan nodad
  ip -n "$PREFIX-inner" addr add fd78::2/64 dev eth0 nodad
  ip -n "$PREFIX-inner" route add default via 10.78.0.1
  ip -n "$PREFIX-inner" route add default via fd78::1
  ip -n "$PREFIX-far" route add 10.78.0.0/24 via "$(v4 router)"
  ip -n "$PREFIX-far" route add fd78::/64 via "$(v6 router)"
  on router sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
  write_configuration router <<'END'
[common]
[mirage-ssh]
port = 22
range = 10000-10999
listen = pool
END
  start_answerer router :: 9999
  start_answerer far :: $port
  expect "the rules load" load_rules router router
  for family in v4 v6; do
    # There are no rules and there is no conntrack: the router's listener would name a port.
    expect_same "the far host answers at a port of the range, and not the router ($family)" ENOENT \
      "$(touch_port inner "$($family far)" $port)"
    expect "a closed one is closed ($family)" is_refused inner "$($family far)" 10124
    expect "the router's far address leads to the router's listener ($family)" \
      answers_as inner "$($family router)" $port
  done
  for at in 10.78.0.1 fd78::1; do
    expect "so does its near one ($at)" answers_as inner $at $port
  done
}

another_firewall_needs_the_accept_rules() {
  local at
  add_host walled
  write_configuration walled <<'END'
[common]
[mirage-ssh]
port = 22
range = 10000-10999
listen = pool
[mirage-web]
port = 80
range = 20000-20999
END
  at=$(v4 walled)
  start_answerer walled :: 9999
  start_answerer walled :: 20500
  expect "the rules load" load_rules walled walled
  expect "a port of the other mirage is open" answers_as member "$at" 20500
  on walled nft -f - <<'END'
table inet wall {
  chain input {
    type filter hook input priority filter; policy drop;
    ip6 nexthdr icmpv6 accept
  }
}
END
  expect "another firewall drops what is for the pool" is_silent member "$at" 10500
  expect "and for the other mirage" is_silent member "$at" 20500
  "$SHIMMER" firewall --config "$FOLDER/walled.conf" |
    sed -n 's/^\t\t\(.* accept comment .*\)/add rule inet wall input \1/p' | on walled nft -f -
  for at in "$(v4 walled)" "$(v6 walled)"; do
    expect "with the accept rules the pool can be reached ($at)" answers_as member "$at" 10500
    expect "and the other mirage ($at)" answers_as member "$at" 20500
    expect "a closed port says nothing ($at)" is_silent member "$at" 9998
    expect "nor does the listener's own ($at)" is_silent member "$at" 9999
  done
}

ssh_gets_in_through_a_pool() {
  local range=30000:30999 family first turns
  add_host pool
  start_sshd pool
  start_daemon pool pool <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 30000-30999
period = 5s
listen = pool
END
  expect "the rules load" load_rules pool pool
  for family in v4 v6; do
    expect "ssh gets in ($family)" enters member "$($family pool)" "$(real_port $range 5s)"
  done
  first=$(real_port $range 5s)
  expect "the log names the port that was dialled" has_logged pool accept \
    "source=$(v6 member) port=30[0-9]* client-address=127\."

  open_session pooled member "$(v4 pool)" "$first" "$(v4 pool)" cat
  expect "a session is there" answers pooled hello
  expect_same "one port listens" 29999 "$(listening_ports pool 29999 30999)"
  for _ in 1 2; do
    turns=$(logged pool rotate)
    expect "the minute turns" wait_for 10 has_logged pool rotate '' $((turns + 1))
    expect_same "no port has opened or closed" 29999 "$(listening_ports pool 29999 30999)"
    expect "ssh gets in at the port of now" enters member "$(v4 pool)" "$(real_port $range 5s)"
  done
  expect "the session is alive" answers pooled "two turns later"
  expect "the rules load again" load_rules pool pool
  expect "the session is alive" answers pooled "with the rules loaded again"
  expect_same "nobody was banned" 0 "$(logged pool ban)"
}

a_half_open_scan_of_a_pool_sees_every_port() {
  local family
  add_host basin
  add_host surveyor
  start_sshd basin
  start_daemon basin basin <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 31000-31999
period = 1h
listen = pool
END
  expect "the rules load" load_rules basin basin
  for family in v4 v6; do
    expect_same "nmap sees every port open ($family)" "$(seq 31000 31999)" \
      "$(syn_scan surveyor $family 31000-31999 basin)"
  done
  expect "ssh from there gets in: nobody is banned for half a handshake" \
    enters surveyor "$(v4 basin)" "$(real_port 31000:31999 1h)"
  expect_same "the log has no ban" 0 "$(logged basin ban)"
}

# wrong_port LOW HIGH: one that is the real one of no hour nearby, however far off a clock may be.
wrong_port() {
  comm -23 <(seq "$1" "$2") <(
    for window in {-17..17}; do real_port "$1:$2" 1h "$window"; done | sort -n
  ) | shuf -n 1
}

a_wrong_port_of_a_pool_bans() {
  local range=32000:32999 family at port
  add_host swamp
  start_sshd swamp
  start_daemon swamp swamp <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 32000-32999
period = 1h
listen = pool
END
  add_host guesser
  expect "the rules load" load_rules swamp swamp
  for family in v4 v6; do
    at=$($family swamp)
    port=$(wrong_port 32000 32999)
    expect "a wrong port is open ($family)" touch_port guesser "$at" "$port"
    expect "whoever dials it is banned, and the log has the port that he dialled ($family)" \
      wait_for 5 has_logged swamp ban "source=$($family guesser) port=$port seconds=900 mirage=ssh"
    expect "ssh from there is refused at the real port ($family)" \
      fails enters guesser "$at" "$(real_port $range 1h)"
    expect "ssh of the member gets in ($family)" enters member "$at" "$(real_port $range 1h)"
  done
  expect_same "two addresses, two bans" 2 "$(logged swamp ban)"
}

a_missing_redirect_bans_nobody() {
  local family
  add_host dry
  start_sshd dry
  start_daemon dry dry <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 33000-33999
period = 1h
listen = pool
END
  for family in v4 v6; do
    # Without the rules, the listener's port is open.
    for _ in 1 2 3; do
      expect_same "the listener's own port says nothing ($family)" '' \
        "$(touch_port member "$($family dry)" 32999)"
    done
  done
  expect "the log says that the redirect is missing" wait_for 5 has_logged dry warn redirect
  expect_same "and does so once" 1 "$(logged dry warn redirect)"
  expect_same "nobody was banned" 0 "$(logged dry ban)"

  expect "the rules load" load_rules dry dry
  # Another's rule, from outside the range.
  on dry nft -f - <<'END'
table inet stray {
  chain prerouting {
    type nat hook prerouting priority -110; policy accept;
    tcp dport 4444 redirect to :32999
  }
}
END
  for family in v4 v6; do
    expect_same "a port from outside the range says nothing ($family)" '' \
      "$(touch_port member "$($family dry)" 4444)"
    expect "ssh gets in ($family)" enters member "$($family dry)" "$(real_port 33000:33999 1h)"
  done
  expect_same "nobody was banned" 0 "$(logged dry ban)"
}
