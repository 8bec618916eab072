"""Entries of ``agents.yaml`` for agents that a log knows and the registry does not."""

from collections.abc import Iterable, Mapping

from proxy.identity.registry import Registry, parse_agents
from proxy.policy.recorded import RecordedCall
from proxy.policy.service_text import Plain, flow, one_line

FILE = "agents.yaml"
_OWNERS = ("business_owner", "data_owner")


def with_agents(files: Mapping[str, bytes], calls: Iterable[RecordedCall]) -> Mapping[str, bytes]:
    """The files with an entry for each agent of these calls; what is there stays as it is written.

    A registry that does not read, or that entries cannot simply be added to, is left alone.
    """
    data = files.get(FILE, b"agents: []\n")
    registry = parse_agents(data, FILE)
    if not isinstance(registry, Registry):
        return files
    entries: dict[str, Mapping[str, Plain]] = {}
    for call in calls:
        for link in call.links:
            said = link.rulings[0]
            if link.agent and registry.get(link.agent) is None:
                entries.setdefault(link.agent, _entry(link.agent, said.entity("Agent")))
    if not entries:
        return files
    added = _added(data.decode("utf-8"), [f"- {flow(entry)}" for _, entry in sorted(entries.items())])
    for text in added:
        read = parse_agents(text.encode("utf-8"), FILE)
        if isinstance(read, Registry) and all(read.get(name) is not None for name in entries):
            return {**files, FILE: text.encode("utf-8")}
    return files


def _entry(name: str, seen: Mapping[str, object]) -> Mapping[str, Plain]:
    entry: dict[str, Plain] = {"id": name}
    entry |= {key: str(seen.get(key) or "") for key in ("environment", "tier")}
    return entry | {owner: one_line(str(seen[owner])) for owner in _OWNERS if seen.get(owner)}


def _added(text: str, lines: Iterable[str]) -> Iterable[str]:
    """Texts that may be the file with these entries: it is read again to know which is."""
    more = list(lines)
    for indent in ("  ", ""):
        block = "".join(f"{indent}{line}\n" for line in more)
        yield text.replace("agents: []", "agents:\n" + block.rstrip("\n"), 1)
        yield text.rstrip("\n") + "\n" + block
