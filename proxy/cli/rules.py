"""Reading a rules directory, for verbs: the store does it."""

from proxy.store.rule_files import read_rules

__all__ = ["read_rules"]
