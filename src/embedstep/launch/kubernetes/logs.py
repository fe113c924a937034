"""The log of a job's first pod, shown while it comes, and the last lines of those that fail."""

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
"""Time-outs of following a log: to connect, and without a word. A machine that is gone closes no connection."""
_CHUNK = 65536
_SECONDS = (10, 60)


class Logs:
    """The first node's log, shown as it comes; of each pod the last lines are kept, however long its log is."""

    def __init__(self, core: CoreV1Api, namespace: str) -> None:
        """Follow nothing yet."""
        self._core = core
        self._namespace = namespace
        self._threads: dict[tuple[str, int], threading.Thread] = {}
        self._kept: dict[str, deque[str]] = {}

    def follow(self, pods: Sequence[Pod]) -> None:
        """Begin to show the log of the first node's pod once it runs, and anew when its container was started again."""
        for pod in pods:
            if pod.rank == 0 and pod.phase != "Pending" and (pod.name, pod.restarts) not in self._threads:
                self._kept.setdefault(pod.name, deque(maxlen=_KEPT_LINES))
                thread = threading.Thread(target=self._stream, args=(pod.name,), daemon=True, name=f"log of {pod.name}")
                self._threads[pod.name, pod.restarts] = thread
                thread.start()

    def _stream(self, pod: str) -> None:
        """Show a log to its end. One that is cut off, or not there yet, is asked for again."""
        shown = 0.0
        while True:
            try:
                response = self._core.read_namespaced_pod_log(
                    pod, self._namespace, container=CONTAINER, follow=True, _preload_content=False,
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
                pass  # cut off, or silent: asked for again from where it was
            time.sleep(1)

    def finish(self) -> None:
        """Wait until all that the log holds was shown."""
        for thread in self._threads.values():
            thread.join(timeout=_GRACE)

    def last(self, pods: Sequence[Pod]) -> dict[str, str]:
        """Return the last lines of each pod that did not end well."""
        return {pod.name: self._last(pod.name) for pod in pods if pod.code != 0}

    def _last(self, pod: str) -> str:
        if kept := self._kept.get(pod):
            return "\n".join(kept)
        with suppress(ApiException, HTTPError):
            return str(self._core.read_namespaced_pod_log(
                pod, self._namespace, container=CONTAINER, tail_lines=_KEPT_LINES, _request_timeout=_SECONDS
            ))  # fmt: skip
        return ""


def split_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream, each cut to 4096 characters, and hold no more than one."""
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
