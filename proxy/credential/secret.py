"""A live credential in memory: a value without a text form.

``repr`` shows the name alone. It cannot be printed, formatted, pickled or copied, and compares by
identity, so that no accident and no timing tells its value. Python cannot wipe memory; keeping the
number of places that ever see the bytes at one (``swap``) is what can be done.
"""

from typing import NoReturn

from proxy.errors import Code, Refusal

_FORBIDDEN = (b"\r", b"\n", b"\0")


class Secret:
    """One credential. ``name`` says which one, for people and records.

    :raises ValueError: if the value is empty or holds CR, LF or NUL.
    """

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: bytes) -> None:
        if not value or any(octet in value for octet in _FORBIDDEN):
            raise ValueError(f"the credential {name} is empty or holds CR, LF or NUL")
        self.name = name
        self._value = value

    @classmethod
    def of(cls, name: str, value: bytes) -> "Secret | Refusal":
        """The secret, or CREDENTIAL_UNAVAILABLE if the value could not be sent as one."""
        try:
            return cls(name, value)
        except ValueError as error:
            return Refusal(Code.CREDENTIAL_UNAVAILABLE, str(error))

    def reveal(self) -> bytes:
        """The value. Called in ``swap`` and nowhere else; a test looks for a second caller."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def _no_text(self) -> NoReturn:
        raise TypeError(f"{self!r} has no text form and cannot be copied")

    def __str__(self) -> str:  # noqa: PLE0307 - it never returns
        self._no_text()

    def __format__(self, _spec: str) -> str:
        self._no_text()

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        self._no_text()

    def __getstate__(self) -> NoReturn:
        self._no_text()
