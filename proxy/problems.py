"""What is wrong with a file an operator wrote, and where: YAML 1.2 read strictly, with line numbers.

YAML here is the part that has one reading: one document, no aliases, no tags of its own, no duplicate
keys, strings as keys, and the values that JSON has. A date has to be quoted. Every problem prints as
``file:line: message``.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

MAX_OCTETS = 1_048_576
MAX_DEPTH = 32
_TAG = "tag:yaml.org,2002:"
_SCALARS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null"))
_COLLECTIONS = frozenset(_TAG + name for name in ("map", "seq"))

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct. ``line`` counts from 1; None if the problem is with the whole file."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.message}"


@dataclass(frozen=True, slots=True)
class LoadedYaml:
    """A document as plain values, and the line of each of its keys. An empty document is None."""

    file: str
    data: Value
    lines: dict[KeyPath, int]

    def line(self, path: Sequence[str | int]) -> int | None:
        """The line of the longest part of ``path`` that the document has."""
        whole = tuple(path)
        found = (self.lines.get(whole[:length]) for length in range(len(whole), -1, -1))
        return next((line for line in found if line is not None), None)


class _Bad(Exception):
    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.line = node.start_mark.line + 1
        self.message = message


class _Reader:
    """Turns the node graph of one document into plain values."""

    def __init__(self, yaml: YAML) -> None:
        self._yaml = yaml
        self._seen: set[int] = set()
        self.lines: dict[KeyPath, int] = {}

    def read(self, node: Node, path: KeyPath) -> Value:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self._seen:
            raise _Bad(node, "aliases are not accepted; write the value again")
        self._seen.add(id(node))
        if len(path) > MAX_DEPTH:
            raise _Bad(node, f"nested more than {MAX_DEPTH} deep")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if node.tag not in _COLLECTIONS:
            raise _Bad(node, f"the tag {node.tag} is not accepted")
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]

    def _scalar(self, node: ScalarNode) -> Value:
        if node.tag == _TAG + "timestamp":
            raise _Bad(node, "a date must be quoted")
        if node.tag not in _SCALARS:
            raise _Bad(node, f"the tag {node.tag} is not accepted")
        try:
            value: Value = self._yaml.constructor.construct_object(node)
        except ValueError as error:
            raise _Bad(node, f"not a value of its type: {error}") from error
        return value

    def _mapping(self, node: MappingNode, path: KeyPath) -> Value:
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or key_node.tag != _TAG + "str":
                raise _Bad(key_node, "keys must be strings; quote it")
            key: str = key_node.value
            if key in result:
                raise _Bad(key_node, f"the key {key!r} stands here twice")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.read(value_node, (*path, key))
        return result


def load_yaml(data: bytes, file: str) -> LoadedYaml | list[Problem]:
    """Read one YAML document. ``file`` is only a name, for problems. Never raises."""
    if len(data) > MAX_OCTETS:
        return [Problem(file, None, f"larger than {MAX_OCTETS} octets")]
    yaml = YAML(typ="safe", pure=True)
    try:
        node: Node | None = yaml.compose(data.decode("utf-8"))
        reader = _Reader(yaml)
        value = None if node is None else reader.read(node, ())
        # The parts of the library hold each other, so that what they hold stays until garbage is collected.
        yaml.constructor.constructed_objects.clear()
    except _Bad as error:
        return [Problem(file, error.line, error.message)]
    except UnicodeDecodeError:
        return [Problem(file, None, "not UTF-8")]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        return [Problem(file, mark.line + 1 if mark is not None else None, words or "not YAML")]
    except YAMLError as error:
        return [Problem(file, None, f"not YAML: {str(error).splitlines()[0]}")]
    except RecursionError:
        return [Problem(file, None, "nested too deep")]
    return LoadedYaml(file, value, reader.lines if node is not None else {})


def _dotted(path: Sequence[Hashable]) -> str:
    return ".".join(str(part) for part in path)


def problems_of(error: ValidationError, loaded: LoadedYaml) -> list[Problem]:
    """The errors pydantic found in ``loaded.data``, each with its line. The values are not repeated."""
    problems = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = item["loc"]
        words = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            words = "this key is not known here"
        where = _dotted(path)
        problems.append(Problem(loaded.file, loaded.line(path), f"{where}: {words}" if where else words))
    return problems
