"""Which of many copied slots are asked for, found without decoding them. Reads no table.

A column is the same byte of every slot. One slice and one `translate` make of it the answers to
one question about that byte, a byte for each slot, and big integers combine answers: all of it in
C, a slot costs a few nanoseconds. Whatever a filter asks is a list of conditions that all must
hold, each a list of alternatives, each a list of questions about bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from itertools import groupby

from onevip.engines.bpf.codec import MAPPED, packed
from onevip.engines.bpf.shapes import CONNECTION
from onevip.engines.bpf.slots import (
    DISABLED_PORT,
    LIVE,
    PHASE,
    SLOT,
    STATE_SHIFT,
    TEMPLATE,
    Reals,
    Sort,
)
from onevip.model import ConnectionFilter, Protocol, ServiceKey
from onevip.model.connection import STATES, TEMPLATE_STATES

#: Offset in the slot, and 1 for each value that the byte there may have.
Question = tuple[int, bytes]
Condition = Sequence[Sequence[Question]]

_OFFSETS = {name: field.offset for name, field in CONNECTION.fields.items()}


def both(one: bytes, other: bytes) -> bytes:
    """1 where both answers are 1."""
    return (_number(one) & _number(other)).to_bytes(len(one), "little")


def _number(answers: bytes) -> int:
    return int.from_bytes(answers, "little")


class Sieve:
    """Chooses the live slots that a filter admits. `reals`: what real servers are called now."""

    def __init__(self, wanted: ConnectionFilter, reals: Reals) -> None:
        # What most slots fail at comes first.
        self._conditions: list[Condition] = []
        if wanted.client is not None:
            self._conditions += _of_client(wanted.client)
        if wanted.real is not None or wanted.real_port is not None:
            self._conditions += _of_real(wanted, reals)
        self._conditions.append(_of_state(wanted.states))
        if wanted.service is not None:
            self._conditions.append(_of_service(wanted.service))

    def choose(self, slots: bytes) -> bytes:
        """1 for each slot that is chosen, else 0; nothing at all when none is."""
        chosen = -1  # as a number, all of them
        for condition in self._conditions:
            held = 0
            for alternative in condition:
                held |= _answers(slots, alternative, chosen)
            chosen = held
            if not chosen:
                return b""
        return chosen.to_bytes(len(slots) // SLOT, "little")


def _answers(slots: bytes, questions: Iterable[Question], chosen: int) -> int:
    """Those of the chosen for which the answer to every question is yes."""
    for offset, table in questions:
        chosen &= _number(slots[offset::SLOT].translate(table))
        if not chosen:
            break
    return chosen


def _question(offset: int, allowed: Iterable[int]) -> Question:
    values = set(allowed)
    return offset, bytes(byte in values for byte in range(256))


def _is(field: str, value: bytes) -> list[Question]:
    """The last byte of a value differs most: it is asked for first."""
    at = _OFFSETS[field]
    return [_question(at + place, [value[place]]) for place in reversed(range(len(value)))]


def _of_client(network: IPv4Network | IPv6Network) -> list[Condition]:
    low, high = packed(network.network_address), packed(network.broadcast_address)
    at = _OFFSETS["client"]
    # In one byte of a network's addresses each value between first and last occurs.
    questions = [
        _question(at + place, range(low[place], high[place] + 1))
        for place in reversed(range(len(low)))
        if (low[place], high[place]) != (0, 255)
    ]
    conditions: list[Condition] = [[questions]] if questions else []
    if network.version == 6 and low <= MAPPED + bytes(4) <= high:
        # IPv4 addresses lie in it, as they are written here: a byte must differ from theirs.
        others = [set(range(256)) - {byte} for byte in MAPPED]
        conditions.append([[_question(at + place, other)] for place, other in enumerate(others)])
    return conditions


def _of_real(wanted: ConnectionFilter, reals: Reals) -> list[Condition]:
    """Several real servers have one address when several services have it."""
    keys = [reals[index] for index in range(len(reals))]
    found = [index for index, key in enumerate(keys) if wanted.real in (None, key.address)]
    if wanted.real_port is None:
        return [_of_indexes(found)]
    of_called_port = [index for index in found if not keys[index].port]
    of_that_port = [index for index in found if keys[index].port == wanted.real_port != 0]
    named = _of_indexes(of_that_port)
    called = _is("vip_port", wanted.real_port.to_bytes(2, "big"))
    at_port_0 = _is("vip_port", bytes(2))
    at = _OFFSETS["vip_port"]
    some_port = [[_question(at + place, range(1, 256))] for place in (0, 1)]
    # By the rules of Reals.target.
    ports: list[list[Question]] = [[_of(Sort.OF_CALLED_PORT), *called]]
    ports += [[*questions, _of(Sort.CONNECTION)] for questions in named]
    ports += [[*one, *more, _of(Sort.TEMPLATE)] for one in named for more in some_port]
    for questions in _of_indexes(of_called_port):
        ports += [[*questions, *called, _of(Sort.CONNECTION)]]
        ports += [[*questions, *called, _of(Sort.TEMPLATE)]]
    if wanted.real_port == 0:
        ports.append([_of(Sort.TEMPLATE), *at_port_0])
    if wanted.real_port == DISABLED_PORT:
        ports.append([_of(Sort.DISABLED)])
    return [_of_indexes(found), ports]


def _of(sort: Sort) -> Question:
    return _OFFSETS["control"] + 1, sort.value


def _of_indexes(indexes: list[int]) -> list[list[Question]]:
    """One alternative for all indexes that differ in their lowest byte only."""
    at = _OFFSETS["real"]
    lowest = at if sys.byteorder == "little" else at + 3
    alternatives = []
    for high, group in groupby(indexes, key=lambda index: index >> 8):
        rest = [
            _question(at + place, [byte])
            for place, byte in enumerate((high << 8).to_bytes(4, sys.byteorder))
            if at + place != lowest
        ]
        alternatives.append([_question(lowest, (index & 255 for index in group)), *rest])
    return alternatives


def _of_state(states: frozenset[str]) -> Condition:
    """Live, and in one of these states: their numbers depend on what it is."""
    at, live = _OFFSETS["control"], [byte for byte in range(256) if byte & PHASE == LIVE]
    if not states:
        return [[_question(at, live)]]
    alternatives = []
    for protocol in Protocol:
        for is_template, names in enumerate((STATES[protocol], TEMPLATE_STATES)):
            numbers = {number for number, name in enumerate(names) if name in states}
            if not numbers:
                continue
            marked = (byte for byte in range(256) if bool(byte << 8 & TEMPLATE) == is_template)
            alternatives.append(
                [
                    _question(at, (byte for byte in live if byte >> STATE_SHIFT in numbers)),
                    _question(_OFFSETS["protocol"], [protocol]),
                    _question(at + 1, marked),
                ]
            )
    return alternatives


def _of_service(service: ServiceKey) -> Condition:
    """Port 0 stands for every port. A disabled template has another than it was made for."""
    protocol = _question(_OFFSETS["protocol"], [service.protocol])
    named = [*_is("vip", packed(service.address)), protocol]
    if not service.port:
        return [named]
    in_use = _OFFSETS["control"] + 1, bytes(not is_one for is_one in Sort.DISABLED.value)
    port = _is("vip_port", service.port.to_bytes(2, "big"))
    if service.port == DISABLED_PORT:
        return [[*port, *named, in_use], [_of(Sort.DISABLED), *named]]
    return [[*port, *named, in_use]]
