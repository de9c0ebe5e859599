// --- the noise map ---------------------------------------------------------------------------------------------------

// One metric of every query cell, painted over the photo. Moving over it reads a cell out, a click or Enter picks its
// pixel. Joined with geometry.js and controls.js; cells are numbered row by row.

const PHOTO_OPACITY = 0.25; // of the photo through the map
const OUTSIDE_COLOUR = "rgba(0, 0, 0, 0.65)"; // over the part of the photo that the model did not see
const STRIPE = 3; // pixels, of the pattern that marks emptied rows

export function formatValue(value) {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(3);
}

/** Up to six round numbers from 0 to `highest`. */
export function scaleTicks(highest) {
  const rough = highest / 5;
  const magnitude = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= rough * (1 - 1e-9));
  const ticks = [];
  for (let count = 0; count * step <= highest * (1 + 1e-9); count++) ticks.push(Number((count * step).toPrecision(3)));
  return ticks;
}

/** What is known of one cell, in words. */
export function describe(data, cell) {
  const label = data.classes[cell];
  const name = label < 0 ? "no label" : data.class_names[label];
  const value = data.values[cell];
  if (value !== null) return `${name}: ${data.words} ${formatValue(value)}`;
  if (data.reasons.emptied.includes(cell)) return `${name}: emptied, the gate leaves nothing of this row`;
  if (label < 0) return "no label here, so nothing to measure";
  return `${name}: ${data.words} is undefined here`;
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function paintCells(data) {
  const [height, width] = data.cells;
  const pixels = new Uint8ClampedArray(height * width * 4); // cells without a value stay transparent
  data.values.forEach((value, cell) => {
    if (value === null) return;
    const colour = 3 * Math.round(255 * Math.min(1, Math.max(0, value / data.highest)));
    pixels.set([...data.colormap.slice(colour, colour + 3), 255], 4 * cell);
  });
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** Diagonal stripes, for what a gate has emptied; they read on any photo. */
function stripes(context) {
  const tile = new OffscreenCanvas(4 * STRIPE, 4 * STRIPE);
  const drawing = tile.getContext("2d");
  drawing.fillStyle = "#ffffff";
  drawing.fillRect(0, 0, 4 * STRIPE, 4 * STRIPE);
  drawing.strokeStyle = "#c2185b";
  drawing.lineWidth = STRIPE;
  for (const shift of [-4, 0, 4]) {
    drawing.beginPath();
    drawing.moveTo((shift - 1) * STRIPE, 5 * STRIPE);
    drawing.lineTo((shift + 5) * STRIPE, -STRIPE);
    drawing.stroke();
  }
  return context.createPattern(tile, "repeat");
}

function draw({ data, grid, photo, picture, shown, parts: { canvas } }) {
  const { imageHeight, imageWidth, height, width, seen } = grid;
  const screen = window.devicePixelRatio || 1;
  const across = Math.max(1, Math.round(canvas.clientWidth * screen));
  const down = Math.max(1, Math.round((across * imageHeight) / imageWidth));
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  const context = canvas.getContext("2d");
  const scale = across / imageWidth;
  const { across: columns, down: rows } = spansOf(grid);
  const box = (cell) => [
    (columns.start + (cell % width) * columns.pitch) * scale,
    (rows.start + Math.floor(cell / width) * rows.pitch) * scale,
    columns.pitch * scale,
    rows.pitch * scale,
  ];
  context.filter = "grayscale(1)";
  context.drawImage(photo, 0, 0, across, down);
  context.filter = "none";
  context.save();
  if (grid.crop) {
    context.fillStyle = OUTSIDE_COLOUR;
    context.fillRect(0, 0, across, down);
    const part = [seen.left, seen.top, seen.width, seen.height].map((side) => side * scale);
    context.beginPath();
    context.rect(...part);
    context.clip();
    context.filter = "grayscale(1)";
    context.drawImage(photo, 0, 0, across, down);
    context.filter = "none";
  }
  context.globalAlpha = 1 - PHOTO_OPACITY;
  context.imageSmoothingEnabled = false; // a cell is a cell: no invented values between them
  const [left, top] = box(0);
  context.drawImage(picture, left, top, columns.pitch * width * scale, rows.pitch * height * scale);
  context.globalAlpha = 1;
  context.fillStyle = stripes(context);
  for (const cell of data.reasons.emptied) context.fillRect(...box(cell));
  context.restore();
  if (shown === null) return;
  for (const [colour, line] of [["rgba(0, 0, 0, 0.8)", 4], ["#ffffff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line * screen;
    context.strokeRect(...box(shown));
  }
}

// --- the page --------------------------------------------------------------------------------------------------------

/** What a map consists of. The canvas's listeners are the map's own. */
function mapPartsOf(listeners) {
  const parts = {
    canvas: element("canvas", { tabindex: 0, role: "application", ...listeners }),
    readout: element("p", { class: "readout", "aria-live": "polite" }),
    gradient: element("canvas", { width: 256, height: 1, role: "img" }),
    ticks: element("div", { class: "ticks" }),
    keys: element("p", { class: "keys" }),
    title: element("span", { class: "title" }),
  };
  const scale = element("div", { class: "gradient" }, parts.gradient, parts.ticks);
  const bar = element("div", { class: "bar" }, parts.title, scale);
  const box = element("div", { class: "frame" }, parts.canvas);
  return { ...parts, nodes: [box, parts.readout, element("div", { class: "legend" }, bar, parts.keys)] };
}

function showLegend({ gradient, title, ticks, keys }, data) {
  const colours = new Uint8ClampedArray(256 * 4).fill(255);
  for (let n = 0; n < 256; n++) colours.set(data.colormap.slice(3 * n, 3 * n + 3), 4 * n);
  gradient.getContext("2d").putImageData(new ImageData(colours, 256, 1), 0, 0);
  gradient.setAttribute("aria-label", `Colour scale from 0 to ${formatValue(data.highest)}`);
  title.textContent = data.words;
  ticks.replaceChildren(
    ...scaleTicks(data.highest).map((value) =>
      element("span", { style: { left: `${(100 * value) / data.highest}%` } }, String(value)),
    ),
  );
  const counts = [
    ["stripes", data.reasons.emptied.length, "emptied by the gate"],
    ["clear", data.reasons["no label"].length, "no label: only the photo"],
    ["clear", data.reasons.undefined.length, "undefined: only the photo"],
  ];
  keys.replaceChildren(
    ...counts
      .filter(([, count]) => count > 0)
      .map(([kind, count, words]) => element("span", {}, element("i", { class: kind }), `${words} (${count} cells)`)),
  );
}

/** The cell that an arrow key leads to from a cell; undefined for another key. */
function cellBeside({ height, width }, cell, key) {
  const [row, column] = [Math.floor(cell / width), cell % width];
  const steps = {
    ArrowUp: () => Math.max(0, row - 1) * width + column,
    ArrowDown: () => Math.min(height - 1, row + 1) * width + column,
    ArrowLeft: () => row * width + Math.max(0, column - 1),
    ArrowRight: () => row * width + Math.min(width - 1, column + 1),
  };
  return steps[key]?.();
}

/** A map in `root`: what is known of it, and its parts on the page. */
function newMap(root) {
  const map = {
    root,
    data: null, // as noise_map.py sends it
    grid: null,
    photo: null,
    picture: null, // of the cells
    shown: null, // the cell under the pointer or the keyboard's cursor
    frame: null, // asked for, in which it will be drawn
    pick: () => {}, // (pixel): what the user has chosen
  };
  map.resizing = new ResizeObserver(() => schedule(map));
  map.parts = mapPartsOf({
    onpointermove: (event) => look(map, cellOf(map.grid, pixelUnder(map, event))),
    onpointerleave: () => look(map, null),
    onblur: () => look(map, null),
    onclick: (event) => map.pick(pixelUnder(map, event)),
    onkeydown: (event) => onKey(map, event),
  });
  root.replaceChildren(...map.parts.nodes);
  return map;
}

function pixelUnder({ parts, grid }, event) {
  const place = parts.canvas.getBoundingClientRect();
  return nearestIn(grid.seen, [
    ((event.clientY - place.top) / place.height) * grid.imageHeight,
    ((event.clientX - place.left) / place.width) * grid.imageWidth,
  ]);
}

function onKey(map, event) {
  const { height, width } = map.grid;
  const cell = map.shown ?? Math.floor(height / 2) * width + Math.floor(width / 2);
  const next = cellBeside(map.grid, cell, event.key);
  if (next !== undefined) look(map, next);
  else if (event.key === "Escape") look(map, null);
  else if (event.key === "Enter") map.pick(pixelOf(map.grid, cell));
  else return;
  event.preventDefault();
}

/** Read a cell out and mark it; null: none. */
function look(map, cell) {
  const { readout } = map.parts;
  map.shown = cell;
  readout.textContent = cell === null ? readout.dataset.hint : describe(map.data, cell);
  map.root.dataset.cell = cell ?? "";
  schedule(map);
}

function schedule(map) {
  map.frame ??= requestAnimationFrame(() => {
    map.frame = null;
    const { root, photo } = map;
    if (root.isConnected && photo?.complete && photo.naturalWidth) draw(map);
  });
}

function show(map, data, pick) {
  const { root, parts } = map;
  if (data.photo !== map.data?.photo) {
    map.photo = new Image();
    map.photo.onload = () => schedule(map);
    map.photo.src = data.photo;
  }
  const grid = gridOf(data.image_size, data.cells, data.placement, data.crop);
  Object.assign(map, { data, pick, grid, picture: paintCells(data) });
  root.style.setProperty("--noise-map-aspect", `${map.grid.imageWidth} / ${map.grid.imageHeight}`);
  parts.readout.dataset.hint = "Move over the map to read a cell out; click it to open its pixel in the Explorer.";
  parts.canvas.setAttribute(
    "aria-label",
    `${data.words} over ${data.name}: arrow keys choose a cell, Enter opens its pixel in the Explorer`,
  );
  showLegend(parts, data);
  look(map, null);
  map.resizing.observe(root);
}

function rest(map) {
  map.resizing.disconnect();
  map.pick = () => {};
}

const maps = new WeakMap(); // element -> map: the script runs again whenever its data is sent again

export default function showMap({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".noise-map");
  if (!maps.has(root)) maps.set(root, newMap(root));
  const map = maps.get(root);
  show(map, data, (pixel) => setTriggerValue("picked", pixel));
  return () => rest(map);
}
