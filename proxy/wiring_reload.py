"""Rules that change while a sidecar runs: seen, read, validated aside, kept by digest, swapped, recorded.

1. The directory is looked at every ``every`` seconds, and at once when somebody asks (SIGHUP). 2. When it has
changed, two looks in a row have to agree: what is being written is left to be written. 3. All files are
read and validated in a thread; if they changed meanwhile, again from 2. 4. The new set is kept beside the
log, so that its decisions can be taken again. 5. It is swapped in between two requests, and recorded.
A set that is bad in any of this changes nothing: the old one stays in force, the operator is told once of
each content, and so is the log (hostile case E9).

A file that is written in place, slowly, can look complete when it is not, and a half may be a valid rule
set. Whoever cannot rename a whole directory into place has the rules signed: half of them is then refused.

Decided: one process, and a thread for loading, because decisions have to be taken by objects of this very
process; so what a load costs the event loop is the interpreter's lock (``gently``), and no more.
"""

import asyncio
import contextlib
import gc
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from proxy.audit.canonical import Json
from proxy.identity.gaps import unknown_issuers
from proxy.policy.bundle import digest
from proxy.policy.cedar import RuleSet
from proxy.problems import Problem
from proxy.store import bundles
from proxy.store.rule_files import Look, look, read_rules
from proxy.wiring_retired import Retired
from proxy.wiring_rules import AGENTS, Files, Rulebook, Rules, Source, load, read, shown

_SWITCH_S = 0.000_1
_SETTLE_S = 1.0
_COLLECT = 500, 5, 1_000_000
_TOLD = 3
_LOADING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Refused:
    """A set that is not taken. ``content`` tells it from others."""

    content: str
    problems: Sequence[Problem]


Loaded = Rules | Refused | None  # None: nothing has changed


@contextlib.contextmanager
def gently() -> Iterator[None]:
    """Work in a thread so that the event loop hardly notices: it gets the interpreter's lock back soon.

    A full collection of garbage would stop everybody for as long as it takes to look at every object of
    the new rules. Small ones are made instead, and what is left is taken out of the collector's sight, as
    are the rules at start.
    """
    with _LOADING:
        interval, threshold = sys.getswitchinterval(), gc.get_threshold()
        sys.setswitchinterval(_SWITCH_S)
        gc.set_threshold(*_COLLECT)
        try:
            yield
            gc.freeze()
        finally:
            gc.set_threshold(*threshold)
            sys.setswitchinterval(interval)


