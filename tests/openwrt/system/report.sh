# What is shown, and how it went, as tests/real/report.sh does it for bash. (Sourced by init.)
# shellcheck shell=dash

PASSED=0
FAILED=0
CURRENT=preparation

# begin NAME: the check of this name comes now.
begin() {
	CURRENT=$(echo "$1" | tr _ ' ')
	echo "$CURRENT [$(seconds_since_boot) s]"
}

ok() {
	PASSED=$((PASSED + 1))
	echo "ok   $*"
}

# fail WHAT [DETAILS]
fail() {
	FAILED=$((FAILED + 1))
	echo "FAIL $1"
	[ -z "${2-}" ] || echo "$2" | head -n 20 | sed 's/^/     | /'
	return 1
}

# expect WHAT COMMAND…: shows that the command succeeds; what it prints is for when it does not.
expect() {
	local what="$1" said
	shift
	if said=$("$@" 2>&1); then
		ok "$what"
	else
		fail "$what" "${said:-$* said nothing}"
	fi
}

# expect_same WHAT WANTED GOT
expect_same() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		fail "$1" "wanted: $2
got: $3"
	fi
}

# wait_for SECONDS COMMAND…: until the command succeeds, so long at most.
wait_for() {
	local until=$(($(seconds_since_boot) + $1 + 1))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$(seconds_since_boot)" -ge "$until" ]; then
			echo "in vain: $*"
			return 1
		fi
		sleep 0.1
	done
}

fails() {
	if "$@"; then
		echo "this succeeded: $*"
		return 1
	fi
}

# No test may set this clock.
seconds_since_boot() {
	cut -d . -f 1 /proc/uptime
}
