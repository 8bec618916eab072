"""Listeners that speak for an agent: its task and its placeholders outlive a restart."""

import asyncio
import json
import os
import shlex
import signal
import stat
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.cli.standing import agent_file
from proxy.identity.principal import TaskState
from proxy.store.tasks import TaskStore
from tests.support import demo_rules
from tests.support.free_port import free_port
from tests.support.upstream import Upstream

SECRET = "sk-live-0123456789abcdef"


class Pod:
    def __init__(self, gatepass, port):
        self.gatepass, self.port, self.services = gatepass, port, ["api"]
        self.environment = "development"
        self.ceiling: dict[str, list[str]] = {}
        self.scopes: list[str] = []

    def write(self):
        directory = self.gatepass.cwd
        services = [
            demo_rules.service(
                name,
                credential=demo_rules.from_env(f"{name.upper()}_TOKEN"),
                environments=["development", "staging"],
            )
            for name in self.services
        ]
        demo_rules.write_rules(
            directory / "rules",
            services=services,
            agents=[
                demo_rules.agent(environment=self.environment)
                | {"ceiling": self.ceiling}
                | ({"standing": {"scopes": self.scopes}} if self.scopes else {})
            ],
            policies=[demo_rules.permit("reads")],
        )
        demo_rules.write_config(
            directory / "gatepass.yaml",
            state=self.gatepass.state,
            rules=directory / "rules",
            listen=[{"address": f"127.0.0.1:{self.port}", "agent": "tester"}],
        )

    @asynccontextmanager
    async def serving(self):
        process = await self.gatepass.start("serve", "--json", API_TOKEN=SECRET)
        said = await process.stdout.readline()
        if not said:
            raise AssertionError(await self.gatepass.end(process))
        try:
            yield json.loads(said)
        finally:
            process.send_signal(signal.SIGTERM)
            self.done = await self.gatepass.end(process)
        assert self.done.status == 0

    @property
    def file(self):
        return agent_file(self.gatepass.state / "agents", "tester")

    @property
    def variables(self):
        return dict(word.split("=", 1) for word in shlex.split(self.file.read_text(), comments=True))

    def tasks(self, state=None):
        with TaskStore.open(self.gatepass.state / "tasks.sqlite3") as store:
            return [stored.task for stored in store.list(state)]


@pytest.fixture
def pod(gatepass):
    pod = Pod(gatepass, free_port())
    pod.write()
    return pod


async def test_the_file_says_where_the_proxy_is_without_a_token(pod):
    async with pod.serving() as said:
        assert said["listening"] == [f"127.0.0.1:{pod.port}"]
    assert f"the variables of agent tester are in {pod.file}" in pod.done.err
    assert stat.S_IMODE(pod.file.stat().st_mode) == 0o600
    assert stat.S_IMODE(pod.file.parent.stat().st_mode) == 0o700
    assert pod.variables["https_proxy"] == f"http://127.0.0.1:{pod.port}"
    assert pod.variables["API_TOKEN"].startswith("gp_")
    assert "proxyPassword" not in pod.variables["JAVA_TOOL_OPTIONS"]
    assert SECRET not in pod.file.read_text() + pod.done.err + pod.done.out
    assert pod.variables["API_TOKEN"] not in pod.done.err + pod.done.out
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"set -a; . {pod.file}; env"), env={}, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(10):
        out, _ = await shell.communicate()
    assert pod.variables.items() <= dict(line.split("=", 1) for line in out.decode().splitlines()).items()


async def test_a_restart_keeps_task_and_placeholders(pod):
    async with pod.serving():
        before, (task,) = pod.file.read_text(), pod.tasks()
    async with pod.serving():
        assert pod.file.read_text() == before
    assert pod.tasks() == [task]
    assert task.purpose == f"listener 127.0.0.1:{pod.port}"


async def test_a_restart_keeps_them_below_a_ceiling_too(pod):
    """There is no placeholder for what the agent may not use; that is no reason to begin anew."""
    pod.services, pod.ceiling = ["api", "mail"], {"services": ["api"]}
    pod.write()
    async with pod.serving():
        before, (task,) = pod.file.read_text(), pod.tasks()
    async with pod.serving():
        assert pod.file.read_text() == before
        assert "MAIL_TOKEN" not in pod.variables
    assert pod.tasks() == [task]


async def test_the_task_has_the_scopes_of_its_agent_s_entry(pod):
    pod.scopes = ["b", "a"]
    pod.write()
    async with pod.serving():
        (task,) = pod.tasks()
    assert task.scopes == ("a", "b")
    async with pod.serving():
        assert pod.tasks(TaskState.OPEN) == [task]


