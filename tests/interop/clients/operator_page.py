"""The operator's page, in a headless Chromium and in Firefox (browser/operator_page.mjs), beside a load of `hairpin bench`."""

import re
import shutil
import time

from rig import process
from rig.dialogue import Dialogue
from rig.process import Child, Failure
from rig.suite import Case

from .browsers import BROWSER

ADDRESS = "127.0.0.1:9642"
URL = f"http://{ADDRESS}/"
READER = "cmVhZGluZy1pcy1hbGwtdGhpcy1kb2Vz"
OPERATOR = "b3BlcmF0aW5nLWlzLXdoYXQtdGhpcy1pcw"
# Further lines of the configuration, by section.
SECTIONS = {
    "admin": [
        'socket = ""',
        f'address = "{ADDRESS}"',
        f'token = [{{ name = "reader", token = "{READER}" }}, '
        f'{{ name = "operator", token = "{OPERATOR}", scope = "operate" }}]',
    ],
}
CLIENTS = 300
MANY = 20_000
LARGEST_PICTURE = 200_000


class Page:
    """The browser with the page, which stays open from one case to the next."""

    def __init__(self, server, name="chromium"):
        node = process.require("node", "nodejs")
        if not (BROWSER / "node_modules" / "playwright-core").is_dir():
            raise Failure("playwright-core is not installed: run tests/interop/install")
        self.program = process.require("chromium", "chromium")
        home = server.workdir / f"{name}-home"
        home.mkdir(exist_ok=True)
        log = server.workdir / f"{name}.log"
        self._dialogue = Dialogue(name, [node, BROWSER / "operator_page.mjs"], log, env={"HOME": str(home)})

    def do(self, action, **what):
        """Has it done; returns what the action returns."""
        self._dialogue.tell({"do": action, **what})
        answer = self._dialogue.hear(60)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer["value"]

    def close(self):
        """Ends the browser."""
        self._dialogue.close()

    def sign_in(self, token=OPERATOR, **how):
        self.do("open", program=self.program, url=URL, **how)
        self.prove(token)

    def prove(self, token=OPERATOR):
        """Signs in, on the page that is open."""
        self.do("fill", at="#token", text=token)
        self.do("press", key="Enter")
        self.do("until", script="document.getElementById('sign-in').hidden")


def page_of(server):
    """The page of a server, opened with the first case that asks."""
    if getattr(server, "page", None) is None:
        server.page = Page(server)
    return server.page


def load(server):
    """The load beside it, which lasts for two minutes and is then started anew."""
    if getattr(server, "load", None) is None or not server.load.running:
        server.load = bench(server, server.password, "-s", "relay-to-relay", "--rate", "3000", "--clients", str(CLIENTS))
    return server.load


def bench(server, password, *how):
    command = [server.hairpin, "bench", f"turn:{server.site.listen[0]}", "-u", server.user, "-p", password]
    command += ["--every", "20ms", "--wait", "sleep", "--duration", "2m", *how]
    return Child(command, server.workdir / "bench.log")


def sign_in(server):
    """Without a token nothing is shown; a wrong one is not taken, a right one is, and it stands in no address."""
    page = page_of(server)
    load(server)
    page.do("open", program=page.program, url=URL)
    page.do("until", script="!document.getElementById('sign-in').hidden")
    if not page.do("hidden", at="#now"):
        raise Failure("something is shown without a token")
    page.do("fill", at="#token", text="d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc")
    page.do("press", key="Enter")
    page.do("until", script="document.getElementById('sign-in-trouble').textContent.includes('not known')")
    page.sign_in()
    page.do("until", script="document.getElementById('state').textContent.includes('up ')")
    if OPERATOR in page.do("evaluate", script="location.href + document.documentElement.outerHTML"):
        raise Failure("the token stands in the page or its address")
    return "by keyboard alone; a wrong token is told so"


