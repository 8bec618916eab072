"""C19: which operation a path is, is decided on the very path that is sent (egress.md, section 5).

A trick leads to another operation than it pretends to, to the built-in one that nothing here permits, or to a
refusal; and never to what was not decided.
"""

import pytest

from proxy.errors import Code
from tests.hostile.assertions import inside, refused, say_inside
from tests.hostile.reading import acts, allow, arrived, serving
from tests.support import demo_rules
from tests.support.world import world

OPERATIONS = {
    "issues.list": {"method": "GET", "path": "/repos/{owner}/{repo}/issues", "group": "read"},
    "repo.get": {"method": "GET", "path": "/repos/{owner}/{repo}", "group": "read"},
    "admin": {"method": "GET", "path": "/admin", "group": "admin"},
    "admin.rest": {"method": "GET", "path": "/admin/{rest*}", "group": "admin"},
    "files": {"method": "GET", "path": "/files/{path*}", "group": "read"},
    "files.secret": {"method": "GET", "path": "/files/secret", "group": "admin"},
}
DECLARED = [allow("some", "api.issues.list", "api.repo.get", "api.files")]
ISSUES = "/repos/a/b/issues"


def declared(tmp_path, **more):
    return world(tmp_path, services=serving(OPERATIONS, **more), policies=DECLARED)


@pytest.mark.parametrize(
    ("sent", "action"),
    [
        pytest.param(f"{ISSUES}/../../../../admin", "api.admin", id="C19-dots"),
        pytest.param(f"{ISSUES}/%2e%2e/%2E%2e/..%2f../admin", None, id="C19-dots-behind-an-encoded-slash"),
        pytest.param(f"{ISSUES}/%2e%2e/%2E%2e/.%2e/%2e./admin", "api.admin", id="C19-encoded-dots"),
        pytest.param(f"{ISSUES}/..;/..;/..;/..;/admin", None, id="C19-dots-with-parameters"),
        pytest.param(f"{ISSUES}/..%3B/admin", "api.http.read", id="C19-dots-with-encoded-parameters"),
        pytest.param(f"{ISSUES}/..%00/admin", None, id="C19-nul"),
        pytest.param(f"{ISSUES}/..\\..\\admin", None, id="C19-backslash"),
        pytest.param(f"{ISSUES}/%5c..%5cadmin", None, id="C19-encoded-backslash"),
        pytest.param("/%61dmin", "api.admin", id="C19-unreserved"),
        pytest.param("/%2561dmin", "api.http.read", id="C19-encoded-twice"),
        pytest.param("/repos/a/b/%69ssues/", "api.http.read", id="C19-trailing-slash"),
        pytest.param(f"{ISSUES}//", "api.http.read", id="C19-two-trailing-slashes"),
        pytest.param("//repos/a/b/issues", "api.http.read", id="C19-leading-slashes"),
        pytest.param("/repos//b/issues", "api.http.read", id="C19-empty-parameter"),
        pytest.param(f"{ISSUES};x=1", "api.http.read", id="C19-parameter"),
        pytest.param(f"{ISSUES}%3Bx", "api.http.read", id="C19-encoded-semicolon"),
        pytest.param(f"{ISSUES}.json", "api.http.read", id="C19-suffix"),
        pytest.param("/repos/a/b/ISSUES", "api.http.read", id="C19-case"),
        pytest.param("/Admin", "api.http.read", id="C19-case-of-what-is-forbidden"),
        pytest.param(f"{ISSUES}%20", "api.http.read", id="C19-space"),
        pytest.param(f"{ISSUES}%0a", None, id="C19-newline"),
        pytest.param(f"{ISSUES}%c0%ae%c0%ae/admin", None, id="C19-overlong-dots"),
        pytest.param("/repos%c0%afa/b/issues", None, id="C19-overlong-slash"),
        pytest.param("/repos%e0%80%afa/b/issues", None, id="C19-overlong-slash-of-three"),
        pytest.param("/repos/a%2fb/issues", None, id="C19-encoded-slash"),
        pytest.param("/repos/a/b/issues%2f..%2fsecrets", None, id="C19-encoded-slashes"),
        pytest.param("/repos/a/b/issues%3fx=1", "api.http.read", id="C19-encoded-question-mark"),
        pytest.param("/repos/a/b/issues%23", "api.http.read", id="C19-encoded-fragment"),
        pytest.param("/repos/a/b/issues%", None, id="C19-half-a-triplet"),
        pytest.param("/repos/a/b/issues%u002f", None, id="C19-u-escape"),
        pytest.param("/files/./secret", "api.files.secret", id="C19-dot"),
        pytest.param("/files/x/../secret", "api.files.secret", id="C19-dots-to-what-is-stricter"),
        pytest.param("/files/%73ecret", "api.files.secret", id="C19-encoded-name-of-what-is-stricter"),
        pytest.param("/files/../admin/x", "api.admin.rest", id="C19-out-of-the-rest"),
        pytest.param("/files/..", "api.http.read", id="C19-dots-at-the-end"),
        pytest.param("/..;/admin", None, id="C19-dots-with-a-parameter-at-the-root"),
        pytest.param(
            "/repos/a/..%252f..%252fadmin/issues", "decided", id="C19-double-encoded-inside-a-parameter"
        ),
    ],
)
async def test_no_path_is_taken_for_what_it_is_not(tmp_path, sent, action):
    async with declared(tmp_path) as w:
        answer = await say_inside(w, inside(w, sent))
        if action is None:
            assert answer.status == 400, answer
            await refused(w, answer, Code.TARGET_MALFORMED)
        elif action == "decided":
            assert answer.status == 200
            assert arrived(w) == [f"GET {w.decisions[0].path}"] == [f"GET {sent}"]
        else:
            record = await refused(w, answer, Code.DEFAULT_DENY)
            assert acts(record) == [action]


