"""`onevip ipvsadm` as a process that stays, and a small program that asks it: Debian's ldirectord
runs ipvsadm two or three times for each decision, and an interpreter's start is most of its price.

`resident_ipvsadm.py SOCKET` serves one command line a connection, in the namespace it runs in.
"""

from __future__ import annotations

import io
import socket
import sys
from pathlib import Path

from onevip.command.environment import Environment
from onevip.command.ipvsadm import main

#: What stands as /usr/sbin/ipvsadm: the command line there, exit status and output back.
CLIENT = """\
#!/usr/bin/perl
use IO::Socket::UNIX;
my $resident = IO::Socket::UNIX->new(Peer => "{socket}") or die "ipvsadm: nobody is resident: $!";
print $resident join("\\0", @ARGV) . "\\n";
chomp(my $status = <$resident>);
print <$resident>;
exit $status;
"""


def answer(command_line: bytes) -> bytes:
    said = io.StringIO()
    argv = [word for word in command_line.decode().rstrip("\n").split("\0") if word]
    status = main(argv, Environment(stdout=said, stderr=said))
    return f"{status}\n{said.getvalue()}".encode()


def serve(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        print("ready", flush=True)
        while True:
            client, _ = listening.accept()
            with client, client.makefile("rb") as asked:
                client.sendall(answer(asked.readline()))


if __name__ == "__main__":
    Path(sys.argv[1]).unlink(missing_ok=True)
    serve(sys.argv[1])
