// --- the parts of the page -------------------------------------------------------------------------------------------

const KEYS =
  `Keys: arrows move by one cell, Enter pins, Delete unpins, R turns row into column, 1–${PIN_LIMIT} choose a pin, ` +
  "+ and − zoom, 0 shows the whole image, Ctrl+Z undoes, Escape goes back.";

/** Put everything on the page that there is for the image, once for each buffer. */
function build(lens) {
  const { root, image } = lens;
  lens.parts = partsOf(lens);
  const actions = pointerActions(lens);
  for (const { canvas } of lens.parts.surfaces) {
    listen(canvas, actions);
    canvas.addEventListener("keydown", (event) => onKey(lens, event));
    canvas.addEventListener("blur", () => lens.byKeyboard && leave(lens));
    lens.resizing.observe(canvas);
  }
  root.replaceChildren(...lens.parts.nodes);
  root.dataset.models = image.models.length;
  root.style.setProperty("--lens-aspect", `${image.imageWidth} / ${image.imageHeight}`);
  root.onkeydown = (event) => {
    if (isUndo(event) && !event.defaultPrevented) onKey(lens, event);
  };
  lens.painting = false;
  lens.listing = false;
  lens.view = WHOLE;
  showStages(lens);
  paintTables(lens);
  showBars(lens);
  showPins(lens);
  if (lens.overview && lens.parts.several) showOverview(lens);
}

/** Everything on the page for one image: its nodes, its canvases (surfaces) and what is changed later. */
function partsOf(lens) {
  const { image } = lens;
  const models = image.models.map(modelPanelsOf);
  const keysId = unique("lens-keys");
  const what = image.queryNames ? "query" : "pixel";
  const photo = panelOf("photo", 0, "Photo", image.name, {
    tabindex: 0,
    role: "application",
    "aria-label": `${image.name}: choose a ${what} with the arrow keys, pin it with Enter, go back with Escape`,
    "aria-describedby": keysId,
  });
  const queries = image.queryNames && queriesOf(lens);
  photo.figure.append(...(queries ? [queries.node] : []), models[0].about.node);
  const classes = classesOf(lens);
  const [bar, differenceBar] = [colourbarOf(), colourbarOf()];
  const classList = element("ul", { class: "classes", "aria-label": "Classes: choose one for its mean attention" });
  classList.append(...classes.map(({ item }) => item));
  const keys = element("div", { class: "keys" }, element("div", { class: "bars" }, bar.node, differenceBar.node));
  if (classes.length) {
    keys.append(element("p", { class: "note" }, "A class's mean attention: click its name."), classList);
  }
  const tools = toolsOf(lens);
  const announcement = element("p", { class: "unseen", "aria-live": "polite" });
  const rows = models.map((panel, index) => {
    const left = index === 0 ? [photo.figure] : [panel.about.node];
    if (models.length === 1) left.push(keys);
    const maps = STAGES.map((stage) => panel.maps[stage].figure);
    const row = element("div", { class: "panels" }, element("div", { class: "left" }, ...left), ...maps);
    const title = titleOf(panel.model);
    return title ? [title, row] : [row];
  });
  const several = image.layers.length ? layersOf(lens) : null;
  const nodes = [
    ...(several ? [several.node] : []),
    toolbarOf(lens),
    tools.node,
    tools.noisiest,
    ...(models.length > 1 ? [element("div", { class: "models" }, ...rows.flat())] : rows.flat()),
    ...(models.length > 1 ? [keys] : []),
    element("p", { class: "unseen", id: keysId }, KEYS),
    announcement,
  ];
  const surfaces = [photo.surface, ...models.flatMap(({ maps }) => STAGES.map((stage) => maps[stage].surface))];
  return { ...tools, several, nodes, surfaces, models, photo, queries, classes, bar, differenceBar, announcement };
}

