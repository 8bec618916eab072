"""Attribution and decisions as a sidecar has them, and the heads of requests by who makes them.

Everything is real: rules on disk, a task file that is followed, session keys, key sets of two issuers, a
task that was delegated twice.
"""

import contextlib
import json
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import governed
from bench.machine import Failed
from bench.many_tasks import read_rules, starter
from bench.mint import HOST
from bench.streams import OWNED, POLICY
from bench.systems import Bed
from proxy.control.operations import TaskAsked
from proxy.engine.dial import SystemResolver
from proxy.engine.panel import Panel
from proxy.http.message import Headers
from proxy.identity.attribution import Attributor
from proxy.identity.budget import Spending
from proxy.identity.delegation import Wanted, chain, narrow
from proxy.identity.principal import Task
from proxy.identity.task import Manifest
from proxy.policy.decision import Pdp
from proxy.policy.window import Windows
from proxy.settings import IdentitySettings, IssuerSettings
from proxy.store.keyring import Keyring
from proxy.store.tasks import TaskBook, TaskStore
from proxy.wiring import TASKS, Rules
from proxy.wiring_identity import issuer_keys, trust
from proxy.wiring_tasks import Office, Started
from tests.support.issuer import SmallIssuer

FOREIGN = ("RS256", "ES256")
_FAMILY = ("root", "middle", "bench")  # each delegates to the next


@dataclass(frozen=True, slots=True)
class Stand:
    """``attributor`` makes one that remembers nothing.

    Of the ``heads`` ``delegated`` has a chain of three links; ``session`` and those of ``FOREIGN`` have one.
    """

    attributor: Callable[[], Attributor]
    pdp: Pdp
    panel: Panel
    heads: dict[str, Headers]


@contextlib.asynccontextmanager
async def stand(bed: Bed) -> AsyncIterator[Stand]:
    """The parts, joined as ``wiring_assembly`` joins them."""
    directory = bed.directory / "callers"
    issuers = {name: SmallIssuer(f"https://{name.lower()}.example", algorithm=name) for name in FOREIGN}
    governed.write_rules(directory, bed, _agents(issuers), POLICY)
    state, rules = directory / "state", read_rules(directory)
    keyring = Keyring.open(state)
    with TaskStore.open(state / TASKS) as store:
        heads = _heads(store, keyring, rules, issuers)
    settings = IdentitySettings(issuers=tuple(_configured(directory, one) for one in issuers.values()))
    context = ssl.create_default_context()
    keys = issuer_keys(settings, SystemResolver({}), context, (), _alarm, lambda *_: None)
    book = await TaskBook.open(state / TASKS, now=time.time, boot="0" * 26)
    try:
        await keys.start()
        believed = trust(settings, keyring, keys)
        attributor = partial(Attributor, believed, rules.registry, book, revocations=lambda: book.revocations)
        yield Stand(attributor, rules.pdp, Panel(Spending(), Windows()), heads)
    finally:
        await keys.close()
        await book.close()


def _alarm(words: str) -> None:
    raise Failed(words)


def _agents(issuers: dict[str, SmallIssuer]) -> str:
    foreign = [
        {"method": "oidc", "issuer": name.lower(), "subject": one.subject} for name, one in issuers.items()
    ]
    ways = {"bench": [{"method": "session"}, *foreign]}
    entries = [
        {"id": name, **OWNED, **({"authenticate": ways[name]} if name in ways else {})} for name in _FAMILY
    ]
    return json.dumps({"agents": entries})


def _configured(directory: Path, issuer: SmallIssuer) -> IssuerSettings:
    path = directory / f"{issuer.algorithm}.json"
    path.write_bytes(issuer.document())
    return IssuerSettings(
        name=issuer.algorithm.lower(), issuer=issuer.url, audiences=(issuer.audience,), keys=str(path)
    )


def _heads(
    store: TaskStore, keyring: Keyring, rules: Rules, issuers: dict[str, SmallIssuer]
) -> dict[str, Headers]:
    start = starter(store, keyring, rules)
    alone: Started = start(TaskAsked("bench", "alone", 3600, ("read",)))
    root = start(TaskAsked("root", "above", 3600, ("read",)))
    heads = {
        "session": _head(governed.basic(alone.token)),
        "delegated": _head(governed.basic(_delegated(store, keyring, rules, root.task))),
    }
    for name, issuer in issuers.items():
        now = int(time.time())
        token = issuer.mint(iat=now, exp=now + 3600).decode()
        heads[name] = _head(governed.basic(token, alone.task.id))
    return heads


def _delegated(store: TaskStore, keyring: Keyring, rules: Rules, task: Task) -> str:
    """A token of the last of the family, each of which hands the task on, as the desk does it."""
    tasks = {task.id: task}
    office = Office(keyring, rules.registry, tuple(rules.ruleset.catalogue.services), os.urandom)
    for name in _FAMILY[1:]:
        now = int(time.time())
        links = chain(task, tasks, rules.registry, now)
        manifest = narrow(links, Wanted(name, "below"), rules.registry.get(name), now, os.urandom(16).hex())
        assert isinstance(manifest, Manifest), manifest
        draft = office.of_manifest(manifest, None)
        store.create(draft.task, draft.manifest, draft.holdings)
        task = tasks[draft.task.id] = draft.task
    return office.token(task)


def _head(identity: str) -> Headers:
    """What python-httpx sends to a proxy, with the identity."""
    return (
        (b"Host", HOST.encode()),
        (b"Accept", b"*/*"),
        (b"Accept-Encoding", b"gzip, deflate"),
        (b"Connection", b"keep-alive"),
        (b"User-Agent", b"python-httpx/0.28.1"),
        (b"Authorization", b"Bearer gp_" + b"x" * 43),
        (b"Proxy-Authorization", identity.encode()),
    )
