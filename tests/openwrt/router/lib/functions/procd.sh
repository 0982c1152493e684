# Stands in for procd and its shell functions: they record what they are given. The file /tmp/running is
# there while procd would have the daemon running.
# shellcheck shell=sh disable=SC2317

for each in procd_set_param procd_append_param procd_add_jail procd_add_jail_mount \
	procd_add_jail_mount_rw procd_open_data procd_close_data procd_close_instance procd_send_signal \
	procd_set_config_changed procd_add_reload_trigger procd_add_reload_interface_trigger \
	procd_add_interface_trigger json_add_array json_close_array json_add_object json_close_object \
	json_add_string json_add_boolean json_add_int; do
	eval "$each() { record $each \"\$@\"; }"
done

procd_open_service() {
	record procd_open_service "$@"
	has_instance=
}

procd_open_instance() {
	record procd_open_instance "$@"
	has_instance=1
}

# procd starts what it is told of, and ends what it is told of no more.
procd_close_service() {
	service_triggers
	record procd_close_service "$@"
	if [ -n "$has_instance" ]; then
		: >/tmp/running
	else
		rm -f /tmp/running
	fi
}

procd_kill() {
	record procd_kill "$@"
	rm -f /tmp/running
}

procd_running() {
	[ -e /tmp/running ]
}

uci_validate_section() {
	validated=$(/sbin/validate_data "$@")
	validity=$?
	eval "$validated"
	return "$validity"
}
