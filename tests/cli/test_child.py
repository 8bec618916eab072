"""What a program is given and what is kept from it."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.child import NOT_EXECUTABLE, NOT_FOUND, child_environment, run_child, unusable
from proxy.credential.binding import Binding, HeaderSurface
from proxy.policy.catalogue import Service

SECRET = "sk-live-0123456789abcdef"


def service(name, variable, provider="env"):
    binding = Binding(name, provider, variable, HeaderSurface(), (variable,))
    return Service(
        name, (f"{name}.test",), ("https",), (443,), "a", "g", "internal", ("development",), (), binding
    )


def test_a_credential_s_variable_holds_the_placeholder_or_is_gone():
    inherited = {"TOKEN": SECRET, "OTHER": "another-secret-value", "HOME": "/h"}
    services = [service("a", "TOKEN"), service("b", "OTHER")]
    found, taken = child_environment(inherited, {"TOKEN": "gp_x"}, services)
    assert found == {"TOKEN": "gp_x", "HOME": "/h"}
    assert taken == []


@given(st.text(max_size=9), st.text(max_size=9))
def test_no_variable_holds_a_credential_wherever_it_stands_in_it(before, after):
    inherited = {"TOKEN": SECRET, "URL": before + SECRET + after, "KEEP": before}
    found, taken = child_environment(inherited, {}, [service("a", "TOKEN")])
    assert found == {"KEEP": before}
    assert taken == ["URL"]


def test_short_values_are_no_secrets_elsewhere():
    found, taken = child_environment({"TOKEN": "1", "SHLVL": "1"}, {}, [service("a", "TOKEN")])
    assert (found, taken) == ({"SHLVL": "1"}, [])


def test_a_file_s_path_is_no_variable():
    found, _ = child_environment({"/run/token": "x", "A": "b"}, {}, [service("a", "/run/token", "file")])
    assert found == {"/run/token": "x", "A": "b"}


def test_variables_of_gatepass_are_not_the_agent_s():
    assert child_environment({"GATEPASS_STATE": "/s", "GATEPASS_DEBUG": "1"}, {}, []) == ({}, [])


def test_java_keeps_its_own_options_unless_they_hold_a_secret():
    exports = {"JAVA_TOOL_OPTIONS": "-Dours"}
    services = [service("a", "TOKEN")]
    inherited = {"TOKEN": SECRET, "JAVA_TOOL_OPTIONS": "-Xmx1g"}
    assert child_environment(inherited, exports, services)[0] == {"JAVA_TOOL_OPTIONS": "-Xmx1g -Dours"}
    inherited["JAVA_TOOL_OPTIONS"] = f"-Dtoken={SECRET}"
    assert child_environment(inherited, exports, services)[0] == {"JAVA_TOOL_OPTIONS": "-Dours"}


def test_what_can_be_run(tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    path = {"PATH": str(tmp_path)}
    assert unusable(["sh"], {"PATH": os.defpath}) is None
    assert unusable(["sh"], {}) is None
    assert unusable(["plain"], path) == ("plain cannot be executed", NOT_EXECUTABLE)
    assert unusable(["none"], path) == ("none: command not found", NOT_FOUND)


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3), ("kill -KILL $$", 137), ('test "$A" = b', 0)])
async def test_the_status_is_a_shell_s(script, status):
    assert await run_child(["sh", "-c", script], {"PATH": os.defpath, "A": "b"}) == status


async def test_what_the_system_will_not_run_is_not_executable(tmp_path):
    odd = tmp_path / "odd"
    odd.write_bytes(b"\x7fELF but not really")
    odd.chmod(0o700)
    assert await run_child([str(odd)], {}) == NOT_EXECUTABLE