def charts(server):
    """Charts move with the load: sessions, rates each way, a line for each worker, and one for what is refused."""
    page = page_of(server)
    load(server)
    bench(server, "wrong", "--clients", "8", "--rate", "100").process.wait(30)
    page.do("click", at="[data-minutes='5']")
    lines = "document.querySelectorAll('#charts .line')"
    page.do("until", script=f"[...{lines}].filter((line) => line.getAttribute('d').includes('L')).length >= 7", patience=40000)
    shown = page.do("evaluate", script="""[...document.querySelectorAll('#charts .card')].map((card) =>
        [card.querySelector('h2').textContent, card.querySelectorAll('.line').length, card.querySelector('svg').getAttribute('aria-label')])""")
    labels = {title: (count, label) for title, count, label in shown}
    if labels["Workers, share of a processor"][0] != 2:
        raise Failure(f"not a line for each of two workers: {labels}")
    refused = "document.querySelectorAll('#charts .card')[6].querySelector('svg').getAttribute('aria-label')"
    page.do("until", script=f"{refused}.includes('credentials/')")
    page.do("until", script="[...document.querySelectorAll('#tiles .card')].some((tile) => /^to peers/.test(tile.lastChild.textContent) && /[kM]bit/.test(tile.firstChild.textContent))")
    for title in ("Loss, share of packets", "Relay ports"):
        if not re.search(r"(lost|used) [0-9]", labels[title][1]):
            raise Failure(f"nothing is told of {title}: {labels[title]}")
    sessions = page.do("text", at="#tiles .card b")
    page.do("evaluate", script="document.querySelector('#charts svg').focus()")
    page.do("press", key="ArrowLeft")
    if not page.do("text", at="#charts .moment"):
        raise Failure("arrows do not walk through a chart")
    return f"{sessions} sessions; {labels['Throughput'][1]}"


def table(server):
    """The table of the real sessions: search, order, one in full with its path."""
    page = page_of(server)
    load(server)
    page.do("click", at="nav [data-view=sessions]")
    page.do("until", script="document.querySelectorAll('#rows tr[data-id]').length > 5")
    if page.do("evaluate", script="document.querySelectorAll('#rows tr[data-id]').length") > 60:
        raise Failure("rows are in the document that nobody sees")
    page.do("evaluate", script="document.getElementById('scroller').focus()")
    page.do("press", key="ArrowDown")
    page.do("press", key="ArrowDown")
    page.do("press", key="Enter")
    page.do("until", script="document.querySelectorAll('#path .node.peer').length > 0 && /bit/.test(document.querySelector('#path .rate').textContent)")
    # Beside what passes in all, what passes to and from the one peer that each has, which takes a second look.
    page.do("until", script="/[1-9].*bit.*[1-9].*bit/.test(document.querySelector('#path .node.peer .rates')?.textContent)")
    return page.do("evaluate", script="document.querySelector('#path svg').getAttribute('aria-label')")


def ends(server):
    """One is ended: not when the question is answered with no, and at once when it is confirmed."""
    page = page_of(server)
    title = page.do("text", at="#session-title")
    session = re.fullmatch(r"Session ([0-9a-f]{16})", title).group(1)
    page.do("click", at="#end")
    page.do("press", key="Escape")
    page.do("until", script="!document.getElementById('confirm').open")
    if "ended" in page.do("text", at="#session-title"):
        raise Failure("it ended without being confirmed")
    page.do("click", at="#end")
    page.do("click", at="#confirm-yes")
    page.do("until", script="document.getElementById('session').hidden")
    page.do("fill", at="#search", text=session)
    page.do("until", script="/^0 of/.test(document.getElementById('found').textContent)")
    page.do("fill", at="#search", text="")
    return f"session {session} is gone"


def many_rows(server):
    """20,000 sessions: few rows in the document, each place is reached, order and search take no time to speak of."""
    page = page_of(server)
    page.sign_in()
    page.do("pretend", count=MANY)
    page.do("click", at="nav [data-view=sessions]")
    page.do("until", script=f"document.getElementById('found').textContent.startsWith('{MANY:,}')")
    measured = page.do("evaluate", script="""(async () => {
        const scroller = document.getElementById("scroller");
        const frame = () => new Promise(requestAnimationFrame);
        const times = [];
        let most = 0;
        for (let step = 0; step <= 100; step += 1) {
            const started = performance.now();
            scroller.scrollTop = (scroller.scrollHeight * step) / 100;
            await frame();
            await frame();
            times.push(performance.now() - started);
            most = Math.max(most, document.querySelectorAll("#rows tr").length);
        }
        const timed = (work) => {
            const started = performance.now();
            work();
            return performance.now() - started;
        };
        const last = [...document.querySelectorAll("#rows tr[data-id]")].at(-1).getAttribute("aria-rowindex");
        const order = timed(() => document.querySelectorAll("#columns button")[0].click());
        scroller.scrollTop = 0;
        await frame();
        await frame();
        const first = document.querySelector("#rows tr[data-id] td").textContent;
        const search = document.getElementById("search");
        search.value = "user-0199 udp";
        const sought = timed(() => search.dispatchEvent(new Event("input")));
        const found = document.getElementById("found").textContent;
        search.value = "";
        search.dispatchEvent(new Event("input"));
        times.sort((one, other) => one - other);
        return { most, last, first, order, sought, found, middle: times[50], slow: times[95] };
    })()""")
    if measured["most"] > 80 or measured["last"] != str(MANY + 1) or measured["first"] != "user-000000":
        raise Failure(f"rows are not as they should be: {measured}")
    if not measured["found"].startswith("33 of"):
        raise Failure(f"the search found {measured['found']}")
    if measured["slow"] > 250 or measured["order"] > 1500 or measured["sought"] > 1500:
        raise Failure(f"it is slow: {measured}")
    return (
        f"at most {measured['most']} rows in the document; two frames after a jump {measured['middle']:.0f} ms "
        f"(95 % within {measured['slow']:.0f} ms), order {measured['order']:.0f} ms, search {measured['sought']:.0f} ms"
    )


