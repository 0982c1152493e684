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
