"""Recorded calls for the verbs of ``gatepass policy``, and the rule sets that they were decided by."""

import tarfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from proxy.cli.duration import parse_duration
from proxy.cli.ending import stop, tell
from proxy.cli.logs import read
from proxy.cli.progress import counted
from proxy.identity.registry import Registry, parse_agents
from proxy.policy.again import Judged, Opened, open_bundle
from proxy.policy.case_file import moment
from proxy.policy.catalogue import Catalogue, Overlap, Service
from proxy.policy.rebuilt import UNKNOWN_PAST, Past
from proxy.policy.recorded import RecordedCall, read_call
from proxy.policy.service_file import parse_service
from proxy.store.bundles import FOLDER, unpack
from proxy.store.tiles import Tiles

OfTask = Annotated[str | None, typer.Option("--task", help="Only calls under this task.")]
OfAgent = Annotated[str | None, typer.Option("--agent", help="Only calls of this agent.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only calls since: 1h, 30m, 7d, or 2026-01-31T12:00:00Z.")
]


class Wanted:
    """Which calls of a log are looked at."""

    def __init__(self, task: str | None, agent: str | None, since: str | None) -> None:
        self._task, self._agent = task, agent
        self._since = None if since is None else _since(since)

    @property
    def some(self) -> bool:
        """Whether it is not all of them."""
        return self._task is not None or self._agent is not None or self._since is not None

    def fits(self, call: RecordedCall) -> bool:
        """Whether this is one of them."""
        return (
            (
                self._task is None
                or any(self._task == said.task for link in call.links for said in link.rulings)
            )
            and (self._agent is None or call.caller.agent == self._agent)
            and (self._since is None or call.seconds >= self._since)
        )


class Calls:
    """The recorded calls of some logs. What follows is known once all have been read.

    ``unread`` entries are none, ``unjudged`` calls were refused before rules were asked; ``stopped`` are the
    ids of those that rules allowed and that were refused all the same (an address that may not be reached).
    """

    def __init__(self, logs: Sequence[Path], wanted: Wanted) -> None:
        self._logs = logs
        self._wanted = wanted
        self.unread = 0
        self.unjudged = 0
        self.stopped: set[str] = set()

    def __iter__(self) -> Iterator[RecordedCall]:
        for entry in counted(read(self._logs), "records"):
            if entry.record is None:
                self.unread += 1
                tell(f"entry {entry.index} in {entry.log} cannot be read; run `gatepass log verify`")
            elif entry.record.kind == "decision":
                call = read_call(entry.record.raw)
                if call is None:
                    self.unjudged += 1
                elif self._wanted.fits(call):
                    yield call
            elif entry.record.kind == "outcome" and entry.record.result == "refused":
                self.stopped.add(entry.record.decision_id)


class Bundles:
    """The rule sets kept beside some logs, by their digests; each is read once."""

    def __init__(self, logs: Sequence[Path]) -> None:
        self._logs = logs
        self._files: dict[str, Mapping[str, bytes] | None] = {}
        self._pasts: dict[str, Past] = {}
        self._opened: dict[str, Opened | Judged] = {}

    def files(self, sha256: str) -> Mapping[str, bytes] | None:
        """The files of a rule set, unchecked; None if it is not kept, or is no archive."""
        if sha256 not in self._files:
            self._files[sha256] = self._read(sha256)
        return self._files[sha256]

    def past(self, call: RecordedCall) -> Past:
        """The catalogue and the agents that a call was decided by."""
        if call.observed:
            return Past(Catalogue(()), Registry.of([]))
        name = call.ruleset_sha256
        if name not in self._pasts:
            self._pasts[name] = _past(self.files(name))
        return self._pasts[name]

    def opened(self, call: RecordedCall) -> Opened | Judged:
        """The rule set that decided a call, ready to decide again."""
        name = call.ruleset_sha256
        if name not in self._opened:
            self._opened[name] = open_bundle(self.files(name), name)
        return self._opened[name]

    def _read(self, sha256: str) -> Mapping[str, bytes] | None:
        if not sha256.isalnum():  # it becomes a path
            return None
        for log in self._logs:
            archive = Tiles(log).read(f"{FOLDER}/{sha256}")
            if archive is not None:
                try:
                    return unpack(archive)
                except tarfile.TarError:
                    return None
        return None


def _past(files: Mapping[str, bytes] | None) -> Past:
    """What the files say, as far as it reads: what does not is as if it were not kept."""
    if files is None:
        return UNKNOWN_PAST
    agents = parse_agents(files.get("agents.yaml", b"agents: []\n"), "agents.yaml")
    services = (parse_service(data, name) for name, data in files.items() if name.startswith("services/"))
    try:
        catalogue = Catalogue(service for service in services if isinstance(service, Service))
    except Overlap:
        return UNKNOWN_PAST
    return Past(catalogue, agents if isinstance(agents, Registry) else None)


def _since(text: str) -> int:
    try:
        return int(time.time()) - parse_duration(text)
    except ValueError:
        pass
    try:
        return moment(text)
    except ValueError:
        stop("--since takes a duration such as 1h or 7d, or a time such as 2026-01-31T12:00:00Z")
