"""The data plane: bytes in, one exchange at a time, bytes out.

Promises: every request is judged on its own and its decision is durable before anything leaves; what
was decided is what is sent; nothing is buffered beyond fixed marks, except content and answers that
rules have to read, up to their limits; every end of an exchange, however it comes about, is recorded
once. Refuses to know: what policy says, where credentials come from, how the log is kept. ``enforce`` is
the seam to those: an engine parses and relays, ``enforce`` judges.

Below ``server`` (its ways in are ``listener``) stands ``front`` (one downstream connection), which uses
``intercept`` (inside CONNECT), ``relay`` (one call) and ``desk`` (a call to the sidecar itself); ``wire``,
``head`` and ``body`` are HTTP/1.1 over TCP and TLS; ``dial`` and ``pool`` are the way up. ``enforce`` asks
``judge``, which asks ``caller`` who it is and ``decide`` whether it may: what the call does (``understood``,
which reads content through ``intake``), what rules say of it to the whole chain of delegation (``panel``),
and a person, where they leave it to one (``holding``). ``outgoing`` meets obligations on the way up,
``download`` and ``answering`` on the way down; ``scribe`` writes down what came of it.

Decided: heads are cut out before llhttp sees them, and bodies are framed by ``http.framing``, because
llhttp delivers whatever follows a message in the same call, and so cannot be stopped between two
pipelined requests; instead of queueing messages that have not been decided.
"""