/** Pins, and what can be done on the panels. */
function toolsOf(lens) {
  const unplaced = lens.image.queryNames !== null;
  const parts = {
    noPins: unplaced ? element("p", { class: "hint" }, UNPLACED.hint) : hintOf(),
    pins: element("ul", { class: "pins", "aria-label": "Pins" }),
    status: element("p", { class: "status", role: "status" }),
    undo: button("Undo", "Undo the last change of the pins (Ctrl+Z)", () => undo(lens), { class: "tool" }),
    brush: button(
      "Brush",
      unplaced ? UNPLACED.brush : "Paint over a region to see its mean attention",
      () => usePaint(lens, !lens.painting),
      { class: "tool", "aria-pressed": "false", disabled: unplaced },
    ),
    whole: button("Fit", "Show the whole image (0, or a double click)", () => setView(lens, WHOLE), {
      class: "tool",
      disabled: true,
      "aria-label": "Show the whole image",
    }),
    noisiestButton: button(
      unplaced ? "Noisiest queries" : "Noisiest pixels",
      `Look for the ${unplaced ? "queries" : "pixels"} with the most interclass noise`,
      () => toggleNoisiest(lens),
      { class: "tool", "aria-expanded": "false" },
    ),
    noisiest: element("div", { class: "noisiest", role: "group", "aria-label": "Noisiest pixels", hidden: true }),
  };
  const zoom = element(
    "div",
    { class: "group", role: "group", "aria-label": "Zoom" },
    button("−", "Zoom out (−)", () => zoomBy(lens, 1 / ZOOM_STEP), { class: "tool", "aria-label": "Zoom out" }),
    button("+", "Zoom in (+, or Ctrl and the wheel, or two fingers)", () => zoomBy(lens, ZOOM_STEP), {
      class: "tool",
      "aria-label": "Zoom in",
    }),
    parts.whole,
  );
  const known = lens.image.models[0].hasClasses ? [parts.noisiestButton] : [];
  const buttons = element("div", { class: "buttons" }, parts.undo, parts.brush, ...known, zoom);
  const pinned = element("div", { class: "pinned" }, parts.noPins, parts.pins, parts.status);
  return { ...parts, node: element("div", { class: "tools" }, pinned, buttons) };
}

/** What can be done, as long as nothing is pinned. */
function hintOf() {
  return element(
    "p",
    { class: "hint" },
    element("span", { class: "for-mouse" }, "Move over the photo or a map; click to pin. "),
    element("span", { class: "for-mouse quiet", title: KEYS }, "Or use the keys: arrows, Enter, R …"),
    element("span", { class: "for-touch" }, "Tap the photo or a map to pin; slide sideways to look around."),
  );
}

/** The list of queries without a place: { node, show(number) }. */
function queriesOf(lens) {
  const { memory, image } = lens;
  const options = image.queryNames.map((name, number) => [number, name]);
  const list = dropdown("query", "Query", options, null, (value) => chooseQuery(lens, Number(value)));
  const select = list.querySelector("select");
  const keep = button("Pin", "Pin this query (Enter)", () => pin(lens, lens.preview ?? activePixel(memory, image)), {
    class: "tool",
  });
  const choice = element("div", { class: "choice" }, list, keep);
  return {
    node: element("div", { class: "queries" }, element("p", { class: "note" }, UNPLACED.photo), choice),
    show: (number) => select.value !== String(number) && (select.value = String(number)),
  };
}

/** One pin: choose it, or take it away. */
function pinChipOf(lens, pixel, index) {
  const { memory, image } = lens;
  const active = index === activeIndex(memory, image);
  const [model] = image.models;
  const words = model.hasClasses && !image.queryNames ? className(model, classAt(model, pixel)) : nameAt(model, pixel);
  const colour = image.pin_colours[index];
  const number = element("b", { style: { background: colour, color: inkOn(colour) } }, String(index + 1));
  return element(
    "li",
    { class: active ? "active" : "" },
    element(
      "button",
      {
        type: "button",
        title: `Show the ${image.queryNames ? "query" : "pixel in"} ${nameAt(model, pixel)} (key ${index + 1})`,
        "aria-pressed": active,
        onclick: () => touch(lens, index),
      },
      number,
      element("span", { translate: "no" }, words),
    ),
    button("×", "Remove this pin (Delete)", () => unpin(lens, index), { "aria-label": `Remove pin ${index + 1}` }),
  );
}

