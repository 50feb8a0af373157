"""The server's Prometheus page, read after all the clients have been there."""

import http.client
import re

from clients import ice
from rig.process import Failure
from rig.server import METRICS
from rig.suite import Case

SAMPLE = re.compile(r'^([a-zA-Z_:][\w:]*)(\{[^{}]*\})? (\S+)( -?\d+)?$')


def scrape():
    """The page as {sample with labels: value}, and {metric: type}; every line has to be well formed."""
    try:
        connection = http.client.HTTPConnection(*METRICS, timeout=5)
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        raise Failure(f"GET /metrics: {error}") from None
    if answer.status != 200:
        raise Failure(f"GET /metrics: HTTP {answer.status}", text)
    samples, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            types[name] = kind
        if not line or line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        if match is None:
            raise Failure(f"not a sample: {line!r}")
        samples[match[1] + (match[2] or "")] = float(match[3])
    return samples, types


def allocations_now(samples, types):
    """The sum over the gauges that count allocations."""
    gauges = {name for name, kind in types.items() if kind == "gauge" and "allocation" in name}
    values = [value for sample, value in samples.items() if sample.split("{")[0] in gauges]
    if not values:
        raise Failure("no gauge of allocations", "\n".join(sorted(types)))
    return sum(values)


def page(server):
    """The page is there, well formed, hairpin's, and has counted something."""
    samples, types = scrape()
    own = {name: value for name, value in samples.items() if name.startswith("hairpin_")}
    if not own or not any(own.values()):
        raise Failure("no hairpin_ sample that is not zero", "\n".join(sorted(samples)))
    shown = [f"{name} {value:g}" for name, value in sorted(own.items()) if value][:4]
    return f"{len(samples)} samples, {len(types)} metrics: " + "; ".join(shown)


def allocations_fall(server):
    """A call that ends gives its allocations back. turnutils_uclient's probes never do, so the rest is theirs."""
    before = allocations_now(*scrape())
    sides = ice.call(server.case_log, ice.turn_account(server, "127.0.0.1"))
    ice.require_exchange(sides)
    after = allocations_now(*scrape())
    if after > before:
        raise Failure(f"{before:g} allocations before a call, {after:g} after it")
    return f"{before:g} allocations before a call, {after:g} after it"


CASES = [
    Case("metrics/page", page, hairpin_only=True),
    Case("metrics/allocations-fall", allocations_fall, hairpin_only=True),
]
