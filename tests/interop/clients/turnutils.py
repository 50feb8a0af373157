"""coturn's command line clients: turnutils_uclient with its peer, and turnutils_stunclient.

turnutils_uclient exits with status 0 once it has sent, whatever came back, so it is judged by the figures it
prints: every message sent must have returned. Without -c it asks for a pair of ports (EVEN-PORT with R=1,
then RESERVATION-TOKEN); with -c each of its requests carries EVEN-PORT with R=0 or none, by chance.
"""

import ipaddress
import re

from rig import process
from rig.process import Child, Failure
from rig.server import AUTO_PORT
from rig.suite import Case

PEER_PORT = 3480
PACKAGE = "coturn"


def uclient(server, *flags, peer="127.0.0.1", at="127.0.0.1", user=None, password=None, secret=None, patience=60):
    """Runs turnutils_uclient, with an echoing peer where one is named: (exit status, output)."""
    client = process.require("turnutils_uclient", PACKAGE)
    command = [client, *flags]
    if secret is not None:
        command += ["-u", user or "bob", "-W", secret]
    else:
        command += ["-u", user or server.user, "-w", password or server.password]
    if peer is None:
        return process.run([*command, at], server.case_log, patience)
    echo = [process.require("turnutils_peer", PACKAGE), "-L", peer, "-p", PEER_PORT]
    with Child(echo, server.workdir / "turnutils-peer.log"):
        return process.run([*command, "-e", peer, "-r", PEER_PORT, at], server.case_log, patience)


def figures(status, output, expected):
    """Judges a finished run by what it printed; `expected` is how many messages it had to send."""
    if status != 0:
        raise Failure(f"turnutils_uclient ended with exit status {status}", output)
    totals = re.findall(r"start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)", output)
    lost = re.search(r"Total lost packets (-?\d+).*total send dropped (\d+)", output)
    jitter = re.search(r"Average jitter ([\d.]+) ms", output)
    if not totals or lost is None:
        raise Failure("turnutils_uclient printed no totals", output)
    sent, received = (int(number) for number in totals[-1])
    if sent != expected or received != sent or lost.groups() != ("0", "0"):
        raise Failure(
            f"{sent} sent of {expected}, {received} received, {lost[1]} lost, {lost[2]} dropped while sending", output
        )
    return f"{sent} sent, {received} received, jitter {float(jitter[1]) if jitter else 0:.1f} ms"


def echoes(*flags, clients=1, messages=20, sessions=1, **where):
    """A case body: every message comes back. `sessions` is the number of relayed flows a client makes."""

    def body(server):
        settings = dict(where)
        if settings.pop("ephemeral", False):
            settings["secret"] = server.secret
        counts = ["-m", str(clients), "-n", str(messages)]
        status, output = uclient(server, *counts, *flags, **settings)
        return figures(status, output, clients * messages * sessions)

    return body


def moves(*flags, clients=1, sessions=1, tries=1, **where):
    """The same with clients that take their allocations along to another port, which hairpin has to have logged."""
    talk = echoes("-M", *flags, clients=clients, sessions=sessions, **where)

    def body(server):
        for left in reversed(range(tries)):
            position = server.log_size()
            try:
                measured = talk(server)
                break
            except Failure:
                if not left:
                    raise
        moved = server.log_from(position).count("allocation moved")
        if server.name == "hairpin" and moved < clients * sessions:
            raise Failure(f"{measured}, but only {moved} allocations moved")
        return f"{measured}, {moved} moved"

    return body


def refused(**wrong):
    """A case body: with this credential nothing is relayed."""

    def body(server):
        status, output = uclient(server, "-c", **wrong)
        if status == 0 or re.search(r"tot_recv_msgs=[1-9]", output):
            raise Failure(f"accepted: exit status {status}", output)
        if "Cannot complete Allocation" not in output:
            raise Failure(f"ended with exit status {status}, but not over its allocation", output)
        return f"no allocation, exit status {status}"

    return body


def reflexive(address):
    """A case body: a Binding request is answered with the address it came from."""

    def body(server):
        client = process.require("turnutils_stunclient", PACKAGE)
        # It waits for ever where an answer is lost, and walks on through RFC 5780 where that is offered.
        _, output = process.run([client, address], server.case_log, patience=15)
        found = re.findall(r"UDP reflexive addr: (\S+):(\d+)", output)
        if not found:
            raise Failure("no reflexive address in the answer", output)
        for seen, port in found:
            if ipaddress.ip_address(seen.strip("[]")) != ipaddress.ip_address(address) or int(port) < 1024:
                raise Failure(f"asked from {address}, told {seen} port {port}", output)
        return f"{found[0][0]} port {found[0][1]}"

    return body


