"""gatepass: the sidecar that every call of an AI agent has to pass.

The map, in the order in which a request meets the parts:

==============  ==========================================================================
``engine``      accepts bytes, parses, dials, relays; ``engine.enforce`` drives one exchange
``http``        what a request *is*: canonical host and path, header hygiene, addresses
``identity``    who is calling, under which task, on whose behalf
``policy``      whether this one request may leave, and by which rule
``credential``  which placeholder becomes which credential, and where
``audit``       the record of all that, as leaves of a signed, witnessable log
``broker``      where credentials come from
``store``       what is kept on disk: the log, the keys, the tasks
``control``     what operators and agents ask the sidecar itself
``cli``         one verb, one file
==============  ==========================================================================

``exchange`` holds the legal order of the steps, ``ports`` the seams between the parts,
``errors`` the closed list of reasons, ``settings`` what can be configured, and ``wiring``
is the only place where the parts meet.
"""

__version__ = "0.1.0"
