"""The layouts that Python knows are the header's."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from onevip.engines.bpf import shapes
from onevip.engines.bpf.shapes import Limits, Shape

ROOT = Path(__file__).parents[2]
SHAPES = [value for value in vars(shapes).values() if isinstance(value, Shape)]


def test_shapes_are_what_the_header_generates() -> None:
    missing = [name for name in ("clang", "bpftool") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found: apt install clang bpftool")
    script = ROOT / "scripts" / "generate_shapes.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_fields_lie_inside_and_do_not_overlap(shape: Shape) -> None:
    ends_at = 0
    for name, field in sorted(shape.fields.items(), key=lambda item: item[1].offset):
        assert field.offset >= ends_at, name
        ends_at = field.offset + struct.calcsize(field.format)
    assert ends_at <= shape.size


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_eight_byte_fields_are_aligned(shape: Shape) -> None:
    """maps.py reads and writes them by one load or store."""
    for name, field in shape.fields.items():
        if field.format == "=Q":
            assert field.offset % 8 == 0, name
    assert shape.size % 8 == 0


def test_a_connection_is_a_cache_line() -> None:
    assert shapes.CONNECTION.size == 64
    assert Limits.FIRST_BUCKETS & (Limits.FIRST_BUCKETS - 1) == 0


def test_a_connection_begins_as_its_flow_does() -> None:
    """Both ends, ports and protocol: compared and written as 40 bytes in one piece."""
    fields = shapes.CONNECTION.fields
    assert [fields[name].offset for name in ("client", "vip", "client_port", "real")] == [
        16, 32, 48, 56,
    ]  # fmt: skip


def test_a_chunk_holds_its_members() -> None:
    member = shapes.CHUNK.fields["member"]
    assert struct.calcsize(member.format) == Limits.MEMBERS_PER_CHUNK * shapes.MEMBER.size
    assert shapes.CHUNK.size == 256


def test_keys_hold_addresses_of_both_families_and_ports_in_network_order() -> None:
    assert shapes.SERVICE_KEY.fields["vip"].format == "16s"
    assert shapes.SERVICE_KEY.fields["port"].format == ">H"
    assert shapes.CONNECTION.fields["client_port"].format == ">H"


def test_the_words_that_are_swapped_by_one_store_are_eight_bytes() -> None:
    for name in ("list", "position"):
        assert shapes.SERVICE.fields[name].format == "=Q"
    assert shapes.CONNECTION.fields["control"].format == "=Q"
    assert shapes.REAL_COUNTS.fields["counts"].format == "=Q"
