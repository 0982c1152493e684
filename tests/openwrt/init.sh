# openwrt/test-package, the init script: what it gives procd, the firewall and the daemon, and what it
# takes away again.
#
# It runs unchanged through busybox's ash, in a root folder of its own that has stand-ins for OpenWrt's
# functions, and with the real program for everything that it asks the daemon.
# shellcheck shell=bash
# shellcheck disable=SC2154 # openwrt/test-package sets them: account, here, program, root, work.

# A router that has never been on, with this for its /etc/config/shimmer.
router() {
  local library
  rm -rf "$router"
  mkdir -p "$router"/{bin,dev,tmp,proc/sys/net/ipv4,etc/config,etc/init.d,etc/hotplug.d/ntp}
  cp -a "$here"/router/. "$router"
  cp "$(command -v busybox)" "$router/bin/busybox"
  chroot "$router" /bin/busybox --install -s /bin
  ln -s tmp "$router/var"
  : >"$router/dev/null"
  printf 'root:x:0:0:root:/root:/bin/ash\nshimmer:x:%d:%d::/:/bin/false\n' "$account" "$account" \
    >"$router/etc/passwd"
  printf 'root:x:0:\nshimmer:x:%d:\n' "$account" >"$router/etc/group"
  echo '32768	60999' >"$router/proc/sys/net/ipv4/ip_local_port_range"
  echo '8080,10500-10600' >"$router/proc/sys/net/ipv4/ip_local_reserved_ports"
  echo 192.168.1.1/24 >"$router/tmp/subnets"
  echo 'fd12:3456:789a:ab5f::1/60 2001:db8::1234/64' >"$router/tmp/subnets6"
  cp "$root/openwrt/files/etc/init.d"/shimmer{,-doors} "$router/etc/init.d/"
  cp "$root/openwrt/files/etc/hotplug.d/ntp/25-shimmer" "$router/etc/hotplug.d/ntp/"
  cp "$program" "$router/usr/sbin/shimmer"
  for library in $(ldd "$program" | grep -o '/[^ ]*'); do
    mkdir -p "$router${library%/*}"
    cp -L "$library" "$router$library"
  done
  install -m 0600 /dev/stdin "$router/etc/config/shimmer"
  : >"$router/tmp/calls"
}

# Runs something there.
there() {
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$router" "$@"
}

service() {
  there /etc/init.d/shimmer "$@" >"$router/tmp/stdout" 2>"$router/tmp/stderr"
}

# What has been called since the last time that somebody asked.
calls() {
  cat "$router/tmp/calls" >"$calls"
  : >"$router/tmp/calls"
}

# Whether a line like this is among the calls.
called() {
  grep -qxE "$1" "$calls"
}

# The configuration that the daemon would read.
configuration() {
  cat "$router/tmp/etc/shimmer/shimmer.conf"
}

has_line() {
  configuration | grep -qxF "$1"
}

# The reserved ports, one a line, whatever the ranges that they are written as.
reserved_ports() {
  tr , '\n' <"$router/proc/sys/net/ipv4/ip_local_reserved_ports" | while IFS=- read -r low high; do
    [[ -z $low ]] || seq "$low" "${high:-$low}"
  done | sort -un
}

these_ports() {
  local range
  for range; do
    seq "${range%-*}" "${range#*-}"
  done | sort -un
}

reserves() {
  cmp -s <(reserved_ports) <(these_ports "$@")
}

nothing_is_left() {
  [[ ! -e $router/tmp/etc/shimmer && ! -e $router/tmp/running ]]
}

logged() {
  grep -qF -- "$1" "$router/tmp/stderr"
}

one_mirage() {
  cat <<'END'
config shimmer 'main'
	option enabled '1'

config mirage 'home'
	option secret 'b4xq7lhk2mzvtrs5n3wpyd6cgjeufoai'
	option port '22'
	option range '10000-10999'
END
  printf '\t%s\n' "$@"
}

