"""``gatepass policy explain``: what the rules say to one call, and why."""

import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from proxy.cli.config import load_config
from proxy.cli.ending import NEGATIVE, stop, stop_for
from proxy.cli.logs import ConfigFile, State
from proxy.cli.painted import BAD, DIM, GOOD, WARNING, paint_line, print_painted
from proxy.cli.policy_explain_rows import COLUMNS, chosen, ordered, row
from proxy.cli.policy_rules import Json, Loaded, RulesDir, load_rules
from proxy.cli.rows import harmless, print_json
from proxy.cli.serving import tasks_path
from proxy.errors import Refusal
from proxy.http.message import Headers
from proxy.identity.known import KnownAgents
from proxy.identity.principal import Agent, Link, Task
from proxy.identity.rights import meet, own
from proxy.policy.explain import Explainer, Explanation
from proxy.policy.trial import Asker, Sent, put
from proxy.store.tasks import StoredTask, TaskStore, TaskStoreError

_LIFE = 3_600
_COLOURS = {"allow": GOOD, "deny": BAD, "hold": WARNING}


def explain(
    method: Annotated[str, typer.Argument(help="Of the request: GET, POST ...")],
    url: Annotated[str, typer.Argument(help="The whole URL.")],
    *,
    agent: Annotated[
        str | None, typer.Option("--agent", help="Who calls.", show_default="the task's")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Under this task of the state directory.")
    ] = None,
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="Under a task with this scope; may be repeated.")
    ] = None,
    purpose: Annotated[str, typer.Option(help="What that task is for.")] = "a question",
    on_behalf_of: Annotated[str | None, typer.Option(help="For whom it is.")] = None,
    json_body: Annotated[
        str | None,
        typer.Option("--json-body", metavar="FILE", help="The content, JSON; - is standard input."),
    ] = None,
    content_type: Annotated[
        str | None, typer.Option(help="Of the content, if it is not application/json.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", help="NAME: VALUE; may be repeated.")
    ] = None,
    approved: Annotated[bool, typer.Option("--approved", help="As if a person had approved it.")] = False,
    every: Annotated[
        bool, typer.Option("--all", help="Also the policies that are far from speaking.")
    ] = False,
    rules: RulesDir = None,
    config: ConfigFile = None,
    state: State = None,
    json: Json = False,
) -> None:
    """Explain one call: what it is classified as, which rules spoke, what the others lacked, what would help.

    Nothing is sent and nothing is recorded. Each change that is shown would alone have the call allowed; it
    was decided again to be sure. Exit status 0 if it is allowed, 1 if it is refused or held.

    Example: gatepass policy explain GET https://api.github.com/user --agent coder --scope issues

    Example: echo '{"title": "x"}' | gatepass policy explain POST https://api.github.com/repos/o/r/issues
    --task t-dplg6d76py4ulazz76gjulfwuy --json-body -
    """
    loaded = load_rules(rules, config)
    if task is None:
        asker = _imagined(loaded.registry, agent, scope or [], purpose, on_behalf_of)
    else:
        asker = _under(task, agent, loaded.registry, config, state)
    body = None if json_body is None else _content(json_body)
    sent = Sent(method, url, _headers(header or [], content_type, body), body)
    ruleset = loaded.ruleset
    trial = put(ruleset, asker._replace(approved=approved), sent, int(time.time()))
    if isinstance(trial, Refusal):
        _refused(trial, json=json)
    found = Explainer(ruleset, ruleset.catalogue, ruleset.policies).explain(trial, loaded.registry)
    if json:
        print_json(_json(found))
    else:
        _print(found, loaded, every=every)
    if found.outcome.effect != "allow":
        raise typer.Exit(NEGATIVE)


# -- who asks --


def _agent(agents: KnownAgents, name: str | None) -> Agent:
    found = None if name is None else agents.get(name)
    if found is None:
        stop(
            "say who calls with --agent" if name is None else f"there is no agent {name} in agents.yaml",
            NEGATIVE,
        )
    return found


def _imagined(
    agents: KnownAgents, name: str | None, scopes: Iterable[str], purpose: str, behalf: str | None
) -> Asker:
    """An agent under a task that nobody started."""
    agent, now = _agent(agents, name), int(time.time())
    task = Task(
        id="t-none",
        agent=agent.id,
        purpose=purpose,
        scopes=tuple(sorted(set(scopes))),
        environment=agent.environment,
        issued_at=now,
        expires_at=now + _LIFE,
        manifest_sha256="",
        on_behalf_of=behalf,
    )
    return Asker(agent, task, own(agent, task))


