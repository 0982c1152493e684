# The hidden services, the daemon and the member's ssh. (Sourced by tests/real/run.)
# shellcheck shell=bash

declare -A DAEMON=()
SERVICES=()
declare -A SESSION=() INTO=() OUT_OF=()

# Keys, files to send, and how the member's ssh finds them.
make_services() {
  mkdir -m 700 "$FOLDER/home" "$FOLDER/home/.ssh"
  "$SHIMMER" keygen >"$FOLDER/secret"
  chmod 600 "$FOLDER/secret"
  ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/host-key"
  ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/key"
  cp "$FOLDER/key.pub" "$FOLDER/home/.ssh/authorized_keys"
  dropbearkey -t ed25519 -f "$FOLDER/dropbear-key" >"$FOLDER/dropbear-key.txt" 2>&1
  {
    echo "hidden $(cut -d ' ' -f 1-2 "$FOLDER/host-key.pub")"
    echo "hidden-dropbear $(grep -o 'ssh-ed25519 [^ ]*' "$FOLDER/dropbear-key.txt")"
  } >"$FOLDER/known_hosts"
  # A locked account would be refused even with the right key.
  (umask 077 && sed 's/^root:[^:]*:/root:*:/' /etc/shadow >"$FOLDER/shadow")
  cat >"$FOLDER/ssh_config" <<END
User root
IdentityFile $FOLDER/key
IdentitiesOnly yes
UserKnownHostsFile $FOLDER/known_hosts
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
UpdateHostKeys no
BatchMode yes
ConnectTimeout 5
LogLevel ERROR
END
  cat >"$FOLDER/sshd_config" <<END
ListenAddress 127.0.0.1
Port 22
HostKey $FOLDER/host-key
PidFile none
AuthorizedKeysFile $FOLDER/key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
# The folder is in /tmp, where everybody may write.
StrictModes no
UsePAM no
PrintMotd no
Subsystem sftp internal-sftp
END
  make_private
  start_sshd server
}

# A command that runs another, with copies of its own of what a service would write to.
make_private() {
  cat >"$FOLDER/private" <<END
#!/bin/sh
mount -t tmpfs tmpfs /run && mkdir /run/sshd && mount -t tmpfs tmpfs /var/log &&
  touch /run/utmp /var/log/wtmp /var/log/btmp /var/log/lastlog &&
  mount --bind "$FOLDER/home" "$(getent passwd root | cut -d : -f 6)" &&
  mount --bind "$FOLDER/shadow" /etc/shadow || exit
exec "\$@"
END
  chmod 755 "$FOLDER/private"
}

# serve HOST LOG COMMAND…
serve() {
  ip netns exec "$PREFIX-$1" "$FOLDER/private" "${@:3}" >>"$2" 2>&1 </dev/null &
  SERVICES+=($!)
}

start_sshd() {
  serve "$1" "$FOLDER/sshd-$1.txt" "$(type -P sshd)" -D -e -f "$FOLDER/sshd_config"
  wait_for 10 grep -q 'Server listening' "$FOLDER/sshd-$1.txt"
}

start_dropbear() {
  serve server "$FOLDER/dropbear.txt" "$(type -P dropbear)" -F -E -s -p 127.0.0.1:2222 \
    -P /run/dropbear.pid -r "$FOLDER/dropbear-key"
  wait_for 10 on server bash -c 'echo >/dev/tcp/127.0.0.1/2222'
}

