"""Who is calling, under which task, on whose behalf.

Promises: a ``Principal`` exists only after evidence was verified and its task was found open, on
every call anew; a decoded but unverified token cannot be mistaken for one (``jws.SignedClaims``);
a task's id commits to everything that was agreed when it was started (``task``). What cannot be
attributed is refused, and the refusal never says which part of a secret was wrong.

Refuses to know: what a caller may do (``policy``), where agents and tasks are kept (``store``), what
time it is, and where keys come from. Headers in which an agent names itself are never identity.

The way in: ``presented`` reads the proxy credential, ``attribution`` turns it into a ``Principal``.
"""
