// Makes a report interactive: sorts and filters the table of trials, draws the trials anew as SVG,
// and shows a trial everywhere once the pointer is on it. The data give every coordinate as a share
// of its axis, on the axis' own scale, so that nothing here knows of logarithms. Without trials in
// the data, as in the report of a comparison, the table alone is interactive.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.querySelector("table.trials");
  const body = table.tBodies[0];
  const columns = [...table.tHead.rows[0].cells].map(cell => cell.textContent.trim());
  const draws = data.trials.length > 0; // then a trial is known by its id, else by its place
  const rows = new Map([...body.rows].map((row, place) => [draws ? row.cells[0].textContent.trim() : place, row]));
  const axes = [...data.axes, data.score]; // the last one is the score's
  const marks = new Map(data.trials.map(trial => [trial.id, []])); // what is drawn of each trial
  const brushes = new Map(); // place of an axis -> [low, high], shares of it
  const SVG = new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild.namespaceURI;
  const near = 14; // pixels from which the pointer finds a trial
  const INACTIVE = -0.1; // where a line passes an axis on which its trial has no value
  let hot = null, query = [];

  // ---- the trials that are shown
  const trialOf = new Map(data.trials.map(trial => [trial.id, trial]));
  const text = (row, place) => row.cells[place].textContent.trim();
  const numeric = cell => (cell === "" ? NaN : Number(cell.replaceAll(",", "")));
  const compare = {
    "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
    "=": (a, b) => a === b,
  };

  function conditionOf(word) {
    const [, name, sign, wanted] = word.match(/^(.+?)(<=|>=|=|<|>)(.*)$/) || [];
    const place = columns.indexOf(name);
    if (place < 0) return row => row.textContent.toLowerCase().includes(word.toLowerCase());
    const number = numeric(wanted);
    return row => {
      const cell = text(row, place);
      if (Number.isNaN(number)) return sign === "=" && cell === wanted;
      return compare[sign](numeric(cell), number);
    };
  }

  function isShown(id) {
    const at = trialOf.get(id)?.at;
    const inside = ([place, [low, high]]) => {
      const u = at?.[place] ?? null;
      return u !== null && low <= u && u <= high;
    };
    return query.every(holds => holds(rows.get(id))) && [...brushes].every(inside);
  }

  function update() {
    let shown = 0;
    for (const [id, row] of rows) {
      const out = !isShown(id);
      shown += !out;
      for (const each of [row, ...(marks.get(id) || [])]) each.classList.toggle("out", out);
    }
    count.textContent = `${shown} of ${rows.size} trials`;
  }

  function sortBy(place) {
    const head = table.tHead.rows[0].cells;
    const rising = head[place].getAttribute("aria-sort") !== "ascending";
    for (const cell of head) cell.removeAttribute("aria-sort");
    head[place].setAttribute("aria-sort", rising ? "ascending" : "descending");
    const sign = rising ? 1 : -1;
    const key = row => text(row, place);
    body.append(...[...body.rows].sort((one, other) => {
      const [a, b] = [key(one), key(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // what has no value is last
      const [x, y] = [numeric(a), numeric(b)];
      return sign * (Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y);
    }));
  }

  // ---- the trial under the pointer
  const tip = Object.assign(document.createElement("div"), { id: "tip", hidden: true });

  function show(id, event) {
    if (hot !== id) {
      for (const [each, on] of [[hot, false], [id, true]]) {
        const drawn = each === null ? [] : [rows.get(each), ...(marks.get(each) || [])];
        for (const one of drawn) one.classList.toggle("hot", on);
      }
      hot = id;
    }
    tip.hidden = id === null;
    if (tip.hidden) return;
    const row = rows.get(id);
    const cells = columns.map((name, place) => [name, text(row, place)]);
    tip.textContent = cells.filter(([, cell]) => cell).map(pair => pair.join("  ")).join("\n");
    const left = event.clientX > innerWidth / 2 ? event.clientX - tip.offsetWidth - 16 : event.clientX + 16;
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${Math.max(0, Math.min(event.clientY, innerHeight - tip.offsetHeight - 8))}px`;
  }

  // Follow the pointer on a figure; `distance` tells how far a trial is from a point of it.
  function follow(svg, distance) {
    svg.addEventListener("pointermove", event => {
      if (event.buttons && event.pointerType === "mouse") return; // a brush is being drawn
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let [best, least] = [null, near];
      for (const trial of data.trials) {
        const far = isShown(trial.id) ? distance(trial, at.x, at.y) : Infinity;
        if (far < least) [best, least] = [trial.id, far];
      }
      show(best, event);
    });
    svg.addEventListener("pointerleave", () => show(null));
  }

  // ---- drawing
  function draw(parent, tag, attributes, content) {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (content !== undefined) made.textContent = content;
    parent.append(made);
    return made;
  }

  const short = (name, most) => (name.length > most ? `${name.slice(0, most - 1)}…` : name);

  function mark(svg, tag, trial, attributes) {
    const kind = trial.rank === null ? " fault" : trial.top ? " top" : "";
    const made = draw(svg, tag, { ...attributes, class: `mark${kind}` });
    made.style.setProperty("--rank", trial.rank ?? 0);
    marks.get(trial.id).push(made);
  }

  // Put a live view in place of a figure's picture; without that figure there is none.
  function replace(name, caption, className) {
    const image = document.querySelector(`#${name} img`);
    if (!image) return null;
    document.getElementById(name).classList.add("live");
    document.querySelector(`#${name} p`).textContent = caption;
    image.parentElement.classList.add(...className);
    return image.parentElement;
  }

  function drawParallel(parent) {
    const step = Math.max(86, Math.min(150, (parent.clientWidth - 90) / axes.length));
    const [width, height, top, foot] = [step * axes.length + 40, 360, 46, 44];
    const x = place => 14 + place * step;
    const y = u => top + (1 - u) * (height - top - foot);
    const svg = draw(parent, "svg", { width, height, viewBox: `0 0 ${width} ${height}` });
    const heights = trial => axes.map((_, place) => y(trial.at[place] ?? INACTIVE));
    for (const trial of data.trials) {
      const points = heights(trial).map((value, place) => `${x(place)},${value.toFixed(1)}`);
      mark(svg, "path", trial, { d: `M${points.join("L")}` });
    }
    axes.forEach((axis, place) => {
      draw(svg, "text", { x: x(place) - 8, y: 14, class: "name" }, short(axis.name, step / 8));
      draw(svg, "text", { x: x(place) - 8, y: 28, class: "note" }, short(axis.note, step / 7));
      draw(svg, "line", { x1: x(place), x2: x(place), y1: y(0), y2: y(1), class: "axis" });
      for (const [u, label] of axis.ticks)
        draw(svg, "text", { x: x(place) + 5, y: y(u) + 4 }, short(label, step / 7));
      brushOn(svg, place, x(place), y);
    });
    follow(svg, (trial, left, up) => {
      const place = Math.max(0, Math.min(axes.length - 2, Math.floor((left - x(0)) / step)));
      const share = (left - x(place)) / step;
      const [from, to] = [place, place + 1].map(at => y(trial.at[at] ?? INACTIVE));
      return Math.abs(up - from - share * (to - from));
    });
  }

  // Drag along an axis to show only the trials between; a click shows all again.
  function brushOn(svg, place, x, y) {
    const area = draw(svg, "rect", { x: x - 9, width: 18, class: "brush" });
    const length = y(0) - y(1) + 12;
    const handle = draw(svg, "rect", { x: x - 12, width: 24, y: y(1) - 6, height: length, class: "handle" });
    const shareAt = event => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      return Math.max(-0.02, Math.min(1.02, (y(0) - at.y) / (y(0) - y(1))));
    };
    let from = null;
    const redraw = () => {
      const [low, high] = brushes.get(place) || [0, 0];
      area.setAttribute("y", y(high));
      area.setAttribute("height", y(low) - y(high));
      area.style.display = brushes.has(place) ? "" : "none";
    };
    handle.addEventListener("pointerdown", event => {
      from = shareAt(event);
      handle.setPointerCapture(event.pointerId);
      brushes.delete(place);
      cleared();
    });
    handle.addEventListener("pointermove", event => {
      const to = from === null ? null : shareAt(event);
      if (to === null || Math.abs(to - from) < 0.01) return;
      brushes.set(place, [Math.min(from, to), Math.max(from, to)]);
      cleared();
    });
    for (const end of ["pointerup", "pointercancel"]) handle.addEventListener(end, () => { from = null; });
    redraws.push(redraw);
    redraw();
  }

  // A panel of dots: each trial's score against its place on an axis.
  function drawDots(parent, axis, placeOf, size = [320, 210], best = []) {
    const [[width, height], left, top, foot] = [size, 54, 34, 24];
    const x = u => left + 8 + u * (width - left - 28);
    const y = u => top + (1 - (u ?? INACTIVE)) * (height - top - foot - 14);
    const svg = draw(parent, "svg", { viewBox: `0 0 ${width} ${height}` });
    draw(svg, "text", { x: left, y: 12, class: "name" }, short(axis.name, 40));
    draw(svg, "text", { x: left, y: 26, class: "note" }, short(axis.note, 48));
    for (const [u, label] of data.score.ticks) {
      draw(svg, "line", { x1: left, x2: width, y1: y(u), y2: y(u), class: "grid" });
      draw(svg, "text", { x: left - 4, y: y(u) + 4, "text-anchor": "end" }, short(label, 8));
    }
    draw(svg, "line", { x1: left, x2: width, y1: height - foot, y2: height - foot, class: "axis" });
    let free = 0;
    for (const [u, label] of axis.ticks) {
      draw(svg, "line", { x1: x(u), x2: x(u), y1: height - foot, y2: height - foot + 4, class: "axis" });
      const named = short(label, 12), half = named.length * 3 + 3;
      if (x(u) - half < free) continue; // no room for its label
      free = x(u) + half;
      draw(svg, "text", { x: x(u), y: height - 8, "text-anchor": "middle" }, named);
    }
    const steps = best.map(([order, height]) => `H${x(order)}V${y(height)}`).join("");
    if (steps) draw(svg, "path", { d: `M${x(best[0][0])},${y(best[0][1])}${steps}`, class: "best" });
    const score = axes.length - 1;
    for (const trial of data.trials) {
      if (placeOf(trial) === null) continue;
      const r = trial.top ? 4.5 : 3.2;
      mark(svg, "circle", trial, { cx: x(placeOf(trial)), cy: y(trial.at[score]), r });
    }
    follow(svg, (trial, right, up) =>
      placeOf(trial) === null ? Infinity : Math.hypot(right - x(placeOf(trial)), up - y(trial.at[score])));
  }

  // ---- putting it together
  const bar = document.createElement("div");
  bar.className = "bar";
  const box = Object.assign(document.createElement("input"), {
    type: "search", placeholder: "filter, such as: score>0.9 optimizer=adam",
  });
  box.setAttribute("aria-label", "filter of the trials");
  const count = document.createElement("span");
  const clear = Object.assign(document.createElement("button"), { type: "button", textContent: "show all" });
  bar.append(box, clear, count);
  table.parentElement.before(bar);
  document.body.append(tip);
  const redraws = [];
  const cleared = () => { redraws.forEach(redraw => redraw()); update(); };
  box.addEventListener("input", () => {
    query = box.value.split(/\s+/).filter(Boolean).map(conditionOf);
    update();
  });
  clear.addEventListener("click", () => {
    box.value = "";
    query = [];
    brushes.clear();
    cleared();
  });
  [...table.tHead.rows[0].cells].forEach((cell, place) => {
    cell.tabIndex = 0;
    cell.addEventListener("click", () => sortBy(place));
    cell.addEventListener("keydown", event => { if (event.key === "Enter") sortBy(place); });
  });
  for (const [id, row] of rows) {
    row.addEventListener("pointermove", event => show(id, event));
    row.addEventListener("pointerleave", () => show(null));
  }
  if (draws) {
    const hint = "Point at a trial to see its values here and in the table below.";
    let place = replace("history", `Each dot is a trial, in the order of their start; the line is the best
      score so far. ${hint}`, ["panels", "one"]);
    if (place) drawDots(place, data.order, trial => trial.order, [620, 260], data.best);
    place = replace("slices", `Each dot is a trial, on the scale that the search draws from; failed ones
      are below. ${hint}`, ["panels"]);
    if (place) data.axes.forEach((axis, at) => drawDots(place, axis, trial => trial.at[at]));
    place = replace("parallel", `Each line is a trial, from its values to its score; the thick ones are the
      five best. Drag along an axis to show only the trials between, here and everywhere; click on it to
      show all.`, ["parallel"]);
    if (place) drawParallel(place);
  }
  update();
})();