class Reloader:
    """See the module. ``log`` is the directory of the log, ``note`` records an event."""

    def __init__(
        self,
        book: Rulebook,
        source: Source,
        log: Path,
        note: Callable[[str, dict[str, Json]], None],
        alarm: Callable[[str], None],
        every: float,
    ) -> None:
        self._book = book
        self._source = source
        self._log = log
        self._note = note
        self._alarm = alarm
        self._every = every
        self._seen: tuple[Look | None, Look | None] | None = None
        self._asked = self._answered = 0
        self._woken = asyncio.Event()
        self._told: dict[str, set[str]] = {"enforce": set(), "shadow": set()}
        self._retired = Retired()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the rules in the shadow, if there are to be any, and follow the directories from now on."""
        await self._take_shadow()
        self._following = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    def look(self) -> None:
        """Look at once, and read the files even if nothing seems to have changed."""
        self._asked += 1
        self._woken.set()

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self._every)
            self._woken.clear()
            try:
                await self._once()
                await self._retired.let_go()
            except Exception as error:  # noqa: BLE001 - the next look may fare better, and the old rules stay
                self._complain("enforce", Refused(repr(error), [Problem("rules", None, repr(error))]))

    async def _once(self) -> None:
        asked = self._asked
        seen = await asyncio.to_thread(self._looks)
        while seen != self._seen or asked != self._answered:
            await asyncio.sleep(min(self._every, _SETTLE_S))
            again = await asyncio.to_thread(self._looks)
            if again != seen:
                seen = again
                continue
            found = await asyncio.to_thread(self._load, self._book.current)
            seen = await asyncio.to_thread(self._looks)
            if seen == again:  # else what was read may be half of the one and half of the other
                self._take("enforce", found)
                await self._take_shadow()
                self._seen, self._answered = seen, asked

    def _looks(self) -> tuple[Look | None, Look | None]:
        source = self._source
        shadow = None if source.shadow is None else look(source.shadow, everything=False)
        return look(source.directory, everything=source.signer is not None), shadow

    # -- in a thread --

    @gently()
    def _load(self, current: Rules) -> Loaded:
        try:
            files = read(self._source)
        except OSError as error:
            return _unreadable(error)
        if isinstance(files, list):
            return Refused(repr(files), files)
        if not files.any:
            words = "there are no rules any more; stop gatepass to refuse everything"
            return Refused("", [Problem(str(self._source.directory), None, words)])
        found = self._validated(files, current.content)
        return replace(found, shadow=current.shadow) if isinstance(found, Rules) else found

    @gently()
    def _load_shadow(self, directory: Path, current: Rules) -> Loaded:
        try:
            files = read_rules(directory)
        except OSError as error:
            return _unreadable(error)
        if not files:
            return Refused("", [Problem(str(directory), None, "there are no rules")])
        if AGENTS not in files and current.ruleset is not None and AGENTS in current.ruleset.bundle:
            files = {AGENTS: current.ruleset.bundle[AGENTS], **files}
        return self._validated(Files(files, None), self._shadow_content)

    def _validated(self, files: Files, known: str) -> Loaded:
        content = digest(files.rules)
        if content == known:
            return None
        found = load(files.rules, files.signed)
        if isinstance(found, Rules) and self._source.issuers is not None:
            found = unknown_issuers(found.registry, self._source.issuers) or found
        if isinstance(found, list):
            return Refused(content, found)
        assert found.ruleset is not None, "there are files"
        try:
            bundles.keep(self._log, found.ruleset.sha256, found.ruleset.bundle)
        except OSError as error:
            return Refused(f"{content} {error}", [Problem(str(error.filename), None, f"{error.strerror}")])
        return found

    # -- on the event loop --

    _shadow_content = ""

    async def _take_shadow(self) -> None:
        directory = self._source.shadow
        if directory is None:
            return
        found = await asyncio.to_thread(self._load_shadow, directory, self._book.current)
        if isinstance(found, Rules):
            self._shadow_content = found.content
            found = replace(self._book.current, shadow=found.ruleset)
        self._take("shadow", found)

    def _take(self, mode: str, found: Loaded) -> None:
        if isinstance(found, Refused):
            self._complain(mode, found)
            return
        self._told[mode].clear()
        if found is None:
            return
        before = self._book.current
        self._book.swap(found)
        self._note("rules.load", load_event(found, before, mode))
        for old, new in ((before.ruleset, found.ruleset), (before.shadow, found.shadow)):
            if old is not None and old is not new:
                self._retired.watch(old)

    def _complain(self, mode: str, refused: Refused) -> None:
        if refused.content in self._told[mode]:
            return
        self._told[mode].add(refused.content)
        words = shown(refused.problems)
        current, source = self._book.current, self._source
        kept = _sha256(current, mode)
        where = source.directory if mode == "enforce" else source.shadow
        what = "rules" if mode == "enforce" else "rules in the shadow"
        first = "; ".join(words[:_TOLD])
        more = f" and {len(refused.problems) - _TOLD} more" if len(refused.problems) > _TOLD else ""
        stay = f"{kept[:12]} stay in force" if kept and mode == "enforce" else "nothing else changes"
        self._alarm(f"the {what} in {where} were not loaded, {stay}: {first}{more}")
        self._note(
            "rules.refused",
            {
                "mode": mode,
                "kept_sha256": kept,
                "problems": list(words),
                "problem_count": len(refused.problems),
                "detail": f"{what}: {first}{more}",
            },
        )


def _unreadable(error: OSError) -> Refused:
    words = f"cannot be read: {error.strerror}"
    return Refused(f"{error.filename} {words}", [Problem(str(error.filename), None, words)])


def _sha256(rules: Rules | None, mode: str) -> str | None:
    ruleset: RuleSet | None = None
    if rules is not None:
        ruleset = rules.shadow if mode == "shadow" else rules.ruleset
    return None if ruleset is None else ruleset.sha256


def load_event(rules: Rules, before: Rules | None = None, mode: str = "enforce") -> dict[str, Json]:
    """What the log says of rules that are in force from now on, or (``mode``) in the shadow."""
    ruleset = rules.shadow if mode == "shadow" else rules.ruleset
    body: dict[str, Json] = {
        "mode": mode,
        "ruleset_sha256": _sha256(rules, mode),
        "previous_sha256": _sha256(before, mode),
        "observing": rules.ruleset is None,
    }
    counts: dict[str, Json] = {"agents": len(rules.registry)}
    if ruleset is not None:
        services = ruleset.catalogue.services
        counts |= {
            "services": len(services),
            "operations": sum(len(service.operations) for service in services),
            "policies": len(ruleset.policies),
        }
    if rules.signed is not None and mode == "enforce":
        body |= {"signed_by": rules.signed.key, "signed_comment": rules.signed.comment}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    return body | counts | {"detail": told if mode == "enforce" else f"in the shadow: {told}"}
