"""The tester: its page in a headless Chromium (browser/tester.mjs), and the same report of `hairpin probe --report`."""

import json
import shutil

from rig import process
from rig.dialogue import Dialogue
from rig.process import Failure
from rig.server import REALM, Hairpin
from rig.suite import ROOT, Case

from .browsers import BROWSER

PORT = 8444
ADMIN = "127.0.0.1:9642"
OPERATOR = "b3BlcmF0aW5nLWlzLXdoYXQtdGhpcy1pcw"
LARGEST_PICTURE = 300_000
DONE = "!document.getElementById('outcome').hidden"
# The findings that both reports are worded from, and the wording.
SAMPLES = ROOT / "tests/tester/reports.json"


class Tested(Hairpin):
    """A server with one listener of each kind, so that a test is short, and a second address for NAT behaviour."""

    def configuration(self):
        host, files = self.site.listen[0], self.certificate
        tokens = f'{{ name = "operator", token = "{OPERATOR}", scope = "operate" }}'
        lines = ["[server]", "workers = 2", 'drain = "0s"']
        for transport, port in (("udp", 3478), ("tcp", 3478), ("tls", 5349)):
            lines += ["[[listener]]", f'transport = "{transport}"', f'address = "{host}:{port}"']
        for second in self.site.second:
            lines += ["[[discovery]]", f'primary = "{host}:3478"', f'alternate = "{second}:3479"']
        lines += ["[[tls.certificate]]", f'certificate = "{files.chain}"', f'key = "{files.key}"']
        lines += ["[[relay.address]]", f'address = "{host}"']
        lines += ["[auth]", f'realm = "{REALM}"', f'secrets = ["{self.secret}"]']
        lines += ["[[auth.user]]", f'name = "{self.user}"', f'password = "{self.password}"']
        lines += ["[admin]", 'socket = ""', f'address = "{ADMIN}"', f"token = [{tokens}]"]
        lines += ["[admin.tester]", "public = true", f'address = "{host}:{PORT}"']
        lines += ["[credentials]", f'hosts = ["{host}"]']
        return "\n".join(lines) + "\n"


class Page:
    """The browsers, which stay open from one case to the next."""

    def __init__(self, server):
        node = process.require("node", "nodejs")
        if not (BROWSER / "node_modules" / "playwright-core").is_dir():
            raise Failure("playwright-core is not installed: run tests/interop/install")
        self.program = process.require("chromium", "chromium")
        home = server.workdir / "chromium-home"
        home.mkdir(exist_ok=True)
        log = server.workdir / "chromium.log"
        self._dialogue = Dialogue("chromium", [node, BROWSER / "tester.mjs"], log, env={"HOME": str(home)})

    def do(self, action, **what):
        """Has it done; returns what the action returns."""
        self._dialogue.tell({"do": action, **what})
        answer = self._dialogue.hear(what.get("patience", 20000) / 1000 + 40)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer["value"]

    def test(self, patience=60000):
        """Starts the test by keyboard and waits for its end; returns the report."""
        self.do("evaluate", script="document.getElementById('start').focus()")
        self.do("press", key="Enter")
        self.do("until", script=DONE, patience=patience)
        return self.do("text", at="#report")


def page_of(server):
    """The browsers of a server, started with the first case that asks."""
    if getattr(server, "page", None) is None:
        server.page = Page(server)
    return server.page


def read(report):
    """{heading: its lines} of a report."""
    parts, at = {}, ""
    for line in report.splitlines():
        if line and line == line.upper() and not line.startswith(" "):
            at = line
        elif line.strip():
            parts.setdefault(at, []).append(line.strip())
    return parts


def outcomes(report):
    """What came of STUN and of the relay over each transport, the best of each."""
    found = {}
    lines = report.splitlines()
    for line, after in zip(lines, lines[1:]):
        if after.strip().startswith("outcome") and line.strip()[:4] in ("STUN", "TURN"):
            kind, outcome = line.strip().split(",")[0], after.split(None, 1)[1].strip()
            if found.get(kind) != "works":
                found[kind] = outcome
    return found


def expect(report, verdict, kinds, **parts):
    """Holds a report against what it has to say; `parts` are headings with a text that has to stand under them."""
    told = read(report)
    if told["VERDICT"] != [verdict]:
        raise Failure(f"the verdict is {told['VERDICT']}", report)
    if (found := outcomes(report)) != kinds:
        raise Failure(f"the outcomes are {found}", report)
    for heading, wanted in parts.items():
        text = " ".join(told[heading.replace("_", " ")])
        if wanted not in text:
            raise Failure(f"{wanted!r} does not stand under {heading}", report)


