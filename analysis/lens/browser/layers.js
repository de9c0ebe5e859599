// --- layers and heads ------------------------------------------------------------------------------------------------

const ORDERS = {
  network: "as in the network",
  least: "least interclass noise first",
  most: "most interclass noise first",
};
const headName = (head) => (head === MEAN ? "mean of the heads" : `head ${head}`);

/** What tells the layers' names apart: "3" of "blocks.3.attn" where all others begin and end alike. */
function shortNames(names) {
  const parts = names.map((name) => name.split("."));
  const least = Math.min(...parts.map(({ length }) => length)) - 1;
  const alike = (place) => parts.every((each) => each.at(place) === parts[0].at(place));
  let [start, end] = [0, 0];
  while (names.length > 1 && start < least && alike(start)) start++;
  while (names.length > 1 && start + end < least && alike(-1 - end)) end++;
  return new Map(names.map((name, index) => [name, parts[index].slice(start, parts[index].length - end).join(".")]));
}

/** The choice of a layer and a head, and the overview of all: { node, button, overview, order, grid, note }. */
function layersOf(lens) {
  const { image } = lens;
  const layer = image.layers.find(({ name }) => name === image.map.layer);
  const names = image.layers.map(({ name }) => [name, name]);
  const heads = [...(layer.mean ? [MEAN] : []), ...layer.heads].map((head) => [head, headName(head)]);
  const number = (value) => (value === MEAN ? MEAN : Number(value));
  const toLayer = (value) => openMap(lens, { layer: value, head: image.map.head });
  const toHead = (value) => openMap(lens, { layer: layer.name, head: number(value) });
  const parts = { order: null, shown: "" };
  parts.button = button("All heads", "Small maps of all layers and heads for the pinned pixel", () => toggleOverview(lens), {
    class: "tool",
    "aria-expanded": String(lens.overview),
  });
  const choice = element(
    "div",
    { class: "choice" },
    ...(names.length > 1 ? [dropdown("layer", "Layer", names, image.map.layer, toLayer)] : []),
    dropdown("head", "Head", heads, image.map.head, toHead),
    parts.button,
  );
  const known = image.models[0].hasClasses ? Object.entries(ORDERS) : [["network", ORDERS.network]];
  parts.order = dropdown("order", "Order", known, orderOf(lens), (value) => {
    lens.order = value;
    schedule(lens);
  });
  parts.note = element("p", { class: "note" });
  parts.grid = element("div", { class: "overview-maps", role: "group", "aria-label": "Maps of all heads" });
  parts.overview = element("div", { class: "overview", hidden: !lens.overview }, parts.order, parts.note, parts.grid);
  const left = Object.entries(image.left_out ?? {});
  const absent = left.length ? element("p", { class: "note", title: left.map((each) => each.join(": ")).join("\n") }, leftOutWords(left)) : "";
  parts.node = element("div", { class: "layers" }, choice, absent, parts.overview);
  return parts;
}

/** The order of the overview: as chosen, or else by noise where there is one. */
const orderOf = (lens) => lens.order ?? (lens.image.models[0].hasClasses ? "least" : "network");

const MOST_NAMED = 3;

/** Which layers are not here, and why. left: [[name, reason]]. */
function leftOutWords(left) {
  const named = left.slice(0, MOST_NAMED).map(([name, reason]) => `${name} (${reason})`);
  const more = left.length > MOST_NAMED ? ` and ${left.length - MOST_NAMED} more` : "";
  return `Not kept: ${named.join("; ")}${more}.`;
}

/** Show another map; what it lacks of the choices comes back with one that has it. */
function openMap(lens, map) {
  const { image, memory } = lens;
  const layer = image.layers.find(({ name }) => name === map.layer);
  showMap(image, hasMap(image, map) ? map : { layer: map.layer, head: layer.heads[0] });
  memory.maps.set(image.image_id, image.map);
  lens.tell("maps", Object.fromEntries(memory.maps));
  const focused = lens.root.getRootNode().activeElement?.getAttribute("name");
  const { scrollTop } = lens.parts.several.grid;
  takeImage(lens);
  rebuild(lens);
  lens.parts.several.grid.scrollTop = scrollTop;
  if (focused) lens.root.querySelector(`[name=${focused}]`)?.focus();
  schedule(lens);
}

function toggleOverview(lens) {
  const { several } = lens.parts;
  lens.overview = !lens.overview;
  several.button.setAttribute("aria-expanded", lens.overview);
  several.overview.hidden = !lens.overview;
  schedule(lens);
}

/** The raw rows of one pixel in all heads: [{ map, model, row, noise, chance }]; without a query there is no row. */
export function rowsOfAllHeads(image, pixel, temperature = 1) {
  return allMaps(image).map((map) => {
    const layer = image.layers.find(({ name }) => name === map.layer);
    const model = modelOfHead(image, layer, map.head);
    const cell = cellOf(model.queryGrid, pixel);
    const row = rawRow(model, cell, model.query ? temperature : 1);
    const { interclassNoise: noise, chance } = model.hasClasses
      ? queryMetrics(row, model.keyGrid.classes, ownPlace(model, cell), model.no_class, model.queryGrid.classes[cell])
      : { interclassNoise: null, chance: null };
    return { map, model, row, noise, chance };
  });
}

/** Heads without a noise come last, in the network's order. */
export function inOrder(found, order) {
  if (order === "network") return found;
  const sign = order === "least" ? 1 : -1;
  const rank = ({ noise }) => (noise === null ? Infinity : sign * noise);
  return found.toSorted((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
}

/** Draw the overview for the active pin, or the pixel that stands for one. */
function showOverview(lens) {
  const { image, memory, parts: { several }, tables } = lens;
  const order = orderOf(lens);
  const pixel = activePixel(memory, image);
  const temperature = memory.choices.temperature ?? 1;
  const { scale, clip, colormap } = memory.look;
  const shown = JSON.stringify([pixel, temperature, order, scale, clip, colormap, image.map]);
  if (several.shown === shown) return;
  several.shown = shown;
  const started = performance.now();
  const found = inOrder(rowsOfAllHeads(image, pixel, temperature), order);
  const items = found.map((each) => thumbnailOf(lens, each, scale, clip, tables.maps));
  const groups = order === "network" ? groupedByLayer(image, found, items) : [element("div", { class: "maps" }, ...items)];
  several.grid.replaceChildren(...groups);
  const where = pinsOf(memory, image).length ? "the pin" : "the example pixel";
  const words = `Where ${where} looks (${placeWords(pixel)}), each map on a colour scale of its own. A click opens one.`;
  write(several.note, `${words}${chanceWords(found)}`);
  performance.clearMeasures("overview");
  performance.measure("overview", { start: started, end: performance.now() });
}

/** That noise of cells of several sizes cannot be compared as it is: the classes in them, and so chance, differ. */
function chanceWords(found) {
  const chances = found.map(({ chance }) => chance).filter((chance) => chance !== null && Number.isFinite(chance));
  const [least, most] = [Math.min(...chances), Math.max(...chances)].map((chance) => chance.toFixed(2));
  return chances.length && least !== most ? ` Chance is ${least} to ${most}, since the layers have other cells.` : "";
}

function groupedByLayer(image, found, items) {
  return image.layers.map(({ name }) => {
    const own = items.filter((_, index) => found[index].map.layer === name);
    return element("div", { class: "layer" }, element("p", { class: "note" }, name), element("div", { class: "maps" }, ...own));
  });
}

/** One small map, a button that opens it. */
function thumbnailOf(lens, { map, model, row, noise, chance }, scale, clip, table) {
  const { width, height } = model.keyGrid;
  const canvas = element("canvas", { width, height, "aria-hidden": "true" });
  const values = shownRow(row, scale);
  const data = new ImageData(width, height);
  paintRow(values, colourRange([values], scale, clip), table, new Uint32Array(data.data.buffer));
  canvas.getContext("2d").putImageData(data, 0, 0);
  const { layer, head } = lens.image.map;
  const name = [map.layer, headName(map.head)].filter(Boolean).join(", ");
  const figures = noise === null ? "" : `: interclass noise ${noise.toFixed(3)}, ${(noise / chance).toFixed(2)} × chance`;
  const short = orderOf(lens) !== "network" && map.layer ? `${shortNames(lens.image.layers.map((each) => each.name)).get(map.layer)} · ` : "";
  const label = element("span", {}, short + map.head);
  const figure = element("span", { class: "noise" }, noise === null ? "" : noise.toFixed(2));
  return element(
    "button",
    {
      type: "button",
      title: `${name}${figures}`,
      "aria-label": `${name}${figures}`,
      "aria-pressed": String(map.layer === layer && map.head === head),
      onclick: () => openMap(lens, map),
    },
    canvas,
    element("span", { class: "under" }, label, figure),
  );
}
