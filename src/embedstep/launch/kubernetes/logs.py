"""The log of a job's first pod, printed while it grows, and the last lines of pods that fail."""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from kubernetes.client import ApiException, CoreV1Api
from urllib3.exceptions import HTTPError

from embedstep.launch.kubernetes.manifest import CONTAINER
from embedstep.launch.kubernetes.pods import Pod

_KEPT_LINES = 50
_LONGEST_LINE = 4096
_GRACE = 60.0
_GONE = 404
_FOLLOWING = (10, 300)
"""Timeouts of following a log: to connect, and between two chunks. A lost machine does not close its connection."""
_CHUNK = 65536
_SECONDS = (10, 60)


class Logs:
    """Prints the first node's log while it grows, and keeps the last lines of each followed pod."""

    def __init__(self, core: CoreV1Api, namespace: str) -> None:
        """Follow nothing yet.

        Args:
            core: the client.
            namespace: namespace of the pods.
        """
        self._core = core
        self._namespace = namespace
        self._threads: dict[tuple[str, int], threading.Thread] = {}
        self._kept: dict[str, deque[str]] = {}

    def follow(self, pods: Sequence[Pod]) -> None:
        """Start printing the log of the first node's pod once it runs, and again after a restart of its container."""
        for pod in pods:
            if pod.rank == 0 and pod.phase != "Pending" and (pod.name, pod.restarts) not in self._threads:
                self._kept.setdefault(pod.name, deque(maxlen=_KEPT_LINES))
                # A daemon, because a log that hangs must not keep the step from ending.
                thread = threading.Thread(target=self._stream, args=(pod.name,), daemon=True, name=f"log of {pod.name}")
                self._threads[pod.name, pod.restarts] = thread
                thread.start()

    def _stream(self, pod: str) -> None:
        """Print a log to its end. If it is cut off, or does not exist yet, request it again."""
        shown = 0.0
        while True:
            try:
                response = self._core.read_namespaced_pod_log(
                    pod, self._namespace, container=CONTAINER, follow=True, _preload_content=False,
                    # Whole seconds: a line may be printed twice, and none is lost.
                    since_seconds=int(time.monotonic() - shown) + 1 if shown else None, _request_timeout=_FOLLOWING,
                )  # fmt: skip
                for line in split_lines(response.stream(_CHUNK)):
                    shown = time.monotonic()
                    self._kept[pod].append(line)
                    sys.stdout.write(f"{line}\n")
                    sys.stdout.flush()
                return
            except ApiException as error:
                if error.status == _GONE:
                    return
            except HTTPError:
                pass  # cut off, or silent: request it again from there
            time.sleep(1)

    def finish(self) -> None:
        """Wait until the whole log is printed."""
        for thread in self._threads.values():
            thread.join(timeout=_GRACE)

    def last(self, pods: Sequence[Pod]) -> dict[str, str]:
        """Return the last lines of the log of each pod that failed, by its name."""
        return {pod.name: self._last_lines(pod.name) for pod in pods if pod.code != 0}

    def _last_lines(self, pod: str) -> str:
        if kept := self._kept.get(pod):
            return "\n".join(kept)
        with suppress(ApiException, HTTPError):
            return str(self._core.read_namespaced_pod_log(
                pod, self._namespace, container=CONTAINER, tail_lines=_KEPT_LINES, _request_timeout=_SECONDS
            ))  # fmt: skip
        return ""


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream, each cut to 4096 characters, without keeping more than one in memory."""
    rest, is_cut = b"", False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not is_cut:
                yield line[:_LONGEST_LINE].decode(errors="replace")
            is_cut = False
        if len(rest) > _LONGEST_LINE:
            if not is_cut:
                yield rest[:_LONGEST_LINE].decode(errors="replace")
            rest, is_cut = b"", True
    if rest and not is_cut:
        yield rest.decode(errors="replace")
