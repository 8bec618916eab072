"""Side-by-side runs: the same calls, in one run, directly and through each proxy; and gatepass by itself.

What is promised: every proxy runs on the same core (core 0) and one at a time; the load generator,
the API and the delaying link share the other core or cores, also when there is no proxy. Every answer
is checked (status, length, and the API itself checks the credential), and one error fails its row.

====================  ==============================================================================
``calls``             one call over a non-blocking socket, and the loop that drives many of them
``rows``              what is measured, how it is counted, and in which order
``systems``           how each proxy is started, with its CA, its trust and its configuration
``governed``          the same for gatepass, with everything on
``api``               the API: TLS, 1 KiB answers, downloads (a process of its own)
``link``              a link with a round-trip time (a process of its own)
``machine``           cores, processes, ports, memory
``mint``              the run's certificates
``identity``          the group about callers, orders and tasks, of gatepass alone, with:
``tokens``            what attribution and decisions cost, in this process, with the parts of ``callers``
``streams``           how fast an order holds, given by ``order``, a process of its own
``many_tasks``        what many open tasks cost
``policy``            the group about rules, of gatepass alone, with:
``policy_decisions``  what decisions and classifications cost, in this process, by the
``policy_rules``      1,000 policies over 100 services, about
``policy_calls``      calls to them
``policy_bodies``     what it costs that a rule reads a body
``policy_reload``     what a reload costs those who call meanwhile; start and memory
``targets``           the figures gatepass must reach
``report``            the table, and ``bench/latest.json``
====================  ==============================================================================

What the side-by-side runs refuse to know: what happens inside any of the systems.
"""
