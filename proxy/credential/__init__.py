"""Which placeholder becomes which credential, and where.

Promises: a placeholder is replaced only in the surface its service declares, for that service's own
host, in a call of the task that holds it (``swap``); anywhere else it is a refusal, and it never
travels upstream. A ``Secret`` has no text form, and its value leaves by one method that one file calls.

Refuses to know: where credentials come from (``broker``), where placeholders are kept (``store``),
what policy said, and what randomness is: it is an argument.
"""
