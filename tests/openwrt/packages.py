"""Opens an .ipk by Python's gzip and tarfile, and compares every entry with what it should be.

usage: packages.py IPK ARCHITECTURE VERSION EPOCH BINARY TREE

TREE is the repository. Says nothing if all is right.
"""

import gzip
import io
import sys
import tarfile
from pathlib import Path

path, architecture, version, epoch, binary, tree = sys.argv[1:]
files = Path(tree, "openwrt/files")
wrong = []


def expect(what, is_there, should_be):
    if is_there != should_be:
        wrong.append(f"{what}: is {is_there!r}, should be {should_be!r}")


def open_archive(name, data):
    # RFC 1952: no name, no time, so that the same tree gives the same bytes.
    expect(f"{name}: flags", data[3], 0)
    expect(f"{name}: time", data[4:8], b"\0\0\0\0")
    archive = tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)))
    for entry in archive:
        where = f"{name}: {entry.name}"
        expect(f"{where}: owner", (entry.uid, entry.gid, entry.uname, entry.gname), (0, 0, "", ""))
        expect(f"{where}: time", entry.mtime, int(epoch))
    return archive


def compare(name, archive, entries):
    """Entries are (name, mode, content); a folder has no content, a link the text that it leads to."""
    members = archive.getmembers()
    expect(f"{name}: names", [entry.name for entry in members], [entry[0] for entry in entries])
    for entry, (_, mode, content) in zip(members, entries):
        where = f"{name}: {entry.name}"
        expect(f"{where}: mode", oct(entry.mode), oct(mode))
        if content is None:
            expect(f"{where}: is a folder", entry.isdir(), True)
        elif isinstance(content, str):
            expect(f"{where}: is a link", entry.issym() and entry.linkname, content)
        else:
            expect(f"{where}: is a file", entry.isfile(), True)
            expect(f"{where}: content", archive.extractfile(entry).read(), content)


def file(name):
    return (files / name).read_bytes()


outer = open_archive("package", Path(path).read_bytes())
parts = ["./debian-binary", "./data.tar.gz", "./control.tar.gz"]
expect("package: names", outer.getnames(), parts)
version_of_format, data, control = (outer.extractfile(part).read() for part in parts)
expect("package: debian-binary", version_of_format, b"2.0\n")

compare(
    "data",
    open_archive("data", data),
    [
        (".", 0o755, None),
        ("./etc", 0o755, None),
        ("./etc/config", 0o755, None),
        ("./etc/config/shimmer", 0o600, file("etc/config/shimmer")),
        ("./etc/hotplug.d", 0o755, None),
        ("./etc/hotplug.d/ntp", 0o755, None),
        ("./etc/hotplug.d/ntp/25-shimmer", 0o644, file("etc/hotplug.d/ntp/25-shimmer")),
        ("./etc/init.d", 0o755, None),
        ("./etc/init.d/shimmer", 0o755, file("etc/init.d/shimmer")),
        ("./etc/init.d/shimmer-doors", 0o755, file("etc/init.d/shimmer-doors")),
        ("./lib", 0o755, None),
        ("./lib/upgrade", 0o755, None),
        ("./lib/upgrade/keep.d", 0o755, None),
        ("./lib/upgrade/keep.d/shimmer", 0o644, file("lib/upgrade/keep.d/shimmer")),
        ("./usr", 0o755, None),
        ("./usr/sbin", 0o755, None),
        ("./usr/sbin/shimmer", 0o755, Path(binary).read_bytes()),
        ("./usr/sbin/shimmerd", 0o777, "shimmer"),
    ],
)

archive = open_archive("control", control)
members = {entry.name: entry for entry in archive.getmembers()}
names = [".", "./conffiles", "./control", "./postinst", "./prerm"]
expect("control: names", list(members), names)
expect("control: modes", [oct(members[name].mode) for name in names],
       ["0o755", "0o644", "0o644", "0o755", "0o755"])
expect("control: conffiles", archive.extractfile("./conffiles").read(), b"/etc/config/shimmer\n")

fields = {}
for line in archive.extractfile("./control").read().decode().splitlines():
    if not line.startswith(" "):
        key, _, value = line.partition(": ")
        fields[key] = value
expect("control: fields", list(fields), [
    "Package", "Version", "Depends", "Source", "SourceName", "License", "LicenseFiles", "Section",
    "Require-User", "SourceDateEpoch", "URL", "Maintainer", "Architecture", "Installed-Size",
    "Description",
])
for key, value in {
    "Package": "shimmer",
    "Version": version,
    "License": "MIT OR Apache-2.0",
    "Require-User": "shimmer:shimmer",
    "SourceDateEpoch": epoch,
    "Architecture": architecture,
    "Installed-Size": str(len(gzip.decompress(data))),
}.items():
    expect(f"control: {key}", fields.get(key), value)
expect("control: empty fields", [key for key, value in fields.items() if not value], [])

print("\n".join(wrong), end="\n" if wrong else "")
sys.exit(bool(wrong))
