"""Rules that change while they are followed: the good are swapped in, the bad change nothing (E9)."""

import asyncio
import contextlib
import gc
import os
import shutil
import sys
import time
from dataclasses import dataclass, field

import pytest

from proxy.policy.decision import Allow
from proxy.policy.manifest import MANIFEST, SIGNATURE, manifest
from proxy.policy.signature import SecretKey, format_signature, sign
from proxy.store import bundles
from proxy.store.rule_files import read_all
from proxy.wiring_reload import Reloader, gently, load_event
from proxy.wiring_rules import Rulebook, Rules, Source, load, read
from tests.policy.worlds import ask
from tests.support.demo_rules import agent, permit, service, write_rules

KEY = SecretKey(b"12345678", bytes(range(32)))
EVERY = 0.01


@dataclass
class Scene:
    source: Source
    book: Rulebook
    log: object
    events: list = field(default_factory=list)
    alarms: list = field(default_factory=list)
    reloader: Reloader | None = None

    @property
    def sha256(self):
        return self.book.current.ruleset.sha256

    def told(self, kind):
        return [body for event, body in self.events if event == kind]

    async def until(self, condition):
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(EVERY / 2)

    async def looked(self):
        """Until the directory as it is has been looked at, read and judged."""
        self.reloader.look()
        await self.until(lambda: self.reloader._asked == self.reloader._answered)

    def may(self, method="GET"):
        return isinstance(self.decide(method).decision, Allow)

    def decide(self, method="GET"):
        rules = self.book.current
        tester = rules.registry.get("tester")
        return rules.pdp.decide(ask(method, "https://api.test/x", within=rules.ruleset, agent=tester))


@contextlib.asynccontextmanager
async def following(tmp_path, *, every=EVERY, shadow=None, signer=None, issuers=None, **written):
    source = Source(write_rules(tmp_path / "rules", **written), shadow, signer, issuers)
    if signer is not None:
        sign_rules(source.directory)
    files = read(source)
    rules = load(files.rules, files.signed)
    assert isinstance(rules, Rules), rules
    log = tmp_path / "log"
    log.mkdir()
    scene = Scene(source, Rulebook(rules), log)
    scene.reloader = Reloader(
        scene.book, source, log, lambda *event: scene.events.append(event), scene.alarms.append, every
    )
    await scene.reloader.start()
    try:
        yield scene
    finally:
        await scene.reloader.close()


def sign_rules(directory, key=KEY):
    text = manifest(read_all(directory))
    (directory / MANIFEST).write_bytes(text)
    (directory / SIGNATURE).write_bytes(format_signature(sign(text, key, "timestamp:1")))


def write_policy(directory, *texts):
    (directory / "policies" / "test.cedar").write_text("\n".join(texts))


async def test_a_change_is_swapped_in_kept_and_recorded(tmp_path):
    async with following(tmp_path) as scene:
        before, changes = scene.sha256, []
        scene.book.on_change(lambda old, new: changes.append((old, new)))
        assert (scene.may("GET"), scene.may("POST")) == (True, False)
        write_policy(scene.source.directory, permit("reads"), permit("writes", actions=("write",)))
        await scene.until(lambda: scene.sha256 != before)
        assert (scene.may("GET"), scene.may("POST")) == (True, True)
        assert [(old.ruleset.sha256, new.ruleset.sha256) for old, new in changes] == [(before, scene.sha256)]
        (event,) = scene.told("rules.load")
        assert (event["ruleset_sha256"], event["previous_sha256"]) == (scene.sha256, before)
        assert (event["mode"], event["agents"], event["services"]) == ("enforce", 1, 1)
        assert event["policies"] == len(scene.book.current.ruleset.policies)
        kept = bundles.unpack((scene.log / "policy" / scene.sha256).read_bytes())
        assert kept == dict(scene.book.current.ruleset.bundle)
        assert scene.alarms == []


async def test_every_kind_of_file_counts_and_other_files_do_not(tmp_path):
    async with following(tmp_path) as scene:
        rules, first = scene.source.directory, scene.sha256
        seen = {first}
        (rules / "README.md").write_text("not a rule")
        await scene.looked()
        assert scene.events == []
        write_rules(rules, agents=[agent(), agent("other")])
        await scene.until(lambda: scene.sha256 not in seen)
        seen.add(scene.sha256)
        write_rules(rules, services=[service(), service("more")])
        await scene.until(lambda: scene.sha256 not in seen)
        (rules / "services/more.yaml").unlink()
        await scene.until(lambda: scene.sha256 == first)
        before = [event["previous_sha256"] for event in scene.told("rules.load")]
        after = [event["ruleset_sha256"] for event in scene.told("rules.load")]
        assert before == [first, *after[:-1]]


async def test_a_touched_file_is_read_and_nothing_is_swapped(tmp_path):
    async with following(tmp_path) as scene:
        rules = scene.book.current
        os.utime(scene.source.directory / "agents.yaml", (1, 1))
        await scene.looked()
        assert scene.book.current is rules
        assert scene.events == []


