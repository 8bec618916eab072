"""A resolver that answers from a script, one answer after the other: rebinding, mixed answers, failures."""

from collections.abc import Mapping, Sequence

from proxy.errors import Code, Refusal


class ScriptedResolver:
    """``answers`` maps a name to its successive answers; the last one stays. No entry: DNS_ERROR.

    ``journal`` lists the names asked for, in order.
    """

    def __init__(self, answers: Mapping[str, Sequence[tuple[str, ...] | Refusal]]) -> None:
        self._answers = {name: list(script) for name, script in answers.items()}
        self.journal: list[str] = []

    async def resolve(self, name: str) -> tuple[str, ...] | Refusal:
        self.journal.append(name)
        script = self._answers.get(name)
        if not script:
            return Refusal(Code.DNS_ERROR, f"{name} does not exist")
        return script.pop(0) if len(script) > 1 else script[0]
