"use strict";
(function () {
  const found = document.getElementById("data");
  const data = found ? JSON.parse(found.textContent) : {};
  const channels = data.channels || {};

  // ---------------------------------------------------------------- sorting
  function sortBy(table, column, heading) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    const known = (row) => row.cells[column].dataset.key;
    const compare = (a, b) => {
      const [x, y] = [known(a), known(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const both = Number.isFinite(Number(x)) && Number.isFinite(Number(y));
      const order = both ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
      return down ? -order : order;
    };
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      heading.querySelector("button").addEventListener("click", () => sortBy(table, column, heading));
    });
  }

  // ---------------------------------------------------------------- theme
  const theme = document.getElementById("theme");
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    repaint();
  });

  // ---------------------------------------------------------------- channels
  function three(number) {
    return number === null ? "n/a" : Number(number.toPrecision(3)).toString();
  }
  function element(tag, properties, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }
  function small(q) {  // tail probabilities are never zero
    if (q === null) return "n/a";
    return q < 1e-16 ? "< 1e-16" : q < 1e-3 ? q.toExponential(1) : three(q);
  }
  const inks = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  function ink(name) {  // a colour of the page as red, green, blue
    inks.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name);
    inks.fillRect(0, 0, 1, 1);
    return inks.getImageData(0, 0, 1, 1).data;
  }
  const painted = [];
  function drawn(layer, levels, k) {
    const { height, width } = layer;
    const canvas = element("canvas", { width, height });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "pattern of channel " + layer.index[k]);
    const context = canvas.getContext("2d");
    const paint = (more, less) => {
      const image = context.createImageData(width, height);
      for (let i = 0; i < width * height; i++) {
        const level = levels[k * width * height + i], [r, g, b] = level < 0 ? less : more;
        image.data.set([r, g, b, 255 * Math.abs(level / 127) ** 0.75], 4 * i);
      }
      context.putImageData(image, 0, 0);
    };
    painted.push(paint);
    paint(ink("--mark"), ink("--counter"));
    return canvas;
  }
  function repaint() {
    const [more, less] = [ink("--mark"), ink("--counter")];
    painted.forEach((paint) => paint(more, less));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  function browse(place) {
    const layer = channels[place.dataset.layer];
    const bytes = Uint8Array.from(atob(layer.maps), (c) => c.charCodeAt(0));
    const levels = new Int8Array(bytes.buffer);
    const tiles = layer.index.map((channel, k) => element("li", {}, drawn(layer, levels, k),
      "channel " + channel + (layer.aware[k] ? ", " + layer.side[k] : ""), element("br"),
      "SNR " + three(layer.snr[k]) + ", q " + small(layer.q[k]), element("br"), "colours to ±" + three(layer.largest[k])));
    const list = element("ul", { className: "channels" }, ...tiles);
    const id = place.dataset.layer;
    const order = element("select", { id: id + "-order" }, new Option("SNR, largest first", "snr"), new Option("number", "index"));
    const sides = [...new Set(layer.side.filter((_, k) => layer.aware[k]))].sort();
    const side = element("select", { id: id + "-side" }, new Option("all", ""), ...sides.map((one) => new Option(one, one)));
    const count = element("span", { className: "small" });
    count.setAttribute("role", "status");
    function show() {
      const places = tiles.map((_, k) => k);
      if (order.value === "index") places.sort((a, b) => layer.index[a] - layer.index[b]);
      const of = (k) => layer.aware[k] ? layer.side[k] : "not called";
      const kept = places.filter((k) => side.value === "" || of(k) === side.value);
      list.replaceChildren(...kept.map((k) => tiles[k]));
      const hidden = {};
      for (const k of places) if (!kept.includes(k)) hidden[of(k)] = (hidden[of(k)] || 0) + 1;
      const left = Object.entries(hidden).map(([name, number]) => number + " " + name);
      const unseen = layer.total - places.length;
      if (unseen) left.push(unseen + " of smaller SNR");
      count.textContent = kept.length + " of " + layer.total + " shown" + (left.length ? "; hidden: " + left.join(", ") : "");
    }
    order.addEventListener("change", show);
    side.addEventListener("change", show);
    show();
    const blocks = layer.reduced ? " Cells between the borders are folded into one band, or into blocks: the largest change of each is shown." : "";
    place.append(element("p", { className: "small", textContent: "Blue is less than without padding, orange more; each on its own scale." + blocks }),
      element("div", { className: "tools" }, element("label", { htmlFor: order.id, textContent: "Sort by" }), order,
        element("label", { htmlFor: side.id, textContent: "Padding-aware at" }), side, count), list);
  }

  // ---------------------------------------------------------------- maps
  function span(first, last) {
    return first === last ? String(first) : first + " to " + last;
  }
  function pixels(step) {
    return Number(step[4].toFixed(1)) + " to " + Number(step[5].toFixed(1));
  }
  function explore(figure) {
    const map = data.maps[figure.dataset.map], unit = Number(figure.dataset.unit);
    const drawing = figure.querySelector("svg"), here = figure.querySelector(".here"), said = figure.querySelector("output");
    let at = null;
    function tell(row, column) {
      at = [row, column];
      const r = map.rows[row], c = map.columns[column], value = map.values[row][column];
      for (const [name, number] of [["x", c[0]], ["y", r[0]], ["width", c[1]], ["height", r[1]]]) here.setAttribute(name, number * unit);
      here.setAttribute("visibility", "visible");
      said.textContent = "row " + span(r[2], r[3]) + ", column " + span(c[2], c[3]) + " (px " + pixels(r) + ", " + pixels(c) + "): " + three(value);
    }
    function step(list, place) {
      const i = list.findIndex((one) => place < (one[0] + one[1]) * unit);
      return i < 0 ? list.length - 1 : i;
    }
    function leave() {
      here.setAttribute("visibility", "hidden");
      said.textContent = "";
      at = null;
    }
    drawing.addEventListener("pointermove", (event) => {
      const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
      const last = (list) => (list[list.length - 1][0] + list[list.length - 1][1]) * unit;
      if (point.x < 0 || point.y < 0 || point.x > last(map.columns) || point.y > last(map.rows)) leave();
      else tell(step(map.rows, point.y), step(map.columns, point.x));
    });
    drawing.addEventListener("pointerleave", leave);
    drawing.addEventListener("blur", leave);
    drawing.addEventListener("focus", () => { if (drawing.matches(":focus-visible")) tell(0, 0); });
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    drawing.addEventListener("keydown", (event) => {
      const move = moves[event.key];
      if (!move) return;
      event.preventDefault();
      const [row, column] = at || [0, 0];
      const within = (place, list) => Math.max(0, Math.min(list.length - 1, place));
      tell(within(row + move[0], map.rows), within(column + move[1], map.columns));
    });
  }
  if (data.maps) document.querySelectorAll("figure[data-map]").forEach(explore);

  // ---------------------------------------------------------------- terms
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.body.classList.add("quiet");
  });
  addEventListener("pointermove", () => document.body.classList.remove("quiet"));
  addEventListener("focusin", () => document.body.classList.remove("quiet"));

  // ---------------------------------------------------------------- layers
  const chooser = document.getElementById("layer");
  const filled = new Set();
  function fill(place) {
    if (filled.has(place)) return;
    filled.add(place);
    browse(place);
  }
  function choose(id) {
    for (const article of document.querySelectorAll("article.layer")) article.hidden = article.id !== id;
    document.querySelectorAll("#" + id + " .browser").forEach(fill);
  }
  if (chooser) {
    chooser.parentElement.hidden = false;
    chooser.addEventListener("change", () => choose(chooser.value));
    choose(chooser.value);
  }
  addEventListener("beforeprint", () => {  // paper has no chooser and nothing to open
    document.querySelectorAll(".browser").forEach(fill);
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
})();
