"""/proc/sys below net/, which is that of the network namespace of this process."""

from __future__ import annotations

from pathlib import Path

from onevip.model import HostError

_ROOT = Path("/proc/sys")
_IPV4_CONF = "net/ipv4/conf"


def read(name: str) -> str | None:
    """The value of `net/ipv4/ip_forward`; None when there is no such setting (or interface)."""
    try:
        return (_ROOT / name).read_text().strip()
    except FileNotFoundError:
        return None


def write(name: str, value: str) -> None:
    """Set it. Raises HostError when the kernel refuses."""
    try:
        (_ROOT / name).write_text(value)
    except OSError as error:
        hint = ": run as root" if isinstance(error, PermissionError) else ""
        raise HostError(f"cannot set {dotted(name)} to {value}: {error.strerror}{hint}") from error


def dotted(name: str) -> str:
    """As sysctl(8) writes it; a dot in an interface's name becomes a slash there."""
    return name.replace(".", "\0").replace("/", ".").replace("\0", "/")


def interfaces() -> list[str]:
    """The interfaces that have IPv4 settings."""
    return sorted(
        path.name for path in (_ROOT / _IPV4_CONF).iterdir() if path.name not in ("all", "default")
    )


def of_interface(interface: str, name: str) -> str:
    """The path of an interface's IPv4 setting; `all` and `default` are interfaces, too."""
    return f"{_IPV4_CONF}/{interface}/{name}"


def strict_interfaces() -> list[str]:
    """Interfaces that drop packets whose sender is not routed back through them (rp_filter 1).

    The greater of the interface's value and that of `all` counts; 2, loose, is greater than 1.
    """
    everywhere = int(read(of_interface("all", "rp_filter")) or 0)
    return [
        interface
        for interface in interfaces()
        if max(everywhere, int(read(of_interface(interface, "rp_filter")) or 0)) == 1
    ]
