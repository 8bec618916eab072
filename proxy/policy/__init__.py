"""Whether this one request may leave, and by which rule.

Promises: an allow needs a permit, no forbid and no evaluation error; no rule means no. What was
evaluated is handed back as canonical bytes without any secret, so that the decision can be taken
again offline and comes out the same. Rules that do not validate are never loaded (``cedar``).

Refuses to know: who proved to be whom (``identity``), headers and bodies, credentials' values, where
rules are kept, and what time it is.

The way in: ``catalogue`` and ``service_file`` say what services there are, ``operation`` what a request
does to one, ``schema`` types it all for Cedar, ``cedar`` loads the rules and decides, ``observe`` stands
in where there are no rules at all. Besides ``identity.principal`` and ``http`` this package imports the
values of ``credential.binding`` (a service declares one) and ``credential.placeholder`` (to redact).
"""
