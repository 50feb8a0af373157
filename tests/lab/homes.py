"""The public network with the server, and homes of every world around it, each a few network namespaces.

    client -- its NAT -- (the carrier's NAT) -- (a bad line) -- public, 203.0.113.1, 203.0.113.2 and 2001:db8::1
    10.N.0.2             100.64.N.0/30          192.0.2.0/24

A home has 198.51.100.4N+2 as its public address; without a NAT that is the client's. One with IPv6 has 2001:db8:N::2.
The public network's default routes lead nowhere, so that packets to private addresses vanish in it as they do outside.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rig.internet import forward, no_ipv6, packets_counted, put_in_force
from rig.network import Namespace, ip, swallow_everything_else
from rig.process import Child
from worlds import World

SERVER = "203.0.113.1"
# For NAT behaviour discovery.
SECOND = "203.0.113.2"
SERVER_IPV6 = "2001:db8::1"
PEERS = ["203.0.113.0/24", "198.51.100.0/24", "2001:db8::/32"]

# Of a thousand packets this many are lost, and of a hundred this many take the detour, of so many milliseconds.
LOST = 20
DETOURED = 5
DETOUR = (8, 25)

# What comes to the client, but not from the server. Names that Chromium asks for by multicast are its own affair.
WATCH = """
table inet watch {
    counter elsewhere {}
    chain input {
        type filter hook input priority -10
        iifname "lo" accept
        udp dport 5353 accept
        ip saddr { 203.0.113.1, 203.0.113.2 } accept
        ip6 saddr 2001:db8::1 accept
        meta l4proto udp counter name elsewhere
    }
}
"""

BAD_LINE = f"""
table inet line {{
    chain prerouting {{
        type filter hook prerouting priority mangle
        iifname "detour" accept
        numgen random mod 1000 < {LOST} drop
        numgen random mod 100 < {DETOURED} meta mark set 1
    }}
}}
"""


@dataclass
class Home:
    """A client in a world; `address` is its own and `public_address` what the public network sees of it."""

    world: World
    client: Namespace
    address: str
    public_address: str

    def packets_from_elsewhere(self):
        """How many UDP packets came to the client so far from anyone but the server."""
        return packets_counted(self.client, "inet watch elsewhere")


class Lab:
    """Makes the public network at once, and each home when it is first asked for."""

    def __init__(self, workdir):
        if shutil.which("nft") is None:
            raise SystemExit("nft is not installed (Debian package: nftables)")
        self.workdir = Path(workdir)
        self._homes = {}
        self.public = Namespace("public")
        with self.public.entered():
            ip("link add world type veth peer name nowhere")
            for end in ("world", "nowhere"):
                ip(f"link set {end} up")
            ip(f"address add {SERVER}/24 dev world")
            ip(f"address add {SECOND}/24 dev world")
            ip(f"-6 address add {SERVER_IPV6}/64 dev world nodad")
            swallow_everything_else("world", "203.0.113.254")
            swallow_everything_else("world", "2001:db8::fe")
            forward()
            Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1")

    def home(self, world, side):
        """The home of that world on side "a" or "b"; two clients of one world are no neighbours."""
        key = (world.name, side)
        if key not in self._homes:
            self._homes[key] = self._make(world, len(self._homes))
        return self._homes[key]

    def _make(self, world, number):
        client = Namespace(f"client {number}")
        if world.ipv6:
            home = Home(world, client, *[f"2001:db8:{number + 1:x}::2"] * 2)
            self._join_ipv6(client, number)
        else:
            router, public = f"198.51.100.{4 * number + 1}", f"198.51.100.{4 * number + 2}"
            outside = [Namespace(f"nat {number}") for _ in world.nats]
            own = f"10.{number}.0.2" if outside else public
            home = Home(world, client, own, public)
            for namespace in [*outside, client]:
                with namespace.entered():
                    no_ipv6()
            # From the outside in: each hangs on the one before, and the client on the last.
            upper, address = self._bad_line(number) if world.bad_line else self.public, public
            self._link(upper, router, (outside or [client])[0], address, f"home-{number}")
            for upper, lower, rules in zip(outside, [*outside[1:], client], reversed(world.nats)):
                net = f"10.{number}.0" if lower is client else f"100.64.{number}"
                self._link(upper, f"{net}.1", lower, f"{net}.2", "lan")
                put_in_force(upper, rules.replace("CLIENT", f"{net}.2").replace("PUBLIC", address))
                address = f"{net}.2"
        put_in_force(client, WATCH)
        return home

    def _link(self, upper, upper_address, lower, lower_address, name):
        """A wire between two namespaces, by which the lower one's packets leave."""
        with upper.entered():
            ip(f"link add {name} type veth peer name public netns {lower.holder}")
            ip(f"link set {name} up")
            ip(f"address add {upper_address}/30 dev {name}")
            forward()
        with lower.entered():
            ip("link set public up")
            ip(f"address add {lower_address}/30 dev public")
            ip(f"route add default via {upper_address}")

    def _join_ipv6(self, client, number):
        net = f"2001:db8:{number + 1:x}:"
        with self.public.entered():
            ip(f"link add home-{number} type veth peer name public netns {client.holder}")
            Path(f"/proc/sys/net/ipv6/conf/home-{number}/accept_dad").write_text("0")
            ip(f"link set home-{number} up")
            ip(f"-6 address add {net}:1/64 dev home-{number} nodad")
        with client.entered():
            Path("/proc/sys/net/ipv6/conf/public/accept_dad").write_text("0")
            ip("link set public up")
            ip(f"-6 address add {net}:2/64 dev public nodad")
            ip(f"-6 route add default via {net}:1")

    def _bad_line(self, number):
        """A namespace on the way that loses packets and sends some on a detour, both ways."""
        line = Namespace(f"line {number}")
        near, far = f"192.0.2.{4 * number + 1}", f"192.0.2.{4 * number + 2}"
        with line.entered():
            no_ipv6()
            for which in ("all", "default"):
                Path(f"/proc/sys/net/ipv4/conf/{which}/rp_filter").write_text("0")
        self._link(self.public, near, line, far, f"line-{number}")
        with self.public.entered():
            ip(f"route add 198.51.100.{4 * number}/30 via {far}")
        with line.entered():
            ip("tuntap add detour mode tun")
            ip("link set detour up")
            ip("rule add fwmark 1 lookup 100")
            ip("route add default dev detour table 100")
        detour = Path(__file__).resolve().parent / "detour.py"
        Child([*line.prefix, sys.executable, "-B", detour, *DETOUR], self.workdir / f"detour-{number}.log")
        put_in_force(line, BAD_LINE)
        return line
