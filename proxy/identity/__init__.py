"""Who is calling, under which task, on whose behalf.

Promises: a ``Principal`` exists only after evidence was verified, all of it agreed, and every link of its
delegation was found to hold, on every call anew; a decoded but unverified token cannot be mistaken for a
verified one (``jws.SignedClaims``, ``assertion.SignedAssertion``); a task's id commits to everything that was
agreed when it was started (``task``); what is handed on never widens (``rights``, ``delegation``); an order
to revoke reaches everything that stands on what it names (``revocation``). What cannot be attributed is
refused, and the refusal never says which part of a secret was wrong.

Refuses to know: what a caller may do (``policy``), where agents, tasks and orders are kept (``store``), what
time it is, and where keys come from. Headers in which an agent names itself are never identity, and actors
nested in a token are for the audit alone (``act``).

The way in: ``arrival`` is what a connection says and ``presented`` what a request says; ``proof`` makes one
proof of each, ``attribution`` compares them and turns them into a ``Principal``. ``registry`` has the agents.
"""
