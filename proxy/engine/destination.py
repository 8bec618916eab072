"""Whether a destination may be asked for at all: decided by name, literal and port, before any look-up.

What a name resolves to is vetted again at dial time (``http.address.vet``). A host refused here costs
no DNS packet, so that a refused name carries nothing out.
"""

from collections.abc import Callable, Sequence

from proxy.errors import Code, Refusal
from proxy.http.address import AllowPrivate, name_refusal, vet
from proxy.http.canonical import Host, HostKind


class Destinations:
    """The destinations that an agent may name: at ``ports()``, or at any port if that is None.

    The ports are asked for with every destination, because rules change; every port is open while only
    observing.
    """

    def __init__(
        self,
        ports: Callable[[], frozenset[int]] | None,
        allowed: Sequence[AllowPrivate],
        own: Callable[[], frozenset[tuple[str, int]]],
        *,
        ip_literals: bool,
    ) -> None:
        self._ports = ports
        self._allowed = tuple(allowed)
        self._named = frozenset((rule.host, rule.port) for rule in allowed)
        self._own = own
        self._ip_literals = ip_literals

    def check(self, host: Host, port: int) -> Refusal | None:
        """Why this destination is refused, or None."""
        if (host.name, port) in self._own():
            return Refusal(Code.SELF_CONNECT, f"{host.name} port {port} is gatepass itself")
        opened = (host.name, port) in self._named
        if host.kind is HostKind.NAME:
            refusal = name_refusal(host, self._allowed)
        else:
            refusal = self._literal(host, port, opened=opened)
        if refusal is not None:
            return refusal
        ports = None if opened or self._ports is None else self._ports()
        if ports is not None and port not in ports:
            return Refusal(Code.PORT, f"port {port} is not open; open are {_list(ports)}")
        return None

    def _literal(self, host: Host, port: int, *, opened: bool) -> Refusal | None:
        vetted = vet(host, port, (host.name,), self._allowed)
        if isinstance(vetted, Refusal):
            return vetted
        if opened or self._ip_literals:
            return None
        return Refusal(Code.IP_LITERAL, f"{host.name} is an address; agents must name hosts")


def _list(ports: frozenset[int]) -> str:
    return ", ".join(str(port) for port in sorted(ports)[:8])
