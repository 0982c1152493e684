#!/bin/sh
# For the feed's tests, which run it on the installed package. $1 is the package's name, $2 its version.

case $1 in
shimmer)
	shimmer --version | grep -F "$2" || exit 1
	shimmerd --version | grep -F "$2" || exit 1
	# The things that a router can't do without: randomness, a clock, and the scheme.
	secret=$(shimmer keygen) || exit 1
	SHIMMER_SECRET=$secret shimmer port test:10000:10999 | grep -x '10[0-9][0-9][0-9]'
	;;
esac
