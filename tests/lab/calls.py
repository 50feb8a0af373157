"""Calls between two worlds by real agents, and how they are judged.

A call is judged by three witnesses: the agents' own word for the pair they chose, what came to each client and from
where as nftables counted it, and the server's count of relayed packets.
"""

from dataclasses import dataclass

from clients import browsers, ice, metrics
from homes import SERVER, SERVER_IPV6
from rig import process
from rig.dialogue import Dialogue, hear_any
from rig.process import Failure
from rig.server import AUTO_PORT, at
from worlds import Path, expected

# The share of messages that has to arrive over a bad line; elsewhere all of them.
BAD_LINE_SHARE = 0.85
# Seconds by which aioice tries direct pairs first: time for a second check, since the first ones open the NATs.
HEAD_START = 0.8
# On a bad line the second may be lost as well.
BAD_LINE_HEAD_START = 2.0
FRAMES = 20
# An agent that gets no processor for a while may miss the better path, and keeps what it has: the call is made again.
ATTEMPTS = 3


class OtherPath(Failure):
    """The call came about, but not on the path it has to take."""


@dataclass
class End:
    """What one agent says of the call: the types of its chosen pair's candidates, and how it reaches its relay."""

    local: str
    remote: str
    leg: str
    local_address: str
    received: int
    # Seconds from the start until the connection stood.
    set_up: float
    candidates: str


@dataclass
class Outcome:
    """A call that went as expected, for the matrix."""

    path: str
    set_up: float


def path_of(ends):
    """The path that the agents' pairs make."""
    kinds = {kind for end in ends for kind in (end.local, end.remote)}
    if "relay" in kinds:
        return Path("relay", tuple(end.leg if end.local == "relay" else None for end in ends))
    return Path("host" if kinds == {"host"} else "reflexive")


def judged_call(a, b, call, outcomes):
    """A case body: `call(server, homes, begins)` makes it and returns both Ends; the outcome goes to outcomes[a, b].

    A call that may change its path at first says with begins() from when on packets shall count.
    """
    wanted = expected(a, b)

    def body(server):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return attempted(server) + (f", at attempt {attempt}" if attempt > 1 else "")
            except OtherPath:
                if attempt == ATTEMPTS:
                    raise

    def attempted(server):
        lab = server.site.lab
        homes = (lab.home(a, "a"), lab.home(b, "b"))
        counted = Counted(server, homes)
        ends = call(server, homes, counted.anew)
        direct, through = counted.since()
        shown = "\n".join(f"{end.local}/{end.remote} over {end.leg}\n{end.candidates}" for end in ends)

        found = path_of(ends)
        if found.kind != wanted.kind:
            raise OtherPath(f"the path is {found} {found.legs}, not {wanted} {wanted.legs}", shown)
        messages = min(end.received for end in ends)
        if wanted.kind == "relay":
            judge_relayed(homes, ends, wanted, direct, through, messages, shown)
        # SCTP may put two messages into a packet.
        elif min(direct) < messages / 2 or max(through["to_peer"], through["to_client"]) >= messages:
            raise Failure(f"direct, but {direct} packets came from outside the server, which relayed {through}", shown)
        set_up = max(end.set_up for end in ends)
        pairs = " and ".join(f"{end.local}/{end.remote}" for end in ends)
        outcomes[a.name, b.name] = Outcome(str(wanted), set_up)
        return f"{wanted}, {pairs}, set up in {set_up:.2f} s; {messages} messages each way, {through['internal']} inside hairpin"

    return body


def judge_relayed(homes, ends, wanted, direct, through, messages, shown):
    """The relay carried it, each client reached it as it had to, and nothing went past it."""
    for home, end, leg in zip(homes, ends, wanted.legs):
        # A leg that is not needed is by UDP where it is used: that is the first choice.
        if end.local == "relay" and end.leg != (leg or "udp") or end.local != "relay" and leg:
            raise OtherPath(f"{home.world.name} has {end.local} over {end.leg}, not a relay over {leg or 'udp'}", shown)
        if end.local == "relay" and end.local_address != SERVER:
            raise Failure(f"{home.world.name} has {end.local_address} as its relayed address", shown)
    if direct != [0, 0]:
        raise Failure(f"{direct} UDP packets came from elsewhere than the server", shown)
    # Where both send straight to the other's relay, all of it goes to clients.
    if through["to_peer"] + through["to_client"] < 2 * messages:
        raise Failure(f"hairpin counted {through} relayed packets for {messages} messages each way", shown)
    # Where one could do without its own relay, aioice may change pairs on the way.
    if None not in wanted.legs and through["internal"] < 2 * messages:
        raise Failure(f"{through['internal']} packets went the short way inside hairpin", shown)


class Counted:
    """What the firewalls at the clients and the server have counted since a moment."""

    def __init__(self, server, homes):
        self._server, self._homes = server, homes
        self.anew()

    def anew(self):
        self._before = self._read()

    def since(self):
        """UDP packets that came to each client from elsewhere than the server, and hairpin's relayed packets."""
        (direct, relayed), (direct_before, relayed_before) = self._read(), self._before
        return (
            [now - before for now, before in zip(direct, direct_before)],
            {name: relayed[name] - relayed_before[name] for name in relayed},
        )

    def _read(self):
        with self._server.site.entered():
            samples, _ = metrics.scrape()
        relayed = {
            direction: int(samples[f'hairpin_relayed_packets_total{{direction="{direction}"}}'])
            for direction in ("to_peer", "to_client")
        }
        relayed["internal"] = int(samples["hairpin_internal_packets_total"])
        return [home.packets_from_elsewhere() for home in self._homes], relayed


