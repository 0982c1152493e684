# What is shown in the machine. (Sourced by init.)
#
# A key takes this processor seconds. So daemons have few mirages, most visitors come by the ports of `shimmer status`,
# and windows last a day where nothing has to turn.
# shellcheck shell=dash

# init runs them.
# shellcheck disable=SC2034
CHECKS='
	the_program_runs
	the_ports_turn
	who_refuses_is_told
	a_trap_bans
	bans_live_on_over_a_restart
	a_token_gets_in
	bulk_goes_by_splice
	the_service_sees_each_visitor
	two_hundred_sessions_fit
	a_pool_gets_in
	knocks_and_a_datagram_get_in
	commands_open_and_close
	a_set_has_who_was_let_in
	stop_closes
	user_drops_root
	the_sandbox_is_on
	a_crash_is_in_the_log
	the_clock_is_set
'

the_program_runs() {
	expect "it says its version" has_line '^shimmer [0-9]' "$(said shimmer --version)"
	expect_same "so does its other name" "$(shimmer --version)" "$(shimmerd --version)"
	expect "a secret is made" grep -qxE '[a-z2-7]{32}' "$(said shimmer keygen)"
	# Of tests/scheme-vectors.tsv.
	expect_same "the port of a minute" 10473 "$(SHIMMER_SECRET=password shimmer port ssh:10000:10999 --at 1794000000)"
	expect_same "and of one after 2106" 10840 "$(SHIMMER_SECRET=password shimmer port ssh:10000:10999 --at 4294967296)"
}

# has_line PATTERN FILE: shows the file if it has none.
has_line() {
	grep -q "$1" "$2" || {
		cat "$2"
		return 1
	}
}

# said COMMAND…: the file with what it prints.
said() {
	"$@" >/tmp/said 2>&1
	echo /tmp/said
}

the_ports_turn() {
	local turn
	start_daemon turning <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 26000-26999
		period = 5s
	END
	for turn in 1 2 3; do
		expect "turn $turn is in the log" wait_for 10 has_logged turning rotate '' "$turn"
		expect "a visitor gets in after it" enters "$MEMBER" turning ssh
		expect "and one by IPv6" enters "$MEMBER6" turning ssh
	done
	expect "the log has no warning and no error" is_quiet turning
}

who_refuses_is_told() {
	local code=0
	expect_same "a closed port refuses" refused "$(touch_port "$MEMBER" 9999)"
	member shimmer connect ssh:23000:23999 "$SERVER" --secret-file /tmp/secret >/tmp/said 2>&1 || code=$?
	expect_same "connect fails" 1 $code
	expect "and says who refused it" has_line "$SERVER refused the ports of" /tmp/said
	start_daemon refused <<-END || return
		[common]
		[mirage-ssh]
		port = 1
		range = 26000-26999
		period = 1d
	END
	expect_same "where the service refuses, the visitor is let go" closed "$(touch_port "$MEMBER" "$(real_port refused ssh)")"
	expect "the log says why" wait_for 5 has_logged refused error "source=$MEMBER .*Connection refused"
	expect_same "and nobody is banned" 0 "$(logged refused ban)"
}

a_trap_bans() {
	local real trap
	start_daemon bans <<-END || return
		[common]
		ban-time = 15s
		[mirage-ssh]
		port = 7
		range = 10000-10999
		period = 1d
	END
	real=$(real_port bans ssh)
	trap=$(trap_port bans ssh)
	expect_same "a stranger is held at a trap" held "$(touch_port "$STRANGER" "$trap")"
	expect "and banned" wait_for 5 has_logged bans ban "source=$STRANGER port=$trap"
	expect_same "the real port lets them go" closed "$(touch_port "$STRANGER" "$real")"
	expect_same "another address gets in" 'said hello' "$(touch_port "$MEMBER" "$real")"
	shimmer status "$STRANGER" --config bans.conf >/tmp/said
	expect "status says so" has_line "^$STRANGER is banned" /tmp/said
	expect "the ban ends" wait_for 20 has_logged bans unban "source=$STRANGER"
	expect_same "and they get in" 'said hello' "$(touch_port "$STRANGER" "$real")"
}

bans_live_on_over_a_restart() {
	start_daemon again <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 10000-10999
		period = 1d
	END
	expect "a ban by hand" shimmer ban "$STRANGER" --config again.conf
	expect "is in the log" wait_for 5 has_logged again ban "source=$STRANGER"
	stop_daemon again || fail "it ends"
	run_daemon again || return
	expect "and knows who is banned" has_logged again state bans=1
	kill -HUP "$(pid_of again)"
	expect "it reloads" wait_for 60 has_logged again reload
	expect "an unban by hand" shimmer unban "$STRANGER" --config again.conf
	expect_same "lets them in" 'said hello' "$(touch_port "$STRANGER" "$(real_port again ssh)")"
}