test_disabled() {
  router <"$root/openwrt/files/etc/config/shimmer"
  expect "disabled: start succeeds" service start
  calls
  expect "disabled: no instance" fails called 'procd_open_instance.*'
  expect "disabled: no secret is made" fails there uci get shimmer.home.secret
  expect "disabled: it says how to enable it" logged 'uci set shimmer.main.enabled=1'
  expect "disabled: a change of the configuration will be noticed" called "procd_add_reload_trigger 'shimmer'"
  expect "disabled: no ports are reserved" reserves 8080 10500-10600
}

test_first_start() {
  local secret
  router <"$root/openwrt/files/etc/config/shimmer"
  there sh -c "printf 'set shimmer.main.enabled=1\ncommit shimmer\n' | uci batch"
  expect "first start: succeeds" service start
  calls
  secret=$(there uci get shimmer.home.secret)
  expect "first start: a secret is in uci" matches "$secret" '^[a-z2-7]{32}$'
  expect "first start: the file stays private" is_mode "$router/etc/config/shimmer" 600
  expect "first start: the daemon has that secret" has_line "secret = $secret"
  expect "first start: the hint names the way to it" called "logger.*uci show shimmer\.home\.secret'"
  expect "first start: the secret is in no log and no call" fails grep -qF "$secret" "$calls" "$router/tmp/stderr"
  expect "first start: it has the defaults of a router" has_line 'clock = wait'
  expect "first start: it logs to syslog" has_line 'log = syslog'
  expect "first start: the LAN's networks are allowed" \
    has_line 'allow = 192.168.1.0/24 fd12:3456:789a:ab50:0:0:0:0/60 2001:db8:0:0:0:0:0:0/64'
  expect "first start: the configuration is private" is_mode "$router/tmp/etc/shimmer/shimmer.conf" 640
  expect "first start: the configuration is root's, and the daemon may read it" \
    test "$(stat -c %u:%g "$router/tmp/etc/shimmer/shimmer.conf")" = "0:$account"
  expect "first start: the daemon may write its state" is_owner "$router/tmp/lib/shimmer" "$account"
  expect "first start: the command" \
    called "procd_set_param 'command' '/usr/sbin/shimmer' 'daemon' '--config' '/var/etc/shimmer/shimmer.conf'"
  expect "first start: a new program or new rights are a new start" \
    called "procd_set_param 'file' '/usr/sbin/shimmer' '/var/etc/shimmer/caps.json'"
  expect "first start: respawn" called "procd_set_param 'respawn'"
  expect "first start: a user of its own" called "procd_set_param 'user' 'shimmer'"
  expect "first start: no new privileges" called "procd_set_param 'no_new_privs' '1'"
  expect "first start: a jail with the log" called "procd_add_jail 'shimmer' 'log'"
  expect "first start: the jail can read the configuration's folder" called "procd_add_jail_mount '/var/etc/shimmer'"
  expect "first start: the jail knows the boot" called "procd_add_jail_mount '/proc/sys/kernel/random/boot_id'"
  expect "first start: the jail can write two folders" \
    test "$(grep -c procd_add_jail_mount_rw "$calls")" = 2
  expect "first start: no capability" \
    test "$(jq -c '[.[] | length] | add' "$router/tmp/etc/shimmer/caps.json")" = 0
  expect "first start: the firewall opens the range" called "json_add_string 'dest_port' '10000-10999'"
  expect "first start: on WAN" called "json_add_string 'src' 'wan'"
  expect "first start: the firewall is told" called "procd_set_config_changed 'firewall'"
  expect "first start: the range is reserved beside what was" reserves 8080 10000-10999
  expect "first start: no rules of our own" fails called 'nft.*'
  expect "first start: the interfaces' changes will be noticed" called "procd_add_reload_interface_trigger 'wan'"
  expect "first start: a new daemon gets no signal" fails called 'procd_send_signal.*'

  expect "second start: succeeds" service start
  calls
  expect "second start: the secret is the same" has_line "secret = $secret"
  expect "second start: no hint" fails called 'logger.*'
}

