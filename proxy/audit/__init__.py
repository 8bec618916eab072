"""The evidence: what one record says, and how anybody can prove that nothing was changed afterwards.

This chapter promises: a record is canonical JSON (RFC 8785 subset) of at most 65,535 bytes; a log is
a C2SP tiled transparency log (tlog-tiles, tlog-checkpoint, signed-note, tlog-proof) with the hashing
of RFC 6962; what one function prints, its twin parses back strictly, and nothing else.

It refuses to know files, clocks, threads, HTTP, policy and where keys live: bytes, times and seeds
are arguments, and a verifier reads through ``verify.Source``.

* ``canonical`` bytes of a JSON value · ``record`` what an entry says · ``trace`` the story of a task
* ``merkle`` hashes and proofs · ``tile`` layout · ``note``, ``checkpoint``, ``proof`` what is signed
* ``verify`` all of it at once, over a log that somebody hands you
"""


class Malformed(ValueError):
    """Bytes, or a value meant for them, that the named format does not allow."""
