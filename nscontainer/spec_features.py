"""What this runtime can do, as the command ``features`` tells engines.

Read    the OCI runtime specification, features.md, features-linux.md
"""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["features"]

HOOKS = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]


def features() -> dict[str, Any]:
    """Return the document."""
    return {"ociVersionMin": "1.0.0", "ociVersionMax": "1.3.0", "hooks": HOOKS}
