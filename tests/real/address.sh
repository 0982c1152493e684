# What the hidden service sees of who has come: dropbear, HAProxy, nginx, a newer sshd. (Sourced by tests/real/run.)
# shellcheck shell=bash

# hold HOST ADDRESS PORT COUNT: connections that say nothing and stay, each once the service has greeted it.
hold() {
  local greeted
  greeted=$(mktemp "$FOLDER/greeted.XXXXXX")
  # shellcheck disable=SC2016 # They are the inner shell's.
  ip netns exec "$PREFIX-$1" bash -c '
    for number in $(seq "$3"); do
      exec {connection}<>"/dev/tcp/$1/$2" || exit 1
      read -r -t 10 -u "$connection" line && [[ $line == SSH-* ]] || exit 1
      echo "$line"
    done
    exec sleep 300
  ' hold "$2" "$3" "$4" >"$greeted" 2>&1 </dev/null &
  # A check runs in a shell of its own.
  echo $! >>"$FOLDER/holders"
  wait_for 15 has_lines_or_ended "$greeted" "$4" $! && has_lines "$greeted" "$4"
}

has_lines_or_ended() {
  has_lines "$1" "$2" || ! kill -0 "$3"
}

has_lines() {
  (($(wc -l <"$1") >= $2))
}

let_go() {
  local pid
  while read -r pid; do
    kill -KILL "$pid" 2>/dev/null || true
  done <"$FOLDER/holders"
  rm "$FOLDER/holders"
}

# client_address NAME HOST: at which the service of this daemon has seen this host last.
client_address() {
  sed -n "s/^[^ ]* accept .*source=$(v4 "$2") .*client-address=//p" "$FOLDER/$1.log" | tail -n 1
}

# reload_with NAME LINE: the configuration with one line more.
reload_with() {
  local before
  before=$(logged "$1" reload)
  echo "$2" >>"$FOLDER/$1.conf"
  kill -HUP "${DAEMON[$1]}"
  wait_for 10 has_logged "$1" reload mirages "$((before + 1))"
}

enters_dropbear() {
  ssh_options hidden-dropbear
  # shellcheck disable=SC2016 # It is for the other end.
  [[ $(on "$1" ssh "${SSH_OPTIONS[@]}" -p "$3" "$2" 'echo "this is $((6 * 7))"' </dev/null 2>&1) == "this is 42" ]]
}

# dropbear has five places for an address that has not logged in yet (MAX_UNAUTH_PER_IP).
dropbears_five_places_are_each_visitors_own() {
  local at port
  add_host crowded
  add_host hog
  serve crowded "$FOLDER/dropbear-crowded.txt" "$(type -P dropbear)" -F -E -s -p 127.0.0.1:2222 \
    -P /run/dropbear.pid -r "$FOLDER/dropbear-key"
  expect "dropbear runs" wait_for 10 on crowded bash -c 'echo >/dev/tcp/127.0.0.1/2222' || return
  start_daemon crowded crowded <<'END' || return
[common]
[mirage-ssh]
forward = 127.0.0.1:2222
range = 15000-15999
period = 1h
END
  at=$(v4 crowded)
  port=$(real_port 15000:15999 1h)
  expect "a stranger holds five connections" hold hog "$at" "$port" 5
  expect "dropbear greets them no sixth time" fails hold hog "$at" "$port" 1
  expect "the member gets in" enters_dropbear member "$at" "$port"
  expect "dropbear's log has the member's address of 127/8" \
    grep -q "from $(client_address crowded member):" "$FOLDER/dropbear-crowded.txt"
  expect "status says whose it is" on crowded bash -c "'$SHIMMER' status --control '$FOLDER/crowded.control' \
    '$(client_address crowded member)' | grep -qF '$(v4 member) at ssh'"
  let_go

  expect "with client-address = plain" reload_with crowded 'client-address = plain'
  expect "he holds five again" hold hog "$at" "$port" 5
  expect "and the member is out" fails enters_dropbear member "$at" "$port"
  let_go
  expect "until he lets go" wait_for 10 enters_dropbear member "$at" "$port"
}

# sees HOST ADDRESS PORT: the address that sshd sees.
sees() {
  # shellcheck disable=SC2016 # It is for the other end.
  enter "$1" "$2" "$3" 'echo "${SSH_CLIENT%% *}"'
}