@pytest.mark.parametrize("change", ["service", "file", "foreign", "environment", "address", "scopes"])
async def test_what_no_longer_fits_begins_anew_and_the_old_task_ends(pod, change):
    async with pod.serving():
        before, (old,) = pod.variables, pod.tasks()
    if change == "service":
        pod.services = ["api", "mail"]
    elif change == "file":
        pod.file.unlink()
    elif change == "foreign":
        pod.file.write_text("API_TOKEN='unclosed")
    elif change == "environment":
        pod.environment = "staging"
    elif change == "scopes":
        pod.scopes = ["more"]
    else:
        pod.port = free_port()
    pod.write()
    async with pod.serving():
        assert pod.variables["API_TOKEN"] != before["API_TOKEN"]
        assert ("MAIL_TOKEN" in pod.variables) == (change == "service")
    (new,) = pod.tasks(TaskState.OPEN)
    (ended,) = pod.tasks(TaskState.ENDED)
    assert ended.id == old.id != new.id


async def test_a_second_sidecar_leaves_the_first_one_s_tasks_alone(pod):
    async with pod.serving():
        before = pod.file.read_text()
        second = Pod(pod.gatepass, free_port())
        second.write()
        done = await pod.gatepass("serve")
        assert (done.status, len(done.lines)) == (2, 1)
        assert "another gatepass uses" in done.err
        assert pod.file.read_text() == before
        assert len(pod.tasks(TaskState.OPEN)) == 1


async def test_an_agent_that_is_not_registered_cannot_have_a_listener(pod, gatepass):
    demo_rules.write_config(
        gatepass.cwd / "gatepass.yaml",
        state=gatepass.state,
        rules=gatepass.cwd / "rules",
        listen=[{"address": "127.0.0.1:0", "agent": "nobody"}],
    )
    done = await gatepass("serve")
    assert (done.status, len(done.lines)) == (2, 1)
    assert "'nobody' is not registered" in done.err


def known(gatepass, *agents, **settings):
    """Agents that prove themselves, and a socket to come in by; the file of the first."""
    demo_rules.write_rules(
        gatepass.cwd / "rules",
        services=[demo_rules.service("api", credential=demo_rules.from_env("API_TOKEN"))],
        agents=agents,
        policies=[],
    )
    demo_rules.write_config(
        gatepass.cwd / "gatepass.yaml",
        **{
            "state": gatepass.state,
            "rules": gatepass.cwd / "rules",
            "listen": [{"unix": "agent.sock"}, {"address": "127.0.0.1:0"}],
            **settings,
        },
    )
    return agent_file(gatepass.state / "agents", agents[0]["id"])


def unix(name="tester", **more):
    return {**demo_rules.agent(name), "authenticate": [{"method": "unix", "uid": os.getuid()}], **more}


async def test_an_agent_that_proves_itself_has_a_task_and_a_file_without_a_proxy(pod, gatepass):
    file = known(gatepass, unix())
    async with pod.serving() as said:
        assert said["listening"][0] == f"unix:{gatepass.cwd}/agent.sock"
        variables, (task,) = pod.variables, pod.tasks()
    assert not {"https_proxy", "HTTP_PROXY", "JAVA_TOOL_OPTIONS"} & set(variables)
    assert variables["SSL_CERT_FILE"] == f"{gatepass.state}/ca-bundle.pem"
    assert variables["API_TOKEN"].startswith("gp_")
    assert (task.agent, task.purpose) == ("tester", "authenticates by unix")
    assert f"the variables of agent tester are in {file}" in pod.done.err
    async with pod.serving():
        assert (pod.variables, pod.tasks()) == (variables, [task])


async def test_an_agent_that_nothing_here_can_know_has_none(pod, gatepass):
    file = known(gatepass, unix(), listen=[{"address": "127.0.0.1:0"}])
    async with pod.serving():
        assert not file.exists()
    assert not (gatepass.state / "agents").exists()


