"""What `ldirectord -h` and `-v` print."""

from __future__ import annotations

from onevip import __version__

#: As ldirectord calls itself in its log; what follows says who it is now.
PRODUCT = f"Linux Director v1.186-ha (onevip {__version__})"

VERSION = f"""\
{PRODUCT}
Speaks as ldirectord 1.186-ha does; `onevip check FILE` says more about a configuration.
"""

USAGE = """\
Usage:
    ldirectord [-d|--debug] [--] [configfile] start | stop | restart |
    try-restart | reload | force-reload | status

    ldirectord [-h|-?|--help|-v|--version]

Options:
    configfile: looked for in /etc/ha.d, then in /etc/ha.d/conf, then as
    given. Default: ldirectord.cf

    -d|--debug Stay in the foreground and say everything on stderr.

    -h|--help Print this and exit.

    -v|--version Print version and exit.

    start the daemon. Returns when the file is in force; checks go on in
    the background. Does nothing when the daemon runs.

    stop the daemon, by a TERM signal. Does not wait for its end.

    restart the daemon: stop, wait for its end, start.

    try-restart: restart if the daemon runs, else do nothing.

    reload, force-reload the configuration file, by a HUP signal. Virtual
    services and real servers come and go as the file says; a broken file
    changes nothing.

    status of the daemon: exit status 0 when it runs, 3 when it does not,
    1 when it does not and has left its pid file.
"""