@pytest.mark.parametrize(
    ("sent", "path", "action"),
    [
        pytest.param("/repos/a/b/issues", "/repos/a/b/issues", "api.issues.list", id="C19-plain"),
        pytest.param("/repos/a/b/../c/issues", "/repos/a/c/issues", "api.issues.list", id="C19-dots-inside"),
        pytest.param("/repos/%61/b/issue%73", "/repos/a/b/issues", "api.issues.list", id="C19-unreserved"),
        pytest.param("/repos/..a/...b/issues", "/repos/..a/...b/issues", "api.issues.list", id="C19-no-dots"),
        pytest.param(
            "/repos/a;x/b%3By/issues", "/repos/a;x/b%3By/issues", "api.issues.list", id="C19-semicolons"
        ),
        pytest.param("/repos/%c3%a9/b/issues", "/repos/%C3%A9/b/issues", "api.issues.list", id="C19-utf8"),
        pytest.param("/files//secret", "/files//secret", "api.files", id="C19-empty-segment"),
        pytest.param("/files/SECRET", "/files/SECRET", "api.files", id="C19-case"),
        pytest.param("/files/secret/", "/files/secret/", "api.files", id="C19-slash"),
        pytest.param("/files/secret;a", "/files/secret;a", "api.files", id="C19-parameter"),
        pytest.param("/admin/../files/x", "/files/x", "api.files", id="C19-from-what-is-stricter"),
        pytest.param("/admin/..//files/x", "//files/x", None, id="C19-not-quite"),
    ],
)
async def test_what_is_decided_is_what_is_sent(tmp_path, sent, path, action):
    async with declared(tmp_path) as w:
        answer = await say_inside(w, inside(w, sent))
        record = w.decisions[0]
        assert record.path == path
        if action is None:
            await refused(w, answer, Code.DEFAULT_DENY)
        else:
            assert acts(record) == [action]
            assert arrived(w) == [f"GET {path}"]


