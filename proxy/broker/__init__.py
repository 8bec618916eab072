"""Where credentials and keys come from: one source a file, each behind a port.

Promises: what goes out is a ``Secret``, a ``KeySet`` or a ``Refusal`` that names what is missing, never a
secret's value, and no library's exception. Credentials are asked for only after the decision is durable;
keys are fetched before anybody needs them, and rarely because somebody does (``jwks``). What gatepass
itself fetches passes the guard that agents' calls pass (``guarded_http``). Without keys that can be
trusted there are none: fail closed. ``aiohttp`` and gRPC are imported when they are first used.

Refuses to know: placeholders, surfaces and requests (``credential``), what was decided (``policy``), and
what the keys are for (``identity``).
"""
