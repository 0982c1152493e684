"""What a program for macOS says of itself. (Used by openwrt/test-laptops.)"""

import hashlib
import struct


class MachO:
    """An executable of 64 bits, as loader.h and cs_blobs.h of Apple's XNU describe it."""

    EXECUTE, PIE = 2, 0x200000
    X86_64, ARM64 = 0x01000007, 0x0100000C
    LOAD_DYLIB, RPATH, CODE_SIGNATURE, BUILD_VERSION = 0x0C, 0x8000001C, 0x1D, 0x32
    # The other ways to load a library: weak, again for others, lazily, upward.
    OTHER_DYLIBS = (0x80000018, 0x8000001F, 0x20, 0x80000023)
    MACOS = 1
    SUPERBLOB, CODE_DIRECTORY = 0xFADE0CC0, 0xFADE0C02
    ADHOC, SHA256 = 2, 2

    def __init__(self, path):
        self.bytes = path.read_bytes()
        fields = struct.unpack_from("<8I", self.bytes)
        if fields[0] != 0xFEEDFACF:
            raise ValueError("no Mach-O file of 64 bits")
        self.processor, self.kind, self.flags = fields[1], fields[3], fields[6]
        self.commands, at = [], 32
        for _ in range(fields[4]):
            command, size = struct.unpack_from("<2I", self.bytes, at)
            self.commands.append((command, self.bytes[at : at + size]))
            at += size

    def of(self, *kinds):
        return [body for command, body in self.commands if command in kinds]

    def libraries(self):
        def name(body):
            return body[struct.unpack_from("<I", body, 8)[0] :].rstrip(b"\0").decode()

        return [name(body) for body in self.of(self.LOAD_DYLIB, *self.OTHER_DYLIBS)]

    def code_directory(self):
        (command,) = self.of(self.CODE_SIGNATURE)
        offset, size = struct.unpack_from("<2I", command, 8)
        blob = self.bytes[offset : offset + size]
        magic, _, count = struct.unpack_from(">3I", blob)
        if magic != self.SUPERBLOB:
            raise ValueError("no signature where it should be")
        for number in range(count):
            (at,) = struct.unpack_from(">I", blob, 16 + 8 * number)
            if struct.unpack_from(">I", blob, at)[0] == self.CODE_DIRECTORY:
                return blob[at:]
        raise ValueError("a signature without a code directory")

    def signed_pages(self):
        """The hash of each page, and what the signature, which has no signer, says that it is."""
        directory = self.code_directory()
        flags, hashes = struct.unpack_from(">2I", directory, 12)
        slots, limit = struct.unpack_from(">2I", directory, 28)
        size, kind, page = directory[36], directory[37], 1 << directory[39]
        if (kind, size) != (self.SHA256, 32) or not flags & self.ADHOC or -(-limit // page) != slots:
            raise ValueError("a signature of another kind")
        pages = []
        for slot in range(slots):
            contents = self.bytes[slot * page : min((slot + 1) * page, limit)]
            at = hashes + slot * size
            pages.append((hashlib.sha256(contents).digest(), directory[at : at + size]))
        return pages
