"""Each world is what it is said to be: shown from inside it, before anybody calls."""

import json
import socket
import ssl
import time

from homes import DETOURED, LOST, SECOND, SERVER, SERVER_IPV6
from rig import process, stun
from rig.process import Failure
from rig.server import AUTO_PORT

# Packets each way over a bad line: with 2 % lost, 1 % to 3 % come out at more than four standard deviations.
PACKETS = 4000
PORT = 7000


def proof(world):
    """A case body: the fitting proof for a world's two homes."""

    def body(server):
        lab = server.site.lab
        shown = [_proof_for(world)(server, lab.home(world, side)) for side in "ab"]
        return shown[0] if shown[0] == shown[1] else "; ".join(shown)

    return body


def _proof_for(world):
    if world.ipv6:
        return only_ipv6
    if world.bad_line:
        return loses_and_reorders
    return behaves if world.udp else lets_out_only_what_it_should


def behaves(server, home):
    """`hairpin probe --nat` comes to the world's behaviours (RFC 5780)."""
    url = f"stun:{SERVER}:{server.site.ports[0]}"
    command = [*home.client.prefix, server.hairpin, "probe", "--nat", "--json", "--timeout", "2s", url]
    status, output = process.run(command, server.case_log, patience=60)
    try:
        found = json.loads(output[output.index("{") :])["nat"]
    except (ValueError, KeyError):
        raise Failure(f"no report, exit status {status}", output) from None
    wanted = {"mapping": home.world.mapping, "filtering": home.world.filtering}
    wrong = {key: found[key] for key in wanted if found[key] != wanted[key]}
    addresses = {address.rsplit(":", 1)[0] for address in found["mapped_addresses"]}
    if wrong or addresses != {home.public_address}:
        raise Failure(f"{wrong or addresses}, not {wanted} at {home.public_address}", json.dumps(found, indent=1))
    return f"mapping {found['mapping']}, filtering {found['filtering']}"


def lets_out_only_what_it_should(server, home):
    """Asked by UDP, TCP and TLS, only what the firewall lets out is answered."""
    tried = {
        "udp": lambda: _ask_udp(home, (SERVER, 3478)),
        "udp to 443": lambda: _ask_udp(home, (SERVER, AUTO_PORT)),
        "tcp": lambda: _ask_tcp(home, (SERVER, 3478)),
        "tls to 443": lambda: _ask_tcp(home, (SERVER, AUTO_PORT), server.certificate.authority),
    }
    open_ones = [name for name, ask in tried.items() if _answered(ask)]
    wanted = ["tls to 443"] if home.world.leg == "tls" else ["tcp", "tls to 443"]
    if open_ones != wanted:
        raise Failure(f"open are {open_ones}, not {wanted}")
    return f"open: {', '.join(open_ones)}; lost: {', '.join(name for name in tried if name not in open_ones)}"


def only_ipv6(server, home):
    """The server sees the client's own IPv6 address, and has no way to it by IPv4."""
    address, _ = _ask_udp(home, (SERVER_IPV6, 3478))
    if address != home.address:
        raise Failure(f"told {address}, not {home.address}")
    if _answered(lambda: _ask_udp(home, (SERVER, 3478))):
        raise Failure("IPv4 works too")
    return "its own address over IPv6, nothing over IPv4"


def _answered(ask):
    try:
        ask()
    except (OSError, ValueError):
        return False
    return True


def _ask_udp(home, server):
    with home.client.entered():
        sock = socket.socket(stun.family(server[0]), socket.SOCK_DGRAM)
    with sock:
        # A home just made may take a second to find its neighbours.
        return stun.binding(sock, server, timeout=0.5, tries=5)


def _ask_tcp(home, server, authority=None):
    with home.client.entered():
        sock = socket.create_connection(server, timeout=1)
    with sock:
        if authority:
            sock = ssl.create_default_context(cafile=authority).wrap_socket(sock, server_hostname=server[0])
        with sock:
            return stun.binding(sock, timeout=1, tries=1)


def loses_and_reorders(server, home):
    """Numbered packets go out and come back: of both ways' packets, about the right share is lost, and some overtake."""
    with server.site.entered():
        outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outside.bind((SECOND, PORT))
    with home.client.entered():
        inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        inside.bind((home.address, 0))
    with outside, inside:
        for sock in (outside, inside):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            sock.setblocking(False)
        # So that the NAT lets the other way's packets in.
        for _ in range(5):
            inside.sendto(b"", (SECOND, PORT))
        time.sleep(0.1)
        _, client = outside.recvfrom(100)
        _drain(outside)
        ways = [
            _send_and_judge(inside, outside, (SECOND, PORT)),
            _send_and_judge(outside, inside, client),
        ]
    for lost, overtaken in ways:
        if not 0.5 < lost * 1000 / LOST < 1.5:
            raise Failure(f"{lost:.1%} of the packets were lost, not about {LOST / 1000:.1%}")
        if not 0.5 < overtaken * 100 / DETOURED < 1.5:
            raise Failure(f"{overtaken:.1%} of the packets were overtaken, not about {DETOURED} %")
    return "lost " + " and ".join(f"{lost:.1%}" for lost, _ in ways) + (
        " out and in, overtaken " + " and ".join(f"{overtaken:.1%}" for _, overtaken in ways)
    )


def _send_and_judge(sender, receiver, destination):
    """Sends the packets a few at a time: (the share that was lost, the share that others overtook)."""
    came = []
    for number in range(PACKETS):
        sender.sendto(number.to_bytes(4), destination)
        if number % 5 == 4:
            time.sleep(0.001)
            came += _drain(receiver)
    time.sleep(0.2)
    came += _drain(receiver)
    highest, overtaken = -1, 0
    for number in came:
        overtaken += number < highest
        highest = max(highest, number)
    return 1 - len(set(came)) / PACKETS, overtaken / PACKETS


def _drain(sock):
    numbers = []
    while True:
        try:
            numbers.append(int.from_bytes(sock.recv(100)))
        except BlockingIOError:
            return numbers
