"""Factory: create and load containers under one state root."""
from __future__ import annotations

import os
import stat
from errno import EEXIST

from .config import Config
from .container import Container
from .errors import ConfigInvalid, ContainerError, ContainerNotExists, IdInUse, SyscallError
from .handles import Stranger
from .ids import directory_of, valid_id
from .spawner import Zygote
from .state import load_state
from .sys.files import AT_FDCWD, mkdirat
from .sys.mount import mount
from .sys.procfs import mountinfo
from .validate import ConfigValidator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from .validate import Validator

    Kind = type[Container]

__all__ = ["Factory", "valid_id"]

class Factory:
    """Where containers come from.

    *root* — the directory of their state, made with mode 0700; best on a tmpfs, such as below /run. The empty string
    makes a factory that can create nothing and only serves :meth:`start_initialization`.
    *oci_ids* — accept ids as OCI engines make them, with ``+``, ``.`` and ``-`` too.
    *tmpfs_root* — mount a tmpfs on *root*, unless something is mounted there.
    *init_args* — what the zygote is started with, for programs that have no interpreter to start: see Zygote.
    *validator* — an object with ``validate(config)``, in place of ConfigValidator.

    All containers of a factory are cloned from one helper process, its zygote, which starts with the first of them and
    ends with :meth:`close`, with the factory object, or with this program.
    """

    type = "libcontainer"
    _container: Kind = Container  # what create() and load() return: a subclass's own kind

    def __init__(self, root: str | os.PathLike[str], *, oci_ids: bool = False, tmpfs_root: bool = False,
                 init_args: Sequence[str] = (), validator: Validator | None = None) -> None:
        self.root = os.path.abspath(root) if root else ""
        self._oci_ids = oci_ids
        self._validator = validator or ConfigValidator()
        self.zygote = Zygote(init_args)
        if self.root:
            self._make_root()
            if tmpfs_root and self.root not in (entry.mount_point for entry in mountinfo()):
                mount("tmpfs", self.root, "tmpfs")

    def __repr__(self) -> str:
        return f"Factory({self.root!r})"

    def __enter__(self) -> Factory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the zygote. Containers go on, and can be loaded again."""
        self.zygote.close()

    def _make_root(self) -> None:
        try:
            os.makedirs(self.root, 0o700, exist_ok=True)
            status = os.lstat(self.root)
        except OSError as error:
            raise ContainerError(f"cannot make the state root {self.root!r}: {error.strerror}",
                                 hint="choose a directory of your own on a writable file system") from None
        # CVE-2015-1331: whoever can write to the directory can put links where we write, and states that we load.
        problem = ("is a symlink" if stat.S_ISLNK(status.st_mode)
                   else f"belongs to uid {status.st_uid}" if status.st_uid not in (0, os.geteuid())
                   else f"is open to others: its mode is {status.st_mode & 0o7777:o}" if status.st_mode & 0o022 else "")
        if problem:
            raise ContainerError(f"the state root {self.root!r} {problem}",
                                 hint="choose a directory of your own that nobody else can write to")

    def create(self, id: str, config: Config) -> Container:
        """Make a container that has not been started: check *config*, and take *id*.

        ConfigInvalid, InvalidIdFormat, or IdInUse; nothing is left of a failed call.
        """
        directory = self._directory(id)
        self._validator.validate(config)
        try:
            mkdirat(AT_FDCWD, directory, 0o700)
        except SyscallError as error:
            if error.errno == EEXIST:
                raise IdInUse(f"container {id!r} exists", hint="destroy it, or choose another id") from None
            raise ContainerError(f"cannot make the state directory {directory!r}: {error.strerror}",
                                 hint="the state root must be a writable directory") from None
        try:
            return self._container(id, config, self.zygote, directory)
        except BaseException:
            os.rmdir(directory)
            raise

    def load(self, id: str) -> Container:
        """Return the container that some program, this one or another, has created and started."""
        directory = self._directory(id)
        state = load_state(directory, id)
        if state.id != id:
            raise ContainerNotExists(f"{directory!r} holds the state of {state.id!r}, not of {id!r}")
        return self._container(id, state.config, self.zygote, directory, cgroup_paths=state.cgroup_paths,
                               init=Stranger(state.init_process_pid, state.init_process_start))

    def _directory(self, id: str) -> str:
        if not self.root:
            raise ConfigInvalid("root", "this factory has no state root")
        return directory_of(self.root, id, oci=self._oci_ids)

    def start_initialization(self) -> NoReturn:
        """Be a zygote: what a program does that was started by a factory with *init_args*.

        Never returns. ContainerError in a process that was not started as one.
        """
        if os.environ.get("_LIBCONTAINER_INITTYPE") != "zygote":
            raise ContainerError("this process was not started as a zygote")
        os.environ.clear()
        from .zygote import main  # the one place where the parent's side meets the child's: the process changes sides

        main()