def accounts(server):
    """The TURN servers that every agent is told, the best first: by UDP, TCP, and TLS on the port that is always open."""
    told = []
    for transport, tls, port in (("udp", False, 3478), ("tcp", False, 3478), ("tcp", True, AUTO_PORT)):
        for host in (SERVER, SERVER_IPV6):
            account = {"host": host, "port": port, "username": server.user, "password": server.password}
            account |= {"transport": transport, "tls": tls, "authority": str(server.certificate.authority)}
            told.append(account)
    return told


def aioice(server, homes, _begins):
    """Two aioice agents call each other."""
    bad_line = any(home.world.bad_line for home in homes)
    sides = ice.call(
        server.case_log,
        accounts(server),
        stun=[SERVER, 3478],
        policy="all",
        namespaces=[home.client for home in homes],
        ipv6=True,
        head_start=BAD_LINE_HEAD_START if bad_line else HEAD_START,
        linger=2.5,
    )
    share = BAD_LINE_SHARE if bad_line else 1
    for side in sides:
        if side.error:
            raise Failure(side.error, "\n".join(side.candidates) or "no candidates")
        if side.received < share * ice.MESSAGES or side.wrong:
            raise Failure(f"{side.received} of {ice.MESSAGES} messages came, {side.wrong} wrong or twice")
    return [
        End(
            local=ice.kind(side.local),
            remote=ice.kind(side.remote),
            leg=side.leg,
            local_address=ice.address(side.local),
            received=side.received,
            # Both gather at once, and neither begins before it has the other's candidates.
            set_up=max(side.gathered for side in sides) + side.connected,
            candidates="\n".join(side.candidates),
        )
        for side in sides
    ]


def chromium(server, homes, begins):
    """Two Chromiums call each other, with video."""
    peers = []
    try:
        for name, home in zip("ab", homes):
            peers.append(start_chromium(server, home, name))
        for peer, home in zip(peers, homes):
            call = {"offering": peer is peers[0], "messages": ice.MESSAGES, "frames": FRAMES}
            peer.tell({**call, "iceServers": ice_servers(server, home.world)})
        for peer in peers:
            peer.hear(90)
        results = signalling(peers, begins)
    finally:
        for peer in peers:
            peer.close()
    shown = "\n".join(line for result in results for line in result.get("candidates", []))
    for result in results:
        if result.get("changed"):
            raise OtherPath("the chosen pair changed when it had settled", shown)
        if result["error"]:
            raise Failure(result["error"], shown)
        if result["received"] != ice.MESSAGES or result["spoiled"]:
            raise Failure(f"{result['received']} of {ice.MESSAGES} messages came, {result['spoiled']} wrong", shown)
        if result["frames"][1] - result["frames"][0] < FRAMES:
            raise Failure(f"video stands still: {result['frames'][0]} frames decoded, then {result['frames'][1]}", shown)
    return [
        End(
            local=result["local"]["type"],
            remote=result["remote"]["type"],
            leg=result["leg"],
            local_address=result["local"]["address"],
            received=result["received"],
            set_up=result["setUp"] / 1000,
            candidates="\n".join(result["candidates"]),
        )
        for result in results
    ]


def ice_servers(server, world):
    """What a page is told: the same servers, by the addresses that a name would lead this client to."""
    urls = []
    for account in accounts(server):
        if (":" in account["host"]) == world.ipv6:
            scheme = "turns" if account["tls"] else "turn"
            urls.append(f"{scheme}:{at(account['host'], account['port'])}?transport={account['transport']}")
    stun = at(SERVER_IPV6 if world.ipv6 else SERVER, 3478)
    return [{"urls": f"stun:{stun}"}, {"urls": urls, "username": server.user, "credential": server.password}]


def start_chromium(server, home, name):
    """A Chromium in a home, told nothing yet."""
    node = process.require("node", "nodejs")
    if not (browsers.BROWSER / "node_modules/playwright-core").is_dir():
        raise Failure("playwright-core is not installed: run tests/interop/install")
    program = process.require("chromium", "chromium")
    folder = server.workdir / f"chromium-{name}"
    folder.mkdir(exist_ok=True)
    log = server.case_log.with_suffix(f".chromium-{name}.log")
    command = [*home.client.prefix, node, browsers.BROWSER / "peer.mjs"]
    peer = Dialogue(f"Chromium in {home.world.name}", command, log, env={"HOME": str(folder)})
    peer.tell({"browser": "chromium", "program": program})
    return peer


def signalling(peers, begins):
    """Starts the call, carries descriptions and candidates, and returns both results."""
    results = [None, None]
    settled = set()
    peers[0].tell({"signal": {"start": True}})
    while None in results:
        peer, line = hear_any(peers, 60)
        number = peers.index(peer)
        if "signal" in line:
            peers[1 - number].tell({"signal": line["signal"]})
        elif "settled" in line:
            settled.add(number)
            if len(settled) == len(peers):
                begins()
                for each in peers:
                    each.tell({"exchange": True})
        else:
            results[number] = line["result"]
    return results
