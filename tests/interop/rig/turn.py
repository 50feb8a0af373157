"""A TURN client (RFC 8656) of a few lines, for suites that need many of them or need them to misbehave.

It signs with HMAC-SHA1 and an MD5 key, as browsers do, and retransmits over UDP. Nothing is checked that a test does
not ask for: that is `turnutils_uclient`'s and `turn-client-proto`'s part.
"""

import hashlib
import hmac
import ipaddress
import os
import socket
import ssl
import struct
import time
from dataclasses import dataclass, field

from .stun import MAGIC_COOKIE, family

BINDING, ALLOCATE, REFRESH, SEND, DATA = 0x001, 0x003, 0x004, 0x006, 0x007
PERMIT, BIND, CONNECT, CONNECTION_BIND = 0x008, 0x009, 0x00A, 0x00B

USERNAME, INTEGRITY, ERROR_CODE, CHANNEL_NUMBER, LIFETIME = 0x0006, 0x0008, 0x0009, 0x000C, 0x000D
PEER, PAYLOAD, REALM, NONCE, RELAYED = 0x0012, 0x0013, 0x0014, 0x0015, 0x0016
EVEN_PORT, TRANSPORT, RESERVATION, CONNECTION_ID = 0x0018, 0x0019, 0x0022, 0x002A

UDP, TCP = 17, 6


class Refused(Exception):
    """An error response."""

    def __init__(self, code):
        super().__init__(f"error {code}")
        self.code = code


@dataclass
class Incoming:
    """A message from the server: its method and class, its attributes by type."""

    kind: int
    attributes: dict = field(default_factory=dict)

    @property
    def code(self):
        """The error's code, None for success."""
        value = self.attributes.get(ERROR_CODE)
        return None if value is None else value[2] * 100 + value[3]


def encode(method, attributes, transaction, request=True):
    """A request's or an indication's bytes without integrity."""
    kind = (method & 0xF) | (method & 0x70) << 1 | (0 if request else 0x10)
    body = b"".join(
        struct.pack("!HH", kind_of, len(value)) + value + bytes(-len(value) % 4) for kind_of, value in attributes
    )
    return struct.pack("!HHI", kind, len(body), MAGIC_COOKIE) + transaction + body


def sign(message, key):
    """The message with MESSAGE-INTEGRITY behind it."""
    longer = message[:2] + struct.pack("!H", len(message) + 4) + message[4:]
    return longer + struct.pack("!HH", INTEGRITY, 20) + hmac.new(key, longer, hashlib.sha1).digest()


def decode(message):
    """(transaction, Incoming) of a STUN message."""
    kind, length = struct.unpack_from("!HH", message)
    attributes, position = {}, 20
    while position + 4 <= 20 + length:
        attribute, size = struct.unpack_from("!HH", message, position)
        attributes.setdefault(attribute, message[position + 4 : position + 4 + size])
        position += 4 + (size + 3) // 4 * 4
    return message[8:20], Incoming(kind, attributes)


def xor_address(address):
    """The value of XOR-PEER-ADDRESS for an IPv4 (address, port)."""
    packed = int(ipaddress.IPv4Address(address[0])) ^ MAGIC_COOKIE
    return struct.pack("!BBHI", 0, 1, address[1] ^ (MAGIC_COOKIE >> 16), packed)


def plain_address(value):
    """The IPv4 (address, port) of an XOR-RELAYED-ADDRESS or its like."""
    _, _, port, packed = struct.unpack("!BBHI", value)
    return str(ipaddress.IPv4Address(packed ^ MAGIC_COOKIE)), port ^ (MAGIC_COOKIE >> 16)


