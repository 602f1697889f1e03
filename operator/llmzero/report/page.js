"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const byName = new Map(D.stages.map((s) => [s.name, s]));
const SVG = "http://www.w3.org/2000/svg";
const maximize = D.objective.direction !== "minimize";

function el(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children.map((c) => (c instanceof Node ? c : document.createTextNode(c ?? ""))));
  return e;
}
function svg(tag, attributes = {}, text) {
  const e = document.createElementNS(SVG, tag);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}
const show = (v) => (v === null || v === undefined ? "–" : typeof v === "number"
  ? (v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e5) ? v.toExponential(1) : String(+v.toPrecision(4)))
  : String(v));
const score = (v, se) => (v === null || v === undefined ? "–" : v.toFixed(3) + (se ? " ± " + se.toFixed(3) : ""));
const changeText = ([name, old, now]) => `${name} ${show(old)} → ${show(now)}`;

// Colour by value: from blue-grey to yellow, distinguishable in grey and for colour-blind readers.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const values = D.stages.map((s) => s.value).filter((v) => v !== null);
const low = Math.min(...values), high = Math.max(...values);
function colour(value) {
  if (value === null || !values.length) return "var(--line)";
  let t = high > low ? (value - low) / (high - low) : 0.5;
  if (!maximize) t = 1 - t;
  const x = t * (RAMP.length - 1), i = Math.min(Math.floor(x), RAMP.length - 2), f = x - i;
  return `rgb(${RAMP[i].map((c, k) => Math.round(c + f * (RAMP[i + 1][k] - c))).join(",")})`;
}

function drawTree() {
  const W = 150, H = 34, left = 46, top = 24;
  const columns = Math.max(0, ...D.stages.map((s) => s.column)), rows = Math.max(0, ...D.stages.map((s) => s.row));
  const width = left + columns * W + 140, height = top + rows * H + 34;
  const picture = svg("svg", { width, height, viewBox: `0 0 ${width} ${height}` });
  const at = (p) => [left + p.column * W, top + p.row * H];
  const onBest = new Set(D.bestPath.map((p) => p.name));
  const edges = svg("g"), dots = svg("g");
  for (const s of D.stages) {
    const [x1, y1] = at(byName.get(s.parent) || D.root), [x2, y2] = at(s), m = (x1 + x2) / 2;
    edges.append(svg("path", { class: "edge" + (onBest.has(s.name) ? " best" : ""), d: `M${x1},${y1}C${m},${y1} ${m},${y2} ${x2},${y2}` }));
  }
  const [rx, ry] = at(D.root);
  dots.append(svg("rect", { x: rx - 7, y: ry - 7, width: 14, height: 14, rx: 3, fill: "var(--soft)" }),
    svg("text", { x: rx, y: ry - 12, "text-anchor": "middle", class: "soft" }, "base"));
  for (const s of D.stages) {
    const [x, y] = at(s), r = 4 + 5 * Math.sqrt(Math.min(s.cost || 0.1, 2));
    const stopped = s.phase === "Stopped", failed = s.phase === "Failed";
    const title = `stage ${s.path}: ${s.outcome || s.phase}, value ${score(s.value, s.se)}`;
    const g = svg("g", { class: "node" + (s.name === D.best ? " winner" : ""), tabindex: 0, role: "button", "aria-label": title, "data-name": s.name });
    g.append(svg("title", {}, title), svg("rect", { class: "hit", x: x - r - 3, y: y - H / 2, width: W - 12, height: H }), svg("circle", { cx: x, cy: y, r: r + 3.5, class: "ring" }),
      svg("circle", { cx: x, cy: y, r, fill: failed ? "var(--raised)" : colour(s.value) }));
    if (stopped || failed) g.append(svg("path", { class: "cross", d: `M${x - 5},${y - 5}L${x + 5},${y + 5}` + (failed ? `M${x + 5},${y - 5}L${x - 5},${y + 5}` : "") }));
    const changed = s.changes.length ? s.changes.map((c) => c[0].replace("max_completion_length", "length").replace("learning_rate", "lr").replace("num_generations", "G")).join(", ") : s.proposer;
    g.append(svg("text", { x: x + r + 6, y: y - 6 }, s.value === null ? s.phase : s.value.toFixed(3)),
      svg("text", { x: x + r + 6, y: y + 15, class: "soft" }, changed.length > 18 ? changed.slice(0, 17) + "…" : changed));
    g.addEventListener("click", () => choose(s.name));
    g.addEventListener("keydown", (event) => move(event, s));
    dots.append(g);
  }
  picture.append(edges, dots);
  document.getElementById("tree").replaceChildren(picture);
  const ramp = RAMP.map((c) => `rgb(${c.join(",")})`);
  document.getElementById("legend").append(
    values.length ? el("span", {}, `${D.objective.metric}: ${score(maximize ? low : high)}`, el("span", { class: "ramp", style: `background:linear-gradient(90deg,${ramp.join(",")})` }), score(maximize ? high : low)) : "",
    el("span", {}, "/ stopped early"), el("span", { class: "bad" }, "✕ failed"), el("span", { class: "best" }, "◯ best"));
}
function focusOn(name) {
  const g = document.querySelector(`.node[data-name="${CSS.escape(name)}"]`);
  if (g) g.focus();
}
function move(event, s) {
  const siblings = D.stages.filter((o) => o.column === s.column).sort((a, b) => a.row - b.row);
  const i = siblings.indexOf(s);
  const target = { ArrowUp: siblings[i - 1], ArrowDown: siblings[i + 1], ArrowLeft: byName.get(s.parent),
    ArrowRight: D.stages.find((o) => o.parent === s.name) }[event.key];
  if (event.key === "Enter" || event.key === " ") { event.preventDefault(); choose(s.name); }
  if (target) { event.preventDefault(); focusOn(target.name); choose(target.name); }
}

