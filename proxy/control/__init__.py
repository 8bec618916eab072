"""The control plane: what an agent may ask about itself, and what an operator may order.

Promises: the desk (``desk``) tells an agent of itself alone, and hands out no more than the agent has;
the control API (``api``) does nothing for a caller it does not know, nothing for a web page, and says
who ordered what to whoever carries it out (``operations``). What it cannot read it refuses, with words
that say what to do. Unexpected failures are answered without their insides, and the operator is told.

Refuses to know: how tasks are kept, how delegations are judged, how connections are cut, how records are
written. All that comes in as callables and as ``operations.Operations``; this package holds no state but
who sent wrong tokens lately. Only ``api`` and ``connection`` import aiohttp, which nobody pays for who
does not listen.

``body`` and ``render`` are the two directions of JSON; ``routes`` maps a call to an operation and knows
nothing of HTTP's wire; ``guard`` and ``patience`` judge who calls; ``problem`` says no (RFC 9457).
"""
