"""A service named ``s``, and the headers of a JSON call to it."""

from proxy.policy.catalogue import Service

HEADERS = ((b"Host", b"s.example.org"), (b"Content-Type", b"application/json"))


def service(*operations, **more):
    return Service(
        name="s", hosts=("s.example.org",), schemes=("https",), ports=(443,), owner="o", data_owner="d",
        sensitivity="public", environments=("development",), operations=operations, credential=None, **more,
    )  # fmt: skip