def in_words(report):
    """What was measured over each transport, on a line."""
    told = []
    rows = {}
    for line in read(report)["MEASURED"]:
        if line.startswith(("STUN", "TURN")):
            rows = {}
            told.append((line.split(",")[0].split()[-1] if line.startswith("TURN") else "STUN", rows))
        else:
            rows[line[:18].strip()] = line[18:].strip()
    words = [f"{name} {rows.get('round trip', rows['outcome'])} {rows.get('throughput', '')}".strip() for name, rows in told]
    return "; ".join(words)


ALL_WORK = {"STUN over UDP": "works", "TURN over UDP": "works", "TURN over TCP": "works", "TURN over TLS": "works"}
GOOD = "Calls work from here."
UNMEASURED = "not known: the browser could not measure it"
NOT_KNOWN = "Whether calls work from here is not known: the browser could not measure it."
WITHOUT_UDP = "Calls work from here, but not over UDP: sound and picture may stutter when the line is busy."


def measures(server):
    """Without obstacles all ways work, each with all its figures, and the report copied is the one shown."""
    page = page_of(server)
    page.do("open", program=page.program, url=f"http://{server.site.listen[0]}:{PORT}/test")
    report = page.test()
    expect(report, GOOD, ALL_WORK, DOES_NOT_WORK="Nothing.", TELL_THE_ADMINISTRATOR="Nothing.")
    for label in ("set-up", "round trip", "jitter", "loss", "throughput", "media, loss", "media, jitter", "media, rate"):
        if report.count(f"\n    {label:<18}") < 3:
            raise Failure(f"not every relay has its {label}", report)
    for secret in (server.secret, ":tester:", OPERATOR):
        if secret in report:
            raise Failure("a secret stands in the report", report)
    page.do("click", at="#copy")
    page.do("until", script="document.getElementById('copied').textContent === 'Copied.'")
    return in_words(report)


def asks_for_a_token(server):
    """Where the tester is not public, the page asks for a token, and says so where it is not known."""
    page = page_of(server)
    page.do("refuse", status=401, error="a token of [admin] is needed")
    page.do("click", at="#start")
    page.do("until", script="!document.getElementById('sign-in').hidden")
    page.do("fill", at="#token", text=OPERATOR)
    page.do("refuse", status=429, error="there were many tests")
    page.do("press", key="Enter")
    page.do("until", script="document.getElementById('trouble').textContent === 'there were many tests'")
    if OPERATOR in page.do("evaluate", script="location.href + document.documentElement.outerHTML"):
        raise Failure("the token stands in the page or its address")
    return "by keyboard; the token goes into no address"


def picture(server, name, scheme, width, height):
    """A picture of the page as it is, for the documentation; returns its size."""
    page = page_of(server)
    page.do("look", scheme=scheme, width=width, height=height)
    page.do("evaluate", script="document.activeElement.blur(); scrollTo(0, 0)")
    if page.do("evaluate", script="document.documentElement.scrollWidth > innerWidth"):
        raise Failure(f"the page is wider than {width}")
    path = server.workdir / f"tester-{name}.png"
    page.do("screenshot", path=str(path))
    size = path.stat().st_size
    if size > LARGEST_PICTURE:
        raise Failure(f"{path.name} has {size} bytes")
    if getattr(server, "pictures", None):
        shutil.copy(path, server.pictures / path.name)
    return f"{size // 1000} kB"


NO_MEDIA = "window.AudioContext = class { constructor() { throw new Error('there is no audio'); } }; null;"
# Of the page's timers those that repeat, as long as they run.
TIMERS = """window.running = new Set();
const [begin, end] = [window.setInterval, window.clearInterval];
window.setInterval = (...what) => { const id = begin(...what); window.running.add(id); return id; };
window.clearInterval = (id) => { window.running.delete(id); end(id); };
null;"""
NO_CALLS = "RTCPeerConnection.prototype.setRemoteDescription = async () => { throw new Error('there are no calls'); }; null;"


def without_media(server):
    """A browser that makes no sound measures all the rest, and nothing runs on behind it."""
    page = page_of(server)
    page.do("open", program=page.program, url=f"http://{server.site.listen[0]}:{PORT}/test")
    page.do("evaluate", script=NO_MEDIA + TIMERS)
    report = page.test()
    expect(report, GOOD, ALL_WORK, DOES_NOT_WORK="Nothing.")
    if "media," in report or report.count("\n    throughput") < 3:
        raise Failure("another report than one of all but media", report)
    if left := page.do("evaluate", script="window.running.size"):
        raise Failure(f"{left} timers run on", report)
    return in_words(report)


