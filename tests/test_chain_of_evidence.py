"""An auditor with nothing but the log: who handed what to whom, checked by digests."""

import hashlib

from proxy.audit.canonical import encode
from proxy.identity.task import manifest_bytes, manifest_of, parse_manifest, task_id
from tests.support import demo_rules
from tests.support.rawclient import basic
from tests.support.world import world

AGENTS = [demo_rules.agent("tester"), demo_rules.agent("helper")]


async def ask(w, token: str, method: str, path: str, body: bytes = b""):
    async with await w.client() as client:
        lines = [f"{method} http://gatepass.internal{path} HTTP/1.1", "Host: gatepass.internal"]
        lines += [f"Proxy-Authorization: {basic('task', token)}", f"Content-Length: {len(body)}", "", ""]
        await client.send("\r\n".join(lines).encode() + body)
        return await client.read_response()


async def test_the_log_alone_proves_every_link_of_a_call(tmp_path):
    async with world(tmp_path, agents=AGENTS) as w:
        root = w.another_task(scopes=("a", "b"), ticket="T-1", approver="grace")
        wanted = b'{"agent": "helper", "purpose": "help", "scopes": ["a"], "budgets": {"requests": 5}}'
        child = (await ask(w, root.token, "POST", "/delegate", wanted)).json()
        assert (await ask(w, child["token"], "GET", "/whoami")).status == 200
    events = [record for record in w.records if record.kind == "task.open"]
    manifests = {record.task: encode(record.raw["body"]["manifest"]) for record in events}
    for record in events:
        data = manifests[record.task]
        assert task_id(data) == record.task
        assert hashlib.sha256(data).hexdigest() == record.raw["body"]["manifest_sha256"]
    call = next(record for record in w.decisions if record.task == child["task"])
    chain = call.raw["who"]["chain"]
    assert [link["agent"] for link in chain] == ["tester", "helper"]
    for link in chain:
        assert hashlib.sha256(manifests[link["task"]]).hexdigest() == link["grant_sha256"]
    above, below = (parse_manifest(manifests[link["task"]]) for link in chain)
    assert below.parent == chain[0]["task"]
    assert set(below.scopes) < set(above.scopes)
    assert (below.ticket, below.on_behalf_of) == (above.ticket, above.on_behalf_of)
    assert below.expires_at <= above.expires_at


async def test_a_task_tells_its_manifest_word_for_word(tmp_path):
    async with world(tmp_path) as w:
        task = w.another_task(ticket="T", services=("api",)).task
        data = manifest_bytes(manifest_of(task))
        assert hashlib.sha256(data).hexdigest() == task.manifest_sha256