def setup(server):
    """iceServers to copy, what doctor finds with how to mend it, and the settings in force without secrets."""
    page = page_of(server)
    page.sign_in()
    page.do("click", at="nav [data-view=setup]")
    page.do("until", script="document.getElementById('settings').textContent.includes('[[listener]]')")
    shown = page.do("text", at="#settings")
    for secret in (server.secret, server.password, OPERATOR, READER):
        if secret in shown:
            raise Failure("a secret is shown")
    findings(page)
    page.do("click", at="#ice-form button[type=submit]")
    page.do("until", script="!document.getElementById('ice').hidden")
    made = page.do("evaluate", script="""(() => {
        const iceServers = JSON.parse(document.getElementById("ice").textContent);
        new RTCPeerConnection({ iceServers }).close();
        return iceServers.flatMap(({ urls }) => urls).length;
    })()""")
    return f"{made} URLs that a browser takes; {len(shown.splitlines())} lines of settings"


def findings(page):
    """Those of doctor: the firewall cannot be seen from inside, which is said with what to do instead."""
    page.do("until", script="/problem/.test(document.getElementById('findings-told').textContent)")
    shown = page.do("texts", at="#findings .finding")
    firewall = [text for text in shown if "firewall.unknown" in text]
    if not firewall or "Why it matters" not in firewall[0] or "`hairpin doctor` on the machine" not in firewall[0]:
        raise Failure(f"the findings are {shown}")
    if "as they should be" not in page.do("text", at="#findings-fine summary"):
        raise Failure("nothing is as it should be")
    return len(shown)


def firefox(server):
    """The same page in Firefox: sign-in by keyboard, charts, the table, a session's path with rates, and findings."""
    load(server)
    page = Page(server, "firefox")
    profile = server.workdir / "firefox-page"
    profile.mkdir(exist_ok=True)
    page.do("openFirefox", program=process.require("firefox-esr", "firefox-esr"), profile=str(profile), url=URL)
    page.prove()
    page.do("until", script="document.querySelectorAll('#charts .line').length >= 7")
    page.do("click", at="nav [data-view=sessions]")
    page.do("until", script="document.querySelectorAll('#rows tr[data-id]').length > 5")
    page.do("click", at="#rows tr[data-id] td")
    page.do("until", script="/[1-9].*bit.*[1-9].*bit/.test(document.querySelector('#path .node.peer .rates')?.textContent)")
    rates = page.do("text", at="#path .node.peer .rates")
    page.do("click", at="nav [data-view=setup]")
    found = findings(page)
    if complaints := page.do("complaints"):
        raise Failure(f"the console said {complaints}")
    page.close()
    return f"the peer's rates are {rates}; {found} findings"


def taken_away(server):
    """A token that is known no more: the page says so, and nothing of what it showed is left in it."""
    page = page_of(server)
    load(server)
    page.sign_in()
    page.do("until", script="document.querySelectorAll('#charts .line').length >= 7")
    page.do("click", at="nav [data-view=sessions]")
    page.do("until", script="document.querySelectorAll('#rows tr[data-id]').length > 5")
    page.do("click", at="#rows tr[data-id] td")
    page.do("until", script="document.querySelectorAll('#facts dd').length > 5")
    user = page.do("text", at="#rows tr[data-id] td")
    page.do("answer", status=401)
    page.do("until", script="document.getElementById('sign-in-trouble').textContent.includes('not known')")
    left = page.do("evaluate", script=f"""[
        document.body.textContent.includes({user!r}),
        document.querySelectorAll(".split.open, #facts dd, #path *, #tiles *, #charts .line, #certificates *, #listeners *").length,
        sessionStorage.length,
        ["now", "sessions", "setup"].some((id) => !document.getElementById(id).hidden),
    ]""")
    if left != [False, 0, 0, False]:
        raise Failure(f"left in the page (the user, elements, what is stored, a part shown): {left}")
    page.do("answer")
    page.prove()
    page.do("until", script="document.querySelectorAll('#rows tr[data-id]').length > 5")
    return "told so, nothing left, and signed in again"