function chart(caption, lines, { band } = {}) {
  const W = 240, H = 120, pad = { l: 54, r: 8, t: 8, b: 18 };
  const points = lines.flatMap((l) => l.points).filter((p) => p[1] !== null);
  const figure = el("figure", { class: "chart" }, el("figcaption", {}, caption));
  if (!points.length) { figure.append(el("p", { class: "soft" }, "not logged")); return figure; }
  let [x0, x1] = [Math.min(...points.map((p) => p[0])), Math.max(...points.map((p) => p[0]))];
  let ys = points.map((p) => p[1]);
  if (band) ys = ys.concat(band.flatMap((b) => [b[1], b[2]]));
  let [y0, y1] = [Math.min(...ys), Math.max(...ys)];
  if (x0 === x1) { x0 -= 0.5; x1 += 0.5; }
  const constant = y0 === y1, marks = constant ? [y0] : [y0, y1];
  if (constant) { const d = Math.abs(y0) * 0.1 || 0.5; y0 -= d; y1 += d; }
  const X = (x) => pad.l + (x - x0) / (x1 - x0) * (W - pad.l - pad.r), Y = (y) => H - pad.b - (y - y0) / (y1 - y0) * (H - pad.t - pad.b);
  const picture = svg("svg", { viewBox: `0 0 ${W} ${H}`, width: "100%", role: "img", "aria-label": caption });
  for (const y of marks) picture.append(svg("line", { class: "grid", x1: pad.l, x2: W - pad.r, y1: Y(y), y2: Y(y) }),
    svg("text", { x: pad.l - 4, y: Y(y) + 4, "text-anchor": "end", class: "soft" }, show(y)));
  for (const [x, anchor] of [[x0, "start"], [x1, "end"]]) picture.append(svg("text", { x: X(x), y: H - 4, "text-anchor": anchor, class: "soft" }, show(Math.ceil(x))));
  if (band && band.length > 1) picture.append(svg("path", { class: "band", d: "M" + band.map((b) => `${X(b[0])},${Y(b[1])}`).join("L") + "L" + [...band].reverse().map((b) => `${X(b[0])},${Y(b[2])}`).join("L") + "Z" }));
  for (const line of [...lines].reverse()) {
    const p = line.points.filter((q) => q[1] !== null);
    let d = "";
    p.forEach(([x, y], i) => { d += i === 0 ? `M${X(x)},${Y(y)}` : line.step ? `H${X(x)}V${Y(y)}` : `L${X(x)},${Y(y)}`; });
    picture.append(svg("path", { class: "line" + (line.other ? " other" : ""), d }));
    if (p.length < 9) for (const [x, y] of p) picture.append(svg("circle", { cx: X(x), cy: Y(y), r: 2.2, fill: line.other ? "var(--soft)" : "var(--accent)" }));
  }
  figure.append(picture);
  return figure;
}
const METRICS = [["reward", "reward (train)"], ["entropy", "entropy"], ["kl", "kl"], ["completions/mean_length", "completions/mean_length"],
  ["completions/clipped_ratio", "completions/clipped_ratio"], ["frac_reward_zero_std", "frac_reward_zero_std (dead groups)"], ["grad_norm", "grad_norm"]];

