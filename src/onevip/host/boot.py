"""A systemd unit that does the same at every boot. Writes files only; calls no systemctl."""

from __future__ import annotations

from pathlib import Path

from onevip.model import HostError

_UNIT = """\
# Written by onevip {command} start --boot; `onevip {command} stop --boot` removes it.
[Unit]
Description=onevip {command}: {vip}
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={program} {command} start {arguments}
ExecStop={program} {command} stop --vip {vip}

[Install]
WantedBy=multi-user.target
"""


def _files(directory: str, command: str, vip: str) -> tuple[Path, Path]:
    unit = Path(directory) / f"onevip-{command}-{vip}.service"
    return unit, unit.parent / "multi-user.target.wants" / unit.name


def enable(directory: str, command: str, vip: str, program: str, arguments: str) -> str:
    """Write and enable the unit; says what it did. Raises HostError without systemd."""
    unit, wanted = _files(directory, command, vip)
    if not unit.parent.is_dir():
        raise HostError(f"there is no {unit.parent}: --boot needs systemd")
    text = _UNIT.format(command=command, vip=vip, program=program, arguments=arguments)
    try:
        unit.write_text(text)
        wanted.parent.mkdir(exist_ok=True)
        if not wanted.is_symlink():
            wanted.symlink_to(unit)
    except OSError as error:
        raise HostError(f"cannot write {unit}: {error.strerror}") from error
    return f"wrote {unit} and enabled it for the next boot"


def disable(directory: str, command: str, vip: str) -> str:
    """Remove the unit; says what it did."""
    unit, wanted = _files(directory, command, vip)
    was_there = unit.exists() or wanted.is_symlink()
    try:
        wanted.unlink(missing_ok=True)
        unit.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"cannot remove {unit}: {error.strerror}") from error
    return f"removed {unit}" if was_there else f"there was no {unit}"