CASES = [
    Case("stunclient/reflexive-ipv4", reflexive("127.0.0.1")),
    Case("stunclient/reflexive-ipv6", reflexive("::1")),
    # Four clients, so that all but surely both kinds of request that -c makes by chance occur.
    Case("uclient/channels-udp", echoes("-c", clients=4)),
    Case("uclient/send-indications-udp", echoes("-c", "-s")),
    Case("uclient/channels-tcp", echoes("-c", "-t")),
    Case("uclient/send-indications-tcp", echoes("-c", "-s", "-t")),
    # Slowly: of messages that come at once uclient reads one a wake-up over TLS, and loses the tail.
    Case("uclient/channels-tls", echoes("-c", "-t", "-S", "-z", "50")),
    Case("uclient/send-indications-tls", echoes("-c", "-s", "-t", "-S", "-z", "50")),
    Case("uclient/odd-length-tls", echoes("-c", "-t", "-S", "-z", "50", "-l", "173")),
    Case("uclient/ipv6-server-and-relay-tls", echoes("-c", "-x", "-t", "-S", "-z", "50", at="::1", peer="::1")),
    Case("uclient/auto-port-tcp", echoes("-c", "-t", "-p", str(AUTO_PORT)), hairpin_only=True),
    Case("uclient/auto-port-tls", echoes("-c", "-t", "-S", "-z", "50", "-p", str(AUTO_PORT)), hairpin_only=True),
    Case("uclient/ipv6-relay", echoes("-c", "-x", peer="::1")),
    Case("uclient/ipv6-server", echoes("-c", at="::1")),
    Case("uclient/ipv6-server-and-relay-tcp", echoes("-c", "-x", "-t", at="::1", peer="::1")),
    Case("uclient/odd-length-udp", echoes("-c", "-l", "173")),
    Case("uclient/odd-length-tcp", echoes("-c", "-t", "-l", "173")),
    Case("uclient/large-udp", echoes("-c", "-l", "1400")),
    # Two allocations a client that send to each other's relayed address.
    Case("uclient/relay-to-relay-udp", echoes("-c", "-y", sessions=2, peer=None)),
    Case("uclient/relay-to-relay-tcp", echoes("-c", "-y", "-t", sessions=2, peer=None)),
    # It tries versions by chance until one is accepted; those before 1.2 are refused.
    Case("uclient/channels-dtls", echoes("-c", "-S", clients=4)),
    Case("uclient/send-indications-dtls", echoes("-c", "-s", "-S")),
    Case("uclient/odd-length-dtls", echoes("-c", "-S", "-l", "173")),
    Case("uclient/large-dtls", echoes("-c", "-S", "-l", "1300")),
    Case("uclient/rtp-rtcp-port-pair-dtls", echoes("-S", sessions=2)),
    Case("uclient/ipv6-server-and-relay-dtls", echoes("-c", "-x", "-S", at="::1", peer="::1")),
    Case("uclient/relay-to-relay-dtls", echoes("-c", "-y", "-S", sessions=2, peer=None)),
    Case("uclient/20-clients-dtls", echoes("-c", "-S", "-z", "20", clients=20, messages=50)),
    Case("uclient/relay-to-relay-tls", echoes("-c", "-y", "-t", "-S", "-z", "100", sessions=2, peer=None)),
    Case("uclient/relay-to-relay-send-indications", echoes("-c", "-y", "-s", sessions=2, peer=None)),
    Case("uclient/relay-to-relay-ipv6", echoes("-c", "-y", "-x", sessions=2, peer=None)),
    Case("uclient/rtp-rtcp-port-pair", echoes(sessions=2)),
    # RFC 6062, T-TCP-01, -10, -14 and -17: two clients connect to each other through two relays, and both bind.
    # Of an answer on a data connection uclient reads no more bytes than a message has (-l), and 100 are too few.
    Case("uclient/tcp-relay", echoes("-T", "-l", "300", clients=2, peer=None)),
    Case("uclient/tcp-relay-ipv6", echoes("-T", "-x", "-l", "300", clients=2, at="::1", peer=None)),
    Case("uclient/tcp-relay-tls", echoes("-T", "-S", "-l", "300", "-z", "100", clients=2, peer=None)),
    # RFC 7635, T-OAUTH-01 to -11: a token for each Allocate and each Refresh, made with one of three keys by chance. Eight
    # clients, so that all but surely each key occurs, and refreshes with another key than the allocation's.
    Case("uclient/access-token-udp", echoes("-c", "-J", clients=8, password="not-used"), hairpin_only=True),
    Case("uclient/access-token-tcp", echoes("-c", "-J", "-t", clients=8, password="not-used"), hairpin_only=True),
    # RFC 8016, T-MOB-01, -04, -06 and -09: it connects anew from another port, and repeats its Refresh with the ticket.
    # Over TLS and DTLS it sometimes gives up on its new connection by itself ("send: Success"), so it may try again.
    Case("uclient/mobility-udp", moves("-c", clients=4)),
    Case("uclient/mobility-send-indications-udp", moves("-c", "-s", clients=4)),
    Case("uclient/mobility-ipv6", moves("-c", "-x", at="::1", peer="::1")),
    Case("uclient/mobility-rtp-rtcp-port-pair", moves(sessions=2)),
    Case("uclient/mobility-relay-to-relay-udp", moves("-c", "-y", sessions=2, peer=None)),
    Case("uclient/mobility-tcp", moves("-c", "-t")),
    Case("uclient/mobility-dtls", moves("-c", "-S", tries=3)),
    Case("uclient/mobility-tls", moves("-c", "-t", "-S", "-z", "100", tries=3)),
    Case("uclient/20-clients", echoes("-c", "-z", "20", clients=20, messages=50)),
    Case("uclient/wrong-password", refused(password="not-the-password")),
    Case("uclient/unknown-user", refused(user="mallory", password="not-the-password")),
    Case("uclient/ephemeral-credential", echoes("-c", ephemeral=True), credentials="ephemeral"),
    Case("uclient/wrong-secret", refused(secret="not-the-secret"), credentials="ephemeral"),
]
