"""`checktype=external-perl`: a Perl file is run by perl; unless it exits with another value than
0, or dies, the real server is healthy.

A process for each attempt: the file is read anew and keeps no variables. docs/checks.md lists what
differs from ldirectord, which makes it a subroutine of its own.
"""

from __future__ import annotations

import errno

from onevip.health.probes import external
from onevip.health.programs import NotExecutable
from onevip.health.tools import Tools
from onevip.model import Check, Outcome

#: `exit` decides by its number, of which a process would keep only the last eight bits: 256 and
#: 0.5 are failures. `do` lets the file `return`, as in a subroutine.
RUNNER = r"""
BEGIN {
    *CORE::GLOBAL::exit = sub {
        my $value = @_ ? shift : 0;
        CORE::exit($value == 0 ? 0 : ($value & 255) || 1);
    };
}
$0 = shift;
-r $0 or die "$0: $!\n";
do($0 =~ m{^/} ? $0 : "./$0");
die $@ if $@;
"""


async def probe(check: Check, tools: Tools) -> Outcome:
    try:
        return await external.run(["perl", "-e", RUNNER, check.command, *check.arguments], tools)
    except NotExecutable as error:
        if error.errno != errno.ENOENT:
            raise
        return Outcome(False, "perl not found: apt install perl")