test_reload() {
  router < <(one_mirage)
  service start
  calls
  expect "reload, nothing new: succeeds" service reload
  calls
  expect "reload, nothing new: one signal" called "procd_send_signal 'shimmer'"
  expect "reload, nothing new: the firewall is left alone" fails called 'procd_set_config_changed.*'

  sed -i 's/10000-10999/20000-20999/' "$router/etc/config/shimmer"
  expect "reload, another range: succeeds" service reload
  calls
  expect "reload, another range: one signal" called "procd_send_signal 'shimmer'"
  expect "reload, another range: the firewall opens it" called "json_add_string 'dest_port' '20000-20999'"
  expect "reload, another range: the firewall is told" called "procd_set_config_changed 'firewall'"
  expect "reload, another range: the old one is free, what was stays" reserves 8080 10500-10600 20000-20999

  sed -i 's/20000-20999/500-899/' "$router/etc/config/shimmer"
  expect "reload, ports below 1024: succeeds" service reload
  calls
  expect "reload, ports below 1024: the capability" \
    test "$(jq -c '[.bounding, .effective, .inheritable, .permitted, .ambient] | unique' \
      "$router/tmp/etc/shimmer/caps.json")" = '[["CAP_NET_BIND_SERVICE"]]'
  expect "reload, ports below 1024: procd starts it anew, so no signal" fails called 'procd_send_signal.*'

  before=$(configuration)
  sed -i 's/500-899/500-530/' "$router/etc/config/shimmer"
  expect "reload, a bad value: fails" fails service reload
  calls
  expect "reload, a bad value: the log names section and option" \
    logged "uci mirage 'home' option 'range': has 31 ports"
  expect "reload, a bad value: procd is not asked to change anything" fails called 'procd_(close_service|kill|send_signal).*'
  expect "reload, a bad value: the configuration stays" test "$(configuration)" = "$before"
  expect "reload, a bad value: the ports stay reserved" reserves 500-899 8080 10500-10600
  expect "start, a bad value: what runs is left alone" fails service start
  calls
  expect "start, a bad value: procd is not asked to change anything" fails called 'procd_(close_service|kill).*'

  sed -i "s/500-530/500-899/; s/enabled '1'/enabled '0'/" "$router/etc/config/shimmer"
  expect "reload, disabled: succeeds" service reload
  calls
  expect "reload, disabled: it stops" nothing_is_left
  expect "reload, disabled: it is still listened to" called "procd_add_reload_trigger 'shimmer'"
  expect "reload, disabled: the firewall is told" called "procd_set_config_changed 'firewall'"
  expect "reload, disabled: the ports are free" reserves 8080 10500-10600
}

test_stop() {
  router < <(one_mirage)
  service start
  calls
  expect "stop: succeeds" service stop
  calls
  expect "stop: procd ends it" called "procd_kill 'shimmer' ''"
  expect "stop: nothing is left" nothing_is_left
  expect "stop: the firewall closes" called "procd_set_config_changed 'firewall'"
  expect "stop: what was reserved before still is" reserves 8080 10500-10600

  echo 9000-10100,10200,10990-12000 >"$router/proc/sys/net/ipv4/ip_local_reserved_ports"
  service start
  expect "start, some of it reserved before: all of it is" reserves 9000-12000
  service start
  expect "start again: all of it is" reserves 9000-12000
  service stop
  expect "stop, some of it reserved before: that stays" reserves 9000-10100 10200 10990-12000

  echo >"$router/proc/sys/net/ipv4/ip_local_reserved_ports"
  service start
  expect "start, nothing reserved before: the range is" reserves 10000-10999
  service stop
  expect "stop, nothing reserved before: nothing is" reserves
}

