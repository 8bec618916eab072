"""The thread that owns a sidecar's connection to the approvals file: one job after the other."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from proxy.store.approvals_rows import ApprovalStoreError
from proxy.store.approvals_table import ApprovalStore

T = TypeVar("T")


class ApprovalThread:
    """Runs jobs on an ``ApprovalStore`` of its own. Jobs that are running finish, whoever stops waiting."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: ApprovalStore | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="gatepass-approvals")

    async def start(self) -> None:
        """Open the file.

        :raises ApprovalStoreError: if it cannot be opened.
        """
        loop = asyncio.get_running_loop()
        try:
            self._store = await loop.run_in_executor(self._executor, ApprovalStore.open, self._path)
        except BaseException:
            self._executor.shutdown(wait=False)
            raise

    async def run(self, job: Callable[[ApprovalStore], T]) -> T:
        """What ``job`` returns.

        :raises ApprovalStoreError: if the file cannot be read or written, or has been closed.
        """
        store = self._store
        if store is None:
            raise ApprovalStoreError(f"{self._path} has been closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, job, store)

    async def stop(self) -> None:
        """Finish the jobs, close the file, end the thread."""
        store, self._store = self._store, None
        if store is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, store.close)
            self._executor.shutdown(wait=False)  # nothing is left to wait for