a_token_gets_in() {
	start_daemon token <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 10000-10999
		gate = token
		trap-time = 4s
		[mirage-cat]
		exec = /bin/cat
		range = 11000-11999
		gate = token
		trap-time = 4s
	END
	expect "a member gets in" connects ssh token
	expect "by IPv6, too" connects ssh token "$SERVER6"
	expect "and to a command" connects cat token
	expect_same "without a token they are held" held "$(touch_port "$MEMBER" "$(real_port token ssh)")"
	expect "and banned" wait_for 10 has_logged token ban "source=$MEMBER .*mirage=ssh"
	expect "with one they get in" connects ssh token
	expect "which ends the ban" wait_for 5 has_logged token unban "source=$MEMBER .*by=token"
}

# The daemon copies small messages itself, so this counts what it has not read.
bulk_goes_by_splice() {
	local bytes=33554432 before read
	start_daemon bulk <<-END || return
		[common]
		[mirage-bulk]
		port = 8
		range = 10000-10999
		period = 1d
	END
	before=$(bytes_read bulk)
	expect_same "32 MiB arrive" $bytes "$(member nc "$SERVER" "$(real_port bulk bulk)" </dev/null | wc -c)"
	expect "as the log says" wait_for 5 has_logged bulk close "bytes-out=$bytes .*end=closed"
	read=$(($(bytes_read bulk) - before))
	expect "and went by splice, but for $read bytes" [ $read -lt 200000 ]
}

# bytes_read NAME: by the daemon itself (proc(5), io).
bytes_read() {
	sed -n 's/^rchar: //p' "/proc/$(pid_of "$1")/io"
}

the_service_sees_each_visitor() {
	local first second
	start_daemon visitors <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 10000-10999
		period = 1d
	END
	expect "a visitor gets in" enters "$MEMBER" visitors ssh
	first=$(tail -n 1 echo.txt)
	expect "another one gets in" enters "$STRANGER" visitors ssh
	second=$(tail -n 1 echo.txt)
	expect "the service sees the one at $first" is_derived "$first"
	expect "and the other at $second" is_derived "$second"
	expect "which is another address" [ "$first" != "$second" ]
	expect "the log has it" has_logged visitors accept "source=$MEMBER .*client-address=$first\$"
	shimmer status "$first" --config visitors.conf >/tmp/said
	expect "status says whose it is" has_line "^$first is $MEMBER at ssh" /tmp/said
}

is_derived() {
	case $1 in
	127.0.* | 127.255.*) return 1 ;;
	127.*) ;;
	*) return 1 ;;
	esac
}

# Seen on mipsel: 792 KB without sessions, 908 with them; half of that are the program's own pages.
MOST_KB=1200

two_hundred_sessions_fit() {
	local holder
	start_daemon many <<-END || return
		[common]
		max-sessions = 300
		[mirage-ssh]
		port = 7
		range = 10000-10999
		period = 1d
	END
	fits many "without sessions"
	guest hold 127.0.0.1 "$(real_port many ssh)" 200 >/tmp/said 2>&1 &
	holder=$!
	expect "there are 200 sessions" wait_for 60 grep -qx '200 sessions' /tmp/said
	fits many "with them"
	kill $holder
	expect "all end" wait_for 60 has_no_sessions many
	fits many "after them"
}

has_no_sessions() {
	shimmer status --config "/tmp/$1.conf" | grep -qx 'sessions: 0'
}

# fits NAME WHEN
fits() {
	local kb
	kb=$(kb_of "$1" Rss)
	expect "$2 it has $kb KB resident, $(kb_of "$1" Anonymous) of its own; $MOST_KB at most" [ "$kb" -le $MOST_KB ]
}

# kb_of NAME WHAT: counted page by page: the kernel's own count (VmRSS) is late by many (proc(5), smaps_rollup).
kb_of() {
	sed -n "s/^$2: *\([0-9]*\) kB\$/\1/p" "/proc/$(pid_of "$1")/smaps_rollup"
}

# load_rules NAME: those that this daemon's configuration needs.
load_rules() {
	shimmer firewall --config "/tmp/$1.conf" 2>/dev/null | nft -f -
}

remove_rules() {
	shimmer firewall --remove | nft -f -
}

