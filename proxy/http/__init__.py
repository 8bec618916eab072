"""HTTP/1.1 as gatepass understands it (RFC 3986, 9110, 9112): one reading of every byte, used by all.

What this package promises: whatever comes out of it is canonical and cannot be read in two ways. A
``Host``, an ``Origin``, a ``CanonicalPath`` or a ``Target`` exists only if the bytes it came from
passed the one strict parser (``canonical``); policy, resolver, TLS and dialer share that value, so
what is decided is what is sent. Heads pass ``guard`` before anybody trusts their framing. Addresses
are judged by a frozen table (``address``), not by a library that changes between releases.

What it refuses to know: sockets, time, identities, rules, credentials and the log. Values go in,
values or a ``Refusal`` come out.
"""
