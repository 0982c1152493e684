# A network of our own. (Sourced by tests/real/run.)
#
# Every host is a network namespace at one switch, with the addresses 10.77.0.N and fd77:N::N. Each
# has a /48 of its own in IPv6, because bans hold for more than one address there.
# shellcheck shell=bash

PREFIX=shimmer-$$
declare -A NUMBER=()

# on HOST COMMAND…
on() {
  ip netns exec "$PREFIX-$1" "${@:2}"
}

v4() {
  echo "10.77.0.${NUMBER[$1]}"
}

v6() {
  echo "fd77:${NUMBER[$1]}::${NUMBER[$1]}"
}

make_network() {
  ip netns add "$PREFIX-switch"
  ip -n "$PREFIX-switch" link add switch type bridge
  ip -n "$PREFIX-switch" link set switch up
  add_host server
  add_host member
}

# add_host NAME [without-ipv6]
add_host() {
  local number=$((${#NUMBER[@]} + 1)) host=$PREFIX-$1
  NUMBER[$1]=$number
  ip netns add "$host"
  if [[ ${2:-} == without-ipv6 ]]; then
    on "$1" sysctl -q net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  fi
  ip -n "$PREFIX-switch" link add "port$number" type veth peer name eth0 netns "$host"
  ip -n "$PREFIX-switch" link set "port$number" master switch up
  ip -n "$host" link set lo up
  ip -n "$host" link set eth0 up
  ip -n "$host" addr add "$(v4 "$1")/24" dev eth0
  # Without duplicate address detection it can be used at once.
  [[ ${2:-} == without-ipv6 ]] || ip -n "$host" addr add "$(v6 "$1")/16" dev eth0 nodad
}

namespaces() {
  ip netns list | awk -v prefix="$PREFIX-" 'index($1, prefix) == 1 { print $1 }'
}

# Ends whatever still runs there, too: a namespace lives as long as a process in it.
remove_network() {
  local namespace pids
  for namespace in $(namespaces); do
    pids=$(ip netns pids "$namespace")
    # shellcheck disable=SC2086 # One word a process.
    [[ -z $pids ]] || kill -KILL $pids 2>/dev/null || true
    ip netns del "$namespace"
  done
}

# The ports of the range LOW-HIGH at which a host listens, each once.
listening_ports() {
  on "$1" ss -Htln "sport >= :$2 and sport <= :$3" | awk '{ sub(/.*:/, "", $4); print $4 }' | sort -nu
}

# touch_port HOST ADDRESS PORT: finishes a handshake, and prints the first line that the port says
# within two seconds. 0: it was open.
touch_port() {
  # shellcheck disable=SC2016 # They are the inner shell's.
  on "$1" timeout 5 bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    read -r -t 2 -u 3 line || true
    echo "$line"
  ' touch_port "$2" "$3" 2>&1
}
