"""Where a Workload API may be, and what gatepass needs to reach it."""

import subprocess
import sys

import pytest

from proxy.broker.workload_channel import target_of
from tests.broker.workload_scene import FIRST, Heard, client
from tests.support.workload_api import X509, WorkloadApiServer, x509_response


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("unix:///run/spire/agent.sock", "unix:/run/spire/agent.sock"),
        ("tcp://127.0.0.1:8081", "ipv4:127.0.0.1:8081"),
        ("tcp://127.9.9.9:1", "ipv4:127.9.9.9:1"),
        ("tcp://[::1]:65535", "ipv6:[::1]:65535"),
    ],
)
def test_addresses(address: str, target: str) -> None:
    assert target_of(address) == target


@pytest.mark.parametrize(
    "address",
    [
        *("", "unix", "unix:", "unix:/run/s", "unix://", "unix:///", "unix:///run/", "unix://run/s"),
        *(
            "unix:///run/a b",
            "unix:///run/a%20b",
            "unix:///run/s?x",
            "unix:///run/s#x",
            "unix:///" + "x" * 107,
        ),
        *(
            "tcp://localhost:1",
            "tcp://10.0.0.1:1",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:",
            "tcp://127.0.0.1:0",
        ),
        *("tcp://127.0.0.1:65536", "tcp://127.0.0.1:01", "tcp://127.0.0.1:1/", "tcp://u@127.0.0.1:1"),
        *("tcp://::1:1", "tcp://[127.0.0.1]:1", "tcp://[::2]:1", "http://127.0.0.1:1", "UNIX:///run/s"),
    ],
)
def test_other_addresses_are_refused_with_words(address: str) -> None:
    with pytest.raises(ValueError, match=r"unix:///absolute/path|tcp://127\.0\.0\.1:port"):
        target_of(address)


async def test_over_tcp_a_proxy_variable_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    heard = Heard()
    async with WorkloadApiServer("127.0.0.1:0") as server:
        await server.say(X509, x509_response([FIRST]))
        api = client(heard, f"tcp://127.0.0.1:{server.port}")
        await api.start()
        assert await heard.until_identity(1) is not None
        await api.close()


@pytest.mark.parametrize("hidden", ["grpc", "google.protobuf"])
def test_without_the_extra_it_says_what_to_install(hidden: str) -> None:
    """In a process of its own, where the package cannot be found."""
    script = f"""
import asyncio, sys
sys.modules[{hidden!r}] = None
from proxy.broker.workload_api import WorkloadApi, WorkloadApiMissing
from proxy.broker.workload_proto import x509_message
async def main():
    print("imported", *(name for name in ("grpc", "google.protobuf") if sys.modules.get(name)))
    try:
        api = WorkloadApi("unix:///x", clock=None, on_identity=print, on_bundle=print, alarm=print)
        await api.start()
    except WorkloadApiMissing as error:
        print(error)
asyncio.run(main())
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout == "imported\nthe SPIFFE Workload API needs gRPC: install gatepass[spiffe]\n"
