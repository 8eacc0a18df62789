"""What was there before: kept in a file before each change, put back when its last user goes.

The file survives this process; a start or stop that was killed between two steps is finished by
the next one. It belongs to one network namespace and lies under that one's name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onevip import namespace
from onevip.host.settings import Setting
from onevip.model import HostError, words_of


class Keeper:
    """The kept state of this network namespace, open for one start, stop or status."""

    def __init__(self, file: Path, kinds: dict[str, Callable[..., Setting]]) -> None:
        self._file = file
        self._kinds = kinds
        self._items: dict[str, dict[str, Any]] = {}
        self.users: dict[str, dict[str, Any]] = {}  # "real 192.0.2.1" → how it was set up
        self._read()

    def acquire(self, user: str, setting: Setting) -> str | None:
        """Make a setting serve this user; says what was changed, None when nothing was."""
        now = setting.now()
        is_met = setting.is_met(now)
        item = self._items.get(_name(setting))
        if item is None:
            if is_met:
                return None  # the host's own doing: nothing to put back
            item = {
                "kind": setting.kind,
                "arguments": setting.arguments(),
                "before": now,
                "users": [],
            }
            self._items[_name(setting)] = item
        if user not in item["users"]:
            item["users"].append(user)
        if is_met:
            self._write()
            return None
        item["made"] = setting.wanted(now)
        self._write()
        setting.make(item["made"])
        return setting.in_words(item["made"])

    def release(self, user: str, but: frozenset[str] = frozenset()) -> Iterator[str]:
        """Put back what nobody else uses, except the settings of those names; says what it did."""
        for name, item in reversed(list(self._items.items())):
            if user not in item["users"] or name in but:
                continue
            if item["users"] == [user]:
                yield from self._put_back(item)
                del self._items[name]
            else:
                item["users"].remove(user)
            self._write()

    def remember(self, user: str, how: dict[str, Any]) -> None:
        """Keep how this user was set up, for a later status or stop."""
        self.users[user] = how
        self._write()

    def forget(self, user: str) -> None:
        """The counterpart of `remember`; the file goes with the last user."""
        self.users.pop(user, None)
        self._write()

    def _put_back(self, item: dict[str, Any]) -> Iterator[str]:
        setting = self._kinds[item["kind"]](**item["arguments"])
        now = setting.now()
        if now is None or now == item["before"]:
            return
        if not setting.is_as_made(now, item["made"]):
            yield f"left as it is, somebody has changed it since: {setting.in_words(now)}"
            return
        setting.make(item["before"])
        yield f"put back: {setting.in_words(item['before'])}"

    def _read(self) -> None:
        try:
            kept = json.loads(self._file.read_text())
        except FileNotFoundError:
            return
        except OSError as error:
            raise HostError(f"cannot read {self._file}: {words_of(error)}") from error
        except ValueError as error:
            raise HostError(f"{self._file} is damaged ({error}): remove it") from error
        match kept:
            case {"settings": dict(items), "users": dict(users)}:
                self._items, self.users = items, users
            case _:
                raise HostError(f"{self._file} is damaged (not what onevip writes): remove it")

    def _write(self) -> None:
        kept = {"settings": self._items, "users": self.users}
        new = self._file.with_suffix(".new")
        try:
            if not self._items and not self.users:
                self._file.unlink(missing_ok=True)
            else:
                new.write_text(json.dumps(kept, indent=1))
                new.replace(self._file)
        except OSError as error:
            raise HostError(f"cannot write {self._file}: {words_of(error)}") from error


def _name(setting: Setting) -> str:
    return f"{setting.kind} {json.dumps(setting.arguments(), sort_keys=True)}"


def names(settings: list[Setting]) -> frozenset[str]:
    """Their names in the kept file."""
    return frozenset(map(_name, settings))


def file_of_namespace(state_directory: str) -> Path:
    """Where the state of this network namespace is kept."""
    return Path(state_directory) / namespace.identity() / "host.json"


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """One start or stop at a time. Raises HostError where nothing can be kept."""
    try:
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        directory = os.open(file.parent, os.O_RDONLY)
    except OSError as error:
        raise HostError(f"cannot write to {file.parent}: {words_of(error)}") from error
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