class Client:
    """One client on a socket of its own. `link` is "udp", "tcp" or "tls"."""

    def __init__(self, server, user, password, link="udp", source=None, patience=5.0):
        self.server = server
        self.user, self.password = user, password
        self.link = link
        self.patience = patience
        self.realm = self.nonce = None
        self.relayed = None
        self._pending = b""
        self.waiting = []
        if link == "udp":
            self.sock = socket.socket(family(server[0]), socket.SOCK_DGRAM)
            if source:
                self.sock.bind((source, 0))
            self.sock.connect(server)
        else:
            self.sock = socket.create_connection(
                server, timeout=patience, source_address=(source, 0) if source else None
            )
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if link == "tls":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                self.sock = context.wrap_socket(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Closes a connection by RST, as a machine that goes down and up does."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    @property
    def _key(self):
        return hashlib.md5(f"{self.user}:{self.realm}:{self.password}".encode()).digest()

    # Requests.

    def request(self, method, *attributes):
        """The answer to a request, signed where the realm is known; a fresh nonce is taken once. Raises Refused."""
        for _ in range(3):
            answer = self._ask(method, attributes)
            if answer.code not in (401, 438) or NONCE not in answer.attributes:
                break
            knew_realm = self.realm is not None
            self.realm = answer.attributes[REALM].decode()
            self.nonce = answer.attributes[NONCE]
            if answer.code == 401 and knew_realm:
                break
        if answer.code is not None:
            raise Refused(answer.code)
        return answer

    def _ask(self, method, attributes):
        transaction = os.urandom(12)
        if self.realm is not None and method != BINDING:
            known = ((USERNAME, self.user.encode()), (REALM, self.realm.encode()), (NONCE, self.nonce))
            message = sign(encode(method, (*attributes, *known), transaction), self._key)
        else:
            message = encode(method, attributes, transaction)
        deadline = time.monotonic() + self.patience
        wait = 0.25 if self.link == "udp" else self.patience
        while True:
            self.sock.settimeout(max(0.01, deadline - time.monotonic()))
            self.sock.sendall(message)
            until = min(deadline, time.monotonic() + wait)
            while (frame := self._frame(until)) is not None:
                if frame[0] < 0x40:
                    its, incoming = decode(frame)
                    if its == transaction:
                        return incoming
                self.waiting.append(frame)
            if time.monotonic() >= deadline:
                raise TimeoutError(f"no answer to method {method:#05x} in {self.patience} s")
            wait *= 2

    def allocate(self, transport=UDP, lifetime=None, *more):
        """Allocates; the relayed address."""
        attributes = [(TRANSPORT, bytes([transport, 0, 0, 0])), *more]
        if lifetime is not None:
            attributes.append((LIFETIME, struct.pack("!I", lifetime)))
        self.answer = self.request(ALLOCATE, *attributes)
        self.relayed = plain_address(self.answer.attributes[RELAYED])
        return self.relayed

    def refresh(self, lifetime=600):
        """Refreshes; the lifetime granted."""
        answer = self.request(REFRESH, (LIFETIME, struct.pack("!I", lifetime)))
        return struct.unpack("!I", answer.attributes[LIFETIME])[0]

    def permit(self, *peers):
        self.request(PERMIT, *((PEER, xor_address(peer)) for peer in peers))

    def bind(self, channel, peer):
        self.request(BIND, (CHANNEL_NUMBER, struct.pack("!HH", channel, 0)), (PEER, xor_address(peer)))

    # Data.

    def send_channel(self, channel, payload):
        frame = struct.pack("!HH", channel, len(payload)) + payload
        if self.link != "udp":
            frame += bytes(-len(payload) % 4)
        self.sock.sendall(frame)

    def send_to(self, peer, payload):
        """A Send indication."""
        message = encode(SEND, ((PEER, xor_address(peer)), (PAYLOAD, payload)), os.urandom(12), request=False)
        self.sock.sendall(message)

    def receive(self, patience=None):
        """The next payload a peer sent: (channel number or peer, payload), or None after `patience` seconds."""
        deadline = time.monotonic() + (self.patience if patience is None else patience)
        while True:
            frame = self.waiting.pop(0) if self.waiting else self._frame(deadline)
            if frame is None:
                return None
            if 0x40 <= frame[0] < 0x80:
                channel, length = struct.unpack_from("!HH", frame)
                return channel, frame[4 : 4 + length]
            _, incoming = decode(frame)
            if incoming.kind == 0x0017 and PAYLOAD in incoming.attributes:
                return plain_address(incoming.attributes[PEER]), incoming.attributes[PAYLOAD]

    def _frame(self, deadline):
        """The next STUN message or ChannelData; None when the time is up. Raises ConnectionError at a stream's end."""
        while True:
            if self.link != "udp" and (frame := self._cut()) is not None:
                return frame
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self.sock.settimeout(left)
            try:
                data = self.sock.recv(65536)
            except TimeoutError:
                return None
            if self.link == "udp":
                if len(data) >= 4:
                    return data
            elif not data:
                raise ConnectionError("the server closed the connection")
            else:
                self._pending += data

    def _cut(self):
        """A whole frame off what a stream has brought."""
        if len(self._pending) < 4:
            return None
        first, length = struct.unpack_from("!HH", self._pending)
        size = 4 + (length + 3) // 4 * 4 if first >= 0x4000 else 20 + length
        if len(self._pending) < size:
            return None
        frame, self._pending = self._pending[:size], self._pending[size:]
        return frame
