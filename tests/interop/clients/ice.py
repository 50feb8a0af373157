"""Two aioice agents that call each other, each in a process of its own (ice_agent.py)."""

from dataclasses import dataclass
from pathlib import Path

from rig.dialogue import Dialogue
from rig.process import Failure
from rig.suite import Case

HERE = Path(__file__).resolve().parent
PYTHON = HERE.parent / ".venv/bin/python"
MESSAGES = 200
SIZE = 500


class Agent(Dialogue):
    """A running agent. `namespace` is where it lives, None for the sandbox; `authority` is whose certificates it trusts."""

    def __init__(self, log, namespace=None, authority=None):
        if not PYTHON.exists():
            raise Failure("aioice is not installed: run tests/interop/install")
        prefix = namespace.prefix if namespace else []
        env = {"SSL_CERT_FILE": str(authority)} if authority else None
        super().__init__("an agent", [*prefix, PYTHON, "-B", HERE / "ice_agent.py"], log, env)


@dataclass
class Side:
    """What one agent reported."""

    candidates: list
    received: int = 0
    wrong: int = 0
    local: str = ""
    remote: str = ""
    leg: str = ""
    gathered: float = 0.0
    connected: float = 0.0
    error: str = ""


def kind(candidate):
    """host, srflx, prflx or relay: the type in a candidate's SDP text."""
    words = candidate.split()
    return words[words.index("typ") + 1]


def address(candidate):
    """The address in a candidate's SDP text."""
    return candidate.split()[4]


def turn_account(server, host, transport="udp", credential=None):
    """How an agent is told its TURN server."""
    username, password = credential or (server.user, server.password)
    account = {"host": host, "port": 3478, "username": username, "password": password, "transport": transport}
    if transport == "tls":
        account |= {"port": server.site.tls_port, "transport": "tcp", "tls": True}
        account["authority"] = str(server.certificate.authority)
    return account


def call(log, turn, stun=None, policy="relay", namespaces=(None, None), patience=20, **more):
    """Two agents call each other; returns the two Sides.

    `turn` is the account or a list of accounts to choose from, or a pair with that of each of the two. `more` goes
    into the job as it is (ice_agent.py).
    """
    accounts = turn if isinstance(turn, tuple) else (turn, turn)
    agents = []
    try:
        for number, namespace in enumerate(namespaces):
            choice = accounts[number] if isinstance(accounts[number], list) else [accounts[number] or {}]
            authority = next((account["authority"] for account in choice if "authority" in account), None)
            agents.append(Agent(log.with_suffix(f".agent-{'ab'[number]}.log"), namespace, authority))
        for number, agent in enumerate(agents):
            agent.tell(
                {
                    "controlling": number == 0,
                    "policy": policy,
                    "turn": accounts[number],
                    "stun": stun,
                    "messages": MESSAGES,
                    "size": SIZE,
                    "patience": patience,
                    **more,
                }
            )
        descriptions = [agent.hear(15) for agent in agents]
        sides = [Side(description["candidates"]) for description in descriptions]
        for agent, other in zip(agents, reversed(descriptions)):
            agent.tell(other)
        for agent, side in zip(agents, sides):
            for name, value in agent.hear(2 * patience + 10).items():
                setattr(side, name, value)
        return sides
    finally:
        # Hang up on both before waiting for either.
        for agent in agents:
            agent.child.process.stdin.flush()
        for agent in agents:
            agent.close()


def require_exchange(sides):
    """Both sides got all of the other's messages, unharmed and once each."""
    for side in sides:
        if side.error:
            raise Failure(side.error, "\n".join(side.candidates) or "no candidates")
        if side.received != MESSAGES or side.wrong:
            raise Failure(
                f"{side.received} of {MESSAGES} messages came, {side.wrong} wrong or twice", f"{side.local}\n{side.remote}"
            )


def pair_of(side):
    """A side's chosen pair as text."""
    return f"{kind(side.local)}/{kind(side.remote)}"


def relay_only(transport, host="127.0.0.1", ephemeral=False):
    """A case body: two agents with nothing but relayed candidates exchange data both ways."""

    def body(server):
        credential = server.ephemeral() if ephemeral else None
        sides = call(server.case_log, turn_account(server, host, transport, credential))
        require_exchange(sides)
        for side in sides:
            if pair_of(side) != "relay/relay":
                raise Failure(f"the chosen pair is {pair_of(side)}", f"{side.local}\n{side.remote}")
        return f"{MESSAGES} messages of {SIZE} bytes each way, pair relay/relay over {transport}"

    return body


def wrong_password(server):
    """An agent that does not know the password gets no candidate."""
    account = turn_account(server, "127.0.0.1", credential=(server.user, "not-the-password"))
    sides = call(server.case_log, account, patience=3)
    if any(side.candidates for side in sides) or not all(side.error for side in sides):
        raise Failure("candidates in spite of a wrong password", "\n".join(sides[0].candidates + sides[1].candidates))
    return "no relayed candidate on either side"


def untrusted(server):
    """An agent that does not trust the authority makes no allocation."""
    account = turn_account(server, "127.0.0.1", "tls")
    del account["authority"]
    try:
        sides = call(server.case_log, account, patience=3)
    except Failure as failure:
        # aioice gives up with an exception where the handshake fails.
        if "CERTIFICATE_VERIFY_FAILED" in failure.output:
            return "no handshake"
        raise
    if any(side.candidates for side in sides):
        raise Failure("candidates in spite of an unknown authority")
    return "no relayed candidate on either side"


CASES = [
    Case("aioice/relay-only-udp", relay_only("udp")),
    Case("aioice/relay-only-tcp", relay_only("tcp")),
    # Both verify the certificate: for an address, and for a name.
    Case("aioice/relay-only-tls", relay_only("tls")),
    Case("aioice/relay-only-tls-by-name", relay_only("tls", host="localhost")),
    Case("aioice/relay-only-tls-untrusted", untrusted),
    Case("aioice/relay-only-ipv6-server", relay_only("udp", host="::1")),
    Case("aioice/wrong-password", wrong_password),
    Case("aioice/ephemeral-credential", relay_only("udp", ephemeral=True), credentials="ephemeral"),
]
