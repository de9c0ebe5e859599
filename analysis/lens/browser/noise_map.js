// The noise map: one metric of every query cell, painted over the photo. Moving over it reads a cell out, a click or
// Enter picks its pixel. Cells are numbered row by row. Geometry as in analysis/geometry.py.

const PHOTO_OPACITY = 0.25; // of the photo through the map
const STRIPE = 3; // pixels, of the pattern that marks emptied rows

/** The index of the cell, of `count` along one side, into which a pixel of `pixels` falls. */
export function pixelToCell(pixel, pixels, count) {
  if (pixels === 1 || count === 1) return 0;
  return Math.floor((2 * pixel * (count - 1) + (pixels - 1)) / (2 * (pixels - 1)));
}

/** The pixel nearest to a cell's centre. */
export function cellToPixel(cell, pixels, count) {
  return count === 1 ? Math.floor((pixels - 1) / 2) : Math.floor((cell * (pixels - 1)) / (count - 1) + 0.5);
}

/** Where the map lies on the image, in pixels along one side: corner cells are centred on corner pixels. */
export function mapSpan(pixels, count) {
  if (pixels === 1 || count === 1) return { start: 0, pitch: pixels / count };
  const pitch = (pixels - 1) / (count - 1);
  return { start: 0.5 - pitch / 2, pitch };
}

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

function draw(canvas, data, photo, cells, shown) {
  const [imageHeight, imageWidth] = data.image_size;
  const [height, width] = data.cells;
  const screen = window.devicePixelRatio || 1;
  const across = Math.max(1, Math.round(canvas.clientWidth * screen));
  const down = Math.max(1, Math.round((across * imageHeight) / imageWidth));
  if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
  const context = canvas.getContext("2d");
  const scale = across / imageWidth;
  const columns = mapSpan(imageWidth, width);
  const rows = mapSpan(imageHeight, height);
  const box = (cell) => [
    (columns.start + (cell % width) * columns.pitch) * scale,
    (rows.start + Math.floor(cell / width) * rows.pitch) * scale,
    columns.pitch * scale,
    rows.pitch * scale,
  ];
  context.filter = "grayscale(1)";
  context.drawImage(photo, 0, 0, across, down);
  context.filter = "none";
  context.globalAlpha = 1 - PHOTO_OPACITY;
  context.imageSmoothingEnabled = false; // a cell is a cell: no invented values between them
  const [left, top] = box(0);
  context.drawImage(cells, left, top, columns.pitch * width * scale, rows.pitch * height * scale);
  context.globalAlpha = 1;
  context.fillStyle = stripes(context);
  for (const cell of data.reasons.emptied) context.fillRect(...box(cell));
  if (shown === null) return;
  for (const [colour, line] of [["rgba(0, 0, 0, 0.8)", 4], ["#ffffff", 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line * screen;
    context.strokeRect(...box(shown));
  }
}

// --- the page --------------------------------------------------------------------------------------------------------

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function createMap(root) {
  let data = null;
  let photo = null;
  let cells = null;
  let shown = null; // the cell under the pointer or the keyboard's cursor
  let pick = () => {};
  let frame = null;
  const resizing = new ResizeObserver(() => schedule());
  const canvas = element("canvas", {
    tabindex: 0,
    role: "application",
    onpointermove: (event) => look(cellAt(pixelUnder(event))),
    onpointerleave: () => look(null),
    onblur: () => look(null),
    onclick: (event) => pick(pixelUnder(event)),
    onkeydown: onKey,
  });
  const readout = element("p", { class: "readout", "aria-live": "polite" });
  const gradient = element("canvas", { width: 256, height: 1, role: "img" });
  const ticks = element("div", { class: "ticks" });
  const keys = element("p", { class: "keys" });
  const title = element("span", { class: "title" });
  const bar = element("div", { class: "bar" }, title, element("div", { class: "gradient" }, gradient, ticks));
  const box = element("div", { class: "frame" }, canvas);
  root.replaceChildren(box, readout, element("div", { class: "legend" }, bar, keys));

  function pixelUnder(event) {
    const place = canvas.getBoundingClientRect();
    const inside = (share, pixels) => Math.min(pixels - 1, Math.max(0, Math.floor(share * pixels)));
    return [
      inside((event.clientY - place.top) / place.height, data.image_size[0]),
      inside((event.clientX - place.left) / place.width, data.image_size[1]),
    ];
  }

  function cellAt([y, x]) {
    const row = pixelToCell(y, data.image_size[0], data.cells[0]);
    return row * data.cells[1] + pixelToCell(x, data.image_size[1], data.cells[1]);
  }

  function onKey(event) {
    const [height, width] = data.cells;
    const cell = shown ?? Math.floor(height / 2) * width + Math.floor(width / 2);
    const [row, column] = [Math.floor(cell / width), cell % width];
    const steps = {
      ArrowUp: () => Math.max(0, row - 1) * width + column,
      ArrowDown: () => Math.min(height - 1, row + 1) * width + column,
      ArrowLeft: () => row * width + Math.max(0, column - 1),
      ArrowRight: () => row * width + Math.min(width - 1, column + 1),
    };
    if (event.key in steps) look(steps[event.key]());
    else if (event.key === "Escape") look(null);
    else if (event.key === "Enter") {
      pick([cellToPixel(row, data.image_size[0], height), cellToPixel(column, data.image_size[1], width)]);
    } else return;
    event.preventDefault();
  }

  function look(cell) {
    shown = cell;
    readout.textContent = cell === null ? readout.dataset.hint : describe(data, cell);
    root.dataset.cell = cell ?? "";
    schedule();
  }

  function schedule() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      if (root.isConnected && photo?.complete && photo.naturalWidth) draw(canvas, data, photo, cells, shown);
    });
  }

  function legend() {
    const colours = new Uint8ClampedArray(256 * 4).fill(255);
    for (let n = 0; n < 256; n++) colours.set(data.colormap.slice(3 * n, 3 * n + 3), 4 * n);
    gradient.getContext("2d").putImageData(new ImageData(colours, 256, 1), 0, 0);
    gradient.setAttribute("aria-label", `Colour scale from 0 to ${formatValue(data.highest)}`);
    title.textContent = data.words;
    ticks.replaceChildren(
      ...scaleTicks(data.highest).map((value) =>
        element("span", { style: `left: ${(100 * value) / data.highest}%` }, String(value)),
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

  return {
    show(next, report) {
      pick = report;
      if (next.photo !== data?.photo) {
        photo = new Image();
        photo.onload = schedule;
        photo.src = next.photo;
      }
      data = next;
      cells = paintCells(data);
      root.style.setProperty("--noise-map-aspect", `${data.image_size[1]} / ${data.image_size[0]}`);
      readout.dataset.hint = "Move over the map to read a cell out; click it to open its pixel in the Explorer.";
      canvas.setAttribute(
        "aria-label",
        `${data.words} over ${data.name}: arrow keys choose a cell, Enter opens its pixel in the Explorer`,
      );
      legend();
      look(null);
      resizing.observe(root);
    },
    rest() {
      resizing.disconnect();
      pick = () => {};
    },
  };
}

const maps = new WeakMap(); // element -> map: the script runs again whenever its data is sent again

export default function ({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".noise-map");
  if (!maps.has(root)) maps.set(root, createMap(root));
  const map = maps.get(root);
  map.show(data, (pixel) => setTriggerValue("picked", pixel));
  return () => map.rest();
}