const classAt = ({ queryGrid }, pixel) => queryGrid.classes[cellOf(queryGrid, pixel)];
/** The name of a query without a place, or the pixel in words. */
const nameAt = ({ query_names }, pixel) => query_names?.[pixel[1]] ?? placeWords(pixel);

/** The classes of the image and their colours: [{ item, button }] by label. */
function classesOf(lens) {
  const { image } = lens;
  const asked = ({ queryGrid, keyGrid }) => (image.queryNames ? [queryGrid] : [queryGrid, keyGrid]);
  const present = new Set(image.models.flatMap(asked).flatMap(({ classes }) => [...new Set(classes)]));
  return image.class_names.map((name, label) => {
    const of = button("", "Show the mean attention of this class", () => averageClass(lens, label), {
      translate: "no",
      disabled: !present.has(label),
      "aria-pressed": "false",
    });
    of.append(element("i", { style: { background: `rgb(${image.palette[label]})` } }), name);
    return { item: element("li", { "data-label": label }, of), button: of };
  });
}

/** One button for each of the noisiest queries. */
function noisiestOf(model, found, pin) {
  if (!found.length) return [`No ${model.query_names ? "query" : "pixel"} of this image has interclass noise.`];
  const buttons = found.map(({ cell, noise, chance, taker }) => {
    const name = className(model, model.queryGrid.classes[cell]);
    const words =
      `Pin ${nameAt(model, pixelOf(model.queryGrid, cell))} (${name}): interclass noise ${noise.toFixed(3)}, ` +
      `${(noise / chance).toFixed(2)} × chance, most of it on ${className(model, taker)}`;
    const who = model.query_names?.[cell] ?? name;
    return button(`${who} → ${className(model, taker)}`, words, () => pin(cell), { class: "tool" });
  });
  return [element("span", { class: "quiet" }, "Most raw attention on other classes: "), ...buttons];
}

// --- what changes of them --------------------------------------------------------------------------------------------

function paintTables(lens) {
  const { image, memory } = lens;
  const place = Math.max(0, image.colormaps.indexOf(memory.look.colormap));
  lens.tables = {
    maps: colourTable(image.colours.subarray(place * 768, (place + 1) * 768)),
    differences: colourTable(image.difference_colours),
  };
}

/** Show the maps of the stages that some model has under the choices at work, and say where another has none. */
function showStages({ root, memory, parts }) {
  const there = parts.models.map(({ model }) => stagesThere(effectiveChoices(model, memory.choices)));
  const shown = STAGES.filter((stage) => there.some((stages) => stages.includes(stage)));
  root.style.setProperty("--lens-panels", 1 + shown.length);
  root.classList.toggle("single", shown.length === 1);
  parts.models.forEach(({ maps }, index) => {
    for (const stage of STAGES) {
      maps[stage].figure.hidden = !shown.includes(stage);
      maps[stage].figure.classList.toggle("lacking", !there[index].includes(stage));
    }
  });
}

function showBars({ memory, parts }) {
  const { range, difference } = memory.look;
  parts.bar.node.hidden = range !== "shared";
  parts.differenceBar.node.hidden = range !== "shared" || !difference;
  for (const { maps } of parts.models) {
    for (const stage of STAGES) {
      maps[stage].bar.node.hidden = range === "shared";
    }
  }
}

function showPins(lens) {
  const { memory, image, parts } = lens;
  parts.undo.disabled = !canUndo(memory, image);
  const chips = pinsOf(memory, image).map((pixel, index) => pinChipOf(lens, pixel, index));
  parts.pins.replaceChildren(...chips);
  parts.pins.hidden = !chips.length;
  parts.noPins.hidden = chips.length > 0;
}

function showNoisiest(lens) {
  const { memory, image, background, parts } = lens;
  const [model] = image.models;
  const found = background.noisiest(effectiveChoices(model, memory.choices));
  if (found === null) {
    write(parts.noisiest, background.words("noisiest", "Looking at every pixel"));
  } else if (parts.noisiest.found !== found) {
    parts.noisiest.replaceChildren(...noisiestOf(model, found, (cell) => pin(lens, pixelOf(model.queryGrid, cell))));
  }
  parts.noisiest.found = found;
}
