"""The worlds that a client can live in, and what the paths between two of them have to be.

What is expected follows from the behaviours of RFC 4787 alone: how a NAT maps ports and which packets it lets in. The
rules that make a NAT behave so are those of rig/nats.py; homes.py puts the worlds up.
"""

from dataclasses import dataclass

from rig import nats

# How a NAT maps, and whom it lets in.
NO_NAT = "no-nat"
ENDPOINT_INDEPENDENT = "endpoint-independent"
ADDRESS_DEPENDENT = "address-dependent"
ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


@dataclass(frozen=True)
class World:
    """One kind of place: its name, what it is for a reader, and how it behaves."""

    name: str
    what: str
    mapping: str
    filtering: str
    # The rules of each NAT on the way out, the client's own first; none where the client has a public address.
    nats: tuple = ()
    udp: bool = True
    # How the relay is reached.
    leg: str = "udp"
    ipv6: bool = False
    bad_line: bool = False


WORLDS = [
    World("no-nat", "a public IPv4 address and no firewall", NO_NAT, ENDPOINT_INDEPENDENT),
    World(
        "full-cone",
        "a NAT that lets in whatever comes for a port in use",
        ENDPOINT_INDEPENDENT,
        ENDPOINT_INDEPENDENT,
        (nats.FULL_CONE,),
    ),
    World(
        "address-restricted",
        "a NAT that lets in whom the client has sent to, from any port",
        ENDPOINT_INDEPENDENT,
        ADDRESS_DEPENDENT,
        (nats.ADDRESS_RESTRICTED,),
    ),
    World(
        "port-restricted",
        "a NAT that lets in answers only: the usual router",
        ENDPOINT_INDEPENDENT,
        ADDRESS_AND_PORT_DEPENDENT,
        (nats.PORT_RESTRICTED,),
    ),
    World(
        "symmetric",
        "a NAT that takes another random port for each destination, and lets in answers only",
        ADDRESS_AND_PORT_DEPENDENT,
        ADDRESS_AND_PORT_DEPENDENT,
        (nats.SYMMETRIC,),
    ),
    World(
        "double-nat",
        "a usual router behind the carrier's NAT, both of which let in answers only",
        ENDPOINT_INDEPENDENT,
        ADDRESS_AND_PORT_DEPENDENT,
        (nats.PORT_RESTRICTED, nats.PORT_RESTRICTED),
    ),
    World(
        "bad-line",
        "a usual router on a line that loses 2 % of the packets each way and delays 5 % by up to 25 ms, past others",
        ENDPOINT_INDEPENDENT,
        ADDRESS_AND_PORT_DEPENDENT,
        (nats.PORT_RESTRICTED,),
        bad_line=True,
    ),
    World(
        "udp-blocked",
        "a NAT with a firewall that drops all UDP",
        ENDPOINT_INDEPENDENT,
        ADDRESS_AND_PORT_DEPENDENT,
        (nats.NO_UDP,),
        udp=False,
        leg="tcp",
    ),
    World(
        "only-443",
        "a NAT with a firewall that drops everything but TCP to port 443",
        ENDPOINT_INDEPENDENT,
        ADDRESS_AND_PORT_DEPENDENT,
        (nats.ONLY_443,),
        udp=False,
        leg="tls",
    ),
    World("ipv6-only", "a public IPv6 address and no IPv4; all others have no IPv6", NO_NAT, ENDPOINT_INDEPENDENT, ipv6=True),
]


@dataclass(frozen=True)
class Path:
    """How two clients reach each other: "host" or "reflexive" for a direct path, or "relay".

    `legs` says for each of the two over what it has to use a relayed address of its own; None where it does not need
    one, since packets to the other's come through.
    """

    kind: str
    legs: tuple = (None, None)

    def __str__(self):
        if self.kind != "relay":
            return self.kind
        # What is not UDP is worth a word.
        hard = sorted({leg.upper() for leg in self.legs if leg not in (None, "udp")})
        return "relay " + ("+".join(hard) or "UDP")


def expected(a, b):
    """The path between two worlds."""
    if a.udp and b.udp and a.ipv6 == b.ipv6 and _meet(a, b):
        return Path("host" if a.mapping == b.mapping == NO_NAT else "reflexive")

    def leg(own, other):
        # Relayed addresses are IPv4 where nothing else is asked for, and nobody here asks.
        return own.leg if not own.udp or (own.ipv6 and not other.ipv6) else None

    # Both without IPv4, and one of them without UDP, would be a case of its own; there is none.
    return Path("relay", (leg(a, b), leg(b, a)))


def _meet(a, b):
    """Whether two clients that send to each other's reflexive address get through."""

    def predictable(world):
        return world.mapping != ADDRESS_AND_PORT_DEPENDENT

    if predictable(a) and predictable(b):
        return True
    # The one whose port nobody knows gets in where ports do not count, and is answered there.
    return any(
        predictable(known) and known.filtering != ADDRESS_AND_PORT_DEPENDENT and not predictable(other)
        for known, other in ((a, b), (b, a))
    )
