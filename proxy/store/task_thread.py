"""The thread that owns a sidecar's connection to the task file: jobs in order, and a look in between."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from proxy.store.task_table import TaskStore, TaskStoreError

T = TypeVar("T")


class TaskThread:
    """Runs jobs on a ``TaskStore`` of its own, and tells when somebody else has changed the file.

    ``changed`` is called in the thread, at most ``interval`` seconds after a change; ``failed`` is called
    there, every ``interval``, while the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval: float,
        changed: Callable[[TaskStore], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self._path = path
        self._interval = interval
        self._changed = changed
        self._failed = failed
        self._jobs: queue.SimpleQueue[Callable[[TaskStore], None] | None] = queue.SimpleQueue()
        self._stopped = False
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="gatepass-tasks", daemon=True)

    def start(self) -> Future[None]:
        """Start; the future is done once the file is open, or has its ``TaskStoreError``."""
        self._thread.start()
        return self._opened

    def submit(self, job: Callable[[TaskStore], T]) -> Future[T]:
        """Run ``job`` in the thread.

        :raises TaskStoreError: if it has been stopped.
        """
        if self._stopped:
            raise TaskStoreError(f"{self._path} has been closed")
        future: Future[T] = Future()

        def run(store: TaskStore) -> None:
            try:
                result = job(store)
            except Exception as error:  # noqa: BLE001 - it is handed to whoever waits for the job
                future.set_exception(error)
            else:
                future.set_result(result)

        self._jobs.put(run)
        return future

    def stop(self) -> None:
        """Finish the jobs, close the file, end the thread; returns when it has ended."""
        self._stopped = True
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            store = TaskStore.open(self._path)
        except TaskStoreError as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        with store:
            self._work(store)

    def _work(self, store: TaskStore) -> None:
        seen = -1  # no version SQLite gives: the first look always tells
        while True:
            try:
                job = self._jobs.get(timeout=self._interval)
            except queue.Empty:
                seen = self._look(store, seen)
                continue
            if job is None:
                return
            job(store)

    def _look(self, store: TaskStore, seen: int) -> int:
        try:
            version = store.version()
            if version != seen:
                self._changed(store)
        except Exception as error:  # noqa: BLE001 - whatever it is, the file is not being followed
            self._failed(error)
            return -1  # look again in full once it can be read
        return version
