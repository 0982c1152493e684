# Every command by the router's own binary. (Sourced by openwrt/test.)
# shellcheck shell=bash

# router_says HOST ARGUMENT…: runs the router's program there; what it prints is in $FOLDER/said.
router_says() {
  # shellcheck disable=SC2153 # openwrt/test sets it.
  on "$1" "$(qemu_of "$TARGET")" "$ROUTER" "${@:2}" </dev/null >"$FOLDER/said" 2>&1
}

# expect_exit CODE TEXT ARGUMENT…: the program ends so and prints that, among other things. A signal would be
# a code above 128.
expect_exit() {
  local code=0
  router_says server "${@:3}" || code=$?
  if [[ $code == "$1" ]] && grep -qF -e "$2" "$FOLDER/said"; then
    ok "shimmer ${3-} ends with $1 and says ${2:-nothing wrong}"
  else
    fail "shimmer ${*:3}" "$(printf 'it ends with %s:\n%s' "$code" "$(cat "$FOLDER/said")")"
    return 1
  fi
}

# expect_as_laptop ARGUMENT…: it ends and prints as this machine's program does.
expect_as_laptop() {
  local laptop=0 router=0
  # shellcheck disable=SC2153 # As above.
  on server "$LAPTOP" "$@" </dev/null >"$FOLDER/wanted" 2>&1 || laptop=$?
  router_says server "$@" || router=$?
  expect_same "shimmer $* is as on a laptop" "$laptop $(cat "$FOLDER/wanted")" "$router $(cat "$FOLDER/said")"
}

the_commands_without_a_daemon_run() {
  local command secret
  for command in port connect knock keygen daemon check share firewall status ban unban help; do
    expect_as_laptop help "$command"
  done
  expect_as_laptop help
  expect_as_laptop --version
  expect_as_laptop
  expect_as_laptop keygne
  expect_exit 2 'no demo' demo
  expect_as_laptop port ssh:10000:10999 --secret-file "$FOLDER/secret" --at 1800000000 --all

  expect_exit 0 '' keygen
  secret=$(cat "$FOLDER/said")
  expect "it is a secret" grep -qxE '[a-z2-7]{32}' <<<"$secret"
  expect_exit 0 '' keygen
  expect "the next is another" fails grep -qxF "$secret" "$FOLDER/said"
}

the_commands_beside_a_daemon_run() {
  local arguments config=$FOLDER/commands.conf
  start_daemon commands <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 22000-22999
listen = pool
host = 192.0.2.1
END
  for arguments in check "check --needs" "share ssh" firewall "firewall --remove"; do
    # shellcheck disable=SC2086 # One argument a word.
    expect_as_laptop $arguments --config "$config"
  done
  expect_exit 0 22000-22999 firewall --config "$config"
  expect_exit 0 ssh status --config "$config"
  expect_exit 0 '"mirages"' status --json --config "$config"
  expect_exit 0 '' ban 192.0.2.7 --config "$config"
  expect_exit 0 192.0.2.7 status 192.0.2.7 --config "$config"
  expect "the daemon has banned it" wait_for 5 has_logged commands ban 'source=192.0.2.7'
  expect_exit 0 '' unban 192.0.2.7 --config "$config"
  expect "and let it go" wait_for 5 has_logged commands unban 'source=192.0.2.7'
  expect_exit 1 "$FOLDER/none" status --control "$FOLDER/none"

  sed 's/^port = 22$/&\nnonsense = 1/' "$config" >"$FOLDER/wrong.conf"
  expect_exit 2 nonsense check --config "$FOLDER/wrong.conf"
  expect_as_laptop check --config "$FOLDER/wrong.conf"
  expect_exit 2 nonsense daemon --config "$FOLDER/wrong.conf"
}

# On mips qemu does not translate the error that a socket keeps (SO_ERROR), so the sentence there is the one
# for an error of which nothing is known.
connect_says_who_refused_it() {
  expect_exit 1 "$(v4 server)" connect ssh:23000:23999 "$(v4 server)" --secret-file "$FOLDER/secret"
}

a_sentence_of_more_than_128_bytes_is_said() {
  (umask 077 && printf 'a secret with a blank behind it \n' >"$FOLDER/blank")
  cat >"$FOLDER/blank.conf" <<END
[common]
[mirage-home]
secret-file = $FOLDER/blank
port = 22
range = 10000-10999
host = 192.0.2.1
END
  expect_exit 1 secret-file share home --config "$FOLDER/blank.conf" &&
    expect "it is that long" has_bytes "$FOLDER/said" 129
  expect_as_laptop share home --config "$FOLDER/blank.conf"
}

# The daemon is this machine's: qemu passes no packet sockets on.
knock_and_connect_get_in() {
  local at
  at=$(v4 server)
  SHIMMER=$LAPTOP start_daemon gates <<'END' || return
[common]
[mirage-quiet]
port = 22
range = 24000-24999
gate = packet
[mirage-ssh]
port = 22
range = 25000-25999
END
  sed '/^log =/d; /^state-file =/d; /^control =/d; s/^port = 22$//' "$FOLDER/gates.conf" >"$FOLDER/client.conf"
  expect "knock sends its datagram" router_says member knock quiet "$at" --config "$FOLDER/client.conf"
  expect "the door is open" wait_for 10 has_logged gates open 'mirage=quiet '
  # sshd greets whoever comes, and a stdin that ends takes nothing away from that.
  router_says member connect ssh:25000:25999 "$at" --secret-file "$FOLDER/secret" || true
  expect "connect brings the greeting of sshd" grep -qa '^SSH-2.0' "$FOLDER/said"
}

# The build of this check panics once the daemon has its log.
a_panic_is_in_the_log() {
  local program code=0 line
  read -r _ program <"$FOLDER/panics"
  line=$(grep -n '"a panic on purpose"' "$ROOT/src/daemon/mod.rs" | cut -d : -f 1)
  write_configuration panic <<'END'
[common]
[mirage-ssh]
port = 22
range = 22000-22999
END
  # shellcheck disable=SC2016 # They are the inner shell's.
  on server bash -c 'ulimit -c 0; "$@"' - "$(qemu_of "$TARGET")" "$program" daemon \
    --config "$FOLDER/panic.conf" </dev/null >"$FOLDER/said" 2>&1 || code=$?
  expect_same "the daemon ends by SIGABRT" 134 "$code"
  expect_same "the log has the panic's line and message" 1 \
    "$(grep -cxF "error panic at=src/daemon/mod.rs:$line a panic on purpose" "$FOLDER/panic.log")"
  expect "and the signal after it" grep -qx 'error crash signal=06 address=0x[0-9a-f]*' "$FOLDER/panic.log"
}
