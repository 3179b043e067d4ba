"""Speak with systemd over D-Bus, by sd-bus: the library is there wherever systemd is.

Lesson  A message goes to a method of an interface of an object, and says the types of all it carries: "sa(sv)" is a
        string, then a list of pairs of a string and a value of any type.
Read    sd-bus(3), sd_bus_message_append_basic(3), sd_bus_process(3), the D-Bus specification
Needs   libsystemd.so.0; nothing of it is loaded before the first Bus is made
"""
from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_uint8, c_uint32, c_uint64, c_void_p
from errno import EACCES, ECONNREFUSED, EINTR, ENOENT, EPERM, ETIMEDOUT
from time import monotonic

from ..errors import SystemError_

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = ["PATIENCE", "Bus", "BusError", "connect", "load"]

PATIENCE = 30.0  # seconds for an answer, or for a job


class BusError(SystemError_):
    """There is nobody to speak with, or the answer is no.

    *name* is D-Bus's for a refusal, "org.freedesktop.DBus.Error.…", and *number* the errno when nobody answered.
    """

    def __init__(self, message: str, *, name: str = "", number: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.name, self.number = name, number


class _Error(ctypes.Structure):
    """sd_bus_error: what a method answered in place of a result."""

    _fields_ = (("name", c_char_p), ("message", c_char_p), ("need_free", c_int))


_BUS = _MESSAGE = c_void_p
# As in systemd/sd-bus.h; an int below 0 is an errno. None of them takes "...", which needs calls of another kind.
_PROTOTYPES: tuple[tuple[str, Any, tuple[Any, ...]], ...] = (
    ("sd_bus_new", c_int, (POINTER(_BUS),)),
    ("sd_bus_set_address", c_int, (_BUS, c_char_p)),
    ("sd_bus_set_bus_client", c_int, (_BUS, c_int)),
    ("sd_bus_start", c_int, (_BUS,)),
    ("sd_bus_flush_close_unref", _BUS, (_BUS,)),
    ("sd_bus_send", c_int, (_BUS, _MESSAGE, POINTER(c_uint64))),
    ("sd_bus_process", c_int, (_BUS, POINTER(_MESSAGE))),
    ("sd_bus_wait", c_int, (_BUS, c_uint64)),
    ("sd_bus_message_new_method_call", c_int, (_BUS, POINTER(_MESSAGE), c_char_p, c_char_p, c_char_p, c_char_p)),
    ("sd_bus_message_unref", _MESSAGE, (_MESSAGE,)),
    ("sd_bus_message_append_basic", c_int, (_MESSAGE, c_char, c_void_p)),
    ("sd_bus_message_open_container", c_int, (_MESSAGE, c_char, c_char_p)),
    ("sd_bus_message_close_container", c_int, (_MESSAGE,)),
    ("sd_bus_message_read_basic", c_int, (_MESSAGE, c_char, c_void_p)),
    ("sd_bus_message_enter_container", c_int, (_MESSAGE, c_char, c_char_p)),
    ("sd_bus_message_exit_container", c_int, (_MESSAGE,)),
    ("sd_bus_message_get_reply_cookie", c_int, (_MESSAGE, POINTER(c_uint64))),
    ("sd_bus_message_get_error", POINTER(_Error), (_MESSAGE,)),
    ("sd_bus_message_is_signal", c_int, (_MESSAGE, c_char_p, c_char_p)),
)
_loaded: list[Any] = []


def load() -> Any:
    """Return libsystemd with its functions declared. BusError when it is not here."""
    if not _loaded:
        try:
            library = ctypes.CDLL("libsystemd.so.0")
            for name, restype, argtypes in _PROTOTYPES:
                function = getattr(library, name)
                function.restype, function.argtypes = restype, argtypes
        except (OSError, AttributeError) as error:  # the latter: before systemd 221 it had no sd-bus
            raise BusError(f"cannot load libsystemd.so.0, to speak with systemd: {error}",
                           hint="install libsystemd0, or have cgroups made without systemd") from None
        _loaded.append(library)
    return _loaded[0]


_C_TYPES: dict[str, Any] = {"b": c_int, "y": c_uint8, "u": c_uint32, "t": c_uint64}


class Bus:
    """One connection. It is not for several threads, nor for both sides of a fork."""

    def __init__(self, address: str, *, daemon: bool = True) -> None:
        """Connect; BusError with the errno in words. Without a *daemon* in between, it is systemd who listens."""
        self._sd, self.daemon = load(), daemon
        self._bus = c_void_p()
        self._signals: list[tuple[str, str, str]] = []   # interface, member, signature
        self._heard: list[tuple[str, list[Any]]] = []
        self._check(self._sd.sd_bus_new(byref(self._bus)), "make a connection")
        try:
            self._check(self._sd.sd_bus_set_address(self._bus, os.fsencode(address)), f"take the address {address}")
            self._check(self._sd.sd_bus_set_bus_client(self._bus, int(daemon)), "make a connection")
            self._check(self._sd.sd_bus_start(self._bus), f"connect to {address}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Bus:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        bus, self._bus = self._bus, c_void_p()
        if bus:
            self._sd.sd_bus_flush_close_unref(bus)

    def _check(self, result: int, what: str) -> int:
        if result < 0:
            number = -result
            raise BusError(f"D-Bus: cannot {what}: {os.strerror(number)}", number=number, hint=_HINTS.get(number))
        return result

    # --- calls

    def call(self, destination: str, path: str, interface: str, member: str, signature: str = "",
             *arguments: Any, answer: str = "") -> list[Any]:
        """Call a method and return what it answers: the basic types that *answer* lists."""
        sd, message, cookie = self._sd, c_void_p(), c_uint64()
        self._check(sd.sd_bus_message_new_method_call(
            self._bus, byref(message), *(text.encode() for text in (destination, path, interface, member))),
            f"make the message {member}")
        try:
            for kind, value in zip(_types(signature), arguments):
                self._append(message, kind, value)
            self._check(sd.sd_bus_send(self._bus, message, byref(cookie)), f"send {member}")
        finally:
            sd.sd_bus_message_unref(message)
        deadline = monotonic() + PATIENCE
        while True:
            reply = self._next(deadline, member)
            try:
                answered = c_uint64()
                if (sd.sd_bus_message_get_reply_cookie(reply, byref(answered)) < 0
                        or answered.value != cookie.value):
                    self._hear(reply)
                    continue
                error = sd.sd_bus_message_get_error(reply)
                if error:
                    raise _refusal(member, error.contents)
                return self._read(reply, answer)
            finally:
                sd.sd_bus_message_unref(reply)

    def _next(self, deadline: float, what: str) -> c_void_p:
        """Return the next message that comes in; the caller lets go of it."""
        while True:
            message = c_void_p()
            done = self._check(self._sd.sd_bus_process(self._bus, byref(message)), f"hear of {what}")
            if message:
                return message
            if done:
                continue
            left = deadline - monotonic()
            if left <= 0:
                self._check(-ETIMEDOUT, f"hear of {what} within {PATIENCE:g} seconds")
            waited = self._sd.sd_bus_wait(self._bus, int(left * 1_000_000) + 1)
            if waited != -EINTR:  # between these calls Python runs its signal handlers
                self._check(waited, f"hear of {what}")

    # --- signals

    def collect(self, interface: str, member: str, signature: str) -> None:
        """Keep the signals of that name for await_signal()."""
        self._signals.append((interface, member, signature))

    def _hear(self, message: c_void_p) -> None:
        for interface, member, signature in self._signals:
            if self._sd.sd_bus_message_is_signal(message, interface.encode(), member.encode()) > 0:
                self._heard.append((member, self._read(message, signature)))

    def await_signal(self, member: str, at: int, value: Any) -> list[Any]:
        """Return what the signal *member* carries whose value number *at* is *value*, also one that came before."""
        deadline = monotonic() + PATIENCE
        while True:
            for name, values in self._heard:
                if name == member and values[at] == value:
                    return values
            self._heard.clear()
            message = self._next(deadline, f"{member} of {value}")
            try:
                self._hear(message)
            finally:
                self._sd.sd_bus_message_unref(message)

    # --- values

    def _append(self, message: c_void_p, kind: str, value: Any) -> None:
        """Put a value of a complete type into a message; that of a variant is a pair of its type and itself."""
        sd, first = self._sd, kind[0]
        if kind in _C_TYPES:
            boxed = byref(_C_TYPES[kind](value))
            self._check(sd.sd_bus_message_append_basic(message, kind.encode(), boxed), "fill a message")
            return
        if kind == "s":
            self._check(sd.sd_bus_message_append_basic(message, b"s", value.encode()), f"say {value!r}")
            return
        if first == "v":
            container, inside = "v", value[0]
            below: Sequence[tuple[str, Any]] = [value]
        elif first == "a":
            container, inside = "a", kind[1:]
            below = [(inside, each) for each in value]
        else:
            container, inside = "r", kind[1:-1]
            below = list(zip(_types(inside), value))
        self._check(sd.sd_bus_message_open_container(message, container.encode(), inside.encode()), "fill a message")
        for each, one in below:
            self._append(message, each, one)
        self._check(sd.sd_bus_message_close_container(message), "fill a message")

    def _read(self, message: c_void_p, signature: str) -> list[Any]:
        """Return the values of a message: numbers, strings, and "v" for a variant that holds a string."""
        sd, values = self._sd, []
        for kind in signature:
            if kind == "v":
                self._check(sd.sd_bus_message_enter_container(message, b"v", b"s"), "read an answer")
                values += self._read(message, "s")
                self._check(sd.sd_bus_message_exit_container(message), "read an answer")
                continue
            value = _C_TYPES[kind]() if kind in _C_TYPES else c_char_p()
            self._check(sd.sd_bus_message_read_basic(message, kind.encode(), byref(value)), "read an answer")
            values.append((value.value or b"").decode() if isinstance(value, c_char_p) else value.value)
        return values


_HINTS = {
    ENOENT: "there is no such socket: is this D-Bus, or systemd, running?",
    ECONNREFUSED: "nobody listens there any more",
    EACCES: "the socket is not for us",
    EPERM: "we are not who we should be to be heard there",
}
_NO_RIGHT = ("org.freedesktop.DBus.Error.AccessDenied", "org.freedesktop.DBus.Error.AuthFailed",
             "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired")


def _refusal(member: str, error: _Error) -> BusError:
    name, text = ((value or b"").decode("utf-8", "replace") for value in (error.name, error.message))
    hint = None
    if name in _NO_RIGHT:
        hint = ("only root may have the system's manager do this; an ordinary user has a manager of his own: see "
                "loginctl enable-linger")
    return BusError(f"systemd refused {member}: {text or name}", name=name, hint=hint)


def _types(signature: str) -> Iterator[str]:
    """Take a signature apart into complete types: "sa(sv)u" into "s", "a(sv)" and "u"."""
    start = depth = 0
    for at, letter in enumerate(signature):
        depth += (letter == "(") - (letter == ")")
        if depth == 0 and letter != "a":
            yield signature[start:at + 1]
            start = at + 1


# --- addresses


def connect(user: bool) -> Bus:
    """Connect with the manager of the system, or of this *user*: over the message bus, or else directly.

    BusError says of each address why not.
    """
    failed: list[str] = []
    last: BusError | None = None
    for address, daemon in _addresses(user):
        try:
            return Bus(address, daemon=daemon)
        except BusError as error:
            if not error.number:
                raise
            failed.append(f"{address}: {os.strerror(error.number)}")
            last = error
    if last is None:
        raise BusError("cannot find this user's systemd: neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set",
                       hint="log in, or see loginctl enable-linger")
    raise BusError(f"cannot reach {'this user' if user else 'the system'}'s systemd: {', '.join(failed)}",
                   hint=last.hint)


def _addresses(user: bool) -> list[tuple[str, bool]]:
    """Return where to find a manager, and whether a message bus is in between."""
    if not user:
        return [(os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket", True),
                ("unix:path=/run/systemd/private", False)]
    found = []
    if own := os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        found.append((own, True))
    if directory := os.environ.get("XDG_RUNTIME_DIR"):
        escaped = "".join(chr(c) if chr(c) in _PLAIN else f"%{c:02x}" for c in os.fsencode(directory))
        found += [(f"unix:path={escaped}/bus", True), (f"unix:path={escaped}/systemd/private", False)]
    return found


_PLAIN = frozenset("-_/.*0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