async def ask(socket_path):
    """The code of the refusal, and its detail."""
    reader, writer = await asyncio.open_unix_connection(socket_path)
    writer.write(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
    head, _, body = (await asyncio.wait_for(reader.read(65536), 20)).partition(b"\r\n\r\n")
    length = int(
        next(line for line in head.lower().split(b"\r\n") if b"content-length" in line).split(b":")[1]
    )
    told = json.loads(body + await asyncio.wait_for(reader.readexactly(length - len(body)), 20))
    writer.close()
    await writer.wait_closed()
    return told["code"], told["detail"]


async def test_an_agent_that_is_revoked_has_none_and_the_others_are_served(pod, gatepass):
    known(gatepass, unix())
    assert (await gatepass("revoke", "agent", "tester", "--reason", "leaked\x1b")).status == 0
    async with pod.serving():
        assert not pod.file.exists()
        code, detail = await ask(gatepass.cwd / "agent.sock")
    assert (code, "the agent tester is revoked" in detail) == ("revoked", True)
    line = "the agent tester has no task and its calls are refused: the agent tester is revoked: leaked\\x1b"
    assert f"gatepass: {line}\n" in pod.done.err
    assert pod.tasks() == []
    assert (await gatepass("revoke", "lift", "agent", "tester")).status == 0
    async with pod.serving():
        assert pod.variables["API_TOKEN"].startswith("gp_")


async def test_a_standing_task_that_was_revoked_is_not_taken_up_again(pod, gatepass):
    async with pod.serving():
        (task,) = pod.tasks()
        done = await gatepass("revoke", "agent", "tester", "--reason", "leaked")
        assert done.out.startswith("revoked agent tester: 1 task ended, 0 connections cut, in force after")
    async with pod.serving():
        assert [one.state for one in pod.tasks()] == [TaskState.REVOKED]
    assert (await gatepass("revoke", "lift", "agent", "tester")).status == 0
    async with pod.serving():
        (new,) = pod.tasks(TaskState.OPEN)
    assert new.id != task.id


@pytest.mark.parametrize("listening", [False, True])
async def test_an_agent_that_nobody_answers_for_has_none_and_is_told_why(pod, gatepass, listening):
    ways = [{"method": "unix", "uid": os.getuid()}, {"method": "listener"}]
    owned = unix(environment="production", business_owner="", authenticate=ways)
    place = {"unix": "agent.sock", **({"agent": "tester"} if listening else {})}
    known(gatepass, {key: value for key, value in owned.items() if value}, listen=[place])
    async with pod.serving():
        assert not pod.file.exists()
        code, detail = await ask(gatepass.cwd / "agent.sock")
    assert (code, detail.startswith("tester has no business owner, and in production")) == (
        "agent_unowned",
        True,
    )
    (line,) = [line for line in pod.done.lines if "has no task" in line]
    assert "tester has no business_owner: in production its calls are refused" in line


async def test_a_call_through_the_listener_is_the_agent_s(pod, gatepass):
    async with Upstream("api.test") as upstream:
        pod.write()
        configuration = json.loads((gatepass.cwd / "gatepass.yaml").read_text())
        demo_rules.write_rules(
            gatepass.cwd / "rules",
            services=[
                demo_rules.service(
                    "api", "api.test", ports=[upstream.port], credential=demo_rules.from_env("API_TOKEN")
                )
            ],
            policies=[demo_rules.permit("reads")],
        )
        configuration["upstream"] = {
            "roots": str(upstream.write_ca(gatepass.cwd / "roots").parent),
            "hosts": {"api.test": ["127.0.0.1"]},
            "allow_private": [{"host": "api.test", "cidr": "127.0.0.0/8", "port": upstream.port}],
        }
        (gatepass.cwd / "gatepass.yaml").write_text(json.dumps(configuration))
        call = (
            "import os, sys, urllib.request as u;"
            "r = u.Request(sys.argv[1], headers={'Authorization': 'Bearer ' + os.environ['API_TOKEN']});"
            "print(u.urlopen(r, timeout=20).read().decode())"
        )
        async with pod.serving():
            program = await asyncio.create_subprocess_exec(
                *("python3", "-c", call, f"https://api.test:{upstream.port}/"),
                env={"PATH": os.environ["PATH"], **pod.variables},
                stdout=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(30):
                out, _ = await program.communicate()
        assert dict(json.loads(out)["headers"])["Authorization"] == f"Bearer {SECRET}"
        (task,) = pod.tasks()
    shown = await gatepass("log", "trace", task.id)
    assert "allow" in shown.out


async def test_a_free_port_is_not_in_the_file(pod):
    pod.port = 0
    pod.write()
    async with pod.serving():
        assert not {"https_proxy", "HTTP_PROXY", "JAVA_TOOL_OPTIONS"} & set(pod.variables)
        assert pod.variables["API_TOKEN"].startswith("gp_")


def test_a_spiffe_id_is_one_file_name(tmp_path):
    assert agent_file(tmp_path, "spiffe://example.org/a").name == "spiffe%3A%2F%2Fexample.org%2Fa.env"


def memory(pid):
    """Resident memory in KiB (proc_pid_status(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


async def test_it_accepts_soon_and_is_small(pod):
    """Bounds of the project's targets, with room for a busy machine: 1.5 s and 85 MB."""
    began = time.monotonic()
    process = await pod.gatepass.start("serve", "--json", API_TOKEN=SECRET)
    assert await process.stdout.readline()
    assert time.monotonic() - began < 15
    resident = memory(process.pid)
    process.send_signal(signal.SIGTERM)
    assert (await pod.gatepass.end(process)).status == 0
    assert resident < 95_000
