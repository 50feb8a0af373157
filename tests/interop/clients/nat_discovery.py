"""NAT behaviour discovery: `hairpin probe --nat` and coturn's turnutils_natdiscovery behind NATs of every kind.

Both have to say what the NAT is. turnutils_natdiscovery ends with status 0 whatever happened, so it is judged by
its verdicts. turnutils_stunclient walks through the same requests and says nothing of NATs; all its answers must come.
"""

import json
import re
from dataclasses import dataclass

from rig import nats, process
from rig.process import Failure
from rig.suite import Case

PACKAGE = "coturn"
# How long mappings live in the case that measures it, in seconds: before and after the second packet.
LIFETIME = 4


@dataclass
class Nat:
    """Rules for the NAT, and what both clients have to find out."""

    rules: str
    mapping: str
    filtering: str
    kind: str
    hairpinning: bool = False
    # Without a NAT the client is the machine that would be it.
    on_the_nat: bool = False

    def client(self, server):
        """The home and the namespace the client runs in, with the rules in force."""
        home = server.site.internet.homes[0]
        home.firewall(self.rules)
        return home, home.nat if self.on_the_nat else home.client


NO_NAT = Nat(nats.NONE, "no-nat", "endpoint-independent", "none: open internet", on_the_nat=True)
FIREWALL = Nat(
    nats.FIREWALL,
    "no-nat",
    "address-and-port-dependent",
    "none, but a firewall that lets in answers only",
    on_the_nat=True,
)
FULL_CONE = Nat(nats.FULL_CONE, "endpoint-independent", "endpoint-independent", "full cone NAT")
HAIRPINNING = Nat(
    nats.FULL_CONE_WITH_HAIRPINNING, "endpoint-independent", "endpoint-independent", "full cone NAT", hairpinning=True
)
ADDRESS_RESTRICTED = Nat(
    nats.ADDRESS_RESTRICTED, "endpoint-independent", "address-dependent", "address-restricted cone NAT"
)
PORT_RESTRICTED = Nat(
    nats.PORT_RESTRICTED, "endpoint-independent", "address-and-port-dependent", "port-restricted cone NAT"
)
ADDRESS_DEPENDENT = Nat(
    nats.ADDRESS_DEPENDENT_MAPPING, "address-dependent", "address-and-port-dependent", "symmetric NAT"
)
SYMMETRIC = Nat(nats.SYMMETRIC, "address-and-port-dependent", "address-and-port-dependent", "symmetric NAT")

# turnutils_natdiscovery's words for them.
WORDS = {
    "no-nat": "Endpoint Independent",
    "endpoint-independent": "Endpoint Independent",
    "address-dependent": "Address Dependent",
    "address-and-port-dependent": "Address and Port Dependent",
}


def run_probe(server, namespace, *more):
    """The probe's report, where it ended well."""
    url = f"stun:{server.site.listen[0]}:{server.site.ports[0]}"
    command = [*namespace.prefix, server.hairpin, "probe", "--nat", "--json", "--timeout", "3s", *more, url]
    status, output = process.run(command, server.case_log, patience=60)
    try:
        report = json.loads(output[output.index("{") :])
    except ValueError:
        raise Failure(f"no report, exit status {status}", output) from None
    if status != 0:
        raise Failure(f"exit status {status}", output)
    return report


def probe(nat):
    """A case body: the probe names the NAT."""

    def body(server):
        home, namespace = nat.client(server)
        report = run_probe(server, namespace)
        found = report["nat"]
        expected = {
            "mapping": nat.mapping,
            "filtering": nat.filtering,
            "kind": nat.kind,
            "hairpinning": None if nat.on_the_nat else nat.hairpinning,
            "fragments_pass": True,
            "addresses_rewritten": False,
        }
        wrong = {key: found[key] for key in expected if found[key] != expected[key]}
        addresses = {address.rsplit(":", 1)[0] for address in found["mapped_addresses"]}
        if wrong or addresses != {home.public_address}:
            raise Failure(f"{wrong or addresses}, not {expected}", json.dumps(found, indent=1))
        return f"mapping {found['mapping']}, filtering {found['filtering']}: {found['kind']}"

    return body


def natdiscovery(nat):
    """A case body: turnutils_natdiscovery comes to the same verdicts."""

    def body(server):
        client = process.require("turnutils_natdiscovery", PACKAGE)
        _, namespace = nat.client(server)
        command = [*namespace.prefix, client, "-m", "-f", "-p", server.site.ports[0], server.site.listen[0]]
        _, output = process.run(command, server.case_log, patience=60)
        verdicts = re.findall(r"NAT with (.*) (Mapping|Filtering)!", output)
        expected = [(WORDS[nat.mapping], "Mapping"), (WORDS[nat.filtering], "Filtering")]
        if verdicts != expected:
            raise Failure(f"{verdicts}, not {expected}", output)
        if "!= XOR-Mapped" in output or "No ALG" not in output:
            raise Failure("MAPPED-ADDRESS and XOR-MAPPED-ADDRESS differ, or one is missing", output)
        return ", ".join(f"{verdict} {of}" for verdict, of in verdicts)

    return body


