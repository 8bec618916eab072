"""The canonicaliser's front door offers what the parts promise."""

import pytest

from proxy.http import canonical, host, path, target


@pytest.mark.parametrize("name", canonical.__all__)
def test_every_name_is_the_part_itself(name):
    parts = [part for part in (host, path, target) if getattr(part, name, None) is getattr(canonical, name)]
    assert parts


def test_one_refusal_and_one_value_end_to_end():
    wanted = canonical.parse_host(b"api.example")
    assert isinstance(wanted, canonical.Host)
    tunnel = canonical.Origin("https", wanted, 443)
    read = canonical.parse_target("GET", b"/a/../b?c", tunnel=tunnel, hosts=[b"api.example"], version="1.1")
    assert isinstance(read, canonical.Target)
    assert read.request_target == b"/b?c"
    assert canonical.query_pairs(read.query) == (("c", ""),)
