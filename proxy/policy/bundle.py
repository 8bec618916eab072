"""The digest of a rule set: SHA-256 over its files, in the order of their names.

``gatepass-rules/1`` and a line feed, then for each file its name, a NUL, its size in octets in decimal,
a line feed and its content. Every input has one reading, so no two bundles share their bytes.
"""

from collections.abc import Mapping
from hashlib import sha256

_HEAD = b"gatepass-rules/1\n"


def digest(files: Mapping[str, bytes]) -> str:
    """The digest, in hex.

    :raises ValueError: if a name holds a NUL.
    """
    total = sha256(_HEAD)
    for name in sorted(files):
        if "\0" in name:
            raise ValueError("a file name holds a NUL")
        total.update(b"%s\0%d\n%s" % (name.encode("utf-8"), len(files[name]), files[name]))
    return total.hexdigest()