def goes_wrong(server):
    """A server that does not answer is told apart from one whose answer the page makes nothing of; no name of JavaScript's is a part."""
    page = page_of(server)
    page.sign_in()
    page.do("evaluate", script="void (location.hash = '#constructor')")
    page.do("until", script="!document.getElementById('now').hidden && document.querySelectorAll('#tiles .card').length > 0")
    page.do("answer", gone=True)
    page.do("until", script="document.getElementById('trouble').textContent === 'The server does not answer.'")
    page.do("answer", status=200)
    page.do("until", script="!/does not answer/.test(document.getElementById('trouble').textContent)")
    told = page.do("text", at="#trouble")
    page.do("answer")
    page.do("until", script="document.getElementById('trouble').hidden")
    return f"an outage is called one; an answer without anything in it: {told!r}"


def reader(server):
    """A token for looking shows all, and orders nothing: the page says so."""
    page = page_of(server)
    page.sign_in(READER)
    page.do("click", at="nav [data-view=setup]")
    page.do("click", at="#ice-form button[type=submit]")
    page.do("until", script="/looking only/.test(document.getElementById('trouble').textContent)")
    page.do("click", at="#sign-out")
    page.do("until", script="!document.getElementById('sign-in').hidden && sessionStorage.length === 0")
    return "is told that its token is for looking; signed out, it is forgotten"


def screenshots(server):
    """Pictures for the documentation, light, dark, with findings, and on a phone, which has no need to scroll sideways."""
    page = page_of(server)
    load(server)
    if getattr(server, "pictures", None):
        # Charts with something in them.
        time.sleep(120)
        load(server)
        time.sleep(10)
    sizes = []
    for name, scheme, width, height in (("light", "light", 1280, 900), ("dark", "dark", 1200, 640), ("setup", "light", 1200, 760), ("phone", "light", 390, 844)):
        page.sign_in(scheme=scheme, width=width, height=height)
        page.do("click", at="[data-minutes='5']")
        page.do("until", script="document.querySelectorAll('#charts .line').length >= 7")
        if name == "dark":
            page.do("click", at="nav [data-view=sessions]")
            page.do("until", script="document.querySelectorAll('#rows tr[data-id]').length > 5")
            page.do("click", at="#rows tr[data-id] td")
            page.do("until", script="document.querySelectorAll('#path .node.peer').length > 0")
            page.do("until", script="!/^0/.test(document.querySelector('#path .rate').textContent)")
            page.do("until", script="document.querySelector('#path .node.peer .rates') !== null")
            cut = page.do("evaluate", script="""[...document.querySelectorAll("#columns th, #rows tr[data-id] td")]
                .filter((cell) => cell.offsetWidth && cell.scrollWidth > cell.clientWidth).map((cell) => cell.textContent)""")
            if cut:
                raise Failure(f"cells are cut off: {cut[:4]}")
        if name == "setup":
            page.do("click", at="nav [data-view=setup]")
            findings(page)
            page.do("evaluate", script="document.getElementById('findings-title').scrollIntoView()")
        for view in ("sessions", "setup", "now") if name == "phone" else ():
            page.do("click", at=f"nav [data-view={view}]")
            time.sleep(0.5)
            if page.do("evaluate", script="document.documentElement.scrollWidth > innerWidth"):
                raise Failure(f"{view} is wider than a phone")
        time.sleep(0.5)
        path = server.workdir / f"page-{name}.png"
        page.do("screenshot", path=str(path))
        sizes.append(path.stat().st_size)
        if sizes[-1] > LARGEST_PICTURE:
            raise Failure(f"{path.name} has {sizes[-1]} bytes")
        if getattr(server, "pictures", None):
            shutil.copy(path, server.pictures / path.name)
    return ", ".join(f"{size // 1000} kB" for size in sizes)


def no_complaints(server):
    """Nothing was said on the console, a breach of the policy included, and nobody else was asked for anything."""
    page = page_of(server)
    if complaints := page.do("complaints"):
        raise Failure(f"the console said {complaints}")
    load(server).kill()
    return "no complaint in all of it"


CASES = [
    Case("page/sign-in", sign_in, hairpin_only=True),
    Case("page/charts", charts, hairpin_only=True),
    Case("page/sessions", table, hairpin_only=True),
    Case("page/ends-a-session", ends, hairpin_only=True),
    Case("page/20000-rows", many_rows, hairpin_only=True),
    Case("page/set-up", setup, hairpin_only=True),
    Case("page/token-taken-away", taken_away, hairpin_only=True),
    Case("page/goes-wrong", goes_wrong, hairpin_only=True),
    Case("page/for-looking-only", reader, hairpin_only=True),
    Case("page/screenshots", screenshots, hairpin_only=True),
    Case("page/firefox", firefox, hairpin_only=True),
    Case("page/no-complaints", no_complaints, hairpin_only=True),
]