BAD = {
    "half a file": '@id("a")\npermit(principal, acti',
    "a type error": '@id("a")\npermit(principal, action, resource) when { context.task.scopes == 7 };',
    "an unknown action": permit("a", actions=("wriet",)),
    "no id": "permit(principal, action, resource);",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
async def test_a_bad_set_keeps_the_old_one_and_is_told_once(tmp_path, text):
    async with following(tmp_path) as scene:
        rules = scene.book.current
        write_policy(scene.source.directory, text)
        await scene.until(lambda: scene.alarms)
        for _ in range(2):
            await scene.looked()
        assert scene.book.current is rules
        assert scene.may("GET")
        (alarm,), (event,) = scene.alarms, scene.told("rules.refused")
        assert f"{rules.ruleset.sha256[:12]} stay in force" in alarm
        assert "policies/test.cedar" in alarm
        assert event["kept_sha256"] == rules.ruleset.sha256
        assert event["problem_count"] == len(event["problems"]) >= 1
        assert scene.told("rules.load") == []


async def test_each_bad_content_is_told_and_a_good_one_is_taken_in_between(tmp_path):
    async with following(tmp_path) as scene:
        before = scene.sha256
        write_policy(scene.source.directory, BAD["half a file"])
        await scene.until(lambda: len(scene.alarms) == 1)
        write_policy(scene.source.directory, BAD["no id"])
        await scene.until(lambda: len(scene.alarms) == 2)
        write_policy(scene.source.directory, BAD["half a file"])
        await scene.looked()
        assert len(scene.alarms) == 2
        write_policy(scene.source.directory, permit("better"))
        await scene.until(lambda: scene.sha256 != before)
        write_policy(scene.source.directory, BAD["half a file"])
        await scene.until(lambda: len(scene.alarms) == 3)


async def test_an_agent_of_an_issuer_that_is_not_configured_is_not_taken(tmp_path):
    entry = {**agent("other"), "authenticate": [{"method": "oidc", "issuer": "corp", "subject": "a"}]}
    async with following(tmp_path, issuers=frozenset({"ci"})) as scene:
        current = scene.book.current
        write_rules(scene.source.directory, agents=[agent(), entry])
        await scene.until(lambda: scene.alarms)
        assert "corp" in scene.alarms[0]
        assert scene.book.current is current


async def test_many_problems_are_told_in_bounds(tmp_path):
    async with following(tmp_path) as scene:
        write_policy(scene.source.directory, *[permit(f"p{n}", who=f"stranger-{n}") for n in range(100)])
        await scene.until(lambda: scene.alarms)
        (event,) = scene.told("rules.refused")
        assert (event["problem_count"], len(event["problems"])) == (100, 16)
        assert "and 97 more" in scene.alarms[0]
        assert len(scene.alarms[0]) < 2_000


async def test_a_directory_that_vanishes_or_is_emptied_changes_nothing(tmp_path):
    async with following(tmp_path) as scene:
        rules, current = scene.source.directory, scene.book.current
        rules.rename(tmp_path / "away")
        await scene.until(lambda: len(scene.alarms) == 1)
        assert "no rules any more" in scene.alarms[0]
        rules.mkdir()
        await scene.looked()
        assert scene.book.current is current
        assert len(scene.alarms) == 1
        rules.rmdir()
        (tmp_path / "away").rename(rules)
        write_policy(rules, permit("back"))
        await scene.until(lambda: scene.book.current is not current)


async def test_a_link_that_leads_nowhere_changes_nothing(tmp_path):
    async with following(tmp_path) as scene:
        current = scene.book.current
        (scene.source.directory / "policies/forbid.cedar").symlink_to("gone.cedar")
        scene.reloader.look()
        await scene.until(lambda: scene.alarms)
        assert "forbid.cedar: cannot be read" in scene.alarms[0]
        assert scene.book.current is current


async def test_what_is_being_written_is_left_to_be_written(tmp_path):
    # Somebody writes on and on, and what stands there in between would be a valid rule set.
    async with following(tmp_path, every=0.2) as scene:
        before = scene.sha256
        scene.reloader.look()
        end = time.monotonic() + 1
        number = 0
        while time.monotonic() < end:
            number += 1
            write_policy(scene.source.directory, *[permit(f"p{n}") for n in range(number)])
            await asyncio.sleep(0.02)
        assert scene.sha256 == before
        await scene.until(lambda: scene.sha256 != before)
        assert len(scene.book.current.ruleset.policies) >= number
        assert len(scene.told("rules.load")) == 1


async def test_a_look_that_is_asked_for_comes_before_its_time(tmp_path):
    async with following(tmp_path, every=86_400) as scene:
        before = scene.sha256
        write_policy(scene.source.directory, permit("at-once"))
        scene.reloader.look()
        await scene.until(lambda: scene.sha256 != before)


async def test_what_changed_between_reading_and_following_is_found(tmp_path):
    source = Source(write_rules(tmp_path / "rules"))
    rules = load(read(source).rules)
    write_policy(source.directory, permit("later"))
    (tmp_path / "log").mkdir()
    book, alarms = Rulebook(rules), []
    reloader = Reloader(book, source, tmp_path / "log", lambda *_: None, alarms.append, EVERY)
    await reloader.start()
    async with asyncio.timeout(20):
        while book.current is rules:
            await asyncio.sleep(EVERY)
    await reloader.close()
    assert alarms == []


async def test_a_bundle_that_cannot_be_kept_is_not_put_in_force(tmp_path):
    async with following(tmp_path) as scene:
        current = scene.book.current
        scene.log.rmdir()
        write_policy(scene.source.directory, permit("new"))
        await scene.until(lambda: scene.alarms)
        assert scene.book.current is current
        scene.log.mkdir()
        scene.reloader.look()
        await scene.until(lambda: scene.book.current is not current)


# -- signed --


async def test_a_signed_set_is_swapped_in_and_says_who_signed_it(tmp_path):
    async with following(tmp_path, signer=KEY.public) as scene:
        before = scene.sha256
        assert load_event(scene.book.current)["signed_by"] == KEY.public.name
        draft = shutil.copytree(scene.source.directory, tmp_path / "draft")
        write_policy(draft, permit("new"))
        sign_rules(draft)
        scene.source.directory.rename(tmp_path / "old")
        draft.rename(scene.source.directory)
        await scene.until(lambda: scene.sha256 != before)
        (event,) = scene.told("rules.load")
        assert (event["signed_by"], event["signed_comment"]) == (KEY.public.name, "timestamp:1")


async def changed(directory):
    write_policy(directory, permit("evil", who="tester", actions=("delete",)))


async def added(directory):
    (directory / "policies/more.cedar").write_text(permit("evil"))


async def removed(directory):
    (directory / "policies/test.cedar").unlink()


async def unsigned(directory):
    (directory / SIGNATURE).unlink()


async def signed_by_another(directory):
    write_policy(directory, permit("evil"))
    sign_rules(directory, SecretKey(b"87654321", bytes(32)))


@pytest.mark.parametrize("tamper", [changed, added, removed, unsigned, signed_by_another])
async def test_what_was_not_signed_like_that_is_not_put_in_force(tmp_path, tamper):
    async with following(tmp_path, signer=KEY.public) as scene:
        current = scene.book.current
        await tamper(scene.source.directory)
        await scene.until(lambda: scene.alarms)
        assert "gatepass policy sign" in scene.alarms[0]
        assert scene.book.current is current
        assert scene.told("rules.load") == []
        assert isinstance(read(scene.source), list)  # nor at a start


# -- the shadow --


async def test_the_shadow_is_loaded_followed_and_never_enforced(tmp_path):
    shadow = write_rules(tmp_path / "shadow", policies=[])
    (shadow / "agents.yaml").unlink()  # it takes those that are enforced
    async with following(tmp_path, shadow=shadow) as scene:
        ruling = scene.decide()
        assert isinstance(ruling.decision, Allow)
        assert ruling.shadow is not None
        assert (ruling.shadow.effect, ruling.shadow.code) == ("deny", "default_deny")
        (event,) = scene.told("rules.load")
        assert (event["mode"], event["ruleset_sha256"]) == ("shadow", scene.book.current.shadow.sha256)
        assert (scene.log / "policy" / scene.book.current.shadow.sha256).exists()
        enforced, first = scene.sha256, scene.book.current.shadow.sha256
        write_policy(shadow, permit("tester-reads-api"))
        await scene.until(lambda: scene.book.current.shadow.sha256 != first)
        assert scene.sha256 == enforced
        ruling = scene.decide()
        assert ruling.shadow is None
        write_policy(scene.source.directory, permit("other-name"))
        await scene.until(lambda: scene.sha256 != enforced)
        ruling = scene.decide()
        assert ruling.shadow is not None
        assert (ruling.shadow.effect, ruling.shadow.rules) == ("allow", ("tester-reads-api",))


async def test_a_bad_shadow_changes_nothing_and_is_recorded(tmp_path):
    shadow = write_rules(tmp_path / "shadow", policies=["permit(prin"])
    async with following(tmp_path, shadow=shadow) as scene:
        assert scene.book.current.shadow is None
        assert "rules in the shadow" in scene.alarms[0]
        assert [event["mode"] for event in scene.told("rules.refused")] == ["shadow"]
        assert scene.may()
        write_policy(shadow, permit("good"))
        await scene.until(lambda: scene.book.current.shadow is not None)
        kept = scene.book.current.shadow
        shutil.rmtree(shadow)
        await scene.until(lambda: len(scene.alarms) == 2)
        assert scene.book.current.shadow is kept
        write_policy(scene.source.directory, permit("enforced"))
        await scene.until(lambda: scene.told("rules.load")[-1]["mode"] == "enforce")
        assert scene.book.current.shadow is kept


# -- the interpreter --


def test_the_interpreter_is_left_as_it_was_found():
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    with contextlib.suppress(KeyError), gently():
        assert sys.getswitchinterval() < interval
        assert gc.get_threshold()[2] > threshold[2]
        raise KeyError
    assert (sys.getswitchinterval(), gc.get_threshold()) == (interval, threshold)
    with gently():
        pass
    assert (sys.getswitchinterval(), gc.get_threshold()) == (interval, threshold)
