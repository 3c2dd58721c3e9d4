// The interactive view of one input; story.py says what its data holds.
"use strict";

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; text is never read as HTML. */
function make(name, attributes = {}, ...children) {
  const svg = ["svg", "path", "rect", "circle", "text", "polygon", "polyline", "title"].includes(name);
  const element = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const percent = (x) => (x > 0 && x < 0.01 ? (100 * x).toFixed(2) : (100 * x).toFixed(1)) + "\u00a0%";
const weight = (x) => x.toFixed(3);
const quoted = (token) => `“${token}”`;
const counted = (n) => n.toLocaleString("en");

/** [a, x, b, y, …] as [[a, x], [b, y], …] */
const pairs = (flat) => flat.flatMap((x, i) => (i % 2 ? [] : [[x, flat[i + 1]]]));

function show(root, story) {
  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const [stage, reading, arcs, strip, map, panel] =
    ["stage", "reading", "arcs", "strip", "map", "panel"].map(part);
  const T = story.tokens.length, last = story.moments.length - 1;
  const now = { moment: last, head: 0, asked: 0, pinned: false, timer: 0 };
  const moment = () => story.moments[now.moment];
  const seen = () => moment().seen[now.head];
  // In a text, the answer to step t is the token at t + 1.
  const place = (i) => story.steps[i] + (story.next ? 1 : 0);
  const right = (said, i) => (story.right[i] === null ? null : said[i] === story.right[i]);
  const rival = story.rival ?? null;
  const chips = [];
  const answers = [];

  function build() {
    const asked = new Map(story.steps.map((_, i) => [place(i), i]));
    const size = T + (story.next && asked.has(T) ? 1 : 0);
    if (story.series) drawSeries();
    for (let t = 0; t < size; t++) {
      const i = asked.get(t);
      const text = t < T ? story.tokens[t] : story.right[i] ?? "?";
      const chip = make(i === undefined ? "span" : "button", { class: "chip", type: i === undefined ? null : "button" });
      chip.append(make("span", { class: "token" }, story.series ? "" : text));
      if (i !== undefined) {
        chip.dataset.answer = i;
        chip.tabIndex = -1;
        if (!story.next) chip.append(make("small"));
        answers[i] = chip;
      }
      if (t >= T) chip.classList.add("beyond");
      if (story.series) chip.style.left = `${(100 * (t + 0.5)) / T}%`;
      chips.push(chip);
      reading.append(chip);
      if (story.next && story.tokens[t] === "⏎") reading.append(make("br"));
    }
    reading.classList.add(story.series ? "as-series" : story.next ? "as-text" : "as-tokens");
    const slider = part("moment"), select = part("head");
    slider.max = last;
    slider.value = last;
    for (const [n, head] of story.heads.entries()) {
      select.append(make("option", { value: n }, `block ${head.block}, head ${head.head}: ${head.kind}`));
    }
    if (last === 0) part("training").hidden = true;
    if (rival === null) root.classList.add("alone");
  }

  function drawSeries() {
    const values = story.series.flat(), low = Math.min(...values), high = Math.max(...values);
    const chart = make("svg", { class: "series", viewBox: `0 0 ${T} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const channel of story.series) {
      const points = channel.map((v, t) => `${t + 0.5},${70 - (66 * (v - low)) / (high - low || 1)}`);
      chart.append(make("polyline", { points: points.join(" ") }));
    }
    reading.append(chart);
    part("axes").textContent = `Steps 0 to ${T - 1} from left to right; values from ${low} to ${high}.`;
  }

  // What is shown of every answer, whichever one is asked about.
  function drawAnswers() {
    const { said } = moment();
    answers.forEach((chip, i) => {
      const ok = right(said, i), theirs = rival ? right(rival.said, i) : null;
      chip.dataset.mark = ok === null ? "open" : ok ? (theirs === false ? "ours" : "right") : theirs ? "theirs" : "wrong";
      const verdict = ok === null ? "" : ok ? ", right" : `, wrong, expected ${story.right[i]}`;
      const beside = rival ? `; ${rival.name}: ${rival.said[i]}` : "";
      const named = (t) => `step ${t}` + (story.series ? "" : `, ${story.tokens[t]}`);
      const [from, w] = seen().from[i];
      const source = from === undefined ? "; found nothing" : `; read from ${named(from)}, weight ${weight(w)}`;
      chip.setAttribute("aria-label", `${named(story.steps[i])}: answered ${said[i]}${verdict}${source}${beside}`);
      const small = chip.querySelector("small");
      if (small) small.textContent = said[i] + (ok === null ? "" : ok ? " ✓" : " ✗");
    });
    const judged = story.right.filter((x) => x !== null).length;
    const score = (said) => counted(said.filter((_, i) => right(said, i)).length);
    const { step } = moment(), total = story.moments[last].step;
    const when = step === 0 ? "Untrained" : step === total ? `After all ${counted(total)} steps` : `After ${counted(step)} of ${counted(total)} steps`;
    let text = when + ": ";
    text += judged ? `RAM-GRU ${score(said)} of ${counted(judged)} answers right` : "the right answers of this input are not known";
    if (judged && rival) text += `, fully trained ${rival.name} ${score(rival.said)}`;
    const known = story.targets.map((t, i) => [t, i]).filter(([t]) => t.length && story.written);
    if (known.length) {
      const met = known.filter(([t, i]) => t.includes(seen().from[i][0])).length;
      text += `. ${counted(met)} of ${counted(known.length)} reads of this head weigh the right step most`;
    }
    part("score").textContent = text + ".";
    part("moment").setAttribute("aria-valuetext", when);
    part("when").textContent = when;
  }

  function ask(i, focus = false) {
    answers[now.asked]?.setAttribute("tabindex", -1);
    now.asked = i;
    answers[i].setAttribute("tabindex", 0);
    if (focus) answers[i].focus({ preventScroll: false });
    draw();
  }

  function draw() {
    const i = now.asked, sources = pairs(seen().from[i]);
    const total = sources.reduce((sum, [, w]) => sum + w, 0) || 1;
    chips.forEach((chip, t) => {
      const source = sources.find(([s]) => s === t);
      chip.classList.toggle("asked", t === place(i));
      chip.classList.toggle("target", story.written && story.targets[i].includes(t));
      chip.classList.toggle("source", source !== undefined);
      chip.style.setProperty("--share", source ? (source[1] / total).toFixed(3) : 0);
    });
    answers.forEach((chip, n) => chip.setAttribute("aria-pressed", now.pinned && n === i));
    drawArcs(sources, total);
    drawStrip(sources);
    drawMap(sources);
    drawPanel(sources);
  }

  const middle = (t) => {
    const box = chips[t].getBoundingClientRect(), origin = stage.getBoundingClientRect();
    return [box.left - origin.left + box.width / 2, box.top - origin.top + 2];
  };

  function drawArcs(sources, total) {
    const { width, height } = stage.getBoundingClientRect();
    arcs.setAttribute("viewBox", `0 0 ${width} ${height}`);
    arcs.replaceChildren();
    const [x0, y0] = middle(place(now.asked));
    sources.slice(0, 4).reverse().forEach(([s, w], n, shown) => {
      const [x1, y1] = middle(s), best = n === shown.length - 1;
      const lift = Math.min(46, 16 + Math.abs(x1 - x0) / 6);
      const bend = s === place(now.asked) ? 14 : 0;
      const d = `M ${x0 + bend} ${y0} C ${x0 + bend} ${y0 - lift}, ${x1 - bend} ${y1 - lift}, ${x1 - bend} ${y1}`;
      const path = make("path", { d, class: best ? "arc best" : "arc", pathLength: 1 });
      path.style.strokeWidth = 1 + 3 * (w / total);
      arcs.append(path, make("polygon", { class: best ? "tip best" : "tip", points: `${x1 - bend - 4},${y1 - 6} ${x1 - bend + 4},${y1 - 6} ${x1 - bend},${y1 + 1}` }));
      if (best || w / total > 0.15) {
        const x = Math.min(Math.max(x1, 18), width - 18);
        arcs.append(make("text", { x, y: Math.max(y1 - 9, 10), class: "weight" }, weight(w)));
      }
    });
  }

  function drawStrip(sources) {
    const gate = seen().gate, width = strip.clientWidth || 300, height = 56, each = width / T;
    strip.setAttribute("viewBox", `0 0 ${width} ${height}`);
    strip.replaceChildren();
    gate.forEach((g, t) => {
      const label = `step ${t}, ${story.tokens[t]}: gate ${g.toFixed(2)}`;
      const thick = Math.max(each - (each > 3 ? 1 : 0), 0.5);
      strip.append(
        make("rect", { x: t * each, y: 8 + 40 * (1 - g), width: thick, height: 40 * g + 0.5, class: "gate" }),
        make("rect", { x: t * each, y: 0, width: each, height, class: "hit" }, make("title", {}, label)),
      );
    });
    const mark = (t, name, y, tip) => {
      const x = (t + 0.5) * each;
      strip.append(make("polygon", { class: name, points: `${x - 5},${y} ${x + 5},${y} ${x},${tip}` }));
    };
    mark(story.steps[now.asked], "here", 56, 49);
    if (sources.length) mark(sources[0][0], "there", 0, 7);
    const source = sources.length ? ` Its source, step ${sources[0][0]} (▼), wrote with gate ${gate[sources[0][0]].toFixed(2)}.` : "";
    const at = story.steps[now.asked];
    part("gate").textContent = `Gate of each step: how far it opens its cells. The question (▲) has gate ${gate[at].toFixed(2)}.${source}`;
  }

  function drawMap(sources) {
    const { cells } = story.heads[now.head], side = Math.ceil(Math.sqrt(cells));
    const css = map.clientWidth || 280, scale = window.devicePixelRatio || 1;
    map.width = map.height = Math.round(css * scale);
    const edge = 12 * scale; // room for the rings of cells at the edge
    const pen = map.getContext("2d"), cell = (map.width - 2 * edge) / side;
    const color = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
    const centre = (c) => [edge + ((c % side) + 0.5) * cell, edge + (Math.floor(c / side) + 0.5) * cell];
    const at = story.steps[now.asked], written = new Map();
    seen().write.slice(0, at + 1).forEach((list) => list.forEach((c) => written.set(c, (written.get(c) ?? 0) + 1)));
    pen.fillStyle = color("plum");
    const dot = Math.max(cell, 2 * scale);
    for (const c of written.keys()) {
      const [x, y] = centre(c);
      pen.fillRect(x - dot / 2, y - dot / 2, dot, dot);
    }
    const from = sources.length ? seen().write[sources[0][0]] : [];
    const read = pairs(seen().read[now.asked]);
    pen.lineWidth = 2 * scale;
    pen.strokeStyle = color("ink");
    for (const [c, w] of read) {
      const [x, y] = centre(c);
      pen.beginPath();
      pen.arc(x, y, (5 + 6 * Math.min(w, 1)) * scale, 0, 2 * Math.PI);
      pen.stroke();
    }
    pen.strokeStyle = color("amber");
    for (const c of from) {
      const [x, y] = centre(c), r = 4.5 * scale;
      pen.beginPath();
      pen.moveTo(x - r, y); pen.lineTo(x + r, y); pen.moveTo(x, y - r); pen.lineTo(x, y + r);
      pen.stroke();
    }
    const both = read.filter(([c]) => from.includes(c)).length;
    const text = `${counted(written.size)} of ${counted(cells)} cells are written when the question comes. The answer reads ${counted(read.length)}` +
      (sources.length ? `; ${counted(both)} of them ${both === 1 ? "was" : "were"} written by step ${sources[0][0]}.` : ".");
    map.setAttribute("aria-label", "Map of the memory. " + text);
    part("cells").textContent = text;
    map.onpointermove = (event) => {
      const box = map.getBoundingClientRect();
      const x = (event.clientX - box.left) * (map.width / box.width), y = (event.clientY - box.top) * (map.height / box.height);
      const away = (c) => Math.hypot(centre(c)[0] - x, centre(c)[1] - y);
      const c = [...written.keys()].reduce((best, c) => (best === null || away(c) < away(best) ? c : best), null);
      const near = c !== null && away(c) < 8 * scale;
      const steps = near ? seen().write.flatMap((list, t) => (t <= at && list.includes(c) ? [`${t} (${story.tokens[t]})`] : [])) : [];
      part("cell").textContent = near ? `Cell ${c}: written at step ${steps.slice(0, 8).join(", ")}` : "";
    };
  }

  function drawPanel(sources) {
    const i = now.asked, at = story.steps[i], head = story.heads[now.head], { said, sure } = moment();
    const verdict = (said, i) => ({ null: "", true: " ✓ right", false: " ✗ wrong" })[right(said, i)];
    const row = (name, said, sure) => make("tr", {}, make("th", { scope: "row" }, name),
      make("td", {}, said[i] + verdict(said, i)),
      make("td", {}, sure?.[i] == null ? "" : `gives the right one ${percent(sure[i])}`));
    const rows = [row("RAM-GRU", said, sure)];
    if (rival) rows.push(row(rival.name, rival.said, rival.sure));
    if (story.right[i] !== null) rows.push(make("tr", {}, make("th", { scope: "row" }, "right answer"), make("td", {}, story.right[i]), make("td")));
    const asked = story.next ? `After step ${at}, ${quoted(story.tokens[at])}` : story.series ? `Step ${at}` : `Step ${at} asks ${quoted(story.tokens[at])}`;
    const all = seen().all[i];
    const items = sources.map(([s, w]) => {
      const mine = story.written && story.targets[i].includes(s);
      const what = story.series ? "" : ` ${quoted(story.tokens[s])}`;
      return make("li", {}, make("b", {}, `step ${s}${what}`), `: weight ${weight(w)}` +
        (all > 0 ? `, ${percent(w / all)} of all it found` : "") + (mine ? "; it holds the right answer" : ""));
    });
    const shown = moment().seen.map((one) => one.from[i][0]);
    const agree = sources.length ? shown.filter((s) => s === sources[0][0]).length : 0;
    const others = agree > 1 ? ` ${agree} of the ${shown.length} heads shown read most from this step.` : "";
    const cells = pairs(seen().read[i]).map(([c, w]) => `${c} (${w.toFixed(2)})`).join(", ");
    panel.replaceChildren(
      make("h3", {}, asked),
      make("table", {}, make("tbody", {}, ...rows)),
      make("p", {}, `Head ${head.head} of block ${head.block}, ${head.kind}, ${head.about}. ` +
        (sources.length ? "Its read is this exact mixture of past writes:" : "It found nothing that it had written.")),
      make("ol", {}, ...items),
      make("p", { class: "more" }, `All writes together: weight ${weight(all)}.${others}` + (cells ? ` Cells read (weight): ${cells}.` : "")),
    );
  }

  // The nearest answer in the line above or below.
  function vertical(direction) {
    const [x0, y0] = middle(place(now.asked));
    const others = answers.map((_, i) => [...middle(place(i)), i]).filter(([, y]) => (y - y0) * direction > 8);
    if (!others.length) return now.asked;
    const line = Math.min(...others.map(([, y]) => Math.abs(y - y0)));
    return others.filter(([, y]) => Math.abs(y - y0) < line + 8).sort((a, b) => Math.abs(a[0] - x0) - Math.abs(b[0] - x0))[0][2];
  }

  reading.addEventListener("keydown", (event) => {
    const end = answers.length - 1, i = now.asked;
    const to = { ArrowRight: Math.min(i + 1, end), ArrowLeft: Math.max(i - 1, 0), Home: 0, End: end };
    let next = to[event.key];
    if (event.key === "ArrowUp") next = vertical(-1);
    if (event.key === "ArrowDown") next = vertical(1);
    if (event.key === "Escape") { now.pinned = false; draw(); }
    if (next === undefined) return;
    event.preventDefault();
    now.pinned = false;
    ask(next, true);
  });
  const answer = (event) => event.target.closest("[data-answer]");
  reading.addEventListener("pointerover", (event) => {
    const chip = answer(event);
    if (chip && !now.pinned && event.pointerType !== "touch") ask(+chip.dataset.answer);
  });
  reading.addEventListener("focusin", (event) => {
    const chip = answer(event);
    if (chip && +chip.dataset.answer !== now.asked && !now.pinned) ask(+chip.dataset.answer);
  });
  reading.addEventListener("click", (event) => {
    const chip = answer(event);
    if (!chip) return;
    now.pinned = !(now.pinned && +chip.dataset.answer === now.asked);
    ask(+chip.dataset.answer);
  });
  const go = (n) => {
    now.moment = n;
    part("moment").value = n;
    drawAnswers();
    draw();
  };
  part("moment").addEventListener("input", (event) => go(+event.target.value));
  part("head").addEventListener("change", (event) => { now.head = +event.target.value; drawAnswers(); draw(); });
  const stop = () => { clearInterval(now.timer); now.timer = 0; part("play").textContent = "▶ Play"; };
  part("play").addEventListener("click", () => {
    if (now.timer) return stop();
    go(now.moment === last ? 0 : now.moment);
    part("play").textContent = "■ Stop";
    now.timer = setInterval(() => (now.moment < last ? go(now.moment + 1) : stop()), 1100);
  });

  build();
  root.classList.add("ready");
  if (!answers.length) return;
  const { said } = moment();
  const best = story.steps.findIndex((_, i) => right(said, i) && story.targets[i].includes(seen().from[i][0]) && !(rival && right(rival.said, i)));
  drawAnswers();
  ask(Math.max(best, 0));
  new ResizeObserver(() => draw()).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

for (const root of document.querySelectorAll(".live")) {
  show(root, JSON.parse(root.querySelector("script").textContent));
}