# write_configuration NAME <CONFIGURATION: its log, state file and secret are put in. A mirage whose name
# begins with `keyless` draws nothing, and has no secret.
write_configuration() {
  sed "s|^\[common\]\$|&\nlog = $FOLDER/$1.log\nstate-file = $FOLDER/$1.state\ncontrol = $FOLDER/$1.control|
    /^\[mirage-keyless/!s|^\[mirage-.*|&\nsecret-file = $FOLDER/secret|" >"$FOLDER/$1.conf"
  # Tokens and datagrams count at once.
  [[ -e $FOLDER/$1.state.used ]] || python3 "$ROOT/tests/real/used.py" "$FOLDER/$1.state.used"
}

# start_daemon NAME [HOST [COMMAND…]] <CONFIGURATION. The command is one that runs another.
start_daemon() {
  local name=$1 host=${2:-server}
  write_configuration "$name"
  ip netns exec "$PREFIX-$host" "${@:3}" "$SHIMMER" daemon --config "$FOLDER/$name.conf" \
    </dev/null 2>"$FOLDER/$name.stderr" &
  DAEMON[$name]=$!
  wait_for 15 has_started "$name" || true
  if ! has_logged "$name" listen; then
    fail "the daemon $name starts" "$(cat "$FOLDER/$name.stderr" "$FOLDER/$name.log" 2>&1)"
    return 1
  fi
}

# It serves, or has given up.
has_started() {
  has_logged "$1" listen || ! kill -0 "${DAEMON[$1]}"
}

# logged NAME VERB [PATTERN]: how many lines there are.
logged() {
  grep -c "^[^ ]* $2.*${3:-}" "$FOLDER/$1.log" 2>/dev/null || true
}

# has_logged NAME VERB [PATTERN] [TIMES]
has_logged() {
  local lines
  lines=$(logged "$1" "$2" "${3:-}")
  ((${lines:-0} >= ${4:-1}))
}

# stop_daemon NAME: ends it, with its exit code.
stop_daemon() {
  local pid=${DAEMON[$1]}
  unset "DAEMON[$1]"
  kill -TERM "$pid" 2>/dev/null || true
  wait "$pid"
}

stop_daemons() {
  local name
  for name in "${!DAEMON[@]}"; do
    stop_daemon "$name" || fail "the daemon $name ends with 0" "$(cat "$FOLDER/$name.stderr")"
  done
}

stop_services() {
  local pid
  for pid in "${SERVICES[@]}"; do
    kill -TERM "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  SERVICES=()
}

# port LOW:HIGH OPTION…
port() {
  "$SHIMMER" port "ssh:$1" --secret-file "$FOLDER/secret" "${@:2}"
}

# real_port LOW:HIGH PERIOD [WINDOWS]: the real port so many windows from now.
real_port() {
  port "$1" --period "$2" --at $(($(date +%s) + ${3:-0} * $(seconds "$2")))
}

# open_ports LOW:HIGH PERIOD [AT]: those of the three live windows, each once.
open_ports() {
  local at=${3:-$(date +%s)} period window
  period=$(seconds "$2")
  for window in -1 0 1; do
    port "$1" --period "$2" --all --at $((at + window * period))
  done | sort -nu
}

# trap_port LOW:HIGH PERIOD: an open port that is no real one nearby, nor will be at the next turn.
trap_port() {
  local window
  comm -23 <(open_ports "$1" "$2") <(
    for window in -4 -3 -2 -1 0 1 2 3 4; do
      real_port "$1" "$2" "$window"
    done | sort -n
  ) | head -n 1
}

# seconds DURATION: of 5s or 1h.
seconds() {
  case $1 in
    *s) echo "${1%s}" ;;
    *h) echo $((${1%h} * 3600)) ;;
  esac
}

# ssh_options HOST_KEY_ALIAS: sets the options that every ssh, scp and sftp of ours needs.
SSH_OPTIONS=()
ssh_options() {
  SSH_OPTIONS=(-F "$FOLDER/ssh_config" -o "HostKeyAlias=$1")
}

# enter HOST ADDRESS PORT COMMAND…: ssh from there.
enter() {
  ssh_options hidden
  on "$1" ssh "${SSH_OPTIONS[@]}" -p "$3" "$2" "${@:4}" </dev/null
}

# enters HOST ADDRESS PORT: shows who it was that answered.
enters() {
  # shellcheck disable=SC2016 # It is for the other end.
  [[ $(enter "$1" "$2" "$3" 'echo "this is $((6 * 7))"') == "this is 42" ]]
}

# open_session NAME HOST ADDRESS PORT OPTION…: an ssh that stays, for `say` and `hear`.
open_session() {
  local name=$1 into out
  mkfifo "$FOLDER/$name.in" "$FOLDER/$name.out"
  ssh_options hidden
  ip netns exec "$PREFIX-$2" ssh "${SSH_OPTIONS[@]}" -p "$4" "${@:5}" \
    <"$FOLDER/$name.in" >"$FOLDER/$name.out" 2>"$FOLDER/$name.err" &
  SESSION[$name]=$!
  exec {into}>"$FOLDER/$name.in" {out}<"$FOLDER/$name.out"
  rm "$FOLDER/$name.in" "$FOLDER/$name.out"
  INTO[$name]=$into
  OUT_OF[$name]=$out
}

say() {
  echo "$2" >&"${INTO[$1]}"
}

# hear NAME: the next line, within five seconds.
hear() {
  local line
  read -r -t 5 -u "${OUT_OF[$1]}" line || return 1
  echo "${line%$'\r'}"
}

# answers NAME TEXT: `cat` at the other end says what it is told.
answers() {
  say "$1" "$2" && [[ $(hear "$1") == "$2" ]]
}

close_session() {
  local into=${INTO[$1]} out=${OUT_OF[$1]} pid=${SESSION[$1]}
  exec {into}>&- {out}<&-
  unset "INTO[$1]" "OUT_OF[$1]" "SESSION[$1]"
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
}

stop_sessions() {
  local name
  for name in "${!SESSION[@]}"; do
    close_session "$name"
  done
}
