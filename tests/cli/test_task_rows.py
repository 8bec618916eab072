"""Tasks as rows: in their order, or each under the task that it was delegated from."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.cli.task_rows import rows
from proxy.identity.principal import Task
from proxy.store.tasks import StoredTask


def stored(name: str, parent: str | None = None) -> StoredTask:
    task = Task(name, "coder", "p", (), "development", 0, 3600, "0" * 64, parent=parent)
    return StoredTask(task, None, "")


FOREST = [
    stored("a"),
    stored("a2", "a"),
    stored("b"),
    stored("a1", "a"),
    stored("a11", "a1"),
    stored("c2", "c"),
]


def names(found, *, tree: bool) -> list[str]:
    return [row[0] for row in rows(found, tree=tree)]


def test_a_row_says_who_and_until_when():
    (row,) = rows([stored("a")], tree=False)
    assert row == ("a", "coder", "open", "1970-01-01T00:00:00Z", "1970-01-01T01:00:00Z", "p")


def test_in_a_pipe_the_order_stays():
    assert names(FOREST, tree=False) == ["a", "a2", "b", "a1", "a11", "c2"]


def test_on_a_terminal_each_stands_under_its_parent():
    assert names(FOREST, tree=True) == ["a", "└ a2", "└ a1", "  └ a11", "b", "c2"]


@given(st.lists(st.integers(0, 30), max_size=30))
def test_a_tree_has_every_task_once_and_below_its_parent(parents):
    """The n-th task is below the n-th number, if that is a task before it."""
    found = [
        stored(str(number), str(parent) if parent < number else None) for number, parent in enumerate(parents)
    ]
    shown = names(found, tree=True)
    plain = [name.removeprefix(name[: len(name) - len(name.lstrip(" └"))]) for name in shown]
    assert sorted(plain) == sorted(names(found, tree=False))
    depth = {name: len(row) - len(name) for name, row in zip(plain, shown, strict=True)}
    for each in found:
        if each.task.parent is not None:
            assert depth[each.task.id] == depth[each.task.parent] + 2
            assert plain.index(each.task.id) > plain.index(each.task.parent)