a_service_at_any_address_of_the_machine_sees_them() {
  local at own_port other_port
  add_host owner
  add_host far
  start_other_sshd owner "$FOLDER/owner_sshd" "ListenAddress $(v4 owner)"
  start_other_sshd far "$FOLDER/far_sshd" "ListenAddress $(v4 far)"
  start_daemon owner owner <<END || return
[common]
[mirage-own]
name = ssh
forward = $(v4 owner):22
range = 15000-15999
period = 1h
client-address = loopback
[mirage-other]
name = ssh
forward = $(v4 owner):22
range = 16000-16999
period = 1h
[mirage-elsewhere]
name = ssh
forward = $(v4 far):22
range = 17000-17999
period = 1h
END
  at=$(v4 owner)
  own_port=$(real_port 15000:15999 1h)
  other_port=$(real_port 16000:16999 1h)
  expect_same "an address of the machine's own, said to be" "$(sees member "$at" "$own_port")" "$(client_address owner member)"
  expect_same "and by default" "$(sees member "$at" "$other_port")" "$(client_address owner member)"
  expect "it is one of 127/8" grep -q '^127\.[1-9]' <<<"$(client_address owner member)"
  expect_same "a service on another machine sees this one" "$at" "$(sees member "$at" "$(real_port 17000:17999 1h)")"
  expect_same "and the log says no other" 2 "$(logged owner accept client-address)"
}

without_127_8_it_dials_plain() {
  local at
  add_host bare
  start_sshd bare
  # Some containers have just the one address.
  on bare ip addr add 127.0.0.1/32 dev lo
  on bare ip addr del 127.0.0.1/8 dev lo
  on bare ip addr replace 127.0.0.1/32 dev lo
  start_daemon bare bare <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 18000-18999
period = 1h
END
  at=$(v4 bare)
  expect_same "sshd sees 127.0.0.1" 127.0.0.1 "$(sees member "$at" "$(real_port 18000:18999 1h)")"
  expect "and so does the next" enters member "$at" "$(real_port 18000:18999 1h)"
  expect_same "the log says so once" 1 "$(logged bare warn 'client-address 127.*Cannot assign requested address')"
  expect_same "and names no address" 0 "$(logged bare accept client-address)"
}

# says HOST ADDRESS PORT: what an HTTP service answers.
says() {
  # shellcheck disable=SC2016 # They are the inner shell's.
  on "$1" timeout 10 bash -c '
    exec 3<>"/dev/tcp/$1/$2" || exit 1
    printf "GET / HTTP/1.0\r\nHost: hidden\r\n\r\n" >&3
    tr -d "\r" <&3 | sed "1,/^\$/d"
  ' says "$2" "$3"
}

start_haproxy() {
  cat >"$FOLDER/haproxy.cfg" <<'END'
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend proxied
  bind 127.0.0.1:8001 accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[dst] %[dst_port] %[src_port]\n"
END
  serve "$1" "$FOLDER/haproxy.txt" "$(type -P haproxy)" -db -f "$FOLDER/haproxy.cfg"
}

start_nginx() {
  local temp
  mkdir "$FOLDER/nginx"
  {
    echo "user root; daemon off; master_process off; pid $FOLDER/nginx/pid; error_log stderr;"
    echo 'events {}'
    echo 'http {'
    for temp in client_body proxy fastcgi uwsgi scgi; do
      echo "  ${temp}_temp_path $FOLDER/nginx/$temp;"
    done
    cat <<END
  log_format visitor '\$proxy_protocol_addr';
  server {
    listen 127.0.0.1:8002 proxy_protocol;
    access_log $FOLDER/nginx/access visitor;
    location / {
      default_type text/plain;
      return 200 "\$proxy_protocol_addr \$proxy_protocol_server_addr \$proxy_protocol_server_port \$proxy_protocol_port\n";
    }
  }
}
END
  } >"$FOLDER/nginx.conf"
  serve "$1" "$FOLDER/nginx.txt" "$(type -P nginx)" -p "$FOLDER/nginx" -c "$FOLDER/nginx.conf" -e stderr
}

# is_named HOST ADDRESS PORT: the service names the visitor, the address and the port that he dialled, and his port.
is_named() {
  local family=v4 said
  [[ $2 != *:* ]] || family=v6
  said=$(says "$1" "$2" "$3")
  echo "$said"
  [[ $said =~ ^"$($family "$1") $2 $3 "[1-9][0-9]*$ ]]
}