def _under(
    task: str, name: str | None, agents: KnownAgents, config: Path | None, state: Path | None
) -> Asker:
    """The agent of a task that there is, with what the whole chain leaves it."""
    loaded = load_config(config, state=state)
    if isinstance(loaded, list):
        stop_for(loaded)
    path = tasks_path(loaded.state)
    if not path.exists():
        stop(f"there are no tasks under {loaded.state}; name their directory with --state", NEGATIVE)
    try:
        with TaskStore.open(path) as store:
            found = store.get(task)
            if found is None:
                stop(
                    f"there is no task {task} under {loaded.state}; `gatepass task list` shows them", NEGATIVE
                )
            chain = _chain(store, found)
    except TaskStoreError as error:
        stop(str(error))
    if name is not None and name != found.task.agent:
        stop(f"the task {task} is one of {found.task.agent}, not of {name}", NEGATIVE)
    links = [_link(agents, one) for one in chain]
    right = links[0].right
    for link in links[1:]:
        right = meet(right, link.right)
    return Asker(links[-1].agent, links[-1].task, right)


def _chain(store: TaskStore, last: StoredTask) -> list[Task]:
    chain, seen = [last.task], {last.task.id}
    while (parent := chain[0].parent) is not None and parent not in seen:
        above = store.get(parent)
        if above is None:
            break
        seen.add(parent)
        chain.insert(0, above.task)
    return chain


def _link(agents: KnownAgents, task: Task) -> Link:
    agent = _agent(agents, task.agent)
    return Link(agent, task, own(agent, task))


# -- what is asked --


def _content(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        stop(f"{name}: {error.strerror}")


def _headers(given: Iterable[str], content_type: str | None, body: bytes | None) -> Headers:
    headers = []
    for line in given:
        name, colon, value = line.partition(":")
        if not colon:
            stop(f"--header takes NAME: VALUE, and {line!r} has no colon")
        headers.append((name.strip().encode("utf-8"), value.strip().encode("utf-8")))
    known = {name.lower() for name, _ in headers}
    if b"content-type" not in known and (content_type is not None or body is not None):
        headers.append((b"Content-Type", (content_type or "application/json").encode("utf-8")))
    return tuple(headers)


# -- what is said --


def _refused(refusal: Refusal, *, json: bool) -> NoReturn:
    """It does not get as far as the rules."""
    if json:
        print_json({"effect": "deny", "code": refusal.code.value, "detail": refusal.detail, "acts": []})
    else:
        print(paint_line(f"deny\t{refusal.code}: {harmless(refusal.detail)}", BAD))
        print("The rules are not asked: every sidecar refuses this, whatever they say.")
    raise typer.Exit(NEGATIVE)


def _print(found: Explanation, loaded: Loaded, *, every: bool) -> None:
    outcome = found.outcome
    why = (
        ", ".join(outcome.rules)
        if outcome.refusal is None
        else f"{outcome.refusal.code}: {outcome.refusal.detail}"
    )
    print(paint_line(f"{outcome.effect}\t{harmless(why)}", _COLOURS[outcome.effect]))
    for words in found.why:
        print(f"action\t{harmless(words)}")
    for looked in found.acts:
        print()
        told = ordered(looked.held) if every else chosen(looked, allowed=outcome.effect == "allow")
        rows = [row(held, loaded.files, whole=every) for held in told]
        print_painted(COLUMNS, rows, lambda row: (GOOD if row[1] == "permit" else BAD) if row[3] else DIM)
        if len(told) < len(looked.held):
            print(paint_line(f"{len(looked.held) - len(told)} others do not apply; --all shows them", DIM))
    if outcome.effect == "allow":
        return
    print()
    if not found.changes:
        print("No change of context was found that would have it allowed: it takes another rule.")
    for changes in found.changes:
        print(f"it would be allowed if\t{harmless(' and '.join(change.words for change in changes))}")


def _json(found: Explanation) -> dict[str, object]:
    refusal = found.outcome.refusal
    return {
        "effect": found.outcome.effect,
        "rules": list(found.outcome.rules),
        "code": None if refusal is None else refusal.code.value,
        "detail": None if refusal is None else refusal.detail,
        "actions": list(found.trial.actions),
        "why": list(found.why),
        "acts": [
            {
                "action": looked.ruling.action,
                "policies": [
                    {
                        "id": held.policy.id,
                        "effect": held.policy.effect,
                        "spoke": held.spoke,
                        "fails": [part.words for part in held.fails],
                        "errors": [part.words for part in held.errors],
                    }
                    for held in looked.held
                ],
            }
            for looked in found.acts
        ],
        "changes": [[change.words for change in changes] for changes in found.changes],
    }
