"""The import arrows and the house rules, checked on the syntax trees: nothing here runs the code it reads."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import proxy

ROOT = Path(proxy.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

CORE = {
    "errors",
    "problems",
    "settings",
    "exchange",
    "ports",
    "http",
    "identity",
    "policy",
    "credential",
    "audit",
}
SHELL = {"engine", "broker", "store", "control"}
JOINTS = {path.stem for path in ROOT.glob("wiring*.py")} | {"cli", "__main__", "__init__"}
IMPURE = {
    *(
        "asyncio",
        "socket",
        "os",
        "pathlib",
        "time",
        "random",
        "secrets",
        "logging",
        "threading",
        "subprocess",
    ),
    *("mitmproxy", "aiohttp", "uvloop", "httptools", "sqlite3", "ssl"),
}
# Who may import whom inside the core. Everything may import ``errors``; ``ports`` names what the seams carry.
MAY_IMPORT = {
    "errors": set(),
    "problems": set(),
    "exchange": set(),
    "http": {"errors"},
    "audit": {"errors"},
    "settings": {"errors", "http"},
    "identity": {"errors", "problems", "http"},
    "credential": {"errors", "http"},
    "policy": {"errors", "problems", "http", "identity", "credential"},
    "ports": {"errors", "identity", "credential", "policy"},
}
POLICY_FROM_CREDENTIAL = {"proxy.credential.binding", "proxy.credential.placeholder"}
MAX_LINES = 300
MAX_REPETITION = 128


def part(path: Path) -> str:
    """The package or top-level module that a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            module = node.module or ""
            yield from (f"proxy.{alias.name}" for alias in node.names) if module == "proxy" else (module,)


def ours(path: Path) -> set[str]:
    """The parts of gatepass that a file imports."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("proxy.")} - {"__version__"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The calls in a file, by the text of what is called."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())


def test_every_part_has_its_place() -> None:
    assert {part(path) for path in FILES} <= CORE | SHELL | JOINTS


@each_file
def test_core_is_pure(path: Path) -> None:
    if part(path) in CORE:
        assert not {name.split(".")[0] for name in imports(path)} & IMPURE


@each_file
def test_core_imports_follow_the_arrows(path: Path) -> None:
    if part(path) in CORE:
        assert ours(path) - {part(path)} <= MAY_IMPORT[part(path)]
    if part(path) == "policy":
        credential = {name for name in imports(path) if name.startswith("proxy.credential")}
        assert credential <= POLICY_FROM_CREDENTIAL


@each_file
def test_shell_packages_do_not_import_each_other(path: Path) -> None:
    if part(path) in SHELL:
        assert not ours(path) & ((SHELL | JOINTS) - {part(path)})


@each_file
def test_the_heavy_libraries_stay_where_they_belong(path: Path) -> None:
    tops = {name.split(".")[0] for name in imports(path)}
    if part(path) != "engine":
        assert not tops & {"mitmproxy", "httptools"}
    if part(path) not in {"broker", "control"}:
        assert "aiohttp" not in tops
    if part(path) != "cli":
        assert not tops & {"typer", "rich"}


@each_file
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if part(path) not in {"cli", "__main__"}:
        called = {name for name, _ in calls(path)}
        assert not called & {
            "print",
            "exit",
            "quit",
            "sys.exit",
            "os._exit",
            "sys.stdout.write",
            "sys.stderr.write",
        }


@each_file
def test_only_the_store_writes_files(path: Path) -> None:
    if part(path) in {"store", "cli"}:
        return
    for name, call in calls(path):
        assert not name.endswith((".write_text", ".write_bytes", ".mkdir", ".unlink", ".rename", ".touch")), (
            name
        )
        if name == "open" or name.endswith(".open"):
            modes = [ast.unparse(argument) for argument in call.args] + [
                ast.unparse(k.value) for k in call.keywords
            ]
            assert not any(mode.strip("'\"") in {"w", "wb", "a", "ab", "x", "xb", "r+b"} for mode in modes)


@each_file
def test_only_wiring_and_the_command_line_read_the_environment(path: Path) -> None:
    if part(path) not in {"cli", "__main__"} | {name for name in JOINTS if name.startswith("wiring")}:
        text = path.read_text()
        assert "os.environ" not in text
        assert "getenv" not in text


@each_file
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@each_file
def test_pydantic_counts_characters_and_its_patterns_do_not(path: Path) -> None:
    """Its regex engine writes ``{1,4096}`` out, and every sidecar carries the megabytes."""
    for _, call in calls(path):
        for keyword in call.keywords:
            if keyword.arg == "pattern":
                counts = re.findall(r"\{\d*,(\d+)\}", ast.unparse(keyword.value))
                assert all(int(most) <= MAX_REPETITION for most in counts), ast.unparse(call)


@each_file
def test_every_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_nothing_under_rules_or_certs_is_code() -> None:
    top = ROOT.parent
    assert not [path for folder in ("rules", "certs") for path in (top / folder).rglob("*.py")]
