"""What a call to a language model asks for: the facts ``llm`` of OpenAI's and Anthropic's JSON formats.

OpenAI: chat completions, responses, completions, embeddings, and the functions that came before tools.
Anthropic: messages, and the completions that came before them. What a provider runs itself (web search, code,
MCP servers) is named by its type, what the caller runs by the name the caller gave it.
"""

from collections.abc import Mapping

from proxy.errors import Code, Refusal
from proxy.policy.fact import Dialect
from proxy.policy.spelling import lookalike
from proxy.policy.strict_json import Json

MAX_TOOLS = 512  # offered in one call, those of namespaces included
UNLIMITED = -1  # max_tokens, where the call names no limit

_LIMITS = {
    Dialect.OPENAI: ("max_tokens", "max_completion_tokens", "max_output_tokens"),
    Dialect.ANTHROPIC: ("max_tokens", "max_tokens_to_sample"),
}
_KNOWN = {
    Dialect.OPENAI: ("model", "stream", "tools", "functions", "web_search_options", *_LIMITS[Dialect.OPENAI]),
    Dialect.ANTHROPIC: ("model", "stream", "tools", "mcp_servers", *_LIMITS[Dialect.ANTHROPIC]),
}
_CALLED = ("function", "custom", None)  # types of tools that the caller runs: their own names say more
_MAX_LIMIT = 2**53 - 1  # as every number in a record: JSON readers round larger ones (RFC 7493, 2.2)


def facts(dialect: Dialect, document: Json) -> dict[str, Json] | Refusal:
    """``{"model", "stream", "tools", "max_tokens"}`` of a request; ``tools`` sorted, each once.

    AMBIGUOUS_INPUT if a member has another type than the API documents, or two limits contradict each other.
    """
    if not isinstance(document, dict):
        return _refuse("a call to a language model is a JSON object; send one")
    refusal = lookalike(document, _KNOWN[dialect])
    if refusal is not None:
        return refusal
    model, stream = document.get("model"), document.get("stream")
    if not isinstance(model, str) or not model:
        return _refuse("model must be the name of a model; name it")
    if stream is not None and not isinstance(stream, bool):
        return _refuse("stream must be true or false")
    limit = _limit(document, _LIMITS[dialect])
    if isinstance(limit, Refusal):
        return limit
    offered = _offered(dialect, document)
    if isinstance(offered, Refusal):
        return offered
    tools: list[Json] = [*sorted(offered)]
    return {"model": model, "stream": stream is True, "tools": tools, "max_tokens": limit}


def _refuse(why: str) -> Refusal:
    return Refusal(Code.AMBIGUOUS_INPUT, why)


def _limit(document: Mapping[str, Json], names: tuple[str, ...]) -> int | Refusal:
    found: dict[str, int] = {}
    for name in names:
        value = document.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_LIMIT:
            return _refuse(f"{name} must be a whole number that is not negative, of at most 53 bits")
        found[name] = value
    if len(set(found.values())) > 1:
        return _refuse(f"{' and '.join(found)} contradict each other; send one of them")
    return next(iter(found.values()), UNLIMITED)


def _offered(dialect: Dialect, document: Mapping[str, Json]) -> set[str] | Refusal:
    """The tools of a request, wherever it offers them."""
    found: set[str] = set()
    waiting = [(document.get("tools"), _tool)]
    if dialect is Dialect.OPENAI:
        waiting.append((document.get("functions"), _name))
        found |= {"web_search"} if document.get("web_search_options") is not None else set()
    elif document.get("mcp_servers"):
        found.add("mcp")
    count = 0
    while waiting:
        entries, named = waiting.pop()
        if not isinstance(entries, list | None):
            return _refuse("tools and functions must be arrays of objects")
        for entry in entries or ():
            count += 1
            if count > MAX_TOOLS:
                why = f"more than {MAX_TOOLS} tools are offered; offer fewer"
                return Refusal(Code.BODY_TOO_LARGE, why)
            if not isinstance(entry, dict):
                return _refuse("tools and functions must be arrays of objects")
            name = named(entry)
            if isinstance(name, Refusal):
                return name
            found.add(name)
            waiting.append((entry.get("tools"), _tool))  # a namespace holds more
    return found


def _tool(tool: Mapping[str, Json]) -> str | Refusal:
    refusal = lookalike(tool, ("type", "name", "function", "custom", "tools"))
    if refusal is not None:
        return refusal
    kind = tool.get("type")
    if kind in _CALLED:
        # Chat completions put the name one level down, responses and messages do not.
        inner = tool.get(kind) if isinstance(kind, str) else None
        if inner is not None and not isinstance(inner, dict):
            return _refuse(f"{kind} of a tool must be an object")
        if inner is not None and "name" in tool:
            return _refuse("a tool has its name in two places; name it once")
        return _name(tool if inner is None else inner)
    if not isinstance(kind, str) or not kind:
        return _refuse("the type of a tool must be a word; name it")
    return kind


def _name(tool: Mapping[str, Json]) -> str | Refusal:
    refusal = lookalike(tool, ("name",))
    if refusal is not None:
        return refusal
    name = tool.get("name")
    return name if isinstance(name, str) and name else _refuse("a tool must have a name; name it")
