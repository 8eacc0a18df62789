"""ldirectord.cf text in, a `Configuration` out; errors carry file and line. Never checks servers,
never touches a table."""

from onevip.config.parser import load, parse

__all__ = ["load", "parse"]