def natdiscovery_extra(nat, flags, expected):
    """A case body: another test of turnutils_natdiscovery, and how often its output has to say something."""

    def body(server):
        client = process.require("turnutils_natdiscovery", PACKAGE)
        _, namespace = nat.client(server)
        command = [*namespace.prefix, client, *flags, "-p", server.site.ports[0], server.site.listen[0]]
        _, output = process.run(command, server.case_log, patience=60)
        for text, count in expected.items():
            if output.count(text) != count:
                raise Failure(f"'{text}' {output.count(text)} times, not {count}", output)
        return ", ".join(f"'{text}' {count} times" for text, count in expected.items())

    return body


def stunclient(server):
    """turnutils_stunclient asks for answers from elsewhere, and to another port: all three come."""
    client = process.require("turnutils_stunclient", PACKAGE)
    _, namespace = FULL_CONE.client(server)
    command = [*namespace.prefix, client, "-p", server.site.ports[0], server.site.listen[0]]
    _, output = process.run(command, server.case_log, patience=20)
    answers = len(re.findall(r"UDP reflexive addr", output))
    other = f"{server.site.listen[1]}:{server.site.ports[1]}"
    if "RFC 5780 response 3" not in output or answers != 3 or f"Response origin: : {other}" not in output:
        raise Failure(f"{answers} answers", output)
    return f"{answers} answers, from {other} too"


def lifetime(server):
    """The probe measures how long mappings live, here where that is known."""
    home, namespace = PORT_RESTRICTED.client(server)
    with home.nat.entered():
        for name in ("udp_timeout", "udp_timeout_stream"):
            with open(f"/proc/sys/net/netfilter/nf_conntrack_{name}", "w") as file:
                file.write(str(LIFETIME))
    try:
        report = run_probe(server, namespace, "--lifetime", "10s")
    finally:
        with home.nat.entered():
            for name, usual in (("udp_timeout", 30), ("udp_timeout_stream", 120)):
                with open(f"/proc/sys/net/netfilter/nf_conntrack_{name}", "w") as file:
                    file.write(str(usual))
    found = report["nat"]["binding_lifetime_seconds"]
    if not found["at_least"] < LIFETIME + 1 or not LIFETIME <= found["gone_by"] <= LIFETIME + 3:
        raise Failure(f"{found}, where mappings live {LIFETIME} s", json.dumps(report, indent=1))
    return f"{found['at_least']:.1f} s to {found['gone_by']:.1f} s where mappings live {LIFETIME} s"


KINDS = {
    "no-nat": NO_NAT,
    "firewall": FIREWALL,
    "full-cone": FULL_CONE,
    "full-cone-hairpinning": HAIRPINNING,
    "address-restricted": ADDRESS_RESTRICTED,
    "port-restricted": PORT_RESTRICTED,
    "address-dependent-mapping": ADDRESS_DEPENDENT,
    "symmetric": SYMMETRIC,
}

CASES = [
    *(Case(f"probe-nat/{name}", probe(nat)) for name, nat in KINDS.items()),
    # For its third mapping test turnutils_natdiscovery takes the OTHER-ADDRESS of its second answer, which is opposite
    # to where that came from (RFC 5780 section 6.1), so it never asks the one address on both ports and cannot see an
    # address-dependent mapping. coturn's server has its port wrong in the way that this needs.
    *(Case(f"natdiscovery/{name}", natdiscovery(nat)) for name, nat in KINDS.items() if nat is not ADDRESS_DEPENDENT),
    Case(
        "natdiscovery/padding",
        natdiscovery_extra(FULL_CONE, ["-f", "-P"], {"NAT with Endpoint Independent Filtering!": 1}),
    ),
    Case(
        "natdiscovery/hairpinning",
        natdiscovery_extra(HAIRPINNING, ["-H"], {"maybe a successful hairpinning": 1}),
    ),
    Case(
        "natdiscovery/lifetime-with-response-port",
        natdiscovery_extra(PORT_RESTRICTED, ["-t", "-T", "2"], {"RFC 5780 response": 2, "timeout": 0}),
    ),
    Case("stunclient/walk", stunclient),
    Case("probe-nat/lifetime", lifetime),
]