function table(head, rows, numbers = []) {
  return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, el("tr", {}, ...head.map((h, i) => el("th", { scope: "col", ...(numbers.includes(i) ? { class: "number" } : {}) }, h)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, i) => el("td", numbers.includes(i) ? { class: "number" } : {}, cell)))))));
}
function choose(name) {
  const s = byName.get(name), best = D.best && D.best !== name ? byName.get(D.best) : null;
  for (const g of document.querySelectorAll(".node")) g.classList.toggle("chosen", g.dataset.name === name);
  const parts = [
    el("p", {}, el("b", {}, `Stage ${s.path}`), ` · ${s.outcome || s.phase} · value ${score(s.value, s.se)} · cost ${show(s.cost)} · proposed by ${s.proposer}`),
    el("p", {}, s.changes.length ? s.changes.map(changeText).join(" · ") : "nothing changed against the parent"),
    el("p", { class: "soft" }, s.why), s.message ? el("p", {}, s.message) : ""];
  if (s.pathologies.length) parts.push(el("h3", {}, "Pathologies"), table(["what", "severity", "evidence"], s.pathologies.map((p) => [p[0], show(p[1]), p[2]]), [1]));
  const pairs = (o) => o.scores.map((p) => [p[0], p[1]]);
  const charts = [chart(`${D.objective.metric} (search split)${best ? "; dashed: the best stage" : ""}`,
    [{ points: pairs(s) }, ...(best ? [{ points: pairs(best), other: true }] : [])],
    { band: s.scores.map((p) => [p[0], p[1] - p[2], p[1] + p[2]]) })];
  for (const [metric, caption] of METRICS) {
    const of = (o) => o.curve.steps.map((x, i) => [x, (o.curve.metrics[metric] || [])[i] ?? null]);
    if (s.curve.metrics[metric]) charts.push(chart(caption, [{ points: of(s) }, ...(best ? [{ points: of(best), other: true }] : [])]));
  }
  parts.push(el("h3", {}, "Curves"), el("div", { class: "charts" }, ...charts));
  parts.push(el("h3", {}, "Parameters"), table(["name", "role", "value"], D.parameters.map((p) => [p.name, p.role, show(s.parameters[p.name])]), [2]));
  for (const a of s.answers) parts.push(el("h3", {}, `What was proposed from here (${a.by}${a.provider ? ", " + a.provider : ""})`), a.note ? el("p", { class: "soft" }, a.note) : "",
    table(["changes", "why"], a.proposals.map(([c, why]) => [Object.entries(c).map(([k, v]) => `${k} = ${show(v)}`).join(", ") || "continue", why])));
  document.getElementById("stage").replaceChildren(...parts);
}

function drawRest() {
  const st = D.status, led = st.ledger;
  document.title = `${D.search} · LLMZero`;
  document.getElementById("title").textContent = D.search;
  document.getElementById("summary").textContent = `${D.task} on ${D.model} · ${st.phase}${st.message ? " · " + st.message : ""}`;
  const path = D.bestPath.map((p) => ({ ...byName.get(p.name), ...p }));
  document.getElementById("strategy").replaceChildren(path.length ? table(["stage", "steps", "what changed", "why", "value", "gain"], path.map((s, i) => [s.path, show(s.steps),
    s.changes.map(changeText).join(", ") || (i ? "–" : "initial settings"), s.why, score(s.value, s.se),
    s.gain === null ? "–" : (s.gain >= 0 ? "+" : "") + s.gain.toFixed(3)]), [1, 4, 5]) : el("p", { class: "soft" }, "No stage has a value yet."));
  const lines = document.getElementById("timelines");
  for (const p of D.parameters) {
    let x = 0;
    const log = p.scale === "log", points = [];
    for (const s of path) { const v = s.parameters[p.name], y = typeof v === "number" ? (log ? Math.log10(v) : v) : null; points.push([x, y], [x + s.steps, y]); x += s.steps; }
    if (path.length) lines.append(chart(`${log ? "log10 " : ""}${p.name} (${p.role}) over optimizer steps`, [{ points, step: true }]));
  }
  const held = st.heldOut || [];
  document.getElementById("heldout").replaceChildren(held.length ? table(["subject", "stage", "value", "winner minus this (paired)", "questions", "reading"],
    held.map((r) => [r.subject, r.path || "–", score(r.value, r.standardError), r.difference === undefined ? "–" : score(r.difference, r.differenceError), show(r.questions), show(r.reading)]), [2, 3, 4, 5])
    : el("p", { class: "soft" }, "Not read yet: it is read once, after the winner is chosen."));
  document.getElementById("budget").replaceChildren(table(["what", "used", "of"], [
    ["stages (full stages' worth of steps)", show(led.stagesSpent), show(D.budget.stages)],
    ["device hours", show(led.gpuHours), show(D.budget.gpuHours)], ["failures", show(led.failures), show(D.budget.failures)],
    ["tokens generated", show(led.trainTokens + led.evalTokens), show(D.budget.tokens)], ["of these to be scored", show(led.evalTokens), "–"],
    ["agent tokens", show(led.agentTokens), show(D.budget.agentTokens)], ["agent dollars", show(led.agentDollars), show(D.budget.agentDollars)],
    ["stages saved by early stopping", show(led.savedByStopping), "–"]], [1, 2]));
  document.getElementById("manifest").textContent = D.manifest;
}
drawRest();
drawTree();
if (D.stages.length) choose(D.best || D.stages[0].name);
