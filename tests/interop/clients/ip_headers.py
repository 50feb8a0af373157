"""The IP headers of what is relayed, as the wire has them (RFC 8656 section 14).

T-XLAT-01, T-XLAT-02, T-XLAT-03 and T-XLAT-07: whatever marks a client's and its peer's packets carry, those that leave the relay are
best effort (DSCP 0), not ECN-capable, free to be fragmented, and live as long as any packet of this host. The same
holds for what goes back to the client.
"""

import socket
import subprocess
import threading

from rig import process
from rig.process import Failure
from rig.suite import Case

from .turnutils import PEER_PORT, figures, uclient

TURN_PORT = 3478
ETH_P_ALL = 3
MESSAGES = 20

# Everything the client and the peer send is marked as no default would be: expedited, and ECN-capable.
MARKS = f"""
table inet marks {{
    chain output {{
        type filter hook output priority mangle
        udp dport {TURN_PORT} ip dscp set ef ip ecn set ect1
        udp dport {TURN_PORT} ip6 dscp set ef ip6 ecn set ect1
        udp sport {PEER_PORT} ip dscp set ef ip ecn set ect1
        udp sport {PEER_PORT} ip6 dscp set ef ip6 ecn set ect1
    }}
}}
"""


def nft(*words, rules=None):
    done = subprocess.run(
        [process.require("nft", "nftables"), *words], input=rules, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise Failure(f"nft: {done.stderr.strip()}")


class Sniffer:
    """Listens to the loopback interface and sorts UDP packets by their ports."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.bind(("lo", 0))
        self._socket.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self.packets = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _listen(self):
        while not self._over.is_set():
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(65536)
            except TimeoutError:
                continue
            if kind != socket.PACKET_OUTGOING and (read := header(packet)):
                self.packets.append(read)


def header(packet):
    """(source port, destination port, traffic class, may be fragmented, time to live) of a UDP packet."""
    if packet[0] >> 4 == 4 and packet[9] == socket.IPPROTO_UDP:
        start = (packet[0] & 15) * 4
        traffic, fragments, lives = packet[1], not packet[6] & 0x40, packet[8]
    elif packet[0] >> 4 == 6 and packet[6] == socket.IPPROTO_UDP:
        start = 40
        traffic, fragments, lives = (packet[0] & 15) << 4 | packet[1] >> 4, True, packet[7]
    else:
        return None
    ports = [int.from_bytes(packet[start + at:start + at + 2]) for at in (0, 2)]
    return *ports, traffic, fragments, lives


def of_best_effort(name, packets):
    """Judges one kind of packets: there are some, and all look as they should."""
    wrong = [packet for packet in packets if packet[2:] != (0, True, 64)]
    if len(packets) < MESSAGES or wrong:
        raise Failure(f"{name}: {len(packets)} packets, {len(wrong)} with other headers", "\n".join(map(str, wrong)))
    return len(packets)


def translated(*flags, address="127.0.0.1"):
    """A case body: marked packets go in, unmarked ones come out, both ways."""

    def body(server):
        nft("-f", "-", rules=MARKS)
        try:
            with Sniffer() as sniffer:
                status, output = uclient(server, "-c", "-m", "1", "-n", str(MESSAGES), *flags, peer=address, at=address)
                figures(status, output, MESSAGES)
        finally:
            nft("delete", "table", "inet", "marks")
        seen = sniffer.packets
        for name, marked in (
            ("from the client", [packet for packet in seen if packet[1] == TURN_PORT]),
            ("from the peer", [packet for packet in seen if packet[0] == PEER_PORT]),
        ):
            if len(marked) < MESSAGES or any(packet[2] != 0xB9 for packet in marked):
                raise Failure(f"the marks of packets {name} did not take", "\n".join(map(str, marked)))
        out = of_best_effort("to the peer", [packet for packet in seen if packet[1] == PEER_PORT])
        back = of_best_effort("to the client", [packet for packet in seen if packet[0] == TURN_PORT])
        return f"{out} packets to the peer and {back} to the client, none marked"

    return body


CASES = [
    Case("ip-headers/ipv4", translated()),
    Case("ip-headers/ipv6", translated("-x", address="::1")),
]
