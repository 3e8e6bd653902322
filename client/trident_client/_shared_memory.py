"""Large tensors through system shared memory, for a client on the server's host.

A transport asks :meth:`Regions.steps` what to do and does it; nothing here sends anything. A region is made, registered
with the server and at once unlinked: it has no name that could outlive the two processes that map it. Should this
process be killed before that, Python's resource tracker unlinks it. A region that a killed client left mapped in the
server is unregistered by the next client that starts there, in whatever container: who makes a region holds a lock for
it, of which the kernel lets go when the process ends.
"""

from __future__ import annotations

import os
import re
import secrets
import struct
import sys
import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from tritonclient.utils import serialize_byte_tensor

from trident_client._types import Array, Request, Response
from trident_client.errors import BadInputError, NotReadyError, ServerError, TridentError

#: Bytes from which tensors take the way through shared memory; below, the way through the socket is shorter.
MIN_BYTES = 32 * 1024
ALIGNMENT = 64
#: Where all regions are, also those of other containers and users that this process can share any with.
FOLDER = "/dev/shm"
#: What fcntl takes: the lock's type, where it is counted from, its first byte, their number, and no process.
FLOCK = "hhqqi4x"
#: Held while Python's resource tracker is told of a region. A fork waits for it: of a lock that the tracker holds then,
#: a child would have a copy, which nobody releases.
TRACKER_LOCK = threading.Lock()
if sys.platform != "win32":
    import fcntl

    os.register_at_fork(
        before=TRACKER_LOCK.acquire, after_in_parent=TRACKER_LOCK.release, after_in_child=TRACKER_LOCK.release
    )
NAME = re.compile(r"trident-client-\d+-\d+-([0-9a-f]{12})")

Shapes = dict[str, tuple[int, ...]]
Extent = tuple[int, int]


@dataclass(frozen=True)
class Placement:
    """Where a request's tensors are: in the region of this name, each at an offset with a size, in bytes."""

    region: str
    inputs: dict[str, Extent] = field(default_factory=dict)
    outputs: dict[str, Extent] = field(default_factory=dict)


@dataclass(frozen=True)
class Clean:
    """Unregister what is :func:`orphaned`, as far as the server does not use it."""


@dataclass(frozen=True)
class Register:
    """Register a region with the server."""

    name: str
    size: int


@dataclass(frozen=True)
class Unregister:
    """Unregister one."""

    name: str


@dataclass(frozen=True)
class Infer:
    """Send the request; the answer is the outputs that came with it, and the shapes of those in shared memory."""

    request: Request
    placement: Placement | None = None


Step = Clean | Register | Unregister | Infer
Reply = tuple[dict[str, Array], Shapes]


