"""The outcomes of the calls as Markdown: printed after every run, and docs/nat-lab.md when that is asked for."""

import os
import platform
import subprocess
from importlib.metadata import distributions

from calls import BAD_LINE_HEAD_START, HEAD_START
from clients import ice

HEADING = """# The paths that calls take, and what they cost to set up

Measured by [tests/lab](../tests/lab/README.md); `tests/lab/run --write` does it anew and writes this page.

Two clients live in two of ten worlds, made of network namespaces and nftables, with hairpin on a public address
between them as their STUN and TURN server. Each is told of all it offers: STUN, and TURN over UDP, TCP and, on port
443, TLS; it has an IPv4 and an IPv6 address. In every pair two agents make a call by ICE, with every kind of candidate.
Which path they have to end up with follows from the behaviours of the two NATs; a run in which one of them is another
fails.

| path | |
|---|---|
| host | directly, from one's own address to the other's |
| reflexive | directly, through addresses that STUN told or the other side saw |
| relay UDP | through hairpin, which both reach over UDP |
| relay TCP, relay TLS | through hairpin, which one or both can reach in this way only |

Direct means that packets came to each client from elsewhere than the server, and that hairpin did not relay them;
relayed, that none came from elsewhere, and that hairpin's metrics counted them. Seconds are from the start of gathering
until the connection stood on both sides.
"""


def table(worlds, outcomes):
    """One row and one column a world; a pair stands once, where it was asked for."""
    names = [world.name for world in worlds]
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row, name in enumerate(names):
        cells = ["" for _ in range(row)] + [_cell(outcomes.get((name, other))) for other in names[row:]]
        lines.append(f"| **{name}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(outcome):
    return f"{outcome.path} {outcome.set_up:.2f} s" if outcome else "·"


def pairs(outcomes):
    """The same as a list, for calls between some worlds only."""
    lines = ["| from | to | path | set up |", "|---|---|---|---|"]
    lines += [f"| {a} | {b} | {o.path} | {o.set_up:.2f} s |" for (a, b), o in outcomes.items()]
    return "\n".join(lines) + "\n"


def page(worlds, by_aioice, by_chromium, hairpin):
    """The whole of docs/nat-lab.md."""
    kinds = ["| world | |", "|---|---|", *(f"| {world.name} | {world.what} |" for world in worlds)]
    return "\n".join(
        [
            HEADING,
            "## The worlds\n",
            *kinds,
            "",
            f"## Every pair, by aioice {_aioice_version()}\n",
            "aioice keeps the first pair of candidates that works, whatever comes after it. So its agents try direct pairs first",
            f"and those with a relay {HEAD_START} s later, {BAD_LINE_HEAD_START:g} s on a bad line, which is most of what setting up a relayed",
            "call takes here; before that, an agent without UDP waits 1.2 s for an answer to UDP.\n",
            table(worlds, by_aioice),
            f"## The pairs that matter most, by {_output('chromium', '--version').split(' built')[0]}\n",
            "Browsers try all at once, use the first pair that works and change to a better one later. A call has video and a",
            "data channel, both ways; setting up includes the DTLS handshake.\n",
            pairs(by_chromium),
            "## The machine\n",
            f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, {_output(hairpin, '--version')}.",
            "The network between the namespaces has no delay of its own, so the seconds are those of the agents' timers and work,",
            "and a busy machine shows in them.",
            "",
        ]
    )


def _output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _aioice_version():
    libraries = (ice.PYTHON.parent.parent / "lib").glob("python*/site-packages")
    found = [d.version for d in distributions(path=[str(path) for path in libraries]) if d.name == "aioice"]
    return found[0] if found else "of an unknown version"
