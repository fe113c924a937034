"""Processes of this package as forks of one that has imported torch, since importing it takes longer than most tests.

A test starts `python -m embedstep run` by `subprocess`, that starts torchrun, and torchrun starts the ranks. Each of
them remains a process of its own with its own parent, group, signals, pipes and environment; only the new interpreter
and the imports of libraries are saved. `_execute_child` of `subprocess.Popen` forks in place of `fork` and `exec`:

- In a process of the tests, which has threads, fixtures and monkeypatches, a *nursery* forks: a process that has
  imported libraries and done nothing else. It is then a child of
  the one that asked (`PR_SET_CHILD_SUBREAPER`).
- In a process that was forked so, the process itself forks, as its libraries are those that its child needs.

Everything else is started as ever: other programs, `python -c`, processes with an environment that libraries read when
they are imported, and whatever a test marked `interpreter` starts. EMBEDSTEP_TEST_FORKS=0 switches forking off.
"""

import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import inspect
import json
import logging
import multiprocessing.util
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_TESTS = str(Path(__file__).parent) + os.sep
_MODULES = ("embedstep", "torch.distributed.run")
_LIBRARIES = (
    "torch", "torch.distributed.run", "transformers.trainer", "transformers.models.bert.modeling_bert",
    "sentence_transformers", "datasets", "mlflow", "matplotlib.figure", "matplotlib.backends.backend_svg",
)  # fmt: skip
"""Imported by the nursery; nothing of this package, whose modules a test may replace by a variable."""

_READ_AT_IMPORT = (
    "CUDA", "HF_D", "HF_E", "HF_H", "HF_TOKEN_", "HF_X", "LD_", "MALLOC_ARENA", "MPL", "OMP_", "PYTHONHASHSEED",
    "PYTHONWARNINGS", "TORCH_HOME", "TRANSFORMERS_",
)  # fmt: skip
"""Beginnings of variables that libraries or the interpreter look at only when they start."""

