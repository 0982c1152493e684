# Stands in for OpenWrt's: a LAN as netifd tells it, addresses and not networks.
# shellcheck shell=sh disable=SC2317

network_flush_cache() { :; }

network_get_subnets() {
	eval "$1=\$(cat /tmp/subnets 2>/dev/null)"
}

network_get_subnets6() {
	eval "$1=\$(cat /tmp/subnets6 2>/dev/null)"
}
