"""`hairpin probe`, whose client side is the `turn` and `stun` crates and not hairpin's own code."""

import json

from rig import process
from rig.process import Failure
from rig.suite import Case

COUNT = 100


def probe(server, url, password=None, secret=None):
    """Runs the probe: (exit status, its report)."""
    if not server.hairpin.is_file():
        raise Failure(f"there is no {server.hairpin}: build it with `cargo build --release`")
    command = [server.hairpin, "probe", "--json", "--timeout", "3s", "--count", COUNT, url]
    if url.startswith("turns:"):
        command += ["--ca", server.certificate.authority]
    if secret is not None:
        file = server.workdir / "probe-secret"
        file.touch(mode=0o600)
        file.write_text(secret + "\n")
        command += ["--secret-file", file]
    elif url.startswith("turn"):
        command += ["--username", server.user]
    environment = {"HAIRPIN_PASSWORD": password or server.password}
    status, output = process.run(command, server.case_log, patience=40, env=environment)
    try:
        return status, json.loads(output[output.index("{") :])
    except ValueError:
        raise Failure(f"no report, exit status {status}", output) from None


def stun(address):
    """A case body: the mapped address is the one it asked from."""

    def body(server):
        status, report = probe(server, f"stun:{address}")
        if status != 0 or report["mapped_address"] != report["local_address"]:
            raise Failure(f"exit status {status}", json.dumps(report, indent=1))
        return f"{report['mapped_address']} in {report['binding_round_trip_ms']:.1f} ms"

    return body


def relay(address, transport, ephemeral=False):
    """A case body: two allocations echo to each other without loss, and are given back."""

    def body(server):
        url = f"turns:{address}" if transport == "tls" else f"turn:{address}?transport={transport}"
        status, report = probe(server, url, secret=server.secret if ephemeral else None)
        echo = report["echo"] or {}
        freed = [allocation["freed"] for allocation in report["allocations"]]
        if status != 0 or echo.get("packets_received") != COUNT or freed != [True, True]:
            raise Failure(f"exit status {status}", json.dumps(report, indent=1))
        return f"{COUNT} packets echoed, round trip {echo['round_trip_median_ms']:.1f} ms, both allocations freed"

    return body


def wrong_password(server):
    """The probe is refused with 401, and says so by its exit status."""
    status, report = probe(server, "turn:127.0.0.1", password="not-the-password")
    codes = [failure["code"] for failure in report["failures"]]
    if status != 1 or codes != [401] or report["allocations"]:
        raise Failure(f"exit status {status}", json.dumps(report, indent=1))
    return "401, exit status 1"


CASES = [
    Case("probe/stun", stun("127.0.0.1")),
    Case("probe/relay-udp", relay("127.0.0.1", "udp")),
    Case("probe/relay-tcp", relay("127.0.0.1", "tcp")),
    Case("probe/relay-tls", relay("127.0.0.1", "tls")),
    Case("probe/relay-udp-ipv6-server", relay("[::1]", "udp")),
    Case("probe/wrong-password", wrong_password),
    Case("probe/ephemeral-credential", relay("127.0.0.1", "udp", ephemeral=True), credentials="ephemeral"),
]
