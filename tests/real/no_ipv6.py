"""Runs a command under a kernel without IPv6, as far as it can tell: socket(2) refuses the family.

A namespace can only take the addresses away, and a socket of the family is still there then.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
import sys

# The number of socket(2), and with it the layout of what the filter sees.
SOCKET = {"x86_64": 41, "aarch64": 198, "riscv64": 198}[platform.machine()]

# <linux/filter.h>, <linux/seccomp.h>, <linux/prctl.h>
LOAD_WORD, IS_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, FIRST_ARGUMENT = 0, 16
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

FILTER = b"".join(
    struct.pack("HBBI", *step)
    for step in [
        (LOAD_WORD, 0, 0, NUMBER),
        (IS_EQUAL, 0, 3, SOCKET),
        (LOAD_WORD, 0, 0, FIRST_ARGUMENT),
        (IS_EQUAL, 0, 1, socket.AF_INET6),
        (RETURN, 0, 0, ERRNO | errno.EAFNOSUPPORT),
        (RETURN, 0, 0, ALLOW),
    ]
)


class Program(ctypes.Structure):
    _fields_ = [("steps", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(FILTER) // 8, FILTER)
for call in [
    (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0),
]:
    if libc.prctl(*call) != 0:
        sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
os.execvp(sys.argv[1], sys.argv[1:])
