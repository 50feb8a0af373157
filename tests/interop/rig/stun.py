"""Just enough STUN to ask a server which address it sees (RFC 8489 sections 5 and 14.2)."""

import ipaddress
import os
import socket
import struct

MAGIC_COOKIE = 0x2112A442
BINDING_REQUEST = 0x0001
BINDING_SUCCESS = 0x0101
XOR_MAPPED_ADDRESS = 0x0020


def binding(sock, server=None, timeout=1.0, tries=3):
    """Sends a Binding request and returns the (address, port) in XOR-MAPPED-ADDRESS.

    A datagram socket needs the server's address; a stream socket is connected already. Raises OSError
    (TimeoutError among them) when no answer comes, ValueError when the answer is no Binding success.
    """
    transaction = os.urandom(12)
    request = struct.pack("!HHI", BINDING_REQUEST, 0, MAGIC_COOKIE) + transaction
    sock.settimeout(timeout)
    for attempt in range(tries):
        if server is None:
            sock.sendall(request)
        else:
            sock.sendto(request, server)
        try:
            while True:
                answer = sock.recv(2048)
                if answer[8:20] == transaction:
                    return mapped_address(answer)
        except TimeoutError:
            if attempt + 1 == tries:
                raise


def mapped_address(message):
    """The (address, port) in a Binding success's XOR-MAPPED-ADDRESS."""
    kind, length = struct.unpack("!HH", message[:4])
    if kind != BINDING_SUCCESS:
        raise ValueError(f"message type {kind:#06x} in answer to a Binding request")
    position = 20
    while position + 4 <= 20 + length:
        attribute, size = struct.unpack("!HH", message[position : position + 4])
        value = message[position + 4 : position + 4 + size]
        if attribute == XOR_MAPPED_ADDRESS:
            port = struct.unpack("!H", value[2:4])[0] ^ (MAGIC_COOKIE >> 16)
            mask = message[4 : 4 + len(value) - 4]
            address = bytes(a ^ b for a, b in zip(value[4:], mask))
            return str(ipaddress.ip_address(address)), port
        position += 4 + (size + 3) // 4 * 4
    raise ValueError("Binding success without XOR-MAPPED-ADDRESS")


def family(address):
    """The socket family of an IP address's text."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET
