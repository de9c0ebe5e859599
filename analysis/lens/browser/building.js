// --- the parts of the page -------------------------------------------------------------------------------------------

const KEYS =
  "Keys: arrows move by one cell, Enter pins, Delete unpins, R turns row into column, 1–8 choose a pin, + and − zoom, " +
  "0 shows the whole image, Ctrl+Z undoes, Escape goes back.";

/** Everything on the page for one image. Returns its nodes and those that are changed later. */
function partsOf(image, actions) {
  const models = image.models.map(modelPanelsOf);
  const photo = panelOf("photo", 0, "Photo", image.name, {
    tabindex: 0,
    role: "application",
    "aria-label": `${image.name}: choose a pixel with the arrow keys, pin it with Enter, go back with Escape`,
    "aria-describedby": "lens-keys",
  });
  photo.figure.append(models[0].about.node);
  const classes = classesOf(image, actions.averageClass);
  const [bar, differenceBar] = [colourbarOf(), colourbarOf()];
  const classList = element("ul", { class: "classes", "aria-label": "Classes: choose one for its mean attention" });
  classList.append(...classes.map(({ item }) => item));
  const keys = element("div", { class: "keys" }, element("div", { class: "bars" }, bar.node, differenceBar.node));
  if (classes.length) {
    keys.append(element("p", { class: "note" }, "A class's mean attention: click its name."), classList);
  }
  const tools = toolsOf(image, actions);
  const announcement = element("p", { class: "unseen", "aria-live": "polite" });
  const rows = models.map((panel, index) => {
    const left = index === 0 ? [photo.figure] : [panel.about.node];
    if (models.length === 1) left.push(keys);
    const maps = STAGES.map((stage) => panel.maps[stage].figure);
    const row = element("div", { class: "panels" }, element("div", { class: "left" }, ...left), ...maps);
    const title = titleOf(panel.model);
    return title ? [title, row] : [row];
  });
  const nodes = [
    toolbarOf(image, actions),
    tools.node,
    tools.noisiest,
    ...rows.flat(),
    ...(models.length > 1 ? [keys] : []),
    element("p", { class: "unseen", id: "lens-keys" }, KEYS),
    announcement,
  ];
  return { ...tools, nodes, models, photo, classes, bar, differenceBar, announcement };
}

/** Pins, and what can be done on the panels. */
function toolsOf(image, { undo, zoomBy, setView, toggleNoisiest }) {
  const parts = {
    noPins: element(
      "p",
      { class: "hint" },
      element("span", { class: "for-mouse" }, "Move over the photo or a map; click to pin. "),
      element("span", { class: "for-mouse quiet", title: KEYS }, "Or use the keys: arrows, Enter, R …"),
      element("span", { class: "for-touch" }, "Tap the photo or a map to pin; slide sideways to look around."),
    ),
    pins: element("ul", { class: "pins", "aria-label": "Pins" }),
    status: element("p", { class: "status", role: "status" }),
    undo: button("Undo", "Undo the last change of the pins (Ctrl+Z)", undo, { class: "tool" }),
    brush: button("Brush", "Paint over a region to see its mean attention", () => {}, {
      class: "tool",
      "aria-pressed": "false",
    }),
    whole: button("Fit", "Show the whole image (0, or a double click)", () => setView(WHOLE), {
      class: "tool",
      disabled: true,
      "aria-label": "Show the whole image",
    }),
    noisiestButton: button("Noisiest pixels", "Look for the pixels with the most interclass noise", toggleNoisiest, {
      class: "tool",
      "aria-expanded": "false",
    }),
    noisiest: element("div", { class: "noisiest", role: "group", "aria-label": "Noisiest pixels", hidden: true }),
  };
  const zoom = element(
    "div",
    { class: "group", role: "group", "aria-label": "Zoom" },
    button("−", "Zoom out (−)", () => zoomBy(1 / ZOOM_STEP), { class: "tool", "aria-label": "Zoom out" }),
    button("+", "Zoom in (+, or Ctrl and the wheel, or two fingers)", () => zoomBy(ZOOM_STEP), {
      class: "tool",
      "aria-label": "Zoom in",
    }),
    parts.whole,
  );
  const known = image.models[0].hasClasses ? [parts.noisiestButton] : [];
  const buttons = element("div", { class: "buttons" }, parts.undo, parts.brush, ...known, zoom);
  const pinned = element("div", { class: "pinned" }, parts.noPins, parts.pins, parts.status);
  return { ...parts, node: element("div", { class: "tools" }, pinned, buttons) };
}

/** One pin: choose it, or take it away. */
function pinChipOf(image, pixel, index, active, touch, unpin) {
  const [model] = image.models;
  const name = className(model, model.cellClasses[cellOf(model, pixel)]);
  const words = model.hasClasses ? name : placeWords(pixel);
  const colour = image.pin_colours[index];
  const number = element("b", { style: { background: colour, color: inkOn(colour) } }, String(index + 1));
  return element(
    "li",
    { class: index === active ? "active" : "" },
    element(
      "button",
      {
        type: "button",
        title: `Show the pixel in ${placeWords(pixel)} (key ${index + 1})`,
        "aria-pressed": index === active,
        onclick: () => touch(index),
      },
      number,
      element("span", {}, words),
    ),
    button("×", "Remove this pin (Delete)", () => unpin(index), { "aria-label": `Remove pin ${index + 1}` }),
  );
}

/** The classes of the image and their colours: [{ item, button }] by label. */
function classesOf(image, averageClass) {
  const present = new Set(image.models.flatMap(({ cellClasses }) => [...new Set(cellClasses)]));
  return image.class_names.map((name, label) => {
    const of = button("", "Show the mean attention of this class", () => averageClass(label), {
      disabled: !present.has(label),
      "aria-pressed": "false",
    });
    of.append(element("i", { style: { background: `rgb(${image.palette[label]})` } }), name);
    return { item: element("li", { "data-label": label }, of), button: of };
  });
}

/** One button for each of the noisiest queries. */
function noisiestOf(model, found, pin) {
  if (!found.length) return ["No pixel of this image has interclass noise."];
  const buttons = found.map(({ cell, noise, chance, taker }) => {
    const name = className(model, model.cellClasses[cell]);
    const words =
      `Pin ${placeWords(pixelOf(model, cell))} (${name}): interclass noise ${noise.toFixed(3)}, ${(noise / chance).toFixed(2)} × chance, ` +
      `most of it on ${className(model, taker)}`;
    return button(`${name} → ${className(model, taker)}`, words, () => pin(cell), { class: "tool" });
  });
  return [element("span", { class: "quiet" }, "Most raw attention on other classes: "), ...buttons];
}
