"""The deployment that most clients are tried against."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.system.deployed import Deployed, deployed


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[Deployed]:
    """gatepass as a process in front of ``api.test``, and one task."""
    async with deployed(tmp_path) as running:
        yield running