_EXECUTE = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
_PR_SET_CHILD_SUBREAPER = 36
_TITLE = 8000
"""Bytes kept for the command line of a fork, which `ps` and the tests see."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a new process gets.

    Attributes:
        argv: what its command line would be.
        env: its whole environment.
        cwd: its working folder.
        group: its process group (0: its own), or -1 for that of its parent.
        session: whether it leads a session of its own.
        ignored: numbers of the signals that it ignores.
        limits: resource and its soft and hard limit.
        umask: its file mode mask.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    group: int
    session: bool
    ignored: Sequence[int]
    limits: Sequence[tuple[int, int, int]]
    umask: int


class Forks:
    """Where processes of this package come from.

    Attributes:
        enabled: whether they are forks.
    """

    def __init__(self, imported_in: Mapping[str, str], *, is_fork: bool) -> None:
        """Note what the libraries of a fork have seen.

        Args:
            imported_in: the environment in which they were, or will be, imported.
            is_fork: whether this process is a fork that has them, and needs no nursery.
        """
        self.enabled = imported_in.get("EMBEDSTEP_TEST_FORKS") != "0"
        self._imported_in, self._is_fork = dict(imported_in), is_fork
        self._nursery: _Nursery | None = None

    def install(self) -> None:
        """Let `subprocess.Popen` fork where it can."""
        names = list(inspect.signature(_EXECUTE).parameters)

        def execute_child(*arguments: Any) -> None:
            given = dict(zip(names, arguments, strict=True))
            if self.enabled and self._can_fork(given):
                self._fork(given)
            else:
                _EXECUTE(*arguments)

        subprocess.Popen._execute_child = execute_child  # type: ignore[attr-defined]

    def _can_fork(self, given: Mapping[str, Any]) -> bool:
        special = ("executable", "preexec_fn", "shell", "gid", "gids", "uid")
        if any(given[name] for name in special) or not given["close_fds"] or given["umask"] >= 0:
            return False
        if (given["pass_fds"] and not self._is_fork) or (self._is_fork and _has_open_database()):
            return False
        environ = os.environ if given["env"] is None else given["env"]
        return _program_of(given["args"]) is not None and _imports_alike(environ, self._imported_in)

    def _fork(self, given: Mapping[str, Any]) -> None:
        start = Start(
            argv=[os.fsdecode(word) for word in given["args"]],
            env=dict(os.environ if given["env"] is None else given["env"]),
            cwd=str(Path(given["cwd"] or ".").absolute()),
            group=given["process_group"],
            session=bool(given["start_new_session"]),
            ignored=[number for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN],
            limits=[(kind, *resource.getrlimit(kind)) for kind in _LIMITS],
            umask=_umask(),
        )
        pipes = [given[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        streams = [place if pipe == -1 else pipe for place, pipe in enumerate(pipes)]
        popen = given["self"]
        try:
            if self._is_fork:
                popen.pid = _fork(start, streams, given["pass_fds"], self._imported_in)
            else:
                self._nursery = self._nursery or _Nursery(self._imported_in)
                popen.pid = self._nursery.start(start, streams)
            popen._child_created = True
        finally:
            popen._close_pipe_fds(*(given[f"{name}"] for name in _PIPES))


def _program_of(args: Any) -> str | None:
    """Return the module or the script of the tests that a command runs by our interpreter, or None for any other."""
    if isinstance(args, str | bytes | os.PathLike):
        return None
    words = [os.fsdecode(word) for word in args]
    if words[:1] != [sys.executable]:
        return None
    rest = words[2:] if words[1:2] == ["-u"] else words[1:]
    if len(rest) > 1 and rest[0] == "-m":
        return rest[1] if rest[1] in _MODULES or rest[1].startswith("embedstep.") else None
    return rest[0] if rest and rest[0].startswith(_TESTS) and rest[0] != __file__ else None


def _imports_alike(environ: Mapping[str, str], known: Mapping[str, str]) -> bool:
    """Whether libraries would find the same variables when they are imported."""
    names = {name for name in (*environ, *known) if name.startswith(_READ_AT_IMPORT)}
    is_quiet = environ.get("TQDM_DISABLE", "1") == "1"  # which is how the nursery imports, and ranks
    return is_quiet and all(environ.get(name) == known.get(name) for name in names)


def _has_open_database() -> bool:
    """Whether this process has a SQLite file open, whose locks and connections do not survive a fork."""
    files = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return any(file.endswith((".db", ".db-wal", ".db-shm")) for file in files)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


class _Nursery:
    """The process that forks for the tests; it ends with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).absolute()), str(theirs.fileno()), "-" * _TITLE],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, env={**environ, "TQDM_DISABLE": "1"},
        )  # fmt: skip
        theirs.close()
        self._socket = ours

    def start(self, start: Start, streams: Sequence[int]) -> int:
        """Return the number of the new process, which is a child of this one."""
        _adopt(True)
        try:
            message = json.dumps(asdict(start)).encode()
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", streams))]
            self._socket.sendmsg([len(message).to_bytes(4, "big")], rights)
            self._socket.sendall(message)
            return int.from_bytes(self._read(4), "big")
        finally:
            _adopt(False)

    def _read(self, size: int) -> bytes:
        answer = self._socket.recv(size, socket.MSG_WAITALL)
        if len(answer) < size:
            raise OSError("the process that forks for the tests is gone")
        return answer


def _adopt(is_on: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(is_on), 0, 0, 0)


def _serve(connection: socket.socket) -> None:
    """Import libraries, then fork whenever somebody asks."""
    environ = dict(os.environ)
    for name in _LIBRARIES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # so that no fork copies pages only because its garbage is collected
    while header := _receive_header(connection):
        size, streams = header
        start = Start(**json.loads(connection.recv(size, socket.MSG_WAITALL)))
        reading, writing = os.pipe()
        if (between := os.fork()) == 0:
            number = _fork(start, streams, (), environ, after=os.getpid())
            os.write(writing, number.to_bytes(4, "big"))
            os._exit(0)  # upon which the process that asked becomes the parent
        os.close(writing)
        number = int.from_bytes(os.read(reading, 4), "big")
        os.close(reading)
        for stream in streams:
            os.close(stream)
        os.waitpid(between, 0)
        connection.sendall(number.to_bytes(4, "big"))


def _receive_header(connection: socket.socket) -> tuple[int, list[int]] | None:
    data, rights, *_ = connection.recvmsg(4, socket.CMSG_SPACE(3 * 4))
    if len(data) < 4:
        return None
    streams = array.array("i")
    streams.frombytes(rights[0][2])
    return int.from_bytes(data, "big"), streams.tolist()