test_two_mirages() {
  router < <(
    one_mirage "option trap_time '20s'" "list from '192.0.2.0/24'" "list from '198.51.100.7'"
    printf "\nconfig mirage\n\toption forward '192.168.1.5:443'\n\toption name 'web@home'\n"
    printf "\toption range '20000-20999'\n\toption secret_file '/etc/shimmer/web'\n"
    printf "\nconfig mirage 'other'\n\toption port 23\n\toption range 30000-30999\n"
  )
  there mkdir -p /etc/shimmer
  echo c4xq7lhk2mzvtrs5n3wpyd6cgjeufoai >"$router/etc/shimmer/web"
  chmod 600 "$router/etc/shimmer/web"
  expect "mirages: start succeeds" service start
  calls
  expect "mirages: _ is -" has_line 'trap-time = 20s'
  expect "mirages: a list is its values" has_line 'from = 192.0.2.0/24 198.51.100.7'
  expect "mirages: one without a section's name has the option's" has_line '[mirage-web@home]'
  expect "mirages: only the one without a secret gets one" \
    test "$(grep -c 'has a new secret' "$router/tmp/stderr")" = 1
  expect "mirages: the jail has the folder of a secret's file" called "procd_add_jail_mount '/etc/shimmer'"
  expect "mirages: the firewall opens each" test "$(grep -c "'dest_port'" "$calls")" = 3
  expect "mirages: all are reserved" reserves 8080 10000-10999 20000-20999 30000-30999
  expect "mirages: share prints a laptop's part" service share home --host example.org
  expect "mirages: and it has the range" grep -qF 10000-10999 "$router/tmp/stdout"
  expect "mirages: keygen prints a secret" service keygen
  expect "mirages: in one line" matches "$(cat "$router/tmp/stdout")" '^[a-z2-7]{32}$'
}

# A configuration that is refused, and what the log must say of it.
refused() {
  local name=$1 text=$2
  expect "$name: is refused" fails service start
  calls
  expect "$name: the log says so" logged "$text"
  expect "$name: no instance" fails called 'procd_open_instance.*'
  expect "$name: nothing is left" nothing_is_left
  expect "$name: no ports are reserved" reserves 8080 10500-10600
}

test_bad_values() {
  router < <(one_mirage "option decoys 'many'")
  refused "a bad value" "uci mirage 'home' option 'decoys': "
  router < <(one_mirage "option colour 'red'")
  refused "an unknown option" "uci mirage 'home' option 'colour': unknown key"
  router < <(one_mirage "list from '192.0.2.1'" "list from '192.0.2.1/24'")
  refused "a bad value in a list" "uci mirage 'home' list 'from': 192.0.2.1/24 has bits set"
  router < <(one_mirage | grep -v range)
  refused "a missing range" "uci mirage 'home' option 'range': missing"
  router < <(one_mirage "option forward '127.0.0.1:22'")
  refused "two options that exclude each other" "option 'forward': port is given at mirage 'home' option 'port'"
  router < <(one_mirage | sed "/enabled/ a \\\toption ban_time 'long'")
  refused "a bad value for all" "uci shimmer 'main' option 'ban_time': "
  router < <(one_mirage | sed "/enabled/ a \\\toption log_level 'loud'")
  refused "a value of the wrong kind" "uci shimmer.main.log_level=loud: "
  router < <(one_mirage | sed "s/mirage 'home'/mirage/")
  refused "a mirage without a name" "has no name"
  router < <(one_mirage "option host 'a" "[mirage-evil]'")
  refused "a value with a line end" "uci mirage 'home' option 'host': has a line end in its value"
  router < <(one_mirage "option name 'a" "[common]'" | sed "s/mirage 'home'/mirage/")
  refused "a name with a line end" "option 'name': has a line end in its value"
  router < <(
    one_mirage
    printf "\nconfig nonsense 'x'\n\toption a 'b'\n"
  )
  refused "an unknown section" "uci nonsense 'x': unknown"
}

# The value that UCI has is the value that the daemon has.
test_values() {
  local secret quoted number=0
  # shellcheck disable=SC1003,SC2016 # That is what must stay as it is.
  for secret in "it's \"quoted\" 'twice'" 'a b  c;d #e ; f # g' '$(reboot) `reboot` ${PATH} $PATH $1' \
    'back\slash \n \\ \$ end\' '[section] = x = y' '/bin/sh/x * ? [a-z] ~ !! & | > <' '-e -n %s %d' 'süß ☂'; do
    number=$((number + 1))
    quoted=${secret//\'/\'\\\'\'}
    router < <(one_mirage | grep -v secret && printf "\toption secret '%s'\n" "$quoted")
    expect "secret $number: start succeeds" service start
    expect "secret $number: comes through unharmed" has_line "secret = $secret"
    calls
    expect "secret $number: is told to nobody" fails grep -qF -- "$secret" "$calls" "$router/tmp/stderr"
    expect "secret $number: the daemon has the same" \
      test "$(there shimmer share home --host example.org --config /var/etc/shimmer/shimmer.conf |
        sed -n 's/^secret = //p')" = "$secret"
  done
}

