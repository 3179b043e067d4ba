"""The command: ``python3 -m nscontainer``."""
from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main"]


def _keep_to_the_standard_library() -> None:
    """Forget every folder but the standard library's, before anything is imported by name.

    ``python3 -m`` looks in the current directory first, and then where PYTHONPATH says: a ``ctypes.py`` there would run
    with our rights, root's as a rule. Our own modules come through the package's path.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    own = set()
    for prefix in (sys.base_prefix, sys.base_exec_prefix):
        for library in {"lib", sys.platlibdir}:
            own |= {f"{prefix}/{library}/{version.replace('.', '')}.zip", f"{prefix}/{library}/{version}",
                    f"{prefix}/{library}/{version}/lib-dynload"}
    sys.path[:] = [folder for folder in sys.path if folder in own]


def main() -> NoReturn:
    """Run the command line of this process, and exit."""
    _keep_to_the_standard_library()
    import gc

    gc.disable()  # there is not much to be collected in a second, and looking for it costs a millisecond
    from os import _exit

    from .cli import main as command

    _exit(command())  # taking the interpreter apart would cost as much as a container; nothing is buffered


if __name__ == "__main__":
    main()