a_pool_gets_in() {
	local real wrong=20500
	start_daemon pool <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 20000-20999
		listen = pool
		period = 1d
	END
	expect "its rules load" load_rules pool
	real=$(real_port pool ssh)
	while echo ",$(ports pool ssh real)," | grep -q ",$wrong,"; do
		wrong=$((wrong + 1))
	done
	expect_same "the port that all lead to refuses" refused "$(touch_port "$MEMBER" 19999)"
	expect_same "the real port leads in" 'said hello' "$(touch_port "$MEMBER" "$real")"
	expect_same "by IPv6, too" 'said hello' "$(touch_port "$MEMBER6" "$real")"
	expect_same "another port is a trap" held "$(touch_port "$STRANGER" $wrong)"
	expect "that bans" wait_for 5 has_logged pool ban "source=$STRANGER port=$wrong"
	expect "the rules go" remove_rules
	expect_same "and then the port is closed" refused "$(touch_port "$MEMBER" "$real")"
}

knocks_and_a_datagram_get_in() {
	start_daemon silent <<-END || return
		[common]
		[mirage-knock]
		port = 7
		range = 12000-12299
		gate = knock
		protocols = mixed
		period = 1h
		[mirage-packet]
		port = 7
		range = 13000-13299
		gate = packet
		period = 1h
	END
	expect_same "the log has no warning: there is a packet socket" 0 "$(logged silent warn)"
	expect_same "no port of theirs is open" '' "$(ports silent knock ports)$(ports silent packet ports)"
	expect_same "a port of theirs refuses" refused "$(touch_port "$STRANGER" 12000)"
	expect "the rules load" load_rules silent
	expect "and now it is silent" is_silent "$STRANGER" 12000
	expect "a member gets in by knocks" connects knock silent
	expect "who is let in for a while" has_logged silent open "mirage=knock source=$MEMBER seconds=30"
	expect "and by a datagram" connects packet silent
	expect "by IPv6, too" connects packet silent "$SERVER6"
	expect "to others the real port is silent" is_silent "$STRANGER" "$(real_port silent packet)"
	expect "the rules go" remove_rules
	expect_same "nobody is banned" 0 "$(logged silent ban)"
}

# is_silent SOURCE PORT: it does not answer within two seconds.
is_silent() {
	local said code=0
	said=$(timeout 2 /usr/bin/ip netns exec member guest touch "$1" "$SERVER" "$2" 2>&1) || code=$?
	echo "it ended with $code and said: $said"
	[ $code = 143 ]
}

commands_open_and_close() {
	start_daemon commands <<-END || return
		[common]
		[mirage-keyless-door]
		gate = knock
		sequence = 7000,8000:udp,9000
		door = command
		open-command = /bin/sh -c "echo open %IP% %FAMILY% >>/tmp/ran"
		close-command = /bin/sh -c "echo close %IP% >>/tmp/ran"
		open-timeout = 2s
		[mirage-demand]
		port = 2222
		range = 10000-10999
		period = 1d
		open-command = /bin/sh -c "guest echo 2222 >/dev/null 2>&1 & echo \$! >/tmp/demand.pid"
		close-command = /bin/sh -c "kill \$(cat /tmp/demand.pid)"
		open-timeout = 2s
		ready-timeout = 20s
	END
	expect "knocks go out" member shimmer knock "$SERVER" 7000 8000:udp 9000
	expect "the command has run" wait_for 10 grep -qx "open $MEMBER ipv4" ran
	expect "and the other one after it" wait_for 10 grep -qx "close $MEMBER" ran
	expect "a service on demand answers" enters "$MEMBER" commands demand
	expect "and is ended" wait_for 10 has_logged commands shut 'mirage=demand service'
	expect "its process is gone" wait_for 5 fails kill -0 "$(cat demand.pid)"
	expect_same "the log has no error" 0 "$(logged commands error)"
}

a_set_has_who_was_let_in() {
	write_configuration set <<-END
		[common]
		[mirage-keyless-set]
		gate = knock
		sequence = 7000,8000:udp,9000
		door = nft
		open-set = inet/shimmer/home
		open-port = 8
		open-timeout = 5s
	END
	# Before the daemon looks for them, as at a router's start.
	expect "its rules load" load_rules set
	run_daemon set || return
	expect "the port behind the set is silent" is_silent "$MEMBER" 8
	expect "a member knocks" member shimmer knock "$SERVER" 7000 8000:udp 9000
	expect "and is in the set" wait_for 10 is_in_set "$MEMBER"
	expect "and gets in" arrives
	expect "when their time is over they are out of it" wait_for 10 fails is_in_set "$MEMBER"
	expect "and the port is silent again" is_silent "$MEMBER" 8
	expect "the log has no warning and no error" is_quiet set
	expect "the rules go" remove_rules
}

