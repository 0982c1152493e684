"""A syslogd that is there, goes away, comes back, and stops reading: what the daemon makes of it.

usage: unshare -m python3 syslog.py SHIMMER FOLDER      in a mount namespace of its own, as root

The namespace gets a /dev of its own with a /dev/log in it, so a syslogd of the machine hears nothing.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time

SHIMMER, FOLDER = sys.argv[1:]
PATIENCE_S = 20


def mount(*words):
    subprocess.run(["mount", *words], check=True)


def own_dev():
    folder = os.path.join(FOLDER, "dev")
    os.mkdir(folder)
    mount("-t", "tmpfs", "tmpfs", folder)
    for node in ("null", "urandom"):
        open(os.path.join(folder, node), "w").close()
        mount("--bind", "/dev/" + node, os.path.join(folder, node))
    mount("--rbind", folder, "/dev")


def syslogd():
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind("/dev/log")
    listener.settimeout(PATIENCE_S)
    return listener


def gone(listener):
    listener.close()
    os.unlink("/dev/log")


def hear(listener, part):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        line = listener.recv(1024).decode()
        if part in line:
            return line
    raise SystemExit(f"never heard {part}")


def wait_for(what, is_so):
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.05)


def open_ports():
    """Of 127.78.1.1, as /proc/net/tcp writes them."""
    with open("/proc/net/tcp") as table:
        return {line.split()[1] for line in table if "01014E7F:" in line.split()[1]}


def start():
    daemon = subprocess.Popen(
        [SHIMMER, "daemon", "--config", config], stderr=subprocess.PIPE, text=True
    )
    # Whatever fails here: one that is left holds the pipe that the caller reads to its end.
    atexit.register(daemon.kill)
    return daemon


def end(daemon):
    daemon.send_signal(signal.SIGTERM)
    _, errors = daemon.communicate(timeout=PATIENCE_S)
    assert daemon.returncode == 0, daemon.returncode
    return errors


own_dev()
config = os.path.join(FOLDER, "syslog.conf")
with open(config, "w") as file:
    os.fchmod(file.fileno(), 0o600)
    file.write(
        "[common]\nlog = syslog\nstate-file = none\n[mirage-ssh]\nsecret = of the syslog test\n"
        "port = 22\nrange = 31000-31999\nperiod = 2s\nlisten-address = 127.78.1.1\n"
    )

log = syslogd()
daemon = start()
line = hear(log, " listen mirage=ssh ")
# Facility daemon, severity informational (RFC 3164), and no time: syslogd has its own.
assert line.startswith(f"<30>shimmer[{daemon.pid}]: listen "), line
gone(log)
# Lines are lost while nobody listens, and how many is told when somebody does again. A rotation is a
# line, written before the next one, which the ports tell.
daemon.send_signal(signal.SIGHUP)
assert "warning: syslog: /dev/log: " in daemon.stderr.readline()
for _ in range(2):
    before = open_ports()
    wait_for("a rotation", lambda: not before <= open_ports())
log = syslogd()
hear(log, f"<28>shimmer[{daemon.pid}]: warn lost-lines=")
hear(log, " rotate mirage=ssh ")
# One that no longer reads stops nothing.
for _ in range(200):
    daemon.send_signal(signal.SIGHUP)
    time.sleep(0.005)
assert end(daemon) == "", "a syslogd that is stuck is no news"
gone(log)

daemon = start()
wait_for("its ports", open_ports)
assert "warning: syslog: /dev/log: " in end(daemon)
