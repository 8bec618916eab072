"""Where gatepass keeps its state (XDG Base Directory Specification)."""

import os
from pathlib import Path


def state_dir() -> Path:
    """``$GATEPASS_STATE``, else ``$XDG_STATE_HOME/gatepass``, else ``~/.local/state/gatepass``."""
    own = os.environ.get("GATEPASS_STATE")
    if own:
        return Path(own)
    shared = os.environ.get("XDG_STATE_HOME")
    # the specification says that a relative path there is to be ignored
    base = Path(shared) if shared and Path(shared).is_absolute() else Path.home() / ".local" / "state"
    return base / "gatepass"
