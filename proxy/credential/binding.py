"""A service's credential: where it comes from, and where in a request it may stand.

Values only. A ``Binding`` is declared in ``rules/services/*.yaml``; what it does not declare is refused.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Provider = Literal["env", "file"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_MARK = "{secret}"
_FRAMING = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)


@lru_cache(maxsize=1024)
def _around(form: str) -> tuple[bytes, bytes]:
    before, _, after = form.partition(_MARK)
    return before.encode("ascii"), after.encode("ascii")


@dataclass(frozen=True, slots=True)
class HeaderSurface:
    """The credential stands in one header, whose whole value is ``format`` around it.

    :raises ValueError: if the header cannot carry one, or ``format`` has not exactly one ``{secret}``.
    """

    header: str = "Authorization"
    format: str = "Bearer {secret}"

    def __post_init__(self) -> None:
        if _TOKEN.fullmatch(self.header) is None:
            raise ValueError(f"{self.header!r} is not a header name")
        low = self.header.lower()
        if low in _FRAMING or low.startswith("proxy-") or low == "cookie":
            raise ValueError(f"the header {self.header} cannot carry a credential")
        if self.format.count(_MARK) != 1 or _VALUE.fullmatch(self.format) is None:
            raise ValueError("the format needs exactly one {secret}, in printable ASCII without outer spaces")

    @property
    def around(self) -> tuple[bytes, bytes]:
        """What stands before and after the credential."""
        return _around(self.format)


@dataclass(frozen=True, slots=True)
class BasicSurface:
    """The credential is the password, or the user name, of ``Authorization: Basic`` (RFC 7617).

    With ``username`` that user name is sent whatever the agent wrote there; None keeps the agent's.

    :raises ValueError: if ``username`` has a colon or a control character, or is set although the
        credential is the user name.
    """

    username: str | None = None
    where: Literal["password", "username"] = "password"

    def __post_init__(self) -> None:
        if self.username is None:
            return
        if self.where == "username":
            raise ValueError("a user name cannot be fixed where the credential is the user name")
        if ":" in self.username or not self.username.isprintable():
            raise ValueError("the user name has a colon or a control character")


@dataclass(frozen=True, slots=True)
class QuerySurface:
    """The credential is the whole value of one query parameter (its name as decoded).

    :raises ValueError: if the name is empty.
    """

    parameter: str

    def __post_init__(self) -> None:
        if not self.parameter:
            raise ValueError("the query parameter needs a name")


Place = HeaderSurface | BasicSurface | QuerySurface


@dataclass(frozen=True, slots=True)
class EitherHeader:
    """The credential stands in one of several headers, because the clients of a service differ.

    :raises ValueError: if these are not at least two different ones.
    """

    headers: tuple[HeaderSurface, ...]

    def __post_init__(self) -> None:
        if len(self.headers) < 2 or len(set(self.headers)) != len(self.headers):  # noqa: PLR2004 - or it is no choice
            raise ValueError("name at least two headers, each once")


Surface = Place | EitherHeader


def places(surface: Surface) -> tuple[Place, ...]:
    """The places of which one has to hold the credential."""
    return surface.headers if isinstance(surface, EitherHeader) else (surface,)


@dataclass(frozen=True, slots=True)
class Binding:
    """The credential of ``service``.

    ``name`` is the environment variable or the absolute path of the file it comes from; ``variables``
    are the environment variables in which an agent is given the placeholder.
    """

    service: str
    provider: Provider
    name: str
    surface: Surface
    variables: tuple[str, ...]