def _fork(
    start: Start, streams: Sequence[int], keep: Sequence[int], imported_in: Mapping[str, str], after: int = 0
) -> int:
    """Return the number of the new process.

    Args:
        start: what it gets.
        streams: descriptors of its standard input, output and error.
        keep: descriptors that it has, too.
        imported_in: the environment that libraries were imported in.
        after: the parent whose end it waits for, if not 0.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    before = _open_files()
    number = os.fork()
    if number == 0:
        code = 1
        try:
            # Arrow opens its pipe again in each fork: were it closed here, the next fork would take that of another.
            reopened = [place for place, file in _open_files().items() if before.get(place, file) != file]
            while after and os.getppid() == after:
                time.sleep(0.0005)
            _become(start, streams, keep, reopened, imported_in)
            code = _run(start)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return number


def _open_files() -> dict[int, str]:
    """Return what each descriptor of this process leads to."""
    found = {}
    for place in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own descriptor, which is closed by now
            found[int(place.name)] = str(place.readlink())
    return found


def _become(
    start: Start,
    streams: Sequence[int],
    keep: Sequence[int],
    reopened: Sequence[int],
    imported_in: Mapping[str, str],
) -> None:
    """Give this process what `exec` and the start of an interpreter would."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    atexit.register(multiprocessing.util._exit_function)  # type: ignore[attr-defined]
    atexit.register(logging.shutdown)
    if start.session:
        os.setsid()
    if start.group >= 0:
        os.setpgid(0, start.group)
    _set_streams(streams, keep, reopened)
    _set_signals(start.ignored)
    for kind, soft, hard in start.limits:
        if resource.getrlimit(kind) != (soft, hard):
            resource.setrlimit(kind, (soft, hard))
    os.umask(start.umask)
    os.chdir(start.cwd)
    os.environ.clear()
    os.environ.update(start.env)
    program = str(_program_of(start.argv))
    sys.argv = list(start.argv[start.argv.index(program) :])
    sys.orig_argv = list(start.argv)
    _set_path(start)
    _set_title(start.argv)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    is_unbuffered = "-u" in start.argv[:2]
    sys.stdout.reconfigure(line_buffering=os.isatty(1), write_through=is_unbuffered)  # type: ignore[union-attr]
    Forks(imported_in, is_fork=True).install()


def _set_streams(streams: Sequence[int], keep: Sequence[int], reopened: Sequence[int]) -> None:
    """Put the three streams where they belong, and close every other descriptor that is not kept."""
    above = [os.dup(stream) for stream in streams]
    for place, stream in enumerate(above):
        os.dup2(stream, place, inheritable=True)
    kept = sorted({0, 1, 2, *keep, *reopened})
    for descriptor in keep:
        os.set_inheritable(descriptor, True)
    for low, high in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)


def _set_signals(ignored: Sequence[int]) -> None:
    signal.set_wakeup_fd(-1)
    by_python = {signal.SIGPIPE, signal.SIGXFSZ}
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        is_ignored = number in ignored or number in by_python
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    if signal.SIGINT not in ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _set_path(start: Start) -> None:
    """Import from the working folder and PYTHONPATH first, and run the `sitecustomize` that lies there."""
    sys.path[0] = start.cwd
    for place, folder in enumerate(filter(None, start.env.get("PYTHONPATH", "").split(os.pathsep)), 1):
        if folder not in sys.path:
            sys.path.insert(place, folder)
        if (Path(folder) / "sitecustomize.py").exists():  # also where the parent has run it: variables may differ
            sys.modules.pop("sitecustomize", None)
            importlib.import_module("sitecustomize")


def _set_title(argv: Sequence[str]) -> None:
    """Write the command line where /proc/<pid>/cmdline is read from."""
    first, last = map(int, Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[45:47])
    text = b"\0".join(map(os.fsencode, argv))[: last - first - 1]
    ctypes.memmove(first, text.ljust(last - first, b"\0"), last - first)


def _run(start: Start) -> int:
    """Run the program as an interpreter does, to the end of the interpreter, and return the exit code."""
    code = 0
    try:
        program = str(_program_of(start.argv))
        if program.startswith(_TESTS):
            sys.path[0] = str(Path(program).parent)
            runpy.run_path(program, run_name="__main__")
        else:
            runpy.run_module(program, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = _code_of(end.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def _code_of(code: object) -> int:
    if code is None or isinstance(code, int):
        return (code or 0) & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])  # and not the folder of the tests, whose packages have common names
    _serve(socket.socket(fileno=int(sys.argv[1])))