haproxy_and_nginx_are_told_who_comes() {
  local family service low=20000 high version at
  add_host proxied
  start_haproxy proxied
  start_nginx proxied
  for service in 8001 8002; do
    expect "the service at $service listens" wait_for 10 on proxied bash -c "echo >/dev/tcp/127.0.0.1/$service" || {
      cat "$FOLDER/haproxy.txt" "$FOLDER/nginx.txt"
      return
    }
  done
  {
    echo '[common]'
    for service in 8001 8002; do
      for version in 1 2; do
        echo "[mirage-v$version-$service]"
        echo "name = ssh"
        echo "forward = 127.0.0.1:$service"
        echo "range = $low-$((low + 999))"
        echo "period = 1h"
        echo "client-address = proxy-v$version"
        [[ $version != 2 ]] || echo "listen = pool"
        low=$((low + 2000))
      done
    done
  } >"$FOLDER/proxied.in"
  start_daemon proxied proxied <"$FOLDER/proxied.in" || return
  expect "the pools' rules load" load_rules proxied proxied
  for family in v4 v6; do
    at=$($family proxied)
    low=20000
    for service in HAProxy nginx; do
      for version in 1 2; do
        high=$((low + 999))
        expect "$service is told who comes and where by version $version ($family)" \
          is_named member "$at" "$(real_port $low:$high 1h)"
        low=$((low + 2000))
      done
    done
    expect "nginx's log has the visitor ($family)" grep -qx "$($family member)" "$FOLDER/nginx/access"
  done
}

# Debian trixie, in a folder. TRIXIE=FOLDER is one that is there.
make_trixie() {
  TRIXIE=${TRIXIE:-$FOLDER/trixie}
  [[ -x $TRIXIE/usr/sbin/sshd ]] || {
    install_packages <<<'debootstrap debootstrap' &&
      debootstrap --variant=minbase --include=openssh-server trixie "$TRIXIE"
  } >"$FOLDER/debootstrap.txt" 2>&1
  mkdir -p "$TRIXIE/run/sshd" "$TRIXIE/shimmer"
  cp "$FOLDER/host-key" "$FOLDER/key.pub" "$TRIXIE/shimmer/"
  sed "s|$FOLDER/|/shimmer/|" "$FOLDER/sshd_config" >"$TRIXIE/shimmer/sshd_config"
}

# fails_to_log_in HOST ADDRESS PORT HOW: with a key that sshd does not know.
fails_to_log_in() {
  local said
  said=$(on "$1" ssh -F "$FOLDER/wrong_ssh_config" -o HostKeyAlias=hidden -p "$3" "$2" true </dev/null 2>&1) &&
    return 1
  echo "$said"
  grep -q "$4" <<<"$said"
}

guess_until_penalised() {
  expect "a stranger fails to log in" fails_to_log_in guesser "$1" "$2" 'Permission denied'
  expect "until sshd serves him no more" wait_for 30 fails_to_log_in guesser "$1" "$2" \
    'Not allowed at this time\|Connection closed\|Connection reset'
}

# sshd since 9.8 penalises addresses: five seconds for a login that fails, and who has fifteen is not served.
sshds_penalties_fall_on_whom_they_mean() {
  local at port
  expect "there is a newer Debian" make_trixie || return
  ssh-keygen -q -t ed25519 -N '' -f "$FOLDER/wrong-key"
  sed "s|IdentityFile .*|IdentityFile $FOLDER/wrong-key|" "$FOLDER/ssh_config" >"$FOLDER/wrong_ssh_config"
  add_host newer
  add_host guesser
  serve newer "$FOLDER/newer-sshd.txt" chroot "$TRIXIE" /usr/sbin/sshd -D -e -f /shimmer/sshd_config
  expect "its sshd runs" wait_for 10 grep -q 'Server listening' "$FOLDER/newer-sshd.txt" || return
  start_daemon newer newer <<'END' || return
[common]
[mirage-ssh]
port = 22
range = 15000-15999
period = 1h
END
  at=$(v4 newer)
  port=$(real_port 15000:15999 1h)
  guess_until_penalised "$at" "$port"
  expect "sshd's log has his address of 127/8" \
    grep -q "drop connection .* from \[$(client_address newer guesser)\].* penalty" "$FOLDER/newer-sshd.txt"
  expect "the member gets in" enters member "$at" "$port"

  expect "with client-address = plain" reload_with newer 'client-address = plain'
  guess_until_penalised "$at" "$port"
  expect "the member is out as well" fails enters member "$at" "$port"
}
