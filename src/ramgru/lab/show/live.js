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
const known = (list) => list.filter((x) => x !== null);
const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;
const number = (x, digits = 5) => (Math.abs(x) >= 1e4 ? x.toFixed(0) : String(+x.toPrecision(digits)));
const LINES = ["solid", "dashed", "dotted", "dashes and dots"]; // as live.css draws the channels

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
  const rival = story.rival ?? null, { numbers } = story;
  const width = T + (numbers?.ahead ?? 0); // of a series, in steps
  // Of numbers, an error as people read it.
  const off = (error) => number(error, 3) + (numbers.spread ? `, ${percent(error / numbers.spread)} of the spread of ${numbers.name}` : "");
  // A step as it is named: the numbers of a series say nothing but its place.
  const named = (t) => `step ${t}` + (story.series && !story.columns ? "" : `, ${story.tokens[t]}`);
  let dots = null, height = null; // of the told numbers, and where one stands
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
      if (story.series) {
        chip.style.left = `${(100 * (t + 0.5)) / width}%`;
        chip.style.width = `${100 / width}%`;
        chip.style.setProperty("--place", (t + 0.5) / width);
      }
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
  }

  // Each column of a table has a scale of its own; the channels of another series share one.
  function drawSeries() {
    const span = (values) => [Math.min(...values), Math.max(...values)];
    const at = (v, [low, high]) => 70 - (66 * (v - low)) / (high - low || 1);
    const chart = make("svg", { class: "series", viewBox: `0 0 ${width} 100`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const spans = story.series.map((channel) => span(story.columns ? channel : story.series.flat()));
    const said = [];
    let own = null;
    if (numbers) {
      const told = [numbers.right, ...story.moments.map((m) => m.told)].flatMap(known);
      const read = story.columns.indexOf(numbers.name);
      own = span(read < 0 ? told : [...told, ...story.series[read]]);
      if (read >= 0) spans[read] = own;
      else {
        const points = numbers.right.map((v, i) => (v === null ? "" : `${story.steps[i] + numbers.ahead + 0.5},${at(v, own)}`));
        chart.append(make("polyline", { class: "right", points: points.join(" ") }));
        said.push(`${numbers.name} from ${number(own[0])} to ${number(own[1])} (thin)`);
      }
      dots = make("path", { class: "dots" });
      height = (v) => at(v, own);
    }
    story.series.forEach((channel, n) => {
      const points = channel.map((v, t) => `${t + 0.5},${at(v, spans[n])}`);
      chart.append(make("polyline", { class: `channel-${n}`, points: points.join(" ") }));
      if (story.columns) said.push(`${story.columns[n]} from ${number(spans[n][0])} to ${number(spans[n][1])} (${LINES[n]})`);
    });
    if (dots) chart.append(dots);
    reading.append(chart);
    part("axes").textContent = story.columns
      ? `Rows 0 to ${T - 1} from left to right; ${said.join(", ")}${said.length > 1 ? "; each line on a scale of its own" : ""}.`
      : `Steps 0 to ${T - 1} from left to right; values from ${spans[0][0]} to ${spans[0][1]}.`;
  }

  // Answers are written below a series where they have room beside each other.
  function fit() {
    if (!story.series) return;
    reading.classList.remove("crowded");
    const room = Math.min(...story.steps.slice(1).map((t, i) => t - story.steps[i])) * (reading.clientWidth / width);
    const widest = Math.max(...answers.map((chip) => chip.querySelector("small").offsetWidth));
    reading.classList.toggle("crowded", widest + 4 > room);
    if (dots) dots.style.strokeWidth = Math.min(4, Math.max(1.5, (0.8 * reading.clientWidth) / width));
  }

  // What is shown of every answer, whichever one is asked about.
  function drawAnswers() {
    const { said, error } = moment();
    if (dots) dots.setAttribute("d", moment().told.map((v, i) => `M${story.steps[i] + numbers.ahead + 0.5} ${height(v)}h0`).join(""));
    answers.forEach((chip, i) => {
      const ok = right(said, i), theirs = rival ? right(rival.said, i) : null;
      chip.dataset.mark = ok === null ? "open" : ok ? (theirs === false ? "ours" : "right") : theirs ? "theirs" : "wrong";
      let verdict = ok === null ? "" : ok ? ", right" : `, wrong, expected ${story.right[i]}`;
      if (numbers) {
        const known = error[i] !== null;
        chip.dataset.mark = known ? "number" : "open";
        chip.style.setProperty("--error", known ? Math.min(error[i] / (numbers.spread || 1), 1) : 0);
        verdict = known ? `, error ${off(error[i])}, expected ${story.right[i]}` : "";
      }
      const beside = rival ? `; ${rival.name}: ${rival.said[i]}` : "";
      const [from, w] = seen().from[i];
      const source = from === undefined ? "; found nothing" : `; read from ${named(from)}, weight ${weight(w)}`;
      chip.setAttribute("aria-label", `${named(story.steps[i])}: answered ${said[i]}${verdict}${source}${beside}`);
      const small = chip.querySelector("small");
      if (small) small.textContent = said[i] + (numbers || ok === null ? "" : ok ? " ✓" : " ✗");
    });
    fit();
    const judged = story.right.filter((x) => x !== null).length;
    const score = (said) => counted(said.filter((_, i) => right(said, i)).length);
    const { step } = moment(), total = story.moments[last].step;
    const when = step === 0 ? "Untrained" : step === total ? `After all ${counted(total)} steps` : `After ${counted(step)} of ${counted(total)} steps`;
    let text = when + ": ";
    if (numbers) {
      const errors = known(error);
      text += errors.length ? `RAM-GRU has a mean error of ${off(mean(errors))} (${number(numbers.spread)})` : "the right answers lie beyond the end of the file";
      if (errors.length && rival) text += `, fully trained ${rival.name} of ${number(mean(known(rival.error)), 3)}`;
    } else text += judged ? `RAM-GRU ${score(said)} of ${counted(judged)} answers right` : "the right answers of this input are not known";
    if (judged && rival && !numbers) text += `, fully trained ${rival.name} ${score(rival.said)}`;
    const asked = story.targets.map((t, i) => [t, i]).filter(([t]) => t.length && story.written);
    if (asked.length) {
      const met = asked.filter(([t, i]) => t.includes(seen().from[i][0])).length;
      text += `. ${counted(met)} of ${counted(asked.length)} reads of this head weigh the right step most`;
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
    const labels = []; // [x, y] of each, the largest weight first
    sources.slice(0, 4).forEach(([s, w], n) => {
      const [x1, y1] = middle(s), best = n === 0;
      const lift = Math.min(46, 16 + Math.abs(x1 - x0) / 6);
      const bend = s === place(now.asked) ? 14 : 0;
      const d = `M ${x0 + bend} ${y0} C ${x0 + bend} ${y0 - lift}, ${x1 - bend} ${y1 - lift}, ${x1 - bend} ${y1}`;
      const path = make("path", { d, class: best ? "arc best" : "arc", pathLength: 1 });
      path.style.strokeWidth = 1 + 3 * (w / total);
      arcs.prepend(path, make("polygon", { class: best ? "tip best" : "tip", points: `${x1 - bend - 4},${y1 - 6} ${x1 - bend + 4},${y1 - 6} ${x1 - bend},${y1 + 1}` }));
      const x = Math.min(Math.max(x1 + (x1 > x0 ? 20 : -20), 18), width - 18), y = Math.max(y1 - 9, 10);
      if ((best || w / total > 0.15) && labels.every(([a, b]) => Math.abs(a - x) > 38 || Math.abs(b - y) > 13)) {
        labels.push([x, y]);
        arcs.append(make("text", { x, y, class: "weight" }, weight(w)));
      }
    });
  }

  function drawStrip(sources) {
    const gate = seen().gate, width = strip.clientWidth || 300, height = 56, each = width / T;
    strip.setAttribute("viewBox", `0 0 ${width} ${height}`);
    strip.replaceChildren();
    gate.forEach((g, t) => {
      const label = `${named(t)}: gate ${g.toFixed(2)}`;
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
      const steps = near ? seen().write.flatMap((list, t) => (t <= at && list.includes(c) ? [named(t).replace("step ", "")] : [])) : [];
      part("cell").textContent = near ? `Cell ${c}: written at step ${steps.slice(0, 8).join("; ")}` : "";
    };
  }

  function drawPanel(sources) {
    const i = now.asked, at = story.steps[i], head = story.heads[now.head];
    const verdict = (said, i) => (numbers ? "" : { null: "", true: " ✓ right", false: " ✗ wrong" }[right(said, i)]);
    const about = ({ sure, error }) => (error?.[i] != null ? `error ${off(error[i])}` : sure?.[i] == null ? "" : `gives the right one ${percent(sure[i])}`);
    const row = (name, one) => make("tr", {}, make("th", { scope: "row" }, name),
      make("td", {}, one.said[i] + verdict(one.said, i)), make("td", {}, about(one)));
    const rows = [row("RAM-GRU", moment())];
    if (rival) rows.push(row(rival.name, rival));
    if (story.right[i] !== null) rows.push(make("tr", {}, make("th", { scope: "row" }, "right answer"), make("td", {}, story.right[i]), make("td")));
    const asked = story.next ? `After step ${at}, ${quoted(story.tokens[at])}` : story.columns ? `Step ${at}: ${story.tokens[at]}` : story.series ? `Step ${at}` : `Step ${at} asks ${quoted(story.tokens[at])}`;
    const all = seen().all[i];
    const items = sources.map(([s, w]) => {
      const mine = story.written && story.targets[i].includes(s);
      const what = story.series ? named(s) : `step ${s} ${quoted(story.tokens[s])}`;
      return make("li", {}, make("b", {}, what), `: weight ${weight(w)}` +
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
  root.classList.toggle("numbers", Boolean(numbers));
  if (!answers.length) return;
  const { said } = moment();
  const best = story.steps.findIndex((_, i) => right(said, i) && story.targets[i].includes(seen().from[i][0]) && !(rival && right(rival.said, i)));
  drawAnswers();
  // The last answer to a series has all of it to read from.
  ask(best < 0 && story.series ? answers.length - 1 : Math.max(best, 0));
  new ResizeObserver(() => { fit(); draw(); }).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

for (const root of document.querySelectorAll(".live")) {
  show(root, JSON.parse(root.querySelector("script").textContent));
}
