"""The meaning of codes for callers that are not who they should be."""

from proxy.errors.code import Code
from proxy.errors.meaning import AGENT, DENIED, TOKEN, Meaning

# fmt: off
IDENTITY: dict[Code, Meaning] = {
    Code.IDENTITY_MISSING: Meaning(407, AGENT, "No proxy identity was presented", DENIED, TOKEN),
    Code.IDENTITY_INVALID: Meaning(407, AGENT, "The proxy identity is not valid", DENIED, TOKEN),
    Code.IDENTITY_EXPIRED: Meaning(
        407, AGENT, "The proof of identity has expired", DENIED, "Present a fresh one, or ask for a new task."
    ),
    Code.IDENTITY_CONFLICT: Meaning(
        407, AGENT, "The proofs of identity contradict each other", DENIED,
        "Let every proof on this connection (certificate, socket, token) name the same agent and task.",
    ),
    Code.AGENT_UNKNOWN: Meaning(
        403, AGENT, "The agent is not registered", DENIED, "Ask the operator to add it to rules/agents.yaml."
    ),
    Code.AGENT_UNOWNED: Meaning(
        403, AGENT, "Nobody answers for the agent", DENIED,
        "Ask the operator to name its business_owner and data_owner in rules/agents.yaml.",
    ),
    Code.AUTHENTICATION_UNSUITABLE: Meaning(
        403, AGENT, "The agent may not authenticate this way", DENIED,
        "Use a way that the agent's entry in rules/agents.yaml lists under authenticate.",
    ),
    Code.TASK_UNKNOWN: Meaning(403, AGENT, "The task is not known here", DENIED, "Ask for a new task."),
    Code.TASK_ENDED: Meaning(403, AGENT, "The task has ended", DENIED, "Ask for a new task; this one is over."),
    Code.ENVIRONMENT_FOREIGN: Meaning(
        403, AGENT, "The task belongs to another environment than its agent", DENIED, "Ask for a new task."
    ),
    Code.CHAIN_INVALID: Meaning(
        403, AGENT, "The delegation does not hold", DENIED, "Ask whoever delegated the task for a new one."
    ),
    Code.REVOKED: Meaning(
        403, AGENT, "The right to call was revoked", DENIED, "Do not retry. Stop, and tell the operator."
    ),
}
# fmt: on
