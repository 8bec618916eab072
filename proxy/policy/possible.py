"""Whether some content could get a call allowed: Cedar's partial evaluation, for what is *shown* only.

The context is unknown, but for the task: policies that read it are rewritten to read it from the agent.
Partial evaluation is experimental in Cedar; nothing is ever allowed because of it.
"""

import cedarpy

from proxy.policy import document
from proxy.policy.decision import Question
from proxy.policy.recent import Recent
from proxy.policy.slices import Slice
from proxy.policy.statement import Json, Policy

_TASK = {".": {"left": {"Var": "context"}, "attr": "task"}}
_MOVED = {".": {"left": {"Var": "principal"}, "attr": "task"}}
_MAX_ANSWERS = 1024
_MAX_SETS = 256


class Possible:
    """See the module. It remembers answers: the same agent and task list the same tools again and again."""

    def __init__(self) -> None:
        self._sets: Recent[Slice, cedarpy.PolicySet] = Recent(_MAX_SETS)
        self._answers: Recent[tuple[object, ...], bool] = Recent(_MAX_ANSWERS)

    def could(self, question: Question, where: Slice, pattern: str) -> bool:
        """Whether the rules do not certainly deny. What cannot be judged could not."""
        operation = question.act.operation
        key = (
            question.target.origin, question.agent, question.task, question.right.scopes, operation.id
        )  # fmt: skip
        known = self._answers.get(key)
        if known is None:
            known = self._judge(question, where, pattern)
            self._answers.keep(key, known)
        return known

    def _judge(self, question: Question, where: Slice, pattern: str) -> bool:
        policies = self._sets.get(where)
        try:
            if policies is None:
                policies = _rewritten(where.policies)
                self._sets.keep(where, policies)
            request = {
                "principal": _name("Agent", question.agent.id),
                "action": _name("Action", question.act.operation.id),
                "resource": _name("Endpoint", str(question.target.origin)),
                "context": None,
            }
            entities = _entities(question, where, pattern)
            answer = cedarpy.is_authorized_partial(request, policies, entities)
        except Exception:  # noqa: BLE001 - fail closed: what cannot be judged is not shown
            return False
        return answer.decision is not cedarpy.Decision.Deny and not answer.diagnostics.errors


def _name(kind: str, name: str) -> str:
    """An entity in Cedar's syntax; whatever needs more escapes than these is an error there."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{kind}::"{escaped}"'


def _entities(question: Question, where: Slice, pattern: str) -> str:
    """The entities of the question, the action's groups, and the task where policies now look for it."""
    agent = document.agent_entity(question.agent)
    task = document.task_entity(question.task, question.right)
    endpoint = document.endpoint_entity(question.target.origin, where.service, pattern)
    operation = question.act.operation
    groups = [str(operation.group), *([] if where.service is None else [where.service.name])]
    action: Json = {
        "uid": document.uid("Action", operation.id),
        "attrs": {},
        "parents": [document.uid("Action", group) for group in groups],
    }
    attributes = agent["attrs"]
    assert isinstance(attributes, dict), "an entity has them"
    attributes["task"] = {"__entity": task["uid"]}
    return document.canonical([agent, task, endpoint, action]).decode("utf-8")


def _rewritten(policies: tuple[Policy, ...]) -> cedarpy.PolicySet:
    by_id = {policy.id: _rewrite(policy.json) for policy in policies}
    text = document.canonical({"staticPolicies": by_id, "templates": {}, "templateLinks": []})
    return cedarpy.PolicySet.from_json_str(text.decode("utf-8"))


def _rewrite(node: object) -> object:
    """``context.task`` is ``principal.task``."""
    if node == _TASK:
        return _MOVED
    if isinstance(node, dict):
        return {key: _rewrite(child) for key, child in node.items()}
    return [_rewrite(child) for child in node] if isinstance(node, list) else node
