"""These tests run on the event loop that serves in production, and those that say so on asyncio's own, too."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop

LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    marker = item.get_closest_marker("asyncio")
    names = marker.kwargs.get("loop_factories", ("uvloop",)) if marker is not None else ("uvloop",)
    return {name: LOOPS[name] for name in names}
