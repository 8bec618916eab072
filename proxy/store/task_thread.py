"""The thread that owns a sidecar's connection to the task file: jobs in order, and a look in between."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from proxy.identity.principal import Task
from proxy.store.task_rows import TaskStoreError
from proxy.store.task_table import TaskStore

T = TypeVar("T")


class TaskThread:
    """Runs jobs on a ``TaskStore`` of its own, and tells when somebody else has changed the file.

    ``changed`` is called in the thread, at most ``interval`` seconds after a change; ``failed`` is called
    there, every ``interval``, while the file cannot be read. ``known`` tasks are not parsed again.
    """

    def __init__(
        self,
        path: Path,
        *,
        interval: float,
        changed: Callable[[TaskStore], None],
        failed: Callable[[Exception], None],
        known: Mapping[str, Task],
    ) -> None:
        self._path = path
        self._interval = interval
        self._changed = changed
        self._failed = failed
        self._known = known
        self._seen = -1  # no version SQLite gives: the first look always tells
        self._jobs: queue.SimpleQueue[Callable[[TaskStore], None] | None] = queue.SimpleQueue()
        self._stopped = False
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="gatepass-tasks", daemon=True)

    def start(self) -> Future[None]:
        """Start; the future is done once the file is open, or has its ``TaskStoreError``."""
        self._thread.start()
        return self._opened

    def submit(self, job: Callable[[TaskStore], T], *, look: bool = False) -> Future[T]:
        """Run ``job`` in the thread. ``look``: ``changed`` is called before the future is done.

        A job that was cancelled before its turn is not run.

        :raises TaskStoreError: if it has been stopped.
        """
        if self._stopped:
            raise TaskStoreError(f"{self._path} has been closed")
        future: Future[T] = Future()

        def run(store: TaskStore) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = job(store)
                if look:
                    self._look(store, at_once=True)
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
            store = TaskStore.open(self._path, self._known)
        except TaskStoreError as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        with store:
            self._work(store)

    def _work(self, store: TaskStore) -> None:
        due = 0.0  # jobs that follow each other closely do not put the look off
        while True:
            if time.monotonic() >= due:
                self._follow(store)
                due = time.monotonic() + self._interval
            try:
                job = self._jobs.get(timeout=max(due - time.monotonic(), 0.0))
            except queue.Empty:
                continue
            if job is None:
                return
            job(store)

    def _follow(self, store: TaskStore) -> None:
        try:
            self._look(store, at_once=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, the file is not being followed
            self._failed(error)

    def _look(self, store: TaskStore, *, at_once: bool) -> None:
        seen, self._seen = self._seen, -1  # if this fails, look again in full once the file can be read
        version = store.version()
        if at_once or version != seen:
            self._changed(store)
        self._seen = version
