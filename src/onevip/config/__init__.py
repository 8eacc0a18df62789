"""ldirectord.cf text in, a `Configuration` out; errors carry file, line and column. Never checks
servers, never touches a table."""

from onevip.config.parser import DEFAULT_LOG_FILE, load, parse, read, read_file
from onevip.config.reading import Reading
from onevip.config.wording import as_ldirectord
from onevip.config.world import World

__all__ = [
    "DEFAULT_LOG_FILE",
    "Reading",
    "World",
    "as_ldirectord",
    "load",
    "parse",
    "read",
    "read_file",
]
