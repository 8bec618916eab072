"""Whether somebody answers for every agent, and whether what agents name in gatepass.yaml is there."""

from collections.abc import Iterator

from proxy.cli.config import Config
from proxy.cli.finding import Finding, fail, warn
from proxy.identity.gaps import gaps, unknown_issuers
from proxy.identity.registry import Registry


def check_agents(registry: Registry, config: Config) -> Iterator[Finding]:
    """What keeps an agent from calling, or will once it leaves development and staging."""
    for gap in gaps(registry):
        what, fix = f"agent {gap.agent.id}", f"name its {' and its '.join(gap.missing)} in rules/agents.yaml"
        words = str(gap.problem)
        yield fail(what, words, fix) if gap.refused else warn(what, words, fix)
    known = {issuer.name for issuer in config.settings.identity.issuers}
    for problem in unknown_issuers(registry, known):
        yield fail("agents", str(problem), "describe the issuer in gatepass.yaml, or correct its name")