class Regions:
    """The regions of one transport; may be shared by threads."""

    def __init__(self) -> None:
        self._free: list[SharedMemory] = []
        self._row_sizes: dict[tuple[str, str], tuple[int, np.dtype[Any]]] = {}
        self._has_orphans = True
        self._used = False
        self._lock = threading.Lock()

    def __del__(self) -> None:
        """Leave the regions of a client that nobody closed to the next."""
        for memory in self._free:
            HELD.let_go(memory.name)

    def steps(self, request: Request) -> Generator[Step, Reply | None, Response]:
        """Yield what to do for a request and return its outputs.

        Raises:
            ServerError: the server does not let clients register shared memory, or is not on this host.
            TridentError: as for any request.
        """
        inputs = {name: _serialize(array) for name, array in request.inputs.items()}
        rows = len(next(iter(request.inputs.values())))
        # The server may have been restarted, or an output be larger than it was: then everything is made anew, once.
        for last in (False, True):
            dtypes, outputs = self._expected(request, rows)
            size = sum(map(_aligned, [*map(len, inputs.values()), *outputs.values()]))
            if size < MIN_BYTES:
                return (yield from self._plain(request))
            # What else is free may have been registered with the server that is gone, too.
            memory = None if last else self._acquire(size)
            try:
                if memory is None:
                    memory = yield from self._make(size, request.model)
                placement = _place(memory, inputs, outputs)
                answer = yield Infer(request, placement)
            except (BadInputError, NotReadyError, ServerError) as error:
                if "shared memory" not in error.message:
                    if isinstance(error, BadInputError):
                        self._release(memory)
                    else:
                        # The server may still read from it.
                        self._abandon(memory)
                    raise
                self._abandon(memory)
                self._row_sizes.clear()
                if last:
                    raise ServerError(error.message, request.model) from error
            except BaseException:
                # The server may still read from it.
                self._abandon(memory)
                raise
            else:
                received, shapes = answer or ({}, {})
                placed = {name: _copy(memory, placement, name, dtypes[name], shapes[name]) for name in shapes}
                response = {name: (received | placed)[name] for name in request.outputs}
                self._release(memory)
                self._record_row_sizes(request, response)
                return response
        raise AssertionError("unreachable")

    def closing(self) -> Iterable[Step]:
        """Return what to do at the end; the regions are unmapped here."""
        with self._lock:
            free, self._free = self._free, []
        for memory in free:
            memory.close()
            HELD.let_go(memory.name)
        return [*(Unregister(memory.name) for memory in free), *([Clean()] if self._used else [])]

    def _plain(self, request: Request) -> Generator[Step, Reply | None, Response]:
        answer = yield Infer(request)
        outputs: Response = answer[0] if answer else {}
        self._record_row_sizes(request, outputs)
        return outputs

    def _make(self, size: int, model: str) -> Generator[Step, Reply | None, SharedMemory]:
        with self._lock:
            has_orphans, self._has_orphans, self._used = self._has_orphans, False, True
        name = _new_name()
        with TRACKER_LOCK:
            # Python tells its tracker only of what was made, and this process may be killed just between.
            resource_tracker.register(f"/{name}", "shared_memory")
            HELD.hold(name)
            memory = SharedMemory(name, create=True, size=1 << (size - 1).bit_length())
        try:
            if has_orphans:
                yield Clean()
            yield Register(memory.name, memory.size)
        except BaseException as error:
            # The server may have mapped it: perhaps only its answer was lost, or not waited for.
            self._abandon(memory)
            if isinstance(error, TridentError):
                raise _refusal(error, model) from error
            raise
        finally:
            with TRACKER_LOCK:
                memory.unlink()
        return memory

    def _expected(self, request: Request, rows: int) -> tuple[dict[str, np.dtype[Any]], dict[str, int]]:
        """Return the types of the outputs that are known to be large, and their sizes in bytes."""
        dtypes, sizes = {}, {}
        for name in request.outputs:
            row_size, dtype = self._row_sizes.get((request.model, name), (0, np.dtype(np.uint8)))
            if rows * row_size >= MIN_BYTES:
                dtypes[name], sizes[name] = dtype, rows * row_size
        return dtypes, sizes

    def _record_row_sizes(self, request: Request, response: Response) -> None:
        for name, array in response.items():
            if array.dtype != np.object_ and len(array):
                self._row_sizes[request.model, name] = (array.nbytes // len(array), array.dtype)

    def _acquire(self, size: int) -> SharedMemory | None:
        with self._lock:
            candidates = [memory for memory in self._free if memory.size >= size]
            if not candidates:
                return None
            smallest = min(candidates, key=lambda memory: memory.size)
            self._free.remove(smallest)
            return smallest

    def _release(self, memory: SharedMemory | None) -> None:
        if memory is not None:
            with self._lock:
                self._free.append(memory)

    def _abandon(self, memory: SharedMemory | None) -> None:
        if memory is not None:
            with self._lock:
                self._has_orphans = True
            HELD.let_go(memory.name)
            memory.close()


class _Held:
    """The regions that this process holds: each is a byte of the folder that is locked.

    The locks are the open folder's, and go with the last process that has it open. So a child that was forked closes
    its copy, and holds what it makes itself.
    """

    def __init__(self) -> None:
        self._folder: int | None = None
        self._process = 0

    def hold(self, name: str) -> None:
        """Hold one that is made now."""
        if self._folder is None:
            self._folder, self._process = os.open(FOLDER, os.O_RDONLY), os.getpid()
        fcntl.fcntl(self._folder, fcntl.F_OFD_SETLK, _flock(fcntl.F_RDLCK, name))

    def let_go(self, name: str) -> None:
        """Leave one to whoever looks for what nobody holds."""
        # In a child, what is freed before it was told of the fork is the parent's.
        if self._folder is not None and self._process == os.getpid():
            fcntl.fcntl(self._folder, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, name))

    def after_fork(self) -> None:
        """Hold nothing that is the parent's."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None


HELD = _Held()
if sys.platform != "win32":
    os.register_at_fork(after_in_child=HELD.after_fork)


def orphaned(names: Iterable[str]) -> list[str]:
    """Return those of the server's regions that were given up, or whose clients do not run any more."""
    # Opened anew: to the other one, its own locks are none.
    folder = os.open(FOLDER, os.O_RDONLY)
    try:
        return [name for name in names if NAME.fullmatch(name) and not _is_held(folder, name)]
    finally:
        os.close(folder)


def _is_held(folder: int, name: str) -> bool:
    answer = fcntl.fcntl(folder, fcntl.F_OFD_GETLK, _flock(fcntl.F_WRLCK, name))
    kind: int = struct.unpack(FLOCK, answer)[0]
    return kind != fcntl.F_UNLCK


def _flock(kind: int, name: str) -> bytes:
    return struct.pack(FLOCK, kind, os.SEEK_SET, int(name.rpartition("-")[2], 16), 1, 0)


def _new_name() -> str:
    return f"trident-client-{os.stat('/proc/self/ns/pid').st_ino}-{os.getpid()}-{secrets.token_hex(6)}"


def _serialize(array: Array) -> bytes:
    if array.dtype != np.object_:
        return array.tobytes()
    serialized: bytes = serialize_byte_tensor(array).item()
    return serialized


def _place(memory: SharedMemory, inputs: dict[str, bytes], outputs: dict[str, int]) -> Placement:
    placement, offset = Placement(memory.name), 0
    for name, data in inputs.items():
        _buffer(memory)[offset : offset + len(data)] = data
        placement.inputs[name] = (offset, len(data))
        offset += _aligned(len(data))
    for name, size in outputs.items():
        placement.outputs[name] = (offset, size)
        offset += _aligned(size)
    return placement


def _copy(memory: SharedMemory, placement: Placement, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    # A copy: a region with an array on it cannot be unmapped.
    offset, _ = placement.outputs[name]
    return np.frombuffer(_buffer(memory), dtype, int(np.prod(shape)), offset).reshape(shape).copy()


def _buffer(memory: SharedMemory) -> memoryview:
    if memory.buf is None:
        raise ValueError("the region is closed")
    return memory.buf


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _refusal(error: TridentError, model: str) -> TridentError:
    if "restricted" in error.message:
        return ServerError(
            "the server does not let clients use shared memory; trident-serve --shared-memory does", model
        )
    if "shared memory" in error.message.lower():
        return ServerError(f"the server does not see this host's shared memory: {error.message}", model)
    return error
