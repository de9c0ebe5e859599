// --- panels ----------------------------------------------------------------------------------------------------------

/** A picture with its title. Returns { figure, surface, title, note }. */
function panelOf(kind, index, title, note, attributes = {}) {
  const canvas = element("canvas", { role: "img", tabindex: -1, ...attributes });
  const titles = [element("strong", {}, title), element("span", {}, note)];
  const figure = element(
    "figure",
    { class: "panel", "data-panel": kind, "data-model": index },
    element("figcaption", {}, ...titles),
    element("div", { class: "frame" }, canvas),
  );
  return { figure, surface: surfaceOf(canvas), title: titles[0], note: titles[1] };
}

/** The figures under one map. */
function figureListOf() {
  const parts = { rows: {}, terms: {}, values: {} };
  for (const [name, [label, definition]] of Object.entries(FIGURES)) {
    parts.terms[name] = element("dt", { title: definition }, label);
    parts.values[name] = element("dd", { "data-figure": name, translate: "no" });
    parts.rows[name] = element("div", { class: name }, parts.terms[name], parts.values[name]);
  }
  parts.bar = element("i");
  parts.tick = element("b", { title: "chance" });
  parts.times = element("dd", { class: "times", "data-figure": "timesChance", translate: "no" });
  parts.rows.interclassNoise.append(
    element("div", { class: "bar", "aria-hidden": "true" }, parts.bar, parts.tick),
    parts.times,
  );
  return { ...parts, list: element("dl", { class: "figures" }, ...Object.values(parts.rows)) };
}

/** A colour bar with its numbers. */
function colourbarOf() {
  const gradient = element("i", { role: "img", "aria-label": "Colour scale" });
  const ticks = element("div", { class: "ticks", translate: "no" });
  const name = element("span", { class: "scale-name" });
  const node = element("div", { class: "colourbar" }, name, element("div", { class: "gradient" }, gradient, ticks));
  return { node, gradient, ticks, name, painted: null, numbers: "" };
}

/** A colour table as a CSS gradient. */
function gradientOf(table) {
  const bytes = new Uint8Array(table.buffer);
  const stops = Array.from({ length: 18 }, (_, n) => `rgb(${bytes.slice(60 * n, 60 * n + 3)})`);
  return `linear-gradient(to right, ${stops})`;
}

/** Paint a colour bar for a range. table: of `colourTable`. */
function showColourbar(bar, range, table, name) {
  write(bar.name, name);
  if (bar.painted !== table) {
    bar.painted = table;
    bar.gradient.style.background = gradientOf(table);
  }
  const ticks = colourTicks(range);
  const places = ticks.map(([value, label]) => [100 * colourPosition(value, range), label]);
  const numbers = JSON.stringify([places, range.clipped]);
  if (bar.numbers === numbers) return;
  bar.numbers = numbers;
  const nodes = places.map(([place, label]) => element("span", { style: { left: `${place}%` } }, label));
  if (range.clipped) {
    nodes.push(element("span", { class: "beyond", title: "A few cells lie above the end of the scale." }, "▸"));
  }
  bar.ticks.replaceChildren(...nodes);
}

/** What is said of the pixel: its state, class and place, and a sentence. */
function aboutOf(model) {
  const parts = {
    state: element("span", { class: "state" }),
    swatch: element("i", { class: "swatch" }),
    name: element("strong", { translate: "no" }),
    says: element("span", { class: "says" }),
    place: element("span", { class: "place" }),
    sentence: element("p", { class: "sentence" }),
    note: element("p", { class: "note" }),
  };
  const readout = element("p", { class: "readout" });
  readout.append(parts.state, parts.swatch, parts.name, parts.says, parts.place);
  const lacking = lacks(model).map((words) => element("p", { class: "note" }, words));
  return { ...parts, node: element("div", { class: "about" }, readout, parts.sentence, parts.note, ...lacking) };
}

/** Everything that belongs to one model: its title, three maps with their figures, and arrays to compute in. */
function modelPanelsOf(model) {
  const maps = Object.fromEntries(
    STAGES.map((stage) => {
      const panel = panelOf(stage, model.index, ...STAGE_WORDS[stage]);
      const bar = colourbarOf();
      bar.node.hidden = true;
      const figures = figureListOf();
      panel.figure.append(element("div", { class: "below" }, bar.node, figures.list));
      return [stage, { ...panel, bar, figures }];
    }),
  );
  const row = sheetOf(model.keyGrid);
  const column = model.apart ? sheetOf(model.queryGrid) : row;
  return { model, maps, sheets: { row, column }, about: aboutOf(model) };
}

/** Arrays to compute in and pictures to paint, for what lies on one grid. */
function sheetOf(grid) {
  const array = () => new Float64Array(grid.cells);
  const maps = STAGES.map((stage) => [stage, { picture: cellPicture(grid), shown: array(), grid }]);
  const differences = { rectified: array(), retained: array() };
  return { space: workspace(grid.cells), maps: Object.fromEntries(maps), differences };
}

/** A model's name and the health of its attention in a line; null where neither is known. */
function titleOf({ name, health }) {
  if (!name && !health) return null;
  const title = element("p", { class: "model" });
  if (name) title.append(element("strong", {}, name));
  if (health) {
    // The sentence may begin with the state, which the badge says already.
    const start = `${health.state}: `;
    const repeated = health.sentence.toLowerCase().startsWith(start.toLowerCase());
    const reason = repeated ? health.sentence.slice(start.length) : health.sentence;
    title.append(
      element("span", { class: "health", "data-state": health.state }, `attention: ${health.state}`),
      element("span", { class: "quiet", title: reason }, reason.charAt(0).toUpperCase() + reason.slice(1)),
    );
  }
  return title;
}
