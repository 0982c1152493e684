# The network, the hidden services and the daemon in the machine. (Sourced by init.)
#
# The machine is the server, at 10.77.0.1 and fd77:1::1. The member is a namespace, with more addresses than one.
# shellcheck shell=dash

SECRET=b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai
SERVER=10.77.0.1
SERVER6=fd77:1::1
MEMBER=10.77.0.2
MEMBER6=fd77:2::2
# Whoever is to be banned.
STRANGER=10.77.0.3
# Of each daemon that runs: its name and its process.
DAEMONS=

# Busybox has an ip that knows no namespaces.
ip() {
	/usr/bin/ip "$@"
}

make_network() {
	echo 'root:x:0:0:root:/tmp:/bin/sh
shimmer:x:453:453::/:/bin/false' >/etc/passwd
	chmod 644 /etc/passwd
	echo "$SECRET" >/tmp/secret
	ip link set lo up
	ip netns add member
	ip link add eth0 type veth peer name eth0 netns member
	ip addr add "$SERVER/24" dev eth0
	ip addr add "$SERVER6/16" dev eth0 nodad
	ip link set eth0 up
	ip -n member addr add "$MEMBER/24" dev eth0
	ip -n member addr add "$STRANGER/24" dev eth0
	ip -n member addr add "$MEMBER6/16" dev eth0 nodad
	ip -n member link set lo up
	ip -n member link set eth0 up
	guest echo 7 >/tmp/echo.txt &
	nc -ll -p 8 -e dd if=/dev/zero bs=64k count=512 2>/dev/null &
}

member() {
	ip netns exec member "$@"
}

# touch_port SOURCE PORT: one visit of the member's host from this address.
touch_port() {
	local to=$SERVER
	[ "$1" != "$MEMBER6" ] || to=$SERVER6
	member guest touch "$1" "$to" "$2" 2>&1
}

# write_configuration NAME <CONFIGURATION: log, state file, control and secret are put in. A mirage whose name begins
# with `keyless` gets no secret.
write_configuration() {
	sed "s|^\[common\]\$|&\nlog = /tmp/$1.log\nstate-file = /tmp/$1.state\ncontrol = /tmp/$1.control|
		/^\[mirage-keyless/!s|^\[mirage-.*|&\nsecret-file = /tmp/secret|" >"/tmp/$1.conf"
	# Tokens and datagrams count at once.
	! grep -q '^gate = \(token\|packet\)' "/tmp/$1.conf" || guest used "/tmp/$1.state.used"
}

# start_daemon NAME <CONFIGURATION
start_daemon() {
	write_configuration "$1"
	run_daemon "$1"
}

# run_daemon NAME: with the configuration that is there.
run_daemon() {
	rm -f "/tmp/$1.log"
	shimmer daemon --config "/tmp/$1.conf" </dev/null 2>"/tmp/$1.stderr" &
	DAEMONS="$DAEMONS $1:$!"
	wait_for 120 has_started "$1"
	if has_logged "$1" listen; then
		ok "the daemon $1 starts"
	else
		fail "the daemon $1 starts" "$(cat "/tmp/$1.stderr" "/tmp/$1.log" 2>&1)"
	fi
}

# It serves, or has given up.
has_started() {
	has_logged "$1" listen || ! kill -0 "$(pid_of "$1")"
}

# pid_of NAME
pid_of() {
	echo "$DAEMONS" | tr ' ' '\n' | sed -n "s/^$1://p"
}

# stop_daemon NAME [SIGNAL]: ends it, with its exit code.
stop_daemon() {
	local pid
	pid=$(pid_of "$1")
	DAEMONS=$(echo "$DAEMONS" | sed "s/ $1:$pid//")
	kill "-${2:-TERM}" "$pid"
	wait "$pid"
}

stop_daemons() {
	local each code
	for each in $DAEMONS; do
		code=0
		stop_daemon "${each%:*}" || code=$?
		[ "$code" = 0 ] || fail "the daemon ${each%:*} ends with 0" "it ends with $code"
		[ "$(logged "${each%:*}" warn sandbox)" = 0 ] ||
			fail "the sandbox of ${each%:*} allows all that it needs" "$(grep ' warn sandbox' "/tmp/${each%:*}.log")"
	done
}

# logged NAME VERB [PATTERN]: how many lines there are.
logged() {
	grep -c "^[^ ]* $2.*${3-}" "/tmp/$1.log" 2>/dev/null
}

# has_logged NAME VERB [PATTERN] [TIMES]
has_logged() {
	local lines
	lines=$(logged "$1" "$2" "${3-}")
	[ "${lines:-0}" -ge "${4:-1}" ]
}

# is_quiet NAME: its log has no warning and no error.
is_quiet() {
	fails grep '^[^ ]* \(warn\|error\) ' "/tmp/$1.log"
}

# ports NAME MIRAGE WHAT: a list of the daemon's, by status: a key costs this processor seconds.
ports() {
	shimmer status --json --ports --config "/tmp/$1.conf" |
		sed -n "s/^{\"mirage\":\"$2\",.*\"$3\":\[\([0-9,]*\)\].*/\1/p"
}

# real_port NAME MIRAGE
real_port() {
	ports "$1" "$2" real | cut -d , -f 2
}

# trap_port NAME MIRAGE: the first open port that is real in no window nearby. Those last an hour or more here.
trap_port() {
	local real port
	real=,$(ports "$1" "$2" real),
	for port in $(ports "$1" "$2" ports | tr , ' '); do
		case $real in
		*",$port,"*) ;;
		*) echo "$port" && return ;;
		esac
	done
}

# enters SOURCE NAME MIRAGE: the service answers. A port that has turned meanwhile is tried again.
enters() {
	local said
	for _ in 1 2 3; do
		said=$(touch_port "$1" "$(real_port "$2" "$3")")
		[ "$said" != "said hello" ] || return 0
	done
	echo "$said"
	return 1
}

# connects MIRAGE NAME [ADDRESS]: by `shimmer connect` of the member's.
connects() {
	local said
	said=$(echo hello | member shimmer connect "$1" "${3:-$SERVER}" --config "/tmp/$2.conf" 2>&1)
	[ "$said" = hello ] || {
		echo "$said"
		return 1
	}
}
