"""Limits as control files and their text: written in order, and taken back when the kernel refuses one.

Lesson  A limit is one short text in one file; the kernel checks each by itself, never several together.
Read    cgroups(7), "Conventions" in the kernel's admin-guide/cgroup-v2.rst
"""
from __future__ import annotations

from errno import EACCES, EBUSY, EINVAL, ENODEV, ENOENT, ENOSPC, EOPNOTSUPP, EPERM, ERANGE, EROFS

from ..errors import ContainerError, SyscallError
from . import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Setting", "limited", "previous", "write_settings"]


class Setting:
    """A text for a control file. The file's first word, as in ``memory.max``, is the controller."""

    __slots__ = ("field", "file", "instead", "optional", "retry", "text")

    def __init__(self, field: str, file: str, text: str, *, instead: tuple[tuple[str, str], ...] = (),
                 retry: bool = False, optional: tuple[int, ...] = ()) -> None:
        self.field = field        # of Cgroup: whose wish it is
        self.file, self.text = file, text
        self.instead = instead    # other files and texts, when this kernel does not have the file
        self.retry = retry        # EINVAL may end with what is written next: a pair of limits that bound each other
        self.optional = optional  # errnos that mean that nothing is lost

    def __repr__(self) -> str:
        return f"Setting({self.field!r}, {self.file!r}, {self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setting) and (self.file, self.text) == (other.file, other.text)

    __hash__ = None  # type: ignore[assignment]


def limited(value: int) -> str:
    """Return a limit as version 2 writes it."""
    return "max" if value < 0 else str(value)


# Files with a line for each of several things, and what lifts the limit of one.
_LIFTED = {
    "io.max": "rbps=max wbps=max riops=max wiops=max", "io.weight": "default", "io.bfq.weight": "default",
    "io.latency": "target=max", "rdma.max": "hca_handle=max hca_object=max", "misc.max": "max",
    "blkio.bfq.weight_device": "0", "blkio.weight_device": "0", "blkio.leaf_weight_device": "0",
    "net_prio.ifpriomap": "0",
    **{f"blkio.throttle.{what}_device": "0" for what in ("read_bps", "write_bps", "read_iops", "write_iops")},
}
# Files that say more than they take, or say it behind a word.
_LAST_WORD = ("memory.oom_control", "io.weight", "io.bfq.weight", "blkio.bfq.weight")


def previous(file: str, text: str, content: str) -> str:
    """Return the text that gives a file back what it said, *content*, before *text* was written to it."""
    words = text.split()
    if file in _LIFTED and len(words) > 1:
        kept = next((line for line in content.splitlines() if line.split()[:1] == words[:1]), "")
        return kept or f"{words[0]} {_LIFTED[file]}"
    first = (content.splitlines() or [""])[0].strip()
    if file in _LAST_WORD:
        return first.rpartition(" ")[2]
    return first or "\n"  # of nothing the kernel would not even hear


def write_settings(directory: Callable[[str], str], settings: Iterable[Setting], *, undo: bool = True,
                   explain: Callable[[Setting, SyscallError], str | None] | None = None,
                   then: Callable[[], None] | None = None) -> None:
    """Write all, each into the *directory* of its controller; when one fails, *undo* all that were written.

    *then* is called in the end, and what it raises undoes them as well.

    SyscallError says which file refused what, and as its hint why, in the words of *explain* where it has any.
    """
    written: list[tuple[str, str]] = []
    waiting: list[Setting] = []

    def attempt(setting: Setting, again: bool) -> None:
        try:
            _write(directory, setting, written if undo else None)
        except SyscallError as error:
            if error.errno in setting.optional:
                return
            if setting.retry and not again and error.errno == EINVAL:
                waiting.append(setting)
                return
            error.hint = (explain(setting, error) if explain is not None else None) or _why(setting, error)
            raise

    try:
        for setting in settings:
            attempt(setting, again=False)
        for setting in waiting:
            attempt(setting, again=True)
        if then is not None:
            then()
    except BaseException as error:
        if (left := _give_back(written)) and isinstance(error, ContainerError):
            error.hint = f"{error.hint}; {left}" if error.hint else left
        raise


def _write(directory: Callable[[str], str], setting: Setting, written: list[tuple[str, str]] | None) -> None:
    """Write one, to the first of its files that there is, and put into *written* what was there before."""
    failed: SyscallError | None = None
    for file, text in ((setting.file, setting.text), *setting.instead):
        path = f"{directory(file.partition('.')[0])}/{file}"
        content = None if written is None else files.read_if_readable(path)
        try:
            files.write(path, text)
        except SyscallError as error:
            if error.errno != ENOENT:
                raise
            failed = failed or error
            continue
        if content is not None and written is not None:
            written.append((path, previous(file, text, content)))
        return
    assert failed is not None
    raise failed


def _give_back(written: list[tuple[str, str]]) -> str:
    """Undo, the last first, and once more what could not be undone because of another; return what is left."""
    left = written[::-1]
    for _ in range(2):
        failed = []
        for path, text in left:
            try:
                files.write(path, text)
            except SyscallError:
                failed.append((path, text))
        left = failed
    return f"could not be set back: {', '.join(f'{path} to {text!r}' for path, text in left)}" if left else ""


_WORDS = {
    EROFS: "the cgroup file system is mounted read-only here",
    EACCES: "it belongs to another user: this part of the tree has not been delegated to us",
    EPERM: "the kernel keeps this from us: a cgroup above does not allow it, or it takes a capability we lack",
    ENODEV: "there is no such block device, or it is a partition: name the whole disk",
    ERANGE: "the value is outside of what the file takes",
    EOPNOTSUPP: "this kernel does not have it",
    EBUSY: "the processes in it use more than that already",
}
_WORDS_OF_FILES = {
    ("cpuset", EACCES): "the cgroup above has not all of these: a set can only be narrowed",
    ("cpuset", EINVAL): "not all of these exist, or the list is not written as in 0-3,7",
    ("cpuset", ERANGE): "not all of these exist",
    ("cpuset", ENOSPC): "its processes would have nothing left to run on",
    ("cpu", EINVAL): "the kernel takes periods from 1000 to 1000000 µs and quotas from 1000 µs, of version 1 no more "
                     "than the cgroup above has, and bursts up to the quota",
    ("memory", EINVAL): "of memory and swap together there must be no less than of memory alone",
    ("hugetlb", ENOENT): "this machine has no huge pages of that size: /sys/kernel/mm/hugepages lists what it has",
    ("devices", EPERM): "the cgroup above does not allow that device",
    ("net_prio", ENODEV): "there is no such network interface",
}


def _why(setting: Setting, error: SyscallError) -> str | None:
    controller, number = setting.file.partition(".")[0], error.errno or 0
    words = _WORDS_OF_FILES.get((controller, number)) or _WORDS.get(number)
    if words is None and number == ENOENT:
        words = "this kernel does not have that file"
    return f"cgroups.{setting.field}: {words}" if words else f"it is the wish of cgroups.{setting.field}"
