"""The words for scheduler flags, those of `ipvsadm -b` (spec ipvs §10.4). Pure."""

from __future__ import annotations

from onevip.model.service import SchedulerFlag

#: Word → the flag, and the only scheduler that knows it by this word; empty: all of them.
SCHEDULER_FLAGS = {
    "flag-1": (SchedulerFlag.FLAG_1, ""),
    "flag-2": (SchedulerFlag.FLAG_2, ""),
    "flag-3": (SchedulerFlag.FLAG_3, ""),
    "sh-fallback": (SchedulerFlag.FALLBACK, "sh"),
    "sh-port": (SchedulerFlag.PORT, "sh"),
    "mh-fallback": (SchedulerFlag.FALLBACK, "mh"),
    "mh-port": (SchedulerFlag.PORT, "mh"),
}

_WITH_OWN_WORDS = {scheduler for _, scheduler in SCHEDULER_FLAGS.values()} - {""}


def words_of_flags(scheduler: str, flags: SchedulerFlag) -> list[str]:
    """The flags as `ipvsadm -L` shows them: sh and mh have no word for the third one."""
    own = scheduler if scheduler in _WITH_OWN_WORDS else ""
    return [word for word, (flag, of) in SCHEDULER_FLAGS.items() if of == own and flag in flags]
