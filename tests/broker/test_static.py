import asyncio
import threading

import pytest

from proxy.broker.static import LOOK_NS, MAX_OCTETS, Stamp, StaticBroker, read_if_changed
from proxy.credential.binding import Binding, HeaderSurface
from proxy.credential.secret import Secret
from proxy.errors import Code, Refusal
from proxy.identity.principal import Task

TASK = Task("t-" + "a" * 26, "coder", "p", (), "development", 0, 1, "0" * 64)


class Clock:
    """A monotonic clock that goes when it is told to; each look is LOOK_NS after the last one."""

    def __init__(self, step=LOOK_NS):
        self.now, self.step = 0, step

    def mono_ns(self):
        self.now += self.step
        return self.now


def broker_of(environment=None, *arguments, clock=None):
    return StaticBroker(environment or {}, *arguments, mono_ns=(clock or Clock()).mono_ns)


def env(name):
    return Binding("api", "env", name, HeaderSurface(), (name,))


def file(path):
    return Binding("api", "file", str(path), HeaderSurface(), ())


async def value(broker, binding):
    secret = await broker.fetch(binding, TASK)
    assert isinstance(secret, Secret), secret
    return secret.reveal()


async def refusal(broker, binding):
    result = await broker.fetch(binding, TASK)
    assert isinstance(result, Refusal)
    assert result.code is Code.CREDENTIAL_UNAVAILABLE
    return result.detail


async def test_a_variable_is_read_once_at_start():
    environment = {"KEY": "one", "EMPTY": "", "BAD": "a\nb"}
    broker = broker_of(environment)
    environment["KEY"] = "two"
    assert await value(broker, env("KEY")) == b"one"
    assert repr(await broker.fetch(env("KEY"), TASK)) == "Secret(KEY)"
    assert (
        await refusal(broker, env("NONE")) == "the environment variable NONE of api is not set for gatepass"
    )
    assert "EMPTY" in await refusal(broker, env("EMPTY"))
    assert "a\nb" not in await refusal(broker, env("BAD"))


async def test_a_file_is_read_again_when_it_changes(tmp_path):
    path, broker = tmp_path / "key", broker_of()
    path.write_bytes(b"one\n")
    assert await value(broker, file(path)) == b"one"
    (tmp_path / "new").write_bytes(b"two\r\n")
    (tmp_path / "new").replace(path)
    assert await value(broker, file(path)) == b"two"
    path.write_bytes(b"six")  # in place: same inode, another size
    assert await value(broker, file(path)) == b"six"


async def test_an_unchanged_file_is_not_read_again(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"one")
    answers, threads = [], []

    def watched(name, known):
        threads.append(threading.current_thread())
        answers.append(read_if_changed(name, known))
        return answers[-1]

    broker = broker_of({}, watched)
    first = await broker.fetch(file(path), TASK)
    assert await broker.fetch(file(path), TASK) is first
    assert [answer is None for answer in answers] == [False, True]
    assert threading.main_thread() not in threads  # a slow disk does not stop the loop


async def test_within_a_second_a_file_is_not_looked_at_again(tmp_path):
    path, clock = tmp_path / "key", Clock(step=1)
    broker = broker_of(clock=clock)
    path.write_bytes(b"one")
    assert await value(broker, file(path)) == b"one"
    path.write_bytes(b"three")
    assert await value(broker, file(path)) == b"one"
    clock.now += LOOK_NS
    assert await value(broker, file(path)) == b"three"


async def test_a_file_that_is_gone_is_named_and_forgotten(tmp_path):
    path, broker = tmp_path / "key", broker_of()
    assert (
        await refusal(broker, file(path))
        == f"{path}, the file of api, cannot be read: No such file or directory"
    )
    path.write_bytes(b"one")
    assert await value(broker, file(path)) == b"one"
    path.unlink()
    assert "cannot be read" in await refusal(broker, file(path))
    assert "directory" in await refusal(broker, file(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"\n", "empty"), (b"a\nb\n", "CR, LF"), (b"x" * (MAX_OCTETS + 1), "larger")],
)
async def test_what_is_no_secret_is_refused_until_it_changes(tmp_path, content, words):
    path, broker = tmp_path / "key", broker_of()
    path.write_bytes(content)
    assert words in await refusal(broker, file(path))
    assert words in await refusal(broker, file(path))
    path.write_bytes(b"good")
    assert await value(broker, file(path)) == b"good"


async def test_many_at_once_get_the_same_value(tmp_path):
    path, broker = tmp_path / "key", broker_of()
    path.write_bytes(b"one")
    assert set(await asyncio.gather(*(value(broker, file(path)) for _ in range(20)))) == {b"one"}


def test_a_stamp_tells_files_apart(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"one")
    read = read_if_changed(str(path), None)
    assert read is not None
    stamp, content = read
    status = path.stat()
    assert (stamp, content) == (Stamp(status.st_mtime_ns, status.st_ctime_ns, 3, status.st_ino), b"one")
    assert read_if_changed(str(path), stamp) is None
