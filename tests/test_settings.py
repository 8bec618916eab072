import pytest
from pydantic import ValidationError

from proxy.settings import Listen, Settings


def test_the_defaults_listen_on_loopback_and_open_nothing_private() -> None:
    settings = Settings()
    assert [spec.host for spec in settings.listen] == ["127.0.0.1"]
    assert settings.upstream.allow_private == ()
    assert settings.upstream.ports == {80, 443}
    assert not settings.upstream.ip_literals


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [("127.0.0.1:8470", "127.0.0.1", 8470), ("[::1]:0", "::1", 0), ("localhost:1", "localhost", 1)],
)
def test_an_address_is_a_host_and_a_port(address: str, host: str, port: int) -> None:
    listen = Listen(address=address)
    assert (listen.host, listen.port) == (host, port)


@pytest.mark.parametrize("address", ["8470", ":8470", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", ""])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="HOST:PORT"):
        Listen(address=address)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValidationError, match="extra"):
        Settings.model_validate({"upstream": {"verify_tls": False}})


def test_names_are_made_canonical() -> None:
    given = {"upstream": {"hosts": {"API.Example.COM": ["192.0.2.1"]}}}
    assert Settings.model_validate(given).upstream.hosts == {"api.example.com": ["192.0.2.1"]}


@pytest.mark.parametrize("answers", [["other.example"], ["192.0.2.1", "192.0.2.1:443"], ["10.0.0.0/8"]])
def test_a_static_answer_is_an_address(answers: list[str]) -> None:
    with pytest.raises(ValidationError, match="address"):
        Settings.model_validate({"upstream": {"hosts": {"api.example.com": answers}}})


@pytest.mark.parametrize("host", ["2130706433", "a_b", "ex ample", "http://a", "[fe80::1%25eth0]"])
def test_what_is_no_host_cannot_be_opened(host: str) -> None:
    rule = {"host": host, "cidr": "10.0.0.0/8", "port": 443}
    with pytest.raises(ValidationError, match="canonical"):
        Settings.model_validate({"upstream": {"allow_private": [rule]}})
