"""Answers every connection with where it was dialled, as the kernel says it: ADDRESS PORT, or the
name of the error. On [::] for both families, or at one address.

usage: original.py ADDRESS PORT
"""

import errno
import socket
import struct
import sys

SO_ORIGINAL_DST = 80


def dialled(connection, peer):
    if ":" not in peer or peer.startswith("::ffff:"):
        raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        port, address = struct.unpack_from("!2xH4s", raw)
        return socket.inet_ntop(socket.AF_INET, address), port
    raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
    port, address = struct.unpack_from("!2xH4x16s", raw)
    return socket.inet_ntop(socket.AF_INET6, address), port


address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
listener = socket.socket(family)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if address == "::":
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
listener.bind((address, port))
listener.listen(100)
print("listening", flush=True)
while True:
    connection, (peer, *_) = listener.accept()
    try:
        answer = "%s %d" % dialled(connection, peer)
    except OSError as error:
        answer = errno.errorcode[error.errno]
    try:
        connection.sendall(answer.encode() + b"\n")
    except OSError:
        pass
    connection.close()
