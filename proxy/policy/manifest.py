"""The list of a rules directory's files, which is what is signed: ``MANIFEST``, as ``sha256sum`` prints it.

::

    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  agents.yaml
    5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03  policies/default.cedar

Every file is listed, in the order of the names, nothing is missing and nothing stands there besides: a
signature over the list is one over the whole directory. ``MANIFEST.minisig`` is the signature
(``signature``). The list has one spelling, so it is read by writing it again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from proxy.policy.signature import PublicKey, parse_signature, verify
from proxy.problems import Problem

MANIFEST, SIGNATURE = "MANIFEST", "MANIFEST.minisig"
_SIGN = "sign the directory with `gatepass policy sign`"
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Signed:
    """Who has signed a directory: the key's id as minisign prints it, and the trusted comment."""

    key: str
    comment: str


def manifest(files: Mapping[str, bytes]) -> bytes:
    """The list of these files, but for itself and its signature.

    :raises ValueError: if a name has a line feed or a backslash, which the format cannot tell.
    """
    lines = []
    for name in sorted(files.keys() - {MANIFEST, SIGNATURE}):
        if "\n" in name or "\\" in name:
            raise ValueError(f"{name!r}: a file's name may hold neither a line feed nor a backslash")
        lines.append(f"{sha256(files[name]).hexdigest()}  {name}\n")
    return "".join(lines).encode("utf-8")


def check_signed(files: Mapping[str, bytes], signer: PublicKey) -> Signed | list[Problem]:
    """Whether exactly these files were signed with ``signer``; else everything that is wrong."""
    if MANIFEST not in files or SIGNATURE not in files:
        missing = MANIFEST if MANIFEST not in files else SIGNATURE
        return [Problem(missing, None, f"not there, and policy.signer wants the rules signed; {_SIGN}")]
    signature = parse_signature(files[SIGNATURE])
    if isinstance(signature, str):
        return [Problem(SIGNATURE, None, signature)]
    words = verify(files[MANIFEST], signature, signer)
    if words is not None:
        return [Problem(SIGNATURE, None, f"{words}; {_SIGN}")]
    try:
        expected = manifest(files)
    except ValueError as error:
        return [Problem(MANIFEST, None, str(error))]
    if expected != files[MANIFEST]:
        return list(_differences(files[MANIFEST], expected))[:_SHOWN]
    return Signed(signer.name, signature.trusted_comment)


def _differences(listed: bytes, found: bytes) -> Iterator[Problem]:
    """What the list says otherwise than the directory; at least one."""
    then, now = _entries(listed), _entries(found)
    for name in sorted(then.keys() | now.keys()):
        if name not in now:
            yield Problem(name, None, f"listed in {MANIFEST}, and not there; restore it or {_SIGN} again")
        elif name not in then:
            yield Problem(name, None, f"not listed in {MANIFEST}; remove it or {_SIGN} again")
        elif then[name] != now[name]:
            yield Problem(name, None, f"changed after it was signed; restore it or {_SIGN} again")
    if then == now:
        words = "not written as sha256sum prints it, in the order of the names"
        yield Problem(MANIFEST, None, f"{words}; {_SIGN} again")


def _entries(text: bytes) -> dict[str, str]:
    """Names and digests of a list, as far as it can be read: for words only."""
    lines = text.decode("utf-8", "replace").splitlines()
    pairs = (line.partition("  ") for line in lines)
    return {name: digest for digest, _, name in pairs}