test_pool() {
  router < <(one_mirage "option listen 'pool'")
  expect "pool: start succeeds" service start
  calls
  expect "pool: its rules are loaded" called "nft '[1-9]'"
  expect "pool: the firewall opens its port alone" called "json_add_string 'dest_port' '9999-9999'"
  service reload
  calls
  expect "pool: a reload loads them again" called "nft '[1-9]'"
  expect "pool: the daemon gets a signal" called "procd_send_signal 'shimmer'"
  sed -i '/listen/d' "$router/etc/config/shimmer"
  service reload
  calls
  expect "pool, then none: the rules go" called "nft '0'"
  expect "pool, then none: by deleting the table" grep -qx 'delete table inet shimmer-ports' "$router/tmp/nft-rules"

  router < <(one_mirage "option listen 'pool'")
  service start
  service stop
  calls
  expect "pool: stop takes its rules away" called "nft '0'"
  expect "pool: nothing is left" nothing_is_left

  router < <(one_mirage "option listen 'pool'")
  : >"$router/tmp/nft-refuses"
  service start
  expect "pool: where nft refuses, the log says so" logged 'nobody gets in through a pool'
}

# Whether one of our tables is in the kernel.
has_table() {
  [[ -e $router/tmp/table-$1 ]]
}

# Whether the rules that are loaded at boot close the port, as those in the kernel do.
doors_are_closed() {
  grep -qF 'tcp dport 22 ct state new ip saddr != @home4 drop' "$router/tmp/table-shimmer" &&
    grep -qF 'tcp dport 22 ct state new ip saddr != @home4 drop' "$router/etc/shimmer/rules.nft"
}

# A boot: nothing in RAM outlives it.
boot() {
  rm -rf "${router:?}/tmp"/{etc,lib,run,running,table-*}
  there /etc/init.d/shimmer-doors start
}

one_door() {
  one_mirage "option gate 'token'" "option door 'nft'" "option open_set 'inet/shimmer/home'" \
    "option open_port '22'" | sed "/option port/d"
}

