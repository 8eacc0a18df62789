"""The whole run leaves the host as it was. Runs after every other test."""

from __future__ import annotations

import pytest

from conftest import host_state


@pytest.mark.last
def test_the_run_changed_no_port_namespace_or_interface_of_the_host(
    host_before: dict[str, set[str]],
) -> None:
    assert host_state() == host_before
