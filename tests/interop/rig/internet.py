"""A small internet of network namespaces: two homes, each behind a NAT, and a public network between them.

    client a            nat a                  public                  nat b            client b
    10.1.0.2 -- 10.1.0.1 | 198.51.100.2 -- 198.51.100.1 |
                                            203.0.113.1 (server)
                                            198.51.100.5 | -- 198.51.100.6 | 10.2.0.1 -- 10.2.0.2

The public network's default route leads nowhere, so that packets to private addresses vanish in it as they do
outside. IPv6 is off: there is no NAT to go around.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .network import Namespace, ip, swallow_everything_else

# A new random port for each destination, and nothing comes in that was not asked for.
SYMMETRIC = """
flush ruleset
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "public" masquerade fully-random
    }
}
table ip filter {
    counter foreign {}
    chain forward {
        type filter hook forward priority filter; policy drop
        # What came from the other home and got through, as the firewall's last word on it.
        iifname "public" ip saddr OTHER ct state established,related counter name foreign accept
        ct state established,related accept
        iifname "lan" oifname "public" accept
    }
    chain input {
        type filter hook input priority filter; policy drop
        iifname { "lo", "lan" } accept
        ct state established,related accept
    }
}
"""

# Ports are kept, and whatever comes for the public address goes to the one client.
OPEN = """
flush ruleset
table ip nat {
    chain prerouting {
        type nat hook prerouting priority dstnat
        iifname "public" meta l4proto udp dnat to CLIENT
    }
    chain postrouting {
        type nat hook postrouting priority srcnat
        oifname "public" masquerade
    }
}
table ip filter {
    counter foreign {}
    chain forward {
        type filter hook forward priority filter; policy accept
        iifname "public" ip saddr OTHER counter name foreign accept
    }
}
"""


@dataclass
class Home:
    """One client, its NAT, and the addresses on the way."""

    client: Namespace
    nat: Namespace
    address: str
    public_address: str
    other_public_address: str

    def firewall(self, rules):
        """Puts rules in force; connections known so far are forgotten with the NAT's old table."""
        text = rules.replace("CLIENT", self.address).replace("OTHER", self.other_public_address)
        put_in_force(self.nat, text.replace("PUBLIC", self.public_address))

    def packets_from_other_home(self):
        """How many packets of the other home's NAT this NAT has let in."""
        return packets_counted(self.nat, "ip filter foreign")


class Internet:
    """Makes the namespaces, the wires and the rules above."""

    server = "203.0.113.1"
    ranges = ["203.0.113.0/24", "198.51.100.0/24"]

    def __init__(self):
        if shutil.which("nft") is None:
            raise SystemExit("nft is not installed (Debian package: nftables)")
        self.public = Namespace("public")
        with self.public.entered():
            no_ipv6()
            ip("link add world type veth peer name nowhere")
            ip("link set nowhere up")
            ip("link set world up")
            ip(f"address add {self.server}/24 dev world")
            swallow_everything_else("world", "203.0.113.254")
            forward()
        self.homes = [
            self._home("a", "10.1.0", "198.51.100.1", "198.51.100.2", "198.51.100.6"),
            self._home("b", "10.2.0", "198.51.100.5", "198.51.100.6", "198.51.100.2"),
        ]

    def _home(self, name, lan, router, public_address, other_public_address):
        client, nat = Namespace(f"client {name}"), Namespace(f"nat {name}")
        with self.public.entered():
            ip(f"link add nat-{name} type veth peer name public netns {nat.holder}")
            ip(f"link set nat-{name} up")
            ip(f"address add {router}/30 dev nat-{name}")
        with nat.entered():
            no_ipv6()
            ip("link set public up")
            ip(f"address add {public_address}/30 dev public")
            ip(f"route add default via {router}")
            ip(f"link add lan type veth peer name home netns {client.holder}")
            ip("link set lan up")
            ip(f"address add {lan}.1/24 dev lan")
            forward()
        with client.entered():
            no_ipv6()
            ip("link set home up")
            ip(f"address add {lan}.2/24 dev home")
            ip(f"route add default via {lan}.1")
        home = Home(client, nat, f"{lan}.2", public_address, other_public_address)
        home.firewall(SYMMETRIC)
        return home


def put_in_force(namespace, rules):
    """Loads nftables rules in a namespace; rules that are wrong end the suite."""
    done = subprocess.run([*namespace.prefix, "nft", "-f", "-"], input=rules, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"nft: {done.stderr.strip()}")


def packets_counted(namespace, counter):
    """What a named counter of nftables stands at; `counter` is its family, table and name."""
    command = [*namespace.prefix, "nft", "list", "counter", *counter.split()]
    words = subprocess.run(command, capture_output=True, text=True).stdout.split()
    return int(words[words.index("packets") + 1])


def forward():
    """Lets this thread's namespace pass packets on."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def no_ipv6():
    """Switches IPv6 off in this thread's namespace, for the interfaces to come too."""
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")
