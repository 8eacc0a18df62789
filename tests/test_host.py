"""The whole run leaves the host as it was. Runs after every other test."""

from __future__ import annotations

import pytest

State = dict[str, set[str]]


@pytest.mark.last
def test_the_run_changed_no_port_namespace_or_interface_of_the_host(
    host_before_and_now: tuple[State, State],
) -> None:
    before, now = host_before_and_now
    assert now == before
