# Stands in for OpenWrt's /lib/functions.sh, as far as the init script uses it: a configuration's options
# are in variables, and are told to three functions while it is loaded.
# shellcheck shell=sh
# shellcheck disable=SC2317 # Others call them.

# The router's log, and what a command says.
logger() {
	record logger "$@"
	for word; do :; done
	echo "shimmer: $word" >&2
}

# What was called, a line each: tests read it.
record() {
	printf '%s' "$1" >>/tmp/calls
	shift
	[ $# = 0 ] || printf " '%s'" "$@" >>/tmp/calls
	echo >>/tmp/calls
}

reset_cb() {
	config_cb() { :; }
	option_cb() { :; }
	list_cb() { :; }
}
reset_cb

package() { :; }

config() {
	CONFIG_SECTION=$2
	CONFIG_SECTIONS="$CONFIG_SECTIONS $2"
	eval "CONFIG_${2}_TYPE=\$1"
	config_cb "$1" "$2"
}

option() {
	eval "CONFIG_${CONFIG_SECTION}_$1=\$2"
	option_cb "$1" "$2"
}

list() {
	CONFIG_LISTS="$CONFIG_LISTS CONFIG_${CONFIG_SECTION}_$1"
	eval "CONFIG_${CONFIG_SECTION}_$1=\"\${CONFIG_${CONFIG_SECTION}_$1:+\$CONFIG_${CONFIG_SECTION}_$1 }\$2\""
	list_cb "$1" "$2"
}

# Of what was loaded before, the options stay; so it is in OpenWrt, and nobody may count on more.
config_load() {
	for variable in $CONFIG_LISTS; do
		unset "$variable"
	done
	CONFIG_LISTS=
	CONFIG_SECTIONS=
	CONFIG_SECTION=
	exported=$(/sbin/uci -n export "$1") || return 1
	eval "$exported"
	[ -z "$CONFIG_SECTION" ] || config_cb
}

config_get() {
	case $2$3 in
	*[!A-Za-z0-9_]*) ;;
	*) eval "$1=\${CONFIG_$2_$3:-\$4}" ;;
	esac
}

config_get_bool() {
	config_get "$1" "$2" "$3" "$4"
	eval "word=\$$1"
	case $word in
	1 | on | true | yes | enabled) eval "$1=1" ;;
	0 | off | false | no | disabled) eval "$1=0" ;;
	*) eval "$1=\$4" ;;
	esac
}

config_foreach() {
	called=$1
	type=$2
	kind=
	for each in $CONFIG_SECTIONS; do
		config_get kind "$each" TYPE
		[ "$kind" != "$type" ] || "$called" "$each"
	done
}
