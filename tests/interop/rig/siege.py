"""A server between a home, where a call goes on, and an outside that attacks it.

    home                server              outside
    10.10.0.2 -- 10.10.0.1 | 203.0.113.1 -- 203.0.113.2, and all of 100.64.0.0/10

Everything else is outside too, but nobody is there: what is sent to forged addresses is counted on the wire, and
vanishes. Loss on the wires themselves is none.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .internet import no_ipv6
from .network import Namespace, ip, swallow_everything_else

SERVER = "203.0.113.1"
HOME = "10.10.0.2"
# Addresses that lead to the attackers: for those who need to hear answers.
OWN = "100.64.0.0/10"
ETHERNET_HEADER = 14


@dataclass
class Traffic:
    """What passed between the server and the outside: IP packets and their bytes, headers included."""

    packets_in: int = 0
    bytes_in: int = 0
    packets_out: int = 0
    bytes_out: int = 0

    def since(self, earlier):
        return Traffic(*(getattr(self, name) - getattr(earlier, name) for name in self.__dataclass_fields__))


class Siege:
    """The namespaces, and what runs in them."""

    def __init__(self, workdir):
        self.workdir = Path(workdir)
        self.server, self.home, self.outside = Namespace("server"), Namespace("home"), Namespace("outside")
        with self.server.entered():
            no_ipv6()
            # Forged packets may claim to be from anywhere, also from home.
            for which in ("all", "default"):
                Path(f"/proc/sys/net/ipv4/conf/{which}/rp_filter").write_text("0")
            ip(f"link add home type veth peer name server netns {self.home.holder}")
            ip(f"link add outside type veth peer name server netns {self.outside.holder}")
            for name, address in (("home", "10.10.0.1/24"), ("outside", f"{SERVER}/24")):
                ip(f"link set {name} up")
                ip(f"address add {address} dev {name}")
            ip(f"route add {OWN} via 203.0.113.2")
        with self.home.entered():
            no_ipv6()
            ip("link set server up")
            ip(f"address add {HOME}/24 dev server")
            ip("route add default via 10.10.0.1")
        with self.outside.entered():
            no_ipv6()
            ip("link set server up")
            ip("address add 203.0.113.2/24 dev server")
            ip(f"route add local {OWN} dev lo")
        with self.server.entered():
            swallow_everything_else("outside", "203.0.113.254")

    def traffic(self):
        """The counters of the wire to the outside, as IP sees them."""
        with self.server.entered():
            lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
        words = next(line for line in lines if line.strip().startswith("outside:")).split(":")[1].split()
        bytes_in, packets_in, bytes_out, packets_out = (int(words[place]) for place in (0, 1, 8, 9))
        return Traffic(
            packets_in, bytes_in - ETHERNET_HEADER * packets_in, packets_out, bytes_out - ETHERNET_HEADER * packets_out
        )


def compiled(source, workdir, *flags):
    """The program that this file of C becomes."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("cc is not installed (Debian package: build-essential)")
    program = Path(workdir) / Path(source).stem
    done = subprocess.run(
        [compiler, "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", program, source], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"cc {source}: {done.stderr.strip()}")
    return program