test_doors() {
  local kept before
  router < <(one_door)
  kept=$router/etc/shimmer/rules.nft
  expect "doors: start succeeds" service start
  calls
  expect "doors: are closed, now and at boot" doors_are_closed
  expect "doors: before the daemon starts" test \
    "$(grep -n '^nft ' "$calls" | cut -d : -f 1)" -lt "$(grep -n '^procd_open_instance' "$calls" | cut -d : -f 1)"
  expect "doors: the file is root's alone" is_mode "$kept" 600
  expect "doors: its folder can be entered by the daemon" is_mode "$router/etc/shimmer" 755
  expect "doors: the file has nothing that goes at a stop" fails grep -q shimmer-ports "$kept"
  before=$(stat -c %i:%Y:%Z "$kept")
  service reload
  service restart
  expect "doors: a reload and a restart write no flash" test "$(stat -c %i:%Y:%Z "$kept")" = "$before"

  expect "doors: stop succeeds" service stop
  calls
  expect "doors, stopped: nothing else is left" nothing_is_left
  expect "doors, stopped: the rules of the ports are gone" fails has_table shimmer-ports
  expect "doors, stopped: they stay closed" doors_are_closed
  expect "doors, stopped: it says how to open them" logged 'service shimmer remove_rules'

  sed -i "s/10000-10999/10000-10001/" "$router/etc/config/shimmer"
  boot
  expect "doors, at boot: are closed before anything else runs" doors_are_closed
  rm "$router/tmp/table-shimmer"
  expect "doors, a bad configuration: is refused" fails service start
  expect "doors, a bad configuration: they are closed" doors_are_closed
  expect "doors, a bad configuration: and nothing else is there" fails has_table shimmer-ports
  sed -i "s/enabled '1'/enabled '0'/" "$router/etc/config/shimmer"
  expect "doors, disabled: succeeds" service start
  expect "doors, disabled: they stay closed" doors_are_closed
  expect "doors, disabled: it says how to open them" logged 'service shimmer remove_rules'

  sed -i "s/enabled '0'/enabled '1'/; s/10000-10001/10000-10999/" "$router/etc/config/shimmer"
  service start
  before=$(cat "$kept")
  sed -i "s/open_port '22'/open_port '2222'/" "$router/etc/config/shimmer"
  : >"$router/tmp/nft-refuses"
  service reload
  expect "doors, nft refuses: the log says so" logged 'nobody gets in through a pool or by door = nft'
  expect "doors, nft refuses: the last good rules stay in the file" test "$(cat "$kept")" = "$before"
  rm "$router/tmp/nft-refuses"
  service reload
  expect "doors, another port: it is in the file" grep -q 'tcp dport 2222 ' "$kept"

  expect "doors: remove_rules succeeds" service remove_rules
  calls
  expect "doors, removed: the daemon is stopped" called "procd_kill 'shimmer' ''"
  expect "doors, removed: no table is left" fails has_table shimmer
  expect "doors, removed: nor a file" test ! -e "$kept"
  expect "doors, removed: it says what that means" logged 'are open to everybody'
  expect "doors, removed: and not the opposite" fails logged 'stay closed'
  boot
  expect "doors, removed: a boot loads nothing" fails has_table shimmer

  router < <(one_door)
  service start
  router_mirage=$(one_mirage)
  printf '%s\n' "$router_mirage" >"$router/etc/config/shimmer"
  expect "doors, then none: reload succeeds" service reload
  expect "doors, then none: the rules go" fails has_table shimmer
  expect "doors, then none: and the file" test ! -e "$router/etc/shimmer/rules.nft"
}

# A daemon of the user shimmer may have planted something before a mirage's command makes it root's.
test_crash() {
  local state=$router/tmp/lib/shimmer
  router < <(one_mirage "option gate 'token'" "option door 'command'" "option open_command '/bin/true'" \
    "option close_command '/bin/touch /tmp/closed'" | sed "/option port/d")
  mkdir -p "$state"
  : >"$state/planted"
  chown -R "$account:$account" "$state"
  expect "a crash: start succeeds" service start
  expect "a crash: the state's folder is root's" is_owner "$state" 0
  expect "a crash: what is in it keeps its owner" is_owner "$state/planted" "$account"
  (umask 077 && printf 'shimmer-open 2\nopen home 192.0.2.7 1794000000 30\nend 1\n' >"$state/state.open")
  expect "a crash: stop succeeds" service stop
  expect "a crash: what was open is closed" test -e "$router/tmp/closed"
  expect "a crash: and nothing is recorded any more" fails test -e "$state/state.open"
}

# What the program does not say yet is said by one in its place; all else is the real program's.
test_other_needs() {
  router < <(one_mirage)
  mv "$router/usr/sbin/shimmer" "$router/usr/sbin/shimmer.real"
  cat >"$router/usr/sbin/shimmer" <<'END'
#!/bin/sh
/usr/sbin/shimmer.real "$@" || exit
[ "$1 $2" != "check --needs" ] || cat /tmp/needs
END
  chmod +x "$router/usr/sbin/shimmer"
  printf '%s\n' root 'tomorrow 1 2 3' 'open udp 5000' rules >"$router/tmp/needs"
  expect "a command: start succeeds" service start
  calls
  expect "a command: no jail" fails called 'procd_add_jail.*'
  expect "a command: no user" fails called "procd_set_param 'user'.*"
  expect "a command: the log says so" logged 'the daemon has no jail, and runs as root'
  expect "a command: the configuration is root's" is_owner "$router/tmp/etc/shimmer/shimmer.conf" 0
  expect "a need of a later version: is no harm" called "procd_set_param 'command'.*"
  expect "udp: the firewall opens it" called "json_add_string 'proto' 'udp'"
  expect "other rules: are loaded" called "nft '0'"

  printf 'capability net_admin\ncapability net_raw\n' >"$router/tmp/needs"
  service restart
  calls
  expect "sets: the capabilities" \
    test "$(jq -c .ambient "$router/tmp/etc/shimmer/caps.json")" = '["CAP_NET_ADMIN","CAP_NET_RAW"]'
  expect "sets: the jail has no nft, the daemon needs none" fails called "procd_add_jail_mount '/usr/sbin/nft'"
  expect "sets: the folders are the user's again" is_owner "$router/tmp/lib/shimmer" "$account"
}