PARAMETERS = [
    allow("mine", "api.issues.list", when='context.facts.path.owner == "a" && context.facts.path.repo == "b"')
]


@pytest.mark.parametrize(
    "sent",
    [
        *("/repos/A/b/issues", "/repos/a;/b/issues", "/repos/a%20/b/issues", "/repos/a./b/issues"),
        *(
            "/repos/%2561/b/issues",
            "/repos/a%3Fx/b/issues",
            "/repos/x/../a%252f/b/issues",
            "/repos/a%EF%BB%BF/b/issues",
        ),
        *(
            "/repos/a/b%23/issues",
            "/repos/%EF%BD%81/b/issues",
            "/repos/a/b%E2%80%8B/issues",
            "/repos/a%2E%2Ex/b/issues",
        ),
    ],
)
async def test_c19_a_parameter_is_exactly_what_the_path_says(tmp_path, sent):
    async with world(tmp_path, services=serving(OPERATIONS), policies=PARAMETERS) as w:
        record = await refused(w, await say_inside(w, inside(w, sent)), Code.DEFAULT_DENY)
        assert acts(record) == ["api.issues.list"]


async def test_c19_an_encoded_parameter_that_means_the_same_is_sent_decoded(tmp_path):
    async with world(tmp_path, services=serving(OPERATIONS), policies=PARAMETERS) as w:
        assert (await say_inside(w, inside(w, "/repos/%61/x/../%62/issues"))).status == 200
        assert arrived(w) == ["GET /repos/a/b/issues"]


@pytest.mark.parametrize(
    ("sent", "action"),
    [
        pytest.param("/repos/a%2Fb/c/issues", "api.issues.list", id="C19-one-parameter"),
        pytest.param("/repos/a%2fb/issues", "api.repo.get", id="C19-not-two-parameters"),
        pytest.param("/files%2Fsecret", "api.http.read", id="C19-not-a-separator"),
        pytest.param("/admin%2F", "api.http.read", id="C19-trailing"),
    ],
)
async def test_where_names_hold_slashes_they_separate_nothing(tmp_path, sent, action):
    async with declared(tmp_path, encoded_slash=True) as w:
        answer = await say_inside(w, inside(w, sent))
        assert acts(w.decisions[0]) == [action]
        if answer.status == 200:
            assert arrived(w) == [f"GET {sent.replace('%2f', '%2F')}"]
        else:
            await refused(w, answer, Code.DEFAULT_DENY)


@pytest.mark.parametrize(
    "sent", ["/repos/a%2F..%2Fb/c/issues", "/files/x%2F..", "/files/..%2Fsecret", "/x/.%2F"]
)
async def test_c19_dots_between_encoded_slashes_are_refused_there_too(tmp_path, sent):
    async with declared(tmp_path, encoded_slash=True) as w:
        await refused(w, await say_inside(w, inside(w, sent)), Code.TARGET_MALFORMED)


@pytest.mark.parametrize(
    "sent", ["/admin/../x", "/%61dmin", "//admin", "/admin;x", "/ADMIN", "/admin.json", "/%2561"]
)
async def test_c19_at_a_host_of_no_service_the_path_is_judged_as_it_is_sent(tmp_path, sent):
    policies = [
        '@id("read") permit(principal, action in Action::"read", resource);',
        '@id("no-admin") forbid(principal, action, resource) when { context.request.path like "/admin*" };',
    ]
    services = [demo_rules.service("other", "other.test")]
    async with world(tmp_path, services=services, policies=policies) as w:
        answer = await say_inside(w, inside(w, sent))
        path = w.decisions[0].path
        assert w.decisions[0].raw["why"]["input"]["context"]["request"]["path"] == path
        if path.startswith("/admin"):
            await refused(w, answer, Code.POLICY_DENY)
        else:
            assert answer.status == 200
            assert arrived(w) == [f"GET {path}"]
