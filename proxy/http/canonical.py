"""The one canonicaliser (RFC 3986, 5952, 9112): the names that policy, resolver, TLS and dialer share.

``host`` reads hosts and origins, ``path`` reads paths, ``target`` reads whole request targets and
holds them against CONNECT and Host. Everybody else imports from here. Every value is a fixed point:
reading it again changes nothing.
"""

from proxy.http.host import (
    DEFAULT_PORT,
    Host,
    HostKind,
    Origin,
    parse_authority,
    parse_host,
    parse_port,
)
from proxy.http.path import CanonicalPath, Note, parse_path
from proxy.http.target import Target, parse_connect, parse_target, query_pairs

__all__ = [
    "DEFAULT_PORT",
    "CanonicalPath",
    "Host",
    "HostKind",
    "Note",
    "Origin",
    "Target",
    "parse_authority",
    "parse_connect",
    "parse_host",
    "parse_path",
    "parse_port",
    "parse_target",
    "query_pairs",
]
