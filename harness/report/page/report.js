// The timeline and what links to it. Texts reach the page as text only, never as markup.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const root = $("lanes");
  const make = (tag, attributes = {}, ...inside) => {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...inside);
    return node;
  };
  const svg = (tag, attributes = {}) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };

  // The list of all results, filtered.
  const items = [...document.querySelectorAll("#list li")];
  $("filter").addEventListener("input", (event) => {
    const wanted = event.target.value.toLowerCase();
    let n = 0;
    for (const item of items) n += !(item.hidden = !item.textContent.toLowerCase().includes(wanted));
    $("found").textContent = wanted ? `${n} of ${items.length}` : "";
  });
  // What is folded is printed too.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const one of folded) one.open = true;
    if (root) root.style.width = "1000px"; // what fits on a sheet
    dispatchEvent(new Event("fit"));
  });
  addEventListener("afterprint", () => {
    folded.forEach((one) => (one.open = false));
    if (root) root.style.width = "";
    dispatchEvent(new Event("fit"));
  });
  const open = () => {
    const id = decodeURIComponent(location.hash.slice(1));
    for (let one = id && $(id); one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  };
  addEventListener("hashchange", open);
  open();
  if (!root || !data.x.length) return;

  const RIGHT = 14, ROW = 18, start = 0, end = Math.max(data.end, data.step);
  let from = start, to = end, at = null;
  const colours = new Map();
  const css = (name) => {
    if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
    return colours.get(name);
  };
  const gutter = () => parseFloat(getComputedStyle(root).getPropertyValue("--gutter"));
  const width = () => Math.max(root.clientWidth, 260);
  const plot = () => Math.max(40, width() - gutter() - RIGHT);
  const x = (t) => gutter() + ((t - from) / (to - from)) * plot();
  const time = (px) => from + ((px - gutter()) / plot()) * (to - from);

  const say = (seconds) => {
    const s = Math.abs(seconds);
    if (s < 60) return `${+s.toFixed(s < 10 ? 2 : 1)} s`;
    const m = Math.floor(s / 60), rest = Math.round(s % 60);
    return rest === 60 ? `${m + 1} min` : `${m} min${rest ? ` ${rest} s` : ""}`;
  };
  const figure = (v) => (v == null ? "–" : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : String(+v.toPrecision(3)));
  const tip = $("tip");
  const tell = (event, text) => {
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const wide = tip.offsetWidth, high = tip.offsetHeight;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 12, innerWidth - wide - 6))}px`;
    tip.style.top = `${event.clientY + 16 + high > innerHeight ? event.clientY - high - 8 : event.clientY + 16}px`;
  };

  const shading = (fault) => (fault.witnessed && !fault.sham ? "shade" : "shade2");

  // Charts.
  const shade = (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const fault of data.faults) {
      const a = u.valToPos(fault.start, "x", true), b = u.valToPos(fault.end, "x", true);
      ctx.fillStyle = css(shading(fault));
      ctx.fillRect(a, bbox.top, Math.max(1, b - a), bbox.height);
    }
    ctx.restore();
  };
  const charts = [];
  let moving = false;
  const draw = (chart) => {
    const head = make("div", { class: "head" }, make("b", {}, chart.unit ? `${chart.title}, ${chart.unit}` : chart.title));
    const outputs = chart.series.map((line) => {
      const swatch = make("i"), out = make("output");
      swatch.style.background = css(line.colour);
      head.append(make("span", {}, swatch, make("em", {}, line.name), out));
      return out;
    });
    const known = chart.series[0].values.filter((v) => v != null);
    const range = known.length ? `${chart.series[0].name} from ${figure(Math.min(...known))} to ${figure(Math.max(...known))}` : "no values";
    const box = make("div", { role: "img", "aria-label": `${chart.title}: ${chart.series.map((l) => l.name).join(", ")}; ${range}` });
    const whole = make("div", { class: "chart", "data-chart": chart.id }, head, box);
    root.append(whole);
    const high = () => (gutter() < 100 ? 96 : Math.max(96, 26 + 16 * (chart.series.length + 1)));
    const positive = chart.log && chart.series.some((l) => l.values.some((v) => v > 0));
    const tens = (_, marks) => marks.map((v) => (positive && Math.abs(Math.log10(v) % 1) > 1e-6 ? null : v));
    const u = new uPlot({
      width: width(), height: high(), padding: [8, RIGHT, 4, 0], legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: true }, points: { size: 5 }, y: false },
      scales: {
        x: { time: false, range: () => [from, to] },
        y: positive ? { distr: 3, log: 10 } : { range: (_, low, top) => [Math.min(0, low ?? 0), top > 0 ? top * 1.08 : 1] },
      },
      axes: [
        { size: 0, gap: 0, values: () => [], stroke: () => css("dim"), grid: { stroke: () => css("grid"), width: 1 }, ticks: { show: false } },
        {
          size: () => gutter(), gap: 4, stroke: () => css("dim"), font: "11px system-ui, sans-serif", space: 22,
          grid: { stroke: () => css("grid"), width: 1, filter: tens }, ticks: { show: false }, filter: tens,
          values: (_, marks) => marks.map((v) => (v == null ? "" : v >= 1e6 ? `${v / 1e6}M` : v >= 1e4 ? `${v / 1e3}k` : String(+v.toPrecision(6)))),
        },
      ],
      series: [{}, ...chart.series.map((line) => ({
        label: line.name, stroke: () => css(line.colour), width: line.bound == null ? 1.4 : 1.2,
        dash: line.bound == null ? undefined : [6, 4], points: { show: false }, spanGaps: false,
        fill: line.fill ? () => `${css(line.colour)}22` : undefined,
        paths: chart.id === "replicas" ? uPlot.paths.stepped({ align: 1 }) : undefined,
      }))],
      hooks: {
        drawClear: [shade],
        setCursor: [(u) => { if (!moving && u.cursor.left >= 0 && u.cursor.event) point(u.posToVal(u.cursor.left, "x"), u); }],
        setSelect: [(u) => { if (u.select.width > 3) zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")); }],
      },
    }, [data.x, ...chart.series.map((line) => line.values.map((v) => (positive && v != null && v <= 0 ? null : v)))], box);
    u.setScale = ((was) => (key, limits) => { if (key !== "x") was(key, limits); })(u.setScale);
    box.addEventListener("dblclick", () => zoom(start, end));
    charts.push({ u, high, outputs, chart, whole });
  };

  // Lanes.
  const lanes = [];
  const addLane = (row, group) => {
    if (group) root.append(make("div", { class: "group" }, row.group));
    const name = make("div", { class: "name" }, row.name, ...(row.severity ? [make("small", {}, ` ${row.severity}`)] : []));
    const picture = svg("svg", { height: ROW, role: "img", "aria-label": `${row.name}: ${row.spans.length} stretches, ${row.marks.length} marks` });
    const whole = make("div", { class: "lane", "data-lane": row.name }, name, picture);
    root.append(whole);
    whole.addEventListener("mousemove", (event) => tell(event, event.target.dataset.about || ""));
    whole.addEventListener("mouseleave", () => tell(null, ""));
    if (row.group === "Faults") picture.addEventListener("click", (event) => reveal((event.target.dataset.about || "").split(": ")[0]));
    lanes.push({ row, picture });
  };
  const reveal = (name) => {
    const one = [...document.querySelectorAll("details.experiment")].find((e) => e.dataset.experiment === name);
    if (!one) return;
    one.open = true;
    one.scrollIntoView({ block: "start" });
    one.querySelector("summary").focus({ preventScroll: true });
  };
  const shape = (kind, px) => {
    const m = { notified: `M${px - 4} 14l4-9 4 9z`, resolved: `M${px - 4} 5l4 9 4-9z` }[kind];
    return svg("path", { d: m || `M${px} 4l5 5-5 5-5-5z`, class: `m m-${/^[a-z]+$/.test(kind) ? kind : "other"}` });
  };
  const visible = (a, b) => b >= from && a <= to;
  const box = (a, b, y, high, kind) => {
    const left = Math.max(gutter(), x(a)), right = Math.min(gutter() + plot(), x(b));
    return svg("rect", { x: left, y, width: Math.max(1.5, right - left), height: high, class: kind });
  };
  const paint = ({ row, picture }) => {
    const parts = data.faults.filter((f) => visible(f.start, f.end)).map((f) => box(f.start, f.end, 0, ROW, shading(f)));
    for (const [a, b, about] of row.bounds || []) {
      if (!visible(a, b)) continue;
      const bound = box(a, b, 2, 14, "s-bound");
      bound.dataset.about = `${about} (${say((b - a) * data.scale)} of production)`;
      parts.push(bound);
    }
    for (const [a, b, kind, about] of row.spans) {
      if (!visible(a, b)) continue;
      const span = box(a, b, kind === "pending" ? 6 : 4, kind === "pending" ? 6 : 10, `s-${kind}`);
      span.dataset.about = `${about} · ${say(b - a)}${row.group === "Alerts" ? ` (${say((b - a) * data.scale)} of production)` : ""}`;
      parts.push(span);
    }
    for (const [t, kind, about] of row.marks) {
      if (!visible(t, t)) continue;
      const mark = shape(kind, x(t));
      mark.dataset.about = `${about} · at ${say(t)}`;
      parts.push(mark);
    }
    picture.replaceChildren(...parts);
  };

  // The ruler: time, and the names of the faults where they fit.
  const ruler = $("ruler"), now = make("div", { class: "now" });
  const rulerPicture = svg("svg", { height: 34, "aria-hidden": "true" });
  ruler.append(now, rulerPicture);
  const paintRuler = () => {
    const parts = [], span = to - from;
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200].find((s) => (s / span) * plot() > (to >= 60 ? 84 : 48)) || 14400;
    for (let t = Math.ceil(from / step) * step; t <= to; t += step) {
      const label = svg("text", { x: x(t), y: 12, class: "tick", "text-anchor": "middle" });
      label.textContent = say(t);
      parts.push(label);
    }
    let free = gutter();
    for (const fault of data.faults.filter((f) => visible(f.start, f.end))) {
      parts.push(box(fault.start, fault.end, 18, 16, shading(fault)));
      const left = Math.max(free, x(fault.start)), room = gutter() + plot() - left;
      const next = data.faults.find((f) => f.start > fault.start && f.experiment !== fault.experiment);
      const until = next && next.start < to ? x(next.start) - left : room;
      const fits = Math.floor(Math.min(room, until) / 6.2);
      if (fits < 4 || left > x(fault.end) + 40) continue;
      const label = svg("text", { x: left + 2, y: 30, class: "fname" });
      label.textContent = fault.experiment.length > fits ? `${fault.experiment.slice(0, fits - 1)}…` : fault.experiment;
      free = left + 6.2 * Math.min(fits, fault.experiment.length) + 6;
      parts.push(label);
    }
    rulerPicture.replaceChildren(...parts);
  };

  // One cursor and one zoom for all of them.
  const line = make("div", { class: "cursor", hidden: "" });
  const point = (t, source) => {
    at = t;
    moving = true;
    const i = Math.max(0, Math.min(data.x.length - 1, Math.round(t / data.step - 0.5)));
    for (const { u, outputs, chart } of charts) {
      if (u !== source) u.setCursor({ left: u.valToPos(t, "x"), top: 0 }, false);
      outputs.forEach((out, k) => (out.textContent = figure(chart.series[k].values[i])));
    }
    moving = false;
    line.hidden = t < from || t > to;
    line.style.left = `${x(t)}px`;
    const phase = data.phases.filter((p) => t >= p.start && t <= p.end).pop();
    const clock = new Date((data.start + t) * 1000).toISOString().slice(11, 21);
    now.textContent = `${say(t)} · ${clock} UTC\n${phase ? `${phase.name} +${say(t - phase.start)}` : ""}`;
  };
  const zoom = (a, b) => {
    const least = Math.min(data.step * 4, end - start);
    if (b - a < least) [a, b] = [(a + b - least) / 2, (a + b + least) / 2];
    const span = Math.min(b - a, end - start);
    from = Math.max(start, Math.min(a, end - span));
    to = from + span;
    root.dataset.from = from.toFixed(3);
    root.dataset.to = to.toFixed(3);
    refresh();
  };
  const refresh = () => {
    for (const { u } of charts) {
      u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      u.setData(u.data, true);
    }
    lanes.forEach(paint);
    paintRuler();
    if (at != null) { line.hidden = at < from || at > to; line.style.left = `${x(at)}px`; }
  };
  const nearer = (by, about = at != null && at >= from && at <= to ? at : (from + to) / 2) =>
    zoom(about - (about - from) * by, about + (to - about) * by);

  for (const chart of data.charts.filter((c) => c.series.length)) draw(chart);
  let group = "";
  for (const row of data.rows) { addLane(row, row.group !== group); group = row.group; }
  root.append(line);
  root.addEventListener("mousemove", (event) => {
    if (event.target.closest(".chart")) return;
    const t = time(event.clientX - root.getBoundingClientRect().left);
    if (t >= from && t <= to) point(t, null);
  });
  root.addEventListener("dblclick", () => zoom(start, end));
  root.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    nearer(event.deltaY > 0 ? 1.25 : 0.8);
  }, { passive: false });
  root.addEventListener("keydown", (event) => {
    const move = (to - from) / 10;
    const does = {
      ArrowLeft: () => zoom(from - move, to - move), ArrowRight: () => zoom(from + move, to + move),
      "+": () => nearer(0.5), "=": () => nearer(0.5), "-": () => nearer(2), 0: () => zoom(start, end), Escape: () => zoom(start, end),
    }[event.key];
    if (!does || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    does();
  });
  $("in").addEventListener("click", () => nearer(0.5));
  $("out").addEventListener("click", () => nearer(2));
  const show = $("show");
  for (const phase of data.phases) show.append(make("option", { value: phase.name }, phase.name));
  const toPhase = (name) => {
    const phase = data.phases.find((p) => p.name === name);
    if (phase) zoom(phase.start, phase.end); else zoom(start, end);
  };
  show.addEventListener("change", () => toPhase(show.value));
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".jump");
    if (!button) return;
    event.preventDefault();
    if (button.dataset.phase != null) toPhase(button.dataset.phase);
    else zoom(+button.dataset.from, +button.dataset.to);
    $("timeline").scrollIntoView({ block: "start" });
    root.focus({ preventScroll: true });
  });
  const resize = () => {
    for (const { u, high } of charts) u.setSize({ width: width(), height: high() });
    refresh();
  };
  let waiting = 0;
  addEventListener("fit", resize);
  addEventListener("resize", () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(resize); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload());
  zoom(start, end);
  root.dataset.ready = "yes";
})();