is_in_set() {
	nft list set inet shimmer home4 | grep -q "$1"
}

# Somebody gets the first bytes of the service at port 8.
arrives() {
	[ "$(member nc "$SERVER" 8 </dev/null | head -c 1000 | wc -c)" = 1000 ]
}

stop_closes() {
	local code=0
	start_daemon stopping <<-END || return
		[common]
		[mirage-keyless-door]
		gate = knock
		sequence = 7000,8000:udp,9000
		door = command
		open-command = /bin/sh -c "echo open >>/tmp/stopped"
		close-command = /bin/sh -c "sleep 1; echo close >>/tmp/stopped"
		open-timeout = 1h
		[mirage-keyless-set]
		gate = knock
		sequence = 7001,8001:udp,9001
		door = nft
		open-set = inet/shimmer/home
		open-port = 8
		open-timeout = 1h
	END
	expect "its rules load" load_rules stopping
	expect "a member knocks" member shimmer knock "$SERVER" 7000 8000:udp 9000
	expect "at both" member shimmer knock "$SERVER" 7001 8001:udp 9001
	expect "the command has run" wait_for 10 grep -qx open stopped
	expect "and the member is in the set" wait_for 10 is_in_set "$MEMBER"
	stop_daemon stopping || code=$?
	expect_same "the daemon ends" 0 $code
	expect_same "by then the door is closed" 'open close' "$(xargs <stopped)"
	expect "and the set is empty" fails is_in_set "$MEMBER"
	expect "the rules go" remove_rules
}

user_drops_root() {
	local status
	# A secret of root's could not be read again.
	write_configuration user <<-END
		[common]
		user = shimmer
		[mirage-keyless-ssh]
		secret = $SECRET
		port = 7
		range = 900-1199
		period = 1d
	END
	chown shimmer user.conf
	run_daemon user || return
	status=$(awk '/^Uid:|^CapEff:/ { print $2 }' "/proc/$(pid_of user)/status" | xargs)
	# Ports below 1024 take the one capability (CAP_NET_BIND_SERVICE).
	expect_same "it is the user, with one capability" '453 0000000000000400' "$status"
	expect "a visitor gets in" enters "$MEMBER" user keyless-ssh
}

# That no call of the others was refused is seen when they stop.
the_sandbox_is_on() {
	start_daemon closed <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 10000-10999
		period = 1d
	END
	expect "the log says so" has_logged closed start sandbox=on
	expect "and that it guards files" fails has_logged closed start landlock=no
	expect_same "the kernel filters its calls" 2 \
		"$(awk '/^Seccomp:/ { print $2 }' "/proc/$(pid_of closed)/status")"
	expect "a visitor gets in" enters "$MEMBER" closed ssh
	sed -i 's|^log = .*|log = /run/elsewhere|' closed.conf
	kill -HUP "$(pid_of closed)"
	expect "a log elsewhere takes a restart" wait_for 10 has_logged closed error 'takes a restart'
	expect_same "a visitor still gets in" 'said hello' "$(touch_port "$MEMBER" "$(real_port closed ssh)")"
}

a_crash_is_in_the_log() {
	local code=0
	start_daemon crash <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 10000-10999
		period = 1d
	END
	stop_daemon crash SEGV 2>/dev/null || code=$?
	expect_same "it ends by the signal" 139 $code
	expect "the log says where" has_line 'crash signal=11 address=0x' crash.log
}

the_clock_is_set() {
	local now
	start_daemon clock <<-END || return
		[common]
		[mirage-ssh]
		port = 7
		range = 10000-10999
		period = 1d
	END
	expect "a visitor gets in" enters "$MEMBER" clock ssh
	now=$(date +%s)
	guest clock $((now + 350000))
	expect "a step forward is seen at once" wait_for 5 has_logged clock clock 'step=+'
	expect "and the ports turn" wait_for 5 has_logged clock rotate
	expect "the new port leads in" enters "$MEMBER" clock ssh
	guest clock $((now + 343000))
	expect "a step back is seen at once" wait_for 5 has_logged clock clock 'step=-[67][0-9][0-9][0-9]'
	guest clock 2208988800
	expect "so is 2040" wait_for 5 grep -q '^2040-01-01T00:00.* rotate' clock.log
	expect "the port of 2040 leads in" enters "$MEMBER" clock ssh
	expect "connect computes the same one" connects ssh clock
	expect "the log has no warning and no error" is_quiet clock
}
