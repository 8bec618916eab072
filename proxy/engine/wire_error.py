"""Why waiting on a wire ends without an answer. ``wire`` tells on whose side; a wire keeps only the kind.

(A wire that kept the error itself would be kept alive by it, and its TLS state with it, until a
garbage collection: at a thousand connections a second that is what a proxy would spend its time on.)
"""


class WireError(Exception):
    """A wait on a wire that will not be answered; ``wire`` tells whose fault it is."""

    def __init__(self, wire: object) -> None:
        super().__init__()
        self.wire = wire


class Gone(WireError):
    """The peer vanished: reset, or closed without TLS close_notify."""


class Expired(WireError):
    """The wire's deadline passed while waiting."""


class Cut(WireError):
    """The wire was cut by us, because its task ended or the sidecar stops."""
