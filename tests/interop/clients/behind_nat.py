"""Clients behind NATs: bare sockets that ask STUN and try the direct path, and aioice agents that call each other."""

import contextlib
import select
import socket
import time

from clients import ice
from rig import internet, stun
from rig.process import Failure
from rig.suite import Case

PROBES = 20


def mapped(home, server, kind=socket.SOCK_DGRAM):
    """Asks both of the server's ports from one new socket in the home: (socket, [(address, port), ...])."""
    site = server.site
    with home.client.entered():
        sock = socket.socket(socket.AF_INET, kind)
    try:
        sock.bind((home.address, 0))
        if kind == socket.SOCK_STREAM:
            sock.settimeout(5)
            sock.connect((site.listen[0], site.ports[0]))
            return sock, [stun.binding(sock)]
        return sock, [stun.binding(sock, (site.listen[0], port)) for port in site.ports]
    except (OSError, ValueError) as error:
        sock.close()
        raise Failure(f"STUN from {home.address}: {error}") from None


def reflexive(server):
    """Each client is told its NAT's address, over UDP and TCP."""
    shown = []
    for home in server.site.internet.homes:
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            sock, seen = mapped(home, server, kind)
            sock.close()
            for address, port in seen:
                if address != home.public_address:
                    raise Failure(f"{home.address} is told {address}, its NAT is {home.public_address}")
        shown.append(f"{home.address} is told {address}")
    return ", ".join(shown) + ", over UDP and TCP"


def symmetric(server):
    """The NATs are what they are meant to be: another destination sees another port."""
    shown = []
    for home in server.site.internet.homes:
        sock, (first, second) = mapped(home, server)
        own = sock.getsockname()[1]
        sock.close()
        if len({own, first[1], second[1]}) != 3:
            raise Failure(f"not symmetric: port {own} became {first[1]} and {second[1]}")
        shown.append(f"port {own} became {first[1]} and {second[1]}")
    return ", ".join(shown)


def try_direct(server):
    """Both clients send to the address that the other was told; returns how many packets came to each."""
    homes = server.site.internet.homes
    with contextlib.ExitStack() as stack:
        socks, addresses = [], []
        for home in homes:
            sock, seen = mapped(home, server)
            socks.append(stack.enter_context(sock))
            addresses.append(seen[0])
        came = [0, 0]
        deadline = time.monotonic() + 1
        for _ in range(PROBES):
            for sock, destination in zip(socks, reversed(addresses)):
                sock.sendto(b"direct", destination)
            time.sleep(0.02)
        while (left := deadline - time.monotonic()) > 0:
            for sock in select.select(socks, [], [], left)[0]:
                came[socks.index(sock)] += sock.recv(100) == b"direct"
        return came


def no_direct_path(server):
    """Between two symmetric NATs nothing arrives."""
    came = try_direct(server)
    if came != [0, 0]:
        raise Failure(f"packets came: {came[0]} to a, {came[1]} to b")
    return f"{PROBES} packets sent each way between the addresses that STUN told, none came"


def direct_path_through_an_open_nat(server):
    """The control: the same attempt does arrive where one NAT is open, so its silence above means something."""
    home = server.site.internet.homes[1]
    home.firewall(internet.OPEN)
    try:
        came = try_direct(server)
        counted = home.packets_from_other_home()
    finally:
        home.firewall(internet.SYMMETRIC)
    if came[1] < PROBES / 2 or counted < came[1]:
        raise Failure(f"{came[1]} of {PROBES} packets came in through an open NAT, which counted {counted}")
    return f"{came[1]} of {PROBES} packets came in with b's NAT opened"


def call(server, transport="udp", policy="relay", relayed=True, patience=20):
    """The two clients call each other: (sides, packets each NAT let in from the other home meanwhile)."""
    homes = server.site.internet.homes
    before = [home.packets_from_other_home() for home in homes]
    host = server.site.listen[0]
    sides = ice.call(
        server.case_log,
        ice.turn_account(server, host, transport) if relayed else None,
        stun=[host, server.site.ports[0]] if policy == "all" else None,
        policy=policy,
        namespaces=[home.client for home in homes],
        patience=patience,
    )
    crossed = [home.packets_from_other_home() - count for home, count in zip(homes, before)]
    return sides, crossed


def judge(server, sides, crossed):
    """The data came, and only through the relay: every chosen pair has a relayed end at the server."""
    ice.require_exchange(sides)
    for side in sides:
        relayed = [c for c in (side.local, side.remote) if ice.address(c) == server.site.relay[0]]
        if not relayed:
            raise Failure(f"the chosen pair does not touch the relay: {ice.pair_of(side)}", f"{side.local}\n{side.remote}")
    if crossed != [0, 0]:
        raise Failure(f"packets crossed from NAT to NAT: {crossed[0]} into a, {crossed[1]} into b")
    pairs = " and ".join(ice.pair_of(side) for side in sides)
    return f"{ice.MESSAGES} messages each way, pairs {pairs}, no packet from NAT to NAT"


def relay_only(transport):
    """A case body: with relayed candidates only."""

    def body(server):
        sides, crossed = call(server, transport)
        for side in sides:
            if not side.error and ice.pair_of(side) != "relay/relay":
                raise Failure(f"the chosen pair is {ice.pair_of(side)}", f"{side.local}\n{side.remote}")
        return judge(server, sides, crossed)

    return body


def all_candidates(transport):
    """A case body: with host and reflexive candidates too, each tried, the relay is what is left."""

    def body(server):
        sides, crossed = call(server, transport, policy="all")
        for side, home in zip(sides, server.site.internet.homes):
            found = {ice.kind(candidate): ice.address(candidate) for candidate in side.candidates}
            expected = {"host": home.address, "srflx": home.public_address, "relay": server.site.relay[0]}
            if found != expected:
                raise Failure(f"candidates {found}, not {expected}")
        return judge(server, sides, crossed)

    return body


def without_a_relay(server):
    """The same call without a TURN server fails, so the relay is what makes it."""
    sides, crossed = call(server, policy="all", relayed=False, patience=8)
    if not all(side.error for side in sides) or crossed != [0, 0]:
        raise Failure(f"a call without a relay: {sides}, packets from NAT to NAT {crossed}")
    return f"host and reflexive candidates only: {sides[0].error}"


CASES = [
    Case("stun/tells-the-nats-address", reflexive),
    Case("nat/is-symmetric", symmetric),
    Case("nat/no-direct-path", no_direct_path),
    Case("nat/direct-path-through-an-open-nat", direct_path_through_an_open_nat),
    Case("call/without-a-relay-fails", without_a_relay),
    Case("call/relay-only-udp", relay_only("udp")),
    Case("call/relay-only-tcp", relay_only("tcp")),
    Case("call/all-candidates-udp", all_candidates("udp")),
    Case("call/all-candidates-tcp", all_candidates("tcp")),
]