test_clock() {
  router < <(one_mirage)
  hook() {
    # shellcheck disable=SC2016
    there env ACTION="$1" sh -c 'for script in /etc/hotplug.d/ntp/*; do (. /lib/functions.sh; . "$script"); done'
  }
  hook step
  calls
  expect "the clock is not right yet: no file" test ! -e "$router/tmp/run/shimmer/clock"
  hook stratum
  calls
  expect "the clock is right: the file is there" test -f "$router/tmp/run/shimmer/clock"
  expect "the clock is right: the daemon is told" called "procd_send_signal 'shimmer'"
  hook stratum
  calls
  expect "the clock is still right: nothing happens" fails called 'procd_send_signal.*'
  rm "$router/tmp/run/shimmer/clock"
  ln -s ../../victim "$router/tmp/run/shimmer/clock"
  hook stratum
  expect "a link in the daemon's folder is not followed" test ! -e "$router/tmp/victim"
}

test_status() {
  router < <(one_mirage)
  expect "status, not running: fails" fails service status
  expect "status, not running: says so" grep -qx 'not running' "$router/tmp/stdout"
  sed -i "/enabled/ a \\\toption control '/var/run/shimmer/here'\n\toption log '/var/log/shimmer.log'" \
    "$router/etc/config/shimmer"
  service start
  calls
  expect "status: asks the daemon where the configuration says" fails service status
  expect "status: and names the place" grep -qF /var/run/shimmer/here "$router/tmp/stderr"
  expect "a log file: the jail can write its folder" called "procd_add_jail_mount_rw '/var/log'"
}

# refuses_path OPTION VALUE WHY: the jail would have to contain more than the folder of that file.
refuses_path() {
  local place=enabled
  router < <(one_mirage)
  [[ $1 != secret_file ]] || place=range
  sed -i "/$place/ a \\\toption $1 '$2'" "$router/etc/config/shimmer"
  expect "$1 $2: is refused" fails service start
  calls
  expect "$1 $2: nothing is mounted" fails called 'procd_add_jail_mount.*'
  expect "$1 $2: the log says why" logged "option '$1': $3"
}

test_paths() {
  local option
  for option in log state_file control secret_file; do
    refuses_path "$option" '/tmp/log/../../x' 'has .. in its path'
    refuses_path "$option" '/tmp/log/..' 'has .. in its path'
    refuses_path "$option" '/tmp/a /etc/b' 'has a blank or another letter'
    refuses_path "$option" '/*/x' 'has a blank or another letter'
    refuses_path "$option" '/x' "is not in a folder; put it in one, as in /etc/shimmer/$option"
    refuses_path "$option" '//x' 'is not in a folder'
    refuses_path "$option" '/./x' 'is not in a folder'
  done
  router < <(one_mirage)
  sed -i "/range/ a \\\toption host '/etc/config/shimmer'" "$router/etc/config/shimmer"
  service start
  calls
  expect "an option that is no file's: its folder is not mounted" fails called "procd_add_jail_mount.*'/etc/config'"
}

test_init_script() {
  local before
  calls=$work/calls
  router=$work/router
  test_disabled
  test_first_start
  test_reload
  test_stop
  test_paths
  test_two_mirages
  test_bad_values
  test_values
  test_pool
  test_doors
  test_crash
  test_other_needs
  test_clock
  test_status
}
