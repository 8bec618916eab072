"""D, E7: what an agent writes into a request stays out of records and answers where it may be secret."""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import (
    absolute,
    clean,
    connect,
    inside,
    refused,
    say,
    say_inside,
)
from tests.support.world import SECRET, world


def encoded(text: str) -> str:
    return "".join(f"%{octet:02x}" for octet in text.encode())


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("http://{own}/?key={secret}", id="query"),
        pytest.param("http://{secret}@{own}/", id="user"),
        pytest.param("http://x:{secret}@{own}/", id="password"),
        pytest.param("http:/x:{secret}@{own}/", id="one-slash"),
        pytest.param("//x:{secret}@{own}/", id="no-scheme"),
        pytest.param("/path?key={secret}", id="origin-form"),
        pytest.param("/path#{secret}", id="fragment"),
    ],
)
@pytest.mark.parametrize("who", ["nobody", "somebody"])
async def test_a_refused_target_is_recorded_without_query_and_userinfo(tmp_path, target, who):
    """A live secret that an agent found somewhere, in a request that is refused before it is canonical."""
    async with world(tmp_path) as w:
        url = target.format(own="api_x.test", secret=SECRET)
        authorization = "Basic bm86Ym9keQ==" if who == "nobody" else w.authorization
        answer = await say(w, absolute(w, url, host="api.test", authorization=authorization))
        code = Code(answer.json()["code"])
        assert answer.status == (407 if who == "nobody" and code is not Code.MALFORMED else 400)
        await refused(w, answer, code)


@pytest.mark.parametrize(
    "authority", ["{secret}@api.test:443", "x:{secret}@api.test:443", "api.test:443?{secret}"]
)
async def test_a_refused_connect_is_recorded_without_userinfo(tmp_path, authority):
    async with world(tmp_path) as w:
        answer = await say(w, connect(w, authority.format(secret=SECRET), host="api.test:443"))
        await refused(w, answer, Code(answer.json()["code"]))


@pytest.mark.parametrize("spelling", [str, encoded])
@pytest.mark.parametrize(
    "target",
    [
        pytest.param("http://{}.test/", id="host"),
        pytest.param("http://{}@api.test/", id="userinfo"),
        pytest.param("http://api_x.test/{}", id="path"),
        pytest.param("http://api_x.test/?a={}", id="query"),
        pytest.param("{}", id="target"),
    ],
)
async def test_a_placeholder_in_a_malformed_target_is_told_to_nobody(tmp_path, target, spelling):
    async with world(tmp_path) as w:
        answer = await say(w, absolute(w, target.format(spelling(w.placeholder)), host="api.test"))
        assert answer.status == 400
        await refused(w, answer, Code(answer.json()["code"]))


async def test_a_normalised_placeholder_is_not_recorded_as_it_was(tmp_path):
    async with world(tmp_path) as w:
        answer = await say_inside(w, inside(w, f"/{encoded(w.placeholder)}/x"))
        record = await refused(w, answer, Code.PLACEHOLDER_SURFACE)
        assert "gp_[sha256:" in record.path
        assert record.raw["what"]["normalization"][0]["rule"] == "path_percent"


async def test_an_allowed_query_is_a_digest(tmp_path):
    async with world(tmp_path) as w:
        assert (await say_inside(w, inside(w, f"/search?q={SECRET}"))).status == 200
        await w.settled()
        assert w.decisions[0].raw["what"]["query_keys"] == ["q"]
        clean(w)


@pytest.mark.parametrize(
    "name", ["X-Api-Key", "Authorization", "Cookie", "User-Agent", "Referer", "X-Forwarded-For"]
)
async def test_no_header_value_is_recorded(tmp_path, name):
    async with world(tmp_path) as w:
        assert (await say_inside(w, inside(w, "/", f"{name}: {SECRET}"))).status == 200
        await w.settled()
        clean(w)
