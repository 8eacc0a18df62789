"""engines/bpf/maps.py over ordinary shared memory."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

import pytest

from onevip.engines.bpf.maps import MappedArray
from onevip.engines.bpf.shapes import Field, Shape

SHAPE = Shape(
    "mixed",
    40,
    {
        "byte": Field(0, "=B"),
        "port": Field(2, ">H"),
        "mark": Field(4, "=I"),
        "wide": Field(8, "=Q"),
        "three": Field(16, "=3I"),
        "name": Field(28, "12s"),
    },
)


@pytest.fixture
def array() -> Iterator[MappedArray]:
    fd = os.memfd_create("test")
    os.truncate(fd, 4096)
    yield MappedArray(os.dup(fd), SHAPE, 8)
    os.close(fd)


def test_numbers_lie_as_the_shape_says(array: MappedArray) -> None:
    for field, value in (("byte", 7), ("port", 8080), ("mark", 1 << 31), ("wide", 1 << 63)):
        array.set(2, field, value)
        assert array.get(2, field) == value
    array.set_many(2, "three", (1, 2, 3))
    array.set_item(2, "three", 1, 9)
    assert array.get_many(2, "three") == (1, 9, 3)
    array.set_bytes(2, "name", b"twelve bytes")
    assert array._map[80:120] == (
        b"\7\0" + struct.pack(">H", 8080) + struct.pack("=IQ3I", 1 << 31, 1 << 63, 1, 9, 3)
        + b"twelve bytes"
    )  # fmt: skip
    assert array._map[:80] == bytes(80)


@pytest.mark.parametrize(("field", "value"), [("byte", 256), ("mark", 1 << 32), ("mark", -1)])
def test_what_does_not_fit_is_refused(array: MappedArray, field: str, value: int) -> None:
    with pytest.raises(ValueError, match="memoryview"):
        array.set(0, field, value)


@pytest.mark.parametrize(
    ("field", "values"),
    [("port", (0x0102, 0x0304)), ("mark", (0x0103, 0x0203)), ("wide", (1, 1 << 63))],
)
def test_another_process_sees_the_old_number_or_the_new_one(
    array: MappedArray, field: str, values: tuple[int, int]
) -> None:
    """As the programs in the kernel do, while Python writes."""
    array.set(1, field, values[0])
    child = os.fork()
    if child == 0:
        good = all(array.get(1, field) in values for _ in range(300_000))
        os._exit(0 if good else 1)
    status = None
    while status is None:
        for value in values * 500:
            array.set(1, field, value)
        ended, code = os.waitpid(child, os.WNOHANG)
        status = code if ended else None
    assert status == 0
