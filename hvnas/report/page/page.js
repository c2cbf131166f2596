"use strict";
// Draws the page's figures as SVG from the data beside it. No text of the data becomes markup.
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const NAMESPACE = "http://www.w3.org/2000/svg";
  const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&", "&quot;": '"', "&#x27;": "'" };
  const FONT = "12px system-ui, sans-serif";
  const ROW = 15, NEAR = 28, ABOVE = 8, BELOW = 46, RIGHT = 14;
  const pen = document.createElement("canvas").getContext("2d");

  const plain = (text) => text.replace(/&(?:lt|gt|amp|quot|#x27);/g, (entity) => ENTITIES[entity]);
  const colour = (run) => `c${run % 6}`;

  function widthOf(text) {
    pen.font = FONT;
    return pen.measureText(text).width;
  }

  function add(parent, name, attributes = {}, text = undefined) {
    const child = parent.appendChild(document.createElementNS(NAMESPACE, name));
    for (const [key, value] of Object.entries(attributes)) child.setAttribute(key, value);
    if (text !== undefined) child.textContent = text;
    return child;
  }

  function html(parent, name, className, text = undefined) {
    const child = parent.appendChild(document.createElement(name));
    child.className = className;
    if (text !== undefined) child.textContent = text;
    return child;
  }

  // A scale from values to pixels, and back.
  function scale(range, from, to, log) {
    const of = log ? Math.log10 : (value) => value;
    const low = of(range[0]), span = of(range[1]) - low || 1;
    const at = (value) => from + (to - from) * (of(value) - low) / span;
    at.back = (pixel) => {
      const value = low + span * (pixel - from) / (to - from);
      return log ? 10 ** value : value;
    };
    return Object.assign(at, { range, log });
  }

  function ticks({ range: [low, high], log }, most) {
    if (log && high / low >= 5) {
      const factors = high / low < 1000 ? [1, 2, 5] : [1];
      const values = [];
      for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
        for (const factor of factors) values.push(factor * 10 ** power);
      const shown = values.filter((value) => value >= low && value <= high);
      const every = Math.ceil(shown.length / most);
      return shown.filter((_, i) => i % every === 0).map((value) => [value, value.toLocaleString("en")]);
    }
    const raw = (high - low) / most, size = 10 ** Math.floor(Math.log10(raw));
    const step = size * [1, 2, 5, 10].find((factor) => factor * size >= raw * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const shown = [];
    for (let i = Math.ceil(low / step - 1e-9) + 0; i * step <= high + 1e-9 * step; i++) {
      const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
      shown.push([i * step, (i * step).toLocaleString("en", options)]);
    }
    return shown;
  }

  // From the least to the most of the values, with room beside them.
  function extent(values, log) {
    const of = log ? Math.log10 : (value) => value, back = log ? (value) => 10 ** value : of;
    const low = of(Math.min(...values)), high = of(Math.max(...values));
    const room = 0.04 * (high - low) || 0.05 * Math.abs(high) || 1;
    return [back(low - room), back(high + room)];
  }

  function axes(svg, frame, x, y, layout, categories) {
    const grid = add(svg, "g", { class: "axes" });
    const across = ticks(x, Math.max(2, Math.floor((frame.right - frame.left) / 90)));
    for (const [value, label] of across) {
      add(grid, "line", { x1: x(value), x2: x(value), y1: frame.top, y2: frame.bottom, class: "grid" });
      const tick = add(grid, "g", { class: "xtick" });
      add(tick, "text", { x: x(value), y: frame.bottom + 17, "text-anchor": "middle" }, label);
    }
    for (const [at, label, line] of categories) {
      if (line) add(grid, "line", { x1: frame.left, x2: frame.right, y1: at, y2: at, class: "grid" });
      const tick = add(grid, "g", { class: "ytick" });
      add(tick, "text", { x: frame.left - 7, y: at + 4, "text-anchor": "end" }, label);
    }
    const { left, right, top, bottom } = frame;
    add(grid, "path", { d: `M${left} ${top}V${bottom}H${right}`, class: "frame" });
    const title = { x: (left + right) / 2, y: bottom + 38, "text-anchor": "middle", class: "title" };
    add(grid, "text", title, plain(layout.xaxis.title.text));
    const sideways = { transform: `translate(13 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle", class: "title" };
    add(grid, "text", sideways, plain(layout.yaxis.title.text));
  }

  // Names beside points, the first ones first, where they cover neither another name nor a point.
  function label(layer, frame, points, taken) {
    for (const { px, py, name } of points) {
      const width = 0.88 * widthOf(name), height = 13;
      const left = px - 7 - width, right = px + 7, middle = px - width / 2;
      const sides = [[right, py + 3], [left, py + 3], [right, py - 6], [middle, py + 6], [left, py - 6], [right, py - 16], [left, py - 16]];
      const free = sides.map(([left, top]) => ({ left, top, right: left + width, bottom: top + height }))
        .find((box) => box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom
          && !taken.some((other) => box.left < other.right && other.left < box.right && box.top < other.bottom && other.top < box.bottom));
      if (!free) continue;
      taken.push(free);
      add(layer, "text", { x: free.left, y: free.top + 10.5, class: "name" }, name);
    }
  }

  const star = (x, y, size) => "M" + Array.from({ length: 10 }, (_, i) => {
    const reach = i % 2 ? 0.42 * size : size, turn = Math.PI * (i / 5 - 0.5);
    return `${(x + reach * Math.cos(turn)).toFixed(1)} ${(y + reach * Math.sin(turn)).toFixed(1)}`;
  }).join("L") + "Z";
  const diamond = (x, y, size) => `M${x} ${y - size}L${x + size} ${y}L${x} ${y + size}L${x - size} ${y}Z`;

  const DRAW = {
    region(layer, trace, x, y) {
      const [left, right] = [x(trace.x[0]), x(trace.x[2])], [top, bottom] = [y(trace.y[1]), y(trace.y[0])];
      add(layer, "rect", { x: left, y: top, width: right - left, height: bottom - top, class: "region" });
    },
    curve(layer, trace, x, y) {
      const kind = `${colour(trace.run)} dash${Math.floor(trace.run / 6) % 4}`;
      const path = trace.x.map((value, i) => i ? `H${x(value)}V${y(trace.y[i])}` : `M${x(value)} ${y(trace.y[i])}`);
      if (trace.steps) add(layer, "path", { d: path.join(""), class: `line ${kind}` });
      trace.x.forEach((value, i) => {
        const size = trace.shown[i] ? 4 : 2;
        add(layer, "circle", { cx: x(value), cy: y(trace.y[i]), r: size, class: `point ${colour(trace.run)}` });
      });
    },
    marks(layer, trace, x, y) {
      trace.x.forEach((value, i) => add(layer, "path", { d: diamond(x(value), y(trace.y[i]), 4.5), class: "mark" }));
    },
    star(layer, trace, x, y) {
      const [px, py] = [x(trace.x[0]), y(trace.y[0])], kind = `line ${colour(trace.run)}`;
      if (trace.error_x) {
        const ends = [x(trace.x[0] - trace.error_x[0]), x(trace.x[0] + trace.error_x[1])];
        add(layer, "path", { d: `M${ends[0]} ${py}H${ends[1]}M${ends[0]} ${py - 4}v8M${ends[1]} ${py - 4}v8`, class: kind });
      }
      if (trace.error_y) {
        const ends = [y(trace.y[0] - trace.error_y[0]), y(trace.y[0] + trace.error_y[1])];
        add(layer, "path", { d: `M${px} ${ends[0]}V${ends[1]}M${px - 4} ${ends[0]}h8M${px - 4} ${ends[1]}h8`, class: kind });
      }
      add(layer, "path", { d: star(px, py, 9), class: `point star ${colour(trace.run)}` });
    },
  };

  // What a finger or a pointer can ask about: pixels, and the lines that are told.
  const targets = (traces, x, y) => traces.flatMap((trace) => (trace.hovertext || []).map((text, i) => ({
    px: x(trace.x[i]), py: y(trace.y[i]), lines: text.split("<br>").map(plain), name: plain(trace.name),
  })));

  function drawPoints(svg, frame, figure, state) {
    const { layout } = figure, shown = figure.data.filter((trace) => !state.hidden.has(trace.name));
    const log = layout.xaxis.type === "log";
    const every = figure.data.filter((trace) => trace.x.length);
    const view = state.view || {
      x: layout.xaxis.range || extent(every.flatMap((trace) => trace.x), log),
      y: layout.yaxis.range || extent(every.flatMap((trace) => trace.y), false),
    };
    const y = scale(view.y, frame.bottom, frame.top, false);
    const upward = ticks(y, Math.max(2, Math.floor((frame.bottom - frame.top) / 45)));
    frame.left = 30 + Math.max(...upward.map(([, text]) => widthOf(text)), 0);
    const x = scale(view.x, frame.left, frame.right, log);
    axes(svg, frame, x, y, layout, upward.map(([value, text]) => [y(value), text, true]));
    const clip = add(add(svg, "clipPath", { id: `${figure.id}-clip` }), "rect");
    const box = { x: frame.left, y: frame.top, width: frame.right - frame.left, height: frame.bottom - frame.top };
    for (const [key, value] of Object.entries(box)) clip.setAttribute(key, value);
    const layer = add(svg, "g", { "clip-path": `url(#${figure.id}-clip)` });
    for (const trace of shown) DRAW[trace.kind](layer, trace, x, y);
    const inside = (point) => point.px >= frame.left && point.px <= frame.right && point.py >= frame.top && point.py <= frame.bottom;
    const asked = targets(shown, x, y).filter(inside);
    const marks = shown.filter((trace) => trace.kind === "marks").flatMap((trace) => trace.text.map((name, i) => ({
      px: x(trace.x[i]), py: y(trace.y[i]), name: plain(name) }))).filter(inside);
    const taken = asked.map(({ px, py }) => ({ left: px - 4, right: px + 4, top: py - 4, bottom: py + 4 }));
    label(layer, frame, marks, taken);
    const near = (px, py) => asked.map((point) => [Math.hypot(point.px - px, point.py - py), point])
      .reduce((best, each) => each[0] < best[0] ? each : best, [NEAR, null])[1];
    return { near, x, y, zooms: true };
  }

  function drawBars(svg, frame, figure, state) {
    const shown = figure.data.filter((trace) => !state.hidden.has(trace.name));
    const parts = figure.data[0].y.map(plain);
    frame.left = 16 + Math.max(...parts.map(widthOf), 0);
    const most = Math.max(...figure.data.flatMap((trace) => trace.x.map((value) => value || 0)), 1e-9);
    const x = scale([0, most], frame.left, frame.right - 42, false);
    const pitch = (frame.bottom - frame.top) / parts.length;
    const high = Math.min(ROW - 2, 0.8 * pitch / Math.max(1, shown.length));
    axes(svg, frame, x, null, figure.layout, parts.map((part, i) => [frame.top + pitch * (i + 0.5), part, false]));
    const rows = [];
    shown.forEach((trace, k) => trace.x.forEach((value, i) => {
      if (value === null) return;
      const top = frame.top + pitch * (i + 0.5) + high * (k - shown.length / 2), end = x(value);
      const size = { x: frame.left, y: top, width: Math.max(1, end - frame.left), height: high - 1 };
      add(svg, "rect", { ...size, class: `bar ${colour(trace.run)}` });
      add(svg, "text", { x: end + 5, y: top + high / 2 + 3.5, class: "value" }, value.toFixed(3));
      rows.push({ top, bottom: top + high, px: end, py: top + high / 2, lines: [plain(trace.hovertext[i])], name: plain(trace.name) });
    }));
    return { near: (px, py) => rows.find((row) => py >= row.top && py < row.bottom) || null, x, y: null, zooms: false };
  }

  function tell(plot, svg, point) {
    const tip = plot.querySelector(".tip");
    svg.querySelector(".ring")?.remove();
    tip.hidden = !point;
    if (!point) return;
    tip.replaceChildren();
    point.lines.forEach((line, i) => html(tip, i ? "div" : "strong", "", line));
    html(tip, "div", "whose", point.name);
    add(svg, "circle", { cx: point.px, cy: point.py, r: 7, class: "ring" });
    tip.style.maxWidth = `${Math.min(340, plot.clientWidth - 8)}px`;
    const left = Math.min(Math.max(4, point.px + 12), plot.clientWidth - tip.offsetWidth - 4);
    tip.style.left = `${left}px`;
    tip.style.top = `${point.py + 14}px`;
  }

  // A pointer asks about the nearest point; dragging a mouse over a figure enlarges that part of it.
  function listen(plot, svg, drawn, state, redraw) {
    let begun = null, chosen = null;
    const place = (event) => {
      const box = svg.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    svg.addEventListener("pointerdown", (event) => {
      const [px, py] = place(event);
      tell(plot, svg, drawn.near(px, py));
      if (event.pointerType !== "mouse" || !drawn.zooms || event.button) return;
      begun = [px, py];
      svg.setPointerCapture(event.pointerId);
      chosen = add(svg, "rect", { class: "chosen" });
    });
    svg.addEventListener("pointermove", (event) => {
      const [px, py] = place(event);
      if (!begun) return tell(plot, svg, drawn.near(px, py));
      const box = { x: Math.min(px, begun[0]), y: Math.min(py, begun[1]), width: Math.abs(px - begun[0]), height: Math.abs(py - begun[1]) };
      for (const [key, value] of Object.entries(box)) chosen.setAttribute(key, value);
    });
    svg.addEventListener("pointerup", (event) => {
      if (!begun) return;
      const [from, to] = [begun, place(event)];
      begun = null;
      chosen.remove();
      if (Math.abs(from[0] - to[0]) < 12 || Math.abs(from[1] - to[1]) < 12) return;
      const along = (axis, i) => [axis.back(from[i]), axis.back(to[i])].sort((a, b) => a - b);
      state.view = { x: along(drawn.x, 0), y: along(drawn.y, 1) };
      redraw();
    });
    svg.addEventListener("dblclick", () => { state.view = null; redraw(); });
    svg.addEventListener("pointerleave", () => tell(plot, svg, null));
  }

  function swatch(button, trace) {
    const svg = add(button, "svg", { viewBox: "0 0 22 14", width: 22, height: 14, "aria-hidden": "true" });
    const middle = (value) => value, one = { ...trace, x: [11], y: [7], shown: [true], error_x: null, error_y: null };
    if (trace.kind === "region") add(svg, "rect", { x: 1, y: 1, width: 20, height: 12, class: "region edged" });
    else if (trace.kind === "bars") add(svg, "rect", { x: 3, y: 2, width: 16, height: 10, class: `bar ${colour(trace.run)}` });
    else {
      if (trace.steps) add(svg, "path", { d: "M0 7H22", class: `line ${colour(trace.run)} dash${Math.floor(trace.run / 6) % 4}` });
      DRAW[trace.kind](svg, { ...one, steps: false }, middle, middle);
    }
  }

  function legend(plot, figure, state, redraw) {
    const row = html(plot, "div", "legend");
    const names = new Set();
    for (const trace of figure.data) {
      if (names.has(trace.name)) continue;
      names.add(trace.name);
      const button = html(row, "button", "");
      button.type = "button";
      swatch(button, trace);
      html(button, "span", "", plain(trace.name));
      button.setAttribute("aria-pressed", "true");
      button.addEventListener("click", () => {
        const hidden = !state.hidden.delete(trace.name);
        if (hidden) state.hidden.add(trace.name);
        button.setAttribute("aria-pressed", String(!hidden));
        redraw();
      });
    }
  }

  function prepare(figure) {
    const plot = document.getElementById(figure.id), state = { hidden: new Set(), view: null };
    plot.data = figure.data;
    const place = html(plot, "div", "drawing"), bars = figure.data[0].kind === "bars";
    const redraw = () => {
      // A page that is not laid out yet has no width; it is drawn once it has.
      const width = Math.max(plot.clientWidth, 240), height = figure.height;
      const svg = document.createElementNS(NAMESPACE, "svg");
      const about = { class: "main-svg", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": plain(figure.title) };
      for (const [key, value] of Object.entries(about)) svg.setAttribute(key, value);
      place.replaceChildren(svg);
      plot.querySelector(".tip").hidden = true;
      const frame = { left: 0, right: width - RIGHT, top: ABOVE, bottom: height - BELOW };
      listen(plot, svg, (bars ? drawBars : drawPoints)(svg, frame, figure, state), state, redraw);
    };
    html(plot, "div", "tip").hidden = true;
    legend(plot, figure, state, redraw);
    let last = 0;
    new ResizeObserver(() => {
      if (plot.clientWidth === last) return;
      last = plot.clientWidth;
      redraw();
    }).observe(plot);
    redraw();
  }

  // A table wider than its place says that there is more of it, and on which side.
  function mark(scroll) {
    const note = () => {
      scroll.parentElement.classList.toggle("wide", scroll.scrollWidth > scroll.clientWidth + 1);
    };
    new ResizeObserver(note).observe(scroll);
    note();
  }

  figures.forEach(prepare);
  document.querySelectorAll(".scroll").forEach(mark);
  document.documentElement.dataset.drawn = String(figures.length);
})();
