"""The meaning of codes for what rules, grants, budgets and placeholders refuse."""

from proxy.errors.code import Code
from proxy.errors.meaning import AGENT, ASK, BAD, DENIED, LATER, OURS, PLACE, Meaning

# fmt: off
DECISION: dict[Code, Meaning] = {
    Code.DEFAULT_DENY: Meaning(403, AGENT, "No rule permits this call", DENIED, ASK),
    Code.POLICY_DENY: Meaning(403, AGENT, "A rule forbids this call", DENIED, ASK),
    Code.POLICY_ERROR: Meaning(
        403, AGENT, "The rules could not be evaluated for this call", DENIED, "Tell the operator; the rules need a fix."
    ),
    Code.APPROVAL_REQUIRED: Meaning(
        403, AGENT, "A person has to approve this call", DENIED,
        "Tell the user that it waits for approval. Send exactly the same request again after Retry-After; do not change it.",
    ),
    Code.APPROVAL_DENIED: Meaning(
        403, AGENT, "A person has declined this call", DENIED, "Do not retry. Do something else, or ask the user."
    ),
    Code.APPROVALS_FULL: Meaning(
        429, AGENT, "Too many calls of this agent wait for approval", DENIED,
        "Wait until some are answered; ask for less.",
    ),
    Code.OBLIGATION_UNMET: Meaning(
        403, AGENT, "What the rule demands of this call cannot be done", DENIED,
        "Send it in a form that gatepass can read and change: JSON, uncompressed, no WebSocket.",
    ),
    Code.RATE_LIMITED: Meaning(
        429, AGENT, "The budget of the service is spent for now", DENIED, "Wait until Retry-After has passed, then go on."
    ),
    Code.SERVICE_NOT_GRANTED: Meaning(
        403, AGENT, "The task was not given this service", DENIED,
        "Do not retry. Ask whoever started or delegated the task for one that lists the service.",
    ),
    Code.BUDGET_EXCEEDED: Meaning(
        429, AGENT, "The budget of the task is spent", DENIED,
        "Do not retry. Finish with what you have, or ask for a new task with a larger budget.",
    ),
    Code.DELEGATION_REFUSED: Meaning(
        403, AGENT, "The task cannot be delegated like this", DENIED,
        "Ask for no more than you have: GET http://gatepass.internal/whoami shows it.",
    ),
    Code.DESK_REQUEST: Meaning(
        400, AGENT, "The desk does not understand the request", BAD,
        "The desk answers GET /whoami, /may?method=&url=, /blocked, /approvals and POST /delegate, /end with JSON bodies.",
    ),
    Code.TUNNELS_EXCEEDED: Meaning(
        429, AGENT, "Too many connections at once", "connection_limit_reached", "Close some, then retry."
    ),
    Code.PLACEHOLDER_HOST_MISMATCH: Meaning(403, AGENT, "The placeholder belongs to another service", DENIED, PLACE),
    Code.PLACEHOLDER_TASK_MISMATCH: Meaning(403, AGENT, "The placeholder belongs to another task", DENIED, PLACE),
    Code.PLACEHOLDER_SURFACE: Meaning(403, AGENT, "The placeholder is in a place that is not declared", DENIED, PLACE),
    Code.PLACEHOLDER_AMBIGUOUS: Meaning(403, AGENT, "More than one placeholder in one request", DENIED, PLACE),
    Code.PLACEHOLDER_UNKNOWN: Meaning(403, AGENT, "The placeholder is not known here", DENIED, PLACE),
    Code.CREDENTIAL_UNAVAILABLE: Meaning(503, OURS, "The credential could not be obtained", "proxy_internal_error", LATER),
}
# fmt: on
