"""Small logs made in memory: entries in, the files of a signed log out."""

from collections.abc import Sequence

from proxy.audit import record
from proxy.audit.checkpoint import Checkpoint
from proxy.audit.merkle import leaf_hash
from proxy.audit.note import Signer
from proxy.audit.record import Numbering, Stamp
from proxy.audit.tile import WIDTH, Edge, bundle_path, frame

ORIGIN = "example.org/egress/one"
SIGNER = Signer(ORIGIN, b"\x07" * 32)
START = 1_763_785_080 * 10**9


class Files(dict[str, bytes]):
    """A log as files; it is what a verifier reads from."""

    def read(self, path: str) -> bytes | None:
        return self.get(path)


def published(entries: Sequence[bytes], signer: Signer = SIGNER, pending: Sequence[bytes] = ()) -> Files:
    """A log whose checkpoint covers ``entries``, with ``pending`` ones after it."""
    edge, files = Edge(), Files()
    for entry in entries:
        for tile, data in edge.append(leaf_hash(entry)):
            files[tile.path] = data
    for tile, data in edge.partials():
        files[tile.path] = data
    frames = [frame(entry) for entry in entries]
    for start in range(0, len(frames), WIDTH):
        part = frames[start : start + WIDTH]
        files[bundle_path(start // WIDTH, len(part))] = b"".join(part)
    tail = frames[len(frames) // WIDTH * WIDTH :]
    files["pending"] = b"".join([*tail, *map(frame, pending)])
    files["checkpoint"] = Checkpoint(signer.vkey.name, edge.size, edge.root()).sign(signer)
    return files


class Writer:
    """Makes records the way the sidecar does."""

    def __init__(self, boot: str = "b1", first_id: int = 0) -> None:
        self._numbers = Numbering()
        self._boot = boot
        self._count = first_id

    def stamp(self, agent: str | None = None) -> Stamp:
        self._count += 1
        wall = START + self._count * 10**9
        identity = record.ulid(wall, self._count.to_bytes(10, "big"))
        return Stamp(identity, wall, self._count, ORIGIN, self._boot, self._numbers.next(agent))

    def decide(
        self, agent="a", *, task="t", effect="allow", code=None, path="/", rule="r", detail="", chain=()
    ):
        """A decision; returns its id and its entry."""
        stamp = self.stamp(agent)
        who = {"agent": {"id": agent} if agent else None, "task": {"id": task} if task else None}
        who |= {"chain": list(chain)} if chain else {}
        what = {"method": "GET", "scheme": "https", "host": "api.example.com", "port": 443, "path": path}
        why = {
            "effect": effect,
            "code": code,
            "rule": rule,
            "detail": detail,
            "status": 403 if code else None,
        }
        return stamp.id, record.decision(stamp, who=who, what=what, why=why, credential=None)

    def end(self, decision_id, agent="a", *, result="complete", status=200, code=None, detail="") -> bytes:
        what = {"result": result, "code": code, "status": status, "detail": detail}
        return record.outcome(self.stamp(agent), decision_id=decision_id, what=what)

    def event(self, kind, **body) -> bytes:
        return record.event(self.stamp(), kind, body)

    def calls(self, count: int) -> list[bytes]:
        """``count`` entries: a boot, then calls with their outcomes."""
        entries = [self.event("boot")]
        while len(entries) < count:
            identity, entry = self.decide()
            entries += [entry, self.end(identity)]
        return entries[:count]
