"""Published attacks on container runtimes, each a test that carries its name.

``pytest tests/attacks`` attacks this library; ``--runtime /usr/sbin/runc`` any OCI runtime's command instead, of which
a copy is used, for some attacks destroy it. ``python3 -m tests.attacks RUNTIME...`` prints the results side by side.

A test fails by raising Fell: the attack worked. Those marked ``falls=True`` run a second time against careless.py, a
runtime that trusts paths and leaves descriptors open as runtimes once did, and fail unless that one falls: so the
attack is real, and the test sees it. SECURITY.md says for every row of the list which test it is, or why there is none.
"""
from __future__ import annotations

__all__: list[str] = []
