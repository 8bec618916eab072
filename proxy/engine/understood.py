"""What a call does, with its content read if rules need it and only then.

Decided: what only the rules in the shadow want to read is read if its length is announced and within the
limit, and what they cannot make sense of is no reason to refuse: the shadow never changes what is enforced.
"""

from proxy.engine.intake import Intake
from proxy.errors import Refusal
from proxy.http.guard import Guarded
from proxy.http.message import Length
from proxy.policy.classify import classify
from proxy.policy.content import Call, Classified, NeedBody
from proxy.policy.decision import Site


async def understood(
    site: Site, call: Call, guarded: Guarded, intake: Intake, limit: int
) -> Classified | Refusal:
    """What ``call`` does; ``limit`` is how many octets of its content rules may read."""
    service, needs = site.service, site.wider or site.needs
    found = classify(call, service, needs, limit)
    if isinstance(found, Classified):
        return found
    if site.wider is not None:
        enforced = classify(call, service, site.needs, limit)
        if isinstance(enforced, NeedBody):
            found = enforced
        elif isinstance(found, Refusal) or not _fits(guarded, limit):
            return enforced
    if isinstance(found, Refusal):
        return found
    content = await intake.read(guarded, found.limit)
    if isinstance(content, Refusal):
        return content
    return _whole(site, call._replace(body=content), limit)


def _whole(site: Site, call: Call, limit: int) -> Classified | Refusal:
    found = classify(call, site.service, site.wider or site.needs, limit)
    if isinstance(found, Refusal) and site.wider is not None:
        found = classify(call, site.service, site.needs, limit)
    assert not isinstance(found, NeedBody), "the content is there"
    return found


def _fits(guarded: Guarded, limit: int) -> bool:
    return isinstance(guarded.framing, Length) and guarded.framing.octets <= limit
