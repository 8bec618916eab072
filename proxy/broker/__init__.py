"""Where credentials come from: one file a source, each a ``ports.Credentials``.

Promises: what goes out is a ``Secret`` or a ``Refusal`` that names what is missing, never its value, and
no library's exception. It is asked only after the decision is durable.

Refuses to know: placeholders, surfaces and requests (``credential``), and what was decided (``policy``).
"""
