"""What of a directory are rules, and what shows that one has changed."""

import os

import pytest

from proxy.store import rule_files
from proxy.store.rule_files import look, read_all, read_rules, rules_of


def put(directory, **files):
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_rules_are_the_agents_the_policies_and_the_services(tmp_path):
    put(tmp_path, agents_DOT_yaml="a", policies__p_DOT_cedar="p", services__s_DOT_yaml="s", README_DOT_md="r")
    put(tmp_path, policies__sub__q_DOT_cedar="q", policies___DOT_hidden="x", cases__c_DOT_yaml="c")
    put(tmp_path, notes__agents_DOT_yaml="n", policies2__p_DOT_cedar="n")
    names = {"agents.yaml", "policies/p.cedar", "policies/sub/q.cedar", "services/s.yaml"}
    assert set(read_rules(tmp_path)) == names
    everything = read_all(tmp_path)
    others = {"README.md", "cases/c.yaml", "notes/agents.yaml", "policies2/p.cedar"}
    assert set(everything) == names | others
    assert rules_of(everything) == read_rules(tmp_path)


def test_a_directory_that_is_not_there_has_no_rules_and_no_look(tmp_path):
    assert read_rules(tmp_path / "none") == {}
    assert look(tmp_path / "none", everything=False) is None


def test_mounted_files_and_folders_are_read_through_their_links(tmp_path):
    put(tmp_path, **{"..2026__policies__a_DOT_cedar": "// nothing", "..2026__agents_DOT_yaml": "agents: []"})
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "policies").symlink_to("..data/policies")
    (tmp_path / "agents.yaml").symlink_to("..data/agents.yaml")
    assert read_rules(tmp_path) == {"policies/a.cedar": b"// nothing", "agents.yaml": b"agents: []"}
    before = look(tmp_path, everything=False)
    put(tmp_path, **{"..2027__policies__a_DOT_cedar": "// changed", "..2027__agents_DOT_yaml": "agents: []"})
    (tmp_path / "..new").symlink_to("..2027")
    (tmp_path / "..new").replace(tmp_path / "..data")
    assert look(tmp_path, everything=False) != before


def test_a_link_that_leads_nowhere_is_no_rule_less(tmp_path):
    put(tmp_path, policies__a_DOT_cedar="a")
    (tmp_path / "policies/forbid.cedar").symlink_to("gone.cedar")
    with pytest.raises(FileNotFoundError):
        read_rules(tmp_path)
    assert look(tmp_path, everything=False) is None
    (tmp_path / "policies/forbid.cedar").unlink()
    (tmp_path / "elsewhere").symlink_to("gone")
    assert set(read_rules(tmp_path)) == {"policies/a.cedar"}


def test_links_in_a_circle_end(tmp_path):
    put(tmp_path, policies__a_DOT_cedar="a")
    (tmp_path / "policies/again").symlink_to(".")
    with pytest.raises(OSError, match="folders deep"):
        read_rules(tmp_path)


def test_a_file_that_is_too_large_is_an_error(tmp_path):
    put(tmp_path, policies__a_DOT_cedar="a")
    with (tmp_path / "policies/b.cedar").open("wb") as file:
        file.truncate(rule_files.MAX_OCTETS + 1)
    with pytest.raises(OSError, match="larger than"):
        read_rules(tmp_path)


def test_a_name_that_is_no_text_is_an_error(tmp_path):
    put(tmp_path, policies__a_DOT_cedar="a")
    try:
        (tmp_path / os.fsdecode(b"policies/\xff.cedar")).touch()
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(OSError, match="not UTF-8"):
        read_rules(tmp_path)
    (tmp_path / os.fsdecode(b"policies/\xff.cedar")).rename(tmp_path / "policies/é.cedar")
    assert set(read_rules(tmp_path)) == {"policies/a.cedar", "policies/é.cedar"}


def test_a_look_shows_every_change_of_a_rule_and_of_nothing_else(tmp_path):
    put(tmp_path, agents_DOT_yaml="a", policies__p_DOT_cedar="p", README_DOT_md="r")
    seen = {look(tmp_path, everything=False)}
    assert seen == {look(tmp_path, everything=False)}
    put(tmp_path, README_DOT_md="changed")
    assert seen == {look(tmp_path, everything=False)}
    whole = look(tmp_path, everything=True)
    (tmp_path / "README.md").unlink()
    assert look(tmp_path, everything=True) != whole
    (tmp_path / "draft").write_text("p")  # of the same size, and in place of the old one
    (tmp_path / "draft").replace(tmp_path / "policies/p.cedar")
    seen.add(look(tmp_path, everything=False))
    put(tmp_path, services__s_DOT_yaml="s")
    seen.add(look(tmp_path, everything=False))
    (tmp_path / "agents.yaml").unlink()
    seen.add(look(tmp_path, everything=False))
    assert len(seen) == 4