def browser_fails(server):
    """Where the browser itself fails, the report says so and blames no server."""
    page = page_of(server)
    page.do("open", program=page.program, url=f"http://{server.site.listen[0]}:{PORT}/test")
    page.do("evaluate", script=NO_CALLS)
    report = page.test()
    kinds = {kind: "works" if kind.startswith("STUN") else UNMEASURED for kind in ALL_WORK}
    expect(report, NOT_KNOWN, kinds, TELL_THE_ADMINISTRATOR="Of the browser", MEASURED="there are no calls")
    return "not known, for the reason the browser gives"


def phone(server):
    """On a phone there is no need to scroll sideways, in the light and in the dark."""
    return ", ".join(picture(server, "phone", scheme, 390, 844) for scheme in ("light", "dark"))


def one_wording(server):
    """The page words findings as hairpin itself does."""
    page = page_of(server)
    samples = json.loads(SAMPLES.read_text())
    for sample in samples:
        told = page.do("wording", findings=sample["findings"])
        if told != "\n".join(sample["report"]) + "\n":
            raise Failure(f"another wording of {sample['name']}", told)
    return f"{len(samples)} reports word for word"


def no_complaints(server):
    """Nothing was said on the console, a breach of the policy included, and nobody else was asked for anything."""
    if complaints := page_of(server).do("complaints"):
        raise Failure(f"the console said {complaints}")
    return "no complaint in all of it"


CASES = [
    Case("tester/measures", measures, hairpin_only=True),
    Case("tester/phone", phone, hairpin_only=True),
    Case("tester/without-media", without_media, hairpin_only=True),
    Case("tester/browser-fails", browser_fails, hairpin_only=True),
    Case("tester/one-wording", one_wording, hairpin_only=True),
    Case("tester/asks-for-a-token", asks_for_a_token, hairpin_only=True),
    Case("tester/no-complaints", no_complaints, hairpin_only=True),
]

NO_UDP = {"STUN over UDP": "no answer", "TURN over UDP": "no answer", "TURN over TCP": "works", "TURN over TLS": "works"}
WITHOUT_UDP_TOLD = {"THIS_NETWORK": "no STUN over UDP gets through", "TELL_THE_ADMINISTRATOR": "let UDP out to 203.0.113.1"}
SYMMETRIC = {"THIS_NETWORK": "(symmetric)", "TELL_THE_ADMINISTRATOR": "its NAT is symmetric"}
# World: verdict, outcomes, and what has to stand under headings: of the page, and of the probe, which sees more.
EXPECTED = {
    "no-nat": (GOOD, ALL_WORK, {"THIS_NETWORK": "endpoint-independent mapping"}, {"THIS_NETWORK": "none: the server sees"}),
    "symmetric": (GOOD, ALL_WORK, SYMMETRIC, SYMMETRIC),
    "udp-blocked": (WITHOUT_UDP, NO_UDP, WITHOUT_UDP_TOLD, WITHOUT_UDP_TOLD),
}


def home_of(server, name):
    from worlds import WORLDS

    world = next(world for world in WORLDS if world.name == name)
    return server.site.lab.home(world, "a")


def by_page(name):
    """A case body: the page in that world says what it is and what works."""

    def body(server):
        page = page_of(server)
        home = home_of(server, name)
        script = server.workdir / f"chromium-{name}"
        script.write_text(f'#!/bin/sh\nexec {" ".join(map(str, home.client.prefix))} {page.program} "$@"\n')
        script.chmod(0o700)
        page.do("open", program=str(script), url=f"http://{server.site.listen[0]}:{PORT}/test")
        report = page.test(patience=120000)
        verdict, kinds, parts, _ = EXPECTED[name]
        expect(report, verdict, kinds, **parts)
        if verdict != GOOD:
            picture(server, "light", "light", 1280, 1150)
        return in_words(report)

    return body


def by_probe(name):
    """A case body: the probe in that world prints the same."""

    def body(server):
        home = home_of(server, name)
        host = server.site.listen[0]
        urls = [f"stun:{host}", f"turn:{host}?transport=udp", f"turn:{host}?transport=tcp", f"turns:{host}?transport=tcp"]
        command = [*home.client.prefix, server.hairpin, "probe", "--report", "--timeout", "3s", "--count", "50", "--rate", "100", *urls]
        command += ["--ca", server.certificate.authority, "--username", server.user]
        environment = {"HAIRPIN_PASSWORD": server.password}
        status, output = process.run(command, server.case_log, patience=90, env=environment)
        verdict, kinds, _, parts = EXPECTED[name]
        expect(output, verdict, kinds, **parts)
        if status != (0 if verdict == GOOD else 1):
            raise Failure(f"exit status {status}", output)
        return in_words(output)

    return body


WORLD_CASES = [
    case
    for name in EXPECTED
    for case in (
        Case(f"page/{name}", by_page(name), hairpin_only=True),
        Case(f"probe/{name}", by_probe(name), hairpin_only=True),
    )
]
