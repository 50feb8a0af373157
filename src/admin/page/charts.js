// Charts over time, and the path of a session, in SVG. All text goes in as text.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const MARGIN = { left: 66, right: 8, top: 8, bottom: 20 };
// As many colours as style.css has.
const COLOURS = 8;

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export function html(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// 1, 2 or 5 times a power of ten, not below the value.
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

// A chart of lines. draw({from, to, times, lines: [{name, values}]}): times in seconds, values one for each of them.
export class Chart {
  constructor(title, format) {
    this.title = title;
    this.format = format;
    this.legend = html("ul", { class: "legend" });
    this.picture = svg("svg", { role: "img", tabindex: "0", class: "chart" });
    this.moment = html("span", { class: "moment" });
    this.element = html("figure", { class: "card" }, html("figcaption", {}, html("h2", {}, title), this.moment), this.picture, this.legend);
    this.at = null;
    this.picture.addEventListener("pointermove", (event) => this.pointAt(event.offsetX));
    this.picture.addEventListener("pointerleave", () => this.choose(null));
    this.picture.addEventListener("blur", () => this.choose(null));
    this.picture.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.data && this.draw(this.data)).observe(this.picture);
  }

  pointAt(x) {
    if (!this.data?.times.length) return;
    const { from, to, times } = this.data;
    const time = from + ((x - MARGIN.left) / this.inner) * (to - from);
    let nearest = 0;
    times.forEach((other, place) => {
      if (Math.abs(other - time) < Math.abs(times[nearest] - time)) nearest = place;
    });
    this.choose(nearest);
  }

  key(event) {
    const last = (this.data?.times.length ?? 0) - 1;
    const step = { ArrowLeft: -1, ArrowRight: 1, Home: -last, End: last }[event.key];
    if (!step || last < 0) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(last, (this.at ?? last) + step)));
  }

  choose(place) {
    this.at = place;
    if (this.data) this.draw(this.data);
  }

  draw(data) {
    this.data = data;
    const { from, to, times, lines } = data;
    const width = this.picture.clientWidth || 400;
    this.inner = width - MARGIN.left - MARGIN.right;
    const inner = HEIGHT - MARGIN.top - MARGIN.bottom;
    const most = Math.max(0, ...lines.map(({ values }) => Math.max(0, ...values)));
    const top = most > 0 ? ceiling(most) : 1;
    const x = (time) => MARGIN.left + ((time - from) / (to - from)) * this.inner;
    const y = (value) => MARGIN.top + inner * (1 - value / top);
    const parts = [];
    for (const share of [0, 0.5, 1]) {
      const at = y(top * share);
      parts.push(svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: at, y2: at }));
      if (share === 0 || most > 0) parts.push(svg("text", { class: "tick", x: MARGIN.left - 6, y: at + 4, "text-anchor": "end" }, this.format(top * share)));
    }
    const minutes = Math.round((to - from) / 60);
    for (const [share, text, anchor] of [[0, `−${minutes} min`, "start"], [0.5, `−${minutes / 2} min`, "middle"], [1, "now", "end"]]) {
      parts.push(svg("text", { class: "tick", x: MARGIN.left + share * this.inner, y: HEIGHT - 4, "text-anchor": anchor }, text));
    }
    lines.forEach(({ values }, number) => {
      // A gap, as after a restart or a sleep of the page, is no line.
      let pen = "M";
      let before = null;
      let way = "";
      times.forEach((time, place) => {
        if (before !== null && time - before > 20) pen = "M";
        way += `${pen}${x(time).toFixed(1)} ${y(values[place]).toFixed(1)}`;
        pen = "L";
        before = time;
      });
      parts.push(svg("path", { class: `line c${number % COLOURS}`, d: way }));
    });
    const shown = this.at !== null && this.at < times.length ? this.at : times.length - 1;
    if (this.at !== null && times.length) {
      const at = x(times[shown]);
      parts.push(svg("line", { class: "cross", x1: at, x2: at, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
    }
    this.picture.setAttribute("height", HEIGHT);
    this.picture.replaceChildren(...parts);
    const latest = lines.map(({ name, values }) => `${name} ${this.format(values[shown] ?? 0)}`);
    this.picture.setAttribute("aria-label", `${this.title}: ${latest.join(", ") || "nothing"}`);
    this.moment.textContent = this.at !== null && times.length ? new Date(times[shown] * 1000).toLocaleTimeString() : "";
    this.legend.replaceChildren(
      ...lines.map(({ name, values }, number) =>
        html("li", {}, html("i", { class: `c${number % COLOURS}` }), html("span", {}, name), html("b", {}, this.format(values[shown] ?? 0))),
      ),
    );
    if (!lines.length) this.legend.append(html("li", {}, "none"));
  }
}

// A session's way as a picture. client and relay: the lines of a box; each of peers: {lines, rates}; rates: {toPeers,
// toClient} in words, of a peer where they are known.
export function path({ client, relay, peers, rates }) {
  const shown = peers.slice(0, 6);
  if (peers.length > shown.length) shown.push({ lines: [`and ${peers.length - shown.length} more`] });
  if (!shown.length) shown.push({ lines: ["no peers yet"] });
  const row = 74;
  const height = Math.max(150, shown.length * row + 10);
  const middle = height / 2;
  const picture = svg("svg", { viewBox: `-1 0 642 ${height}`, role: "img", class: "path" });
  const box = (x, y, width, name, lines, rates) => {
    const tall = 18 + (lines.length + (rates ? 1 : 0)) * 15;
    const group = svg("g", { class: `node ${name}` }, svg("rect", { x, y: y - tall / 2, width, height: tall, rx: 6 }));
    lines.forEach((line, place) =>
      group.append(svg("text", { x: x + width / 2, y: y - tall / 2 + 20 + place * 15, "text-anchor": "middle", class: place ? "" : "head" }, line)),
    );
    if (rates) {
      const parts = [svg("tspan", { class: "c0" }, `${rates.toPeers} →`), "  ", svg("tspan", { class: "c1" }, `← ${rates.toClient}`)];
      group.append(svg("text", { class: "rates", x: x + width / 2, y: y - tall / 2 + 20 + lines.length * 15, "text-anchor": "middle" }, ...parts));
    }
    return group;
  };
  const link = (x1, y1, x2, y2) => svg("line", { class: "link", x1, y1, x2, y2 });
  picture.append(link(160, middle, 240, middle));
  const place = (number) => (height - (shown.length - 1) * row) / 2 + number * row;
  shown.forEach((_, number) => picture.append(link(400, middle, 440, place(number))));
  picture.append(box(0, middle, 160, "client", client), box(240, middle, 160, "relay", relay));
  shown.forEach(({ lines, rates }, number) => picture.append(box(440, place(number), 200, "peer", lines, rates)));
  picture.append(
    svg("text", { class: "rate c0", x: 200, y: middle - 8, "text-anchor": "middle" }, `${rates.toPeers} →`),
    svg("text", { class: "rate c1", x: 200, y: middle + 18, "text-anchor": "middle" }, `← ${rates.toClient}`),
  );
  const inWords = ({ lines, rates }) => lines.join(" ") + (rates ? `, to it ${rates.toPeers}, from it ${rates.toClient}` : "");
  picture.setAttribute("aria-label", `From ${client.join(" ")} by way of ${relay.join(" ")} to ${shown.map(inWords).join("; ")}; to peers ${rates.toPeers}, to the client ${rates.toClient}`);
  return picture;
}
