// The lens: the three attention maps of any pixel of one image, computed and drawn in the browser.
//
// Pure functions first (buffer, geometry, attention, noise, colour), then drawing, then the page and its events. They
// follow dnl/attention.py, analysis/noise.py and analysis/geometry.py; a test in a real browser holds both together.
// Cells are numbered row by row; N is their number. Arrays over cells are flat and of length N.

export const GATES = ["off", "sigmoid", "binary", "similarity", "oracle"];
export const RETENTIONS = ["off", "learnt", "box"];
export const STAGES = ["raw", "rectified", "retained"];

const DEFAULT_KERNEL = 3; // of LR put on top of a model that has none
const EMPTIED = 1e-6;
const HOLLOW_THRESHOLD = 0.25;
const CLIPPED_SHARE = 0.002; // brightest cells that may lie above the end of the colour scale
const FORMAT = 2;

// --- the buffer ------------------------------------------------------------------------------------------------------

const ARRAY_TYPES = { uint8: Uint8Array, float32: Float32Array, float64: Float64Array };

/** The header of a buffer of analysis/lens/payload.py, and where its arrays begin. Throws on another format. */
export function readHeader(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  if (header.format !== FORMAT) throw new Error(`the lens reads format ${FORMAT}, but was sent ${header.format}`);
  return { header, start: 4 + length };
}

/** The buffer as an object: the header's facts, its arrays by name, and sizes spelled out. */
export function unpack(bytes) {
  const { header, start } = readHeader(bytes);
  const [model] = header.models;
  delete model.name;
  Object.assign(header, model, { arrays: { ...header.arrays, ...model.arrays } });
  const body = bytes.slice(start).buffer; // a copy, so that the float arrays are aligned
  const arrays = {};
  for (const [name, { dtype, shape, offset }] of Object.entries(header.arrays)) {
    arrays[name] = new ARRAY_TYPES[dtype](body, offset, shape.reduce((product, side) => product * side, 1));
  }
  const [height, width] = header.cells;
  const [imageHeight, imageWidth] = header.image_size;
  const cells = height * width;
  return {
    ...header,
    ...arrays,
    colormap: arrays.colours,
    height,
    width,
    cells,
    imageHeight,
    imageWidth,
    depth: (arrays.query?.length ?? 0) / cells,
    kernel: header.lr_kernel ?? DEFAULT_KERNEL,
    ownChoices: { gate: header.gate ?? "off", retention: header.lr_kernel === null ? "off" : header.lr_weights },
    // What the figures are measured against: the truth, or else the model's own prediction, or else nothing.
    cellClasses: arrays.cell_labels ?? arrays.cell_prediction ?? new Uint8Array(cells).fill(header.no_class),
    hasLabels: arrays.cell_labels !== undefined,
    hasClasses: (arrays.cell_labels ?? arrays.cell_prediction) !== undefined,
    cache: new Map(),
  };
}

function remembered(capture, name, compute) {
  if (!capture.cache.has(name)) capture.cache.set(name, compute());
  return capture.cache.get(name);
}

/** The gates that can be computed for this capture: the oracle needs labels, the others the class distribution. */
export function availableGates(capture) {
  const needed = { off: true, oracle: capture.hasLabels };
  return GATES.filter((gate) => needed[gate] ?? capture.class_probs !== undefined);
}

/** The kinds of LR that can be computed: learnt weights need query and key, which a finished map lacks. */
export function availableRetentions(capture) {
  return RETENTIONS.filter((retention) => retention !== "learnt" || capture.query !== undefined);
}

/** The user's choices where they can be had, the model's own in their place where not. */
export function effectiveChoices(capture, chosen) {
  const gate = availableGates(capture).includes(chosen.gate) ? chosen.gate : capture.ownChoices.gate;
  const retentions = availableRetentions(capture);
  const retention = retentions.includes(chosen.retention) ? chosen.retention : capture.ownChoices.retention;
  return { gate, retention };
}

// --- geometry --------------------------------------------------------------------------------------------------------

/** The index of the cell, of `count` along one side, into which a pixel of `pixels` falls. */
export function pixelToCell(pixel, pixels, count) {
  if (pixels === 1 || count === 1) return 0;
  return Math.floor((2 * pixel * (count - 1) + (pixels - 1)) / (2 * (pixels - 1)));
}

/** The pixel nearest to a cell's centre. */
export function cellToPixel(cell, pixels, count) {
  return count === 1 ? Math.floor((pixels - 1) / 2) : Math.floor((cell * (pixels - 1)) / (count - 1) + 0.5);
}

export function cellOf(capture, [y, x]) {
  const row = pixelToCell(y, capture.imageHeight, capture.height);
  return row * capture.width + pixelToCell(x, capture.imageWidth, capture.width);
}

export function pixelOf(capture, cell) {
  const row = Math.floor(cell / capture.width);
  return [
    cellToPixel(row, capture.imageHeight, capture.height),
    cellToPixel(cell % capture.width, capture.imageWidth, capture.width),
  ];
}

/** Where the map lies on the image, in pixels along one side: corner cells are centred on corner pixels. */
export function mapSpan(pixels, count) {
  if (pixels === 1 || count === 1) return { start: 0, pitch: pixels / count };
  const pitch = (pixels - 1) / (count - 1);
  return { start: 0.5 - pitch / 2, pitch };
}

// --- attention -------------------------------------------------------------------------------------------------------

const sigmoid = (value) => 1 / (1 + Math.exp(-value));

/** Dot products of one cell's vector in `left` with every cell's in `right`, both depth×N. */
function dotProducts(left, right, cell, depth, cells) {
  const products = new Float64Array(cells);
  for (let channel = 0; channel < depth; channel++) {
    const start = channel * cells;
    const factor = left[start + cell];
    for (let n = 0; n < cells; n++) products[n] += factor * right[start + n];
  }
  return products;
}

/** softmax over all cells of q·k for one query cell, or its row of a finished map. */
export function rawRow(capture, cell) {
  if (capture.attention) {
    return Float64Array.from(capture.attention.subarray(cell * capture.cells, (cell + 1) * capture.cells));
  }
  const row = dotProducts(capture.query, capture.key, cell, capture.depth, capture.cells);
  let highest = -Infinity;
  for (const score of row) if (score > highest) highest = score;
  let total = 0;
  for (let n = 0; n < row.length; n++) total += row[n] = Math.exp(row[n] - highest);
  for (let n = 0; n < row.length; n++) row[n] /= total;
  return row;
}

/** GR's gate of one query cell against every cell, in 0 … 1. `gate` is one of GATES except "off". */
export function gateRow(capture, cell, gate) {
  if (gate === "binary") {
    const classes = likeliestClasses(capture);
    return Float64Array.from(classes, (value) => Number(value === classes[cell]));
  }
  if (gate === "oracle") {
    const own = capture.cell_labels[cell];
    return Float64Array.from(capture.cell_labels, (value) => Number(value === own && value !== capture.no_class));
  }
  const classCount = capture.class_probs.length / capture.cells;
  const row = dotProducts(capture.class_probs, capture.class_probs, cell, classCount, capture.cells);
  return gate === "sigmoid" ? row.map(sigmoid) : row;
}

/** The most probable class of each cell according to GR's class distribution. */
function likeliestClasses(capture) {
  return remembered(capture, "likeliest", () => {
    const { class_probs: probs, cells } = capture;
    const classes = new Uint8Array(cells);
    for (let c = 1; c < probs.length / cells; c++) {
      for (let n = 0; n < cells; n++) if (probs[c * cells + n] > probs[classes[n] * cells + n]) classes[n] = c;
    }
    return classes;
  });
}

/** Visit every cell m and its neighbour m + δ inside the map: visit(m, neighbour, index of δ, row by row). */
function forEachNeighbour(height, width, kernel, visit) {
  const reach = (kernel - 1) / 2;
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const index = (dy + reach) * kernel + dx + reach;
      for (let y = Math.max(0, -dy); y < Math.min(height, height - dy); y++) {
        for (let x = Math.max(0, -dx); x < Math.min(width, width - dx); x++) {
          visit(y * width + x, (y + dy) * width + x + dx, index);
        }
      }
    }
  }
}

/** LR's weights sigmoid(q_m · k_{m+δ}), k²×N; "box" has 1/k² everywhere. Computed once per capture. */
export function retentionWeights(capture, retention) {
  return remembered(capture, `weights ${retention}`, () => {
    const { query, key, cells, depth, kernel, height, width } = capture;
    const weights = new Float64Array(kernel ** 2 * cells);
    if (retention === "box") return weights.fill(1 / kernel ** 2);
    forEachNeighbour(height, width, kernel, (cell, neighbour, index) => {
      let score = 0;
      for (let channel = 0; channel < depth; channel++) {
        score += query[channel * cells + cell] * key[channel * cells + neighbour];
      }
      weights[index * cells + cell] = sigmoid(score);
    });
    return weights;
  });
}

/** LR on a row: out[m] = Σ_δ weight[δ, m] · row[m + δ], terms outside the map dropped. */
export function retainRow(row, weights, height, width, kernel) {
  const retained = new Float64Array(row.length);
  const cells = row.length;
  forEachNeighbour(height, width, kernel, (cell, neighbour, index) => {
    retained[cell] += weights[index * cells + cell] * row[neighbour];
  });
  return retained;
}

/** The three rows of one query cell under the given choices. */
export function attentionStages(capture, cell, { gate, retention }) {
  const raw = rawRow(capture, cell);
  let rectified = raw;
  if (gate !== "off") {
    const gates = gateRow(capture, cell, gate);
    rectified = raw.map((value, n) => value * gates[n]);
  }
  let retained = rectified;
  if (retention !== "off") {
    const weights = retentionWeights(capture, retention);
    retained = retainRow(rectified, weights, capture.height, capture.width, capture.kernel);
  }
  return { raw, rectified, retained };
}

// --- noise -----------------------------------------------------------------------------------------------------------

/**
 * The noise of one query's row, as analysis/noise.py defines it; null where a figure is undefined.
 * classes: the label of every cell, noClass for those that take no part.
 */
export function queryMetrics(row, classes, cell, noClass) {
  const own = classes[cell];
  const undefinedMetrics = {
    labelled: own !== noClass,
    emptied: false,
    interclassNoise: null,
    chance: null,
    keptMass: null,
    intraclassNoise: null,
    hollowFraction: null,
    effectiveKeys: null,
  };
  if (own === noClass) return undefinedMetrics;

  let sameCount = 0;
  let otherCount = 0;
  let sameMass = 0;
  let otherMass = 0;
  let sameLog = 0; // Σ a·log a gives the entropies below
  let otherLog = 0;
  for (let n = 0; n < row.length; n++) {
    if (n === cell || classes[n] === noClass) continue;
    const value = row[n];
    const valueLog = value > 0 ? value * Math.log(value) : 0;
    if (classes[n] === own) {
      sameCount++;
      sameMass += value;
      sameLog += valueLog;
    } else {
      otherCount++;
      otherMass += value;
      otherLog += valueLog;
    }
  }
  const mass = sameMass + otherMass;
  const both = sameCount > 0 && otherCount > 0;
  const kept = mass >= EMPTIED;
  const metrics = {
    ...undefinedMetrics,
    emptied: !kept,
    keptMass: mass,
    chance: both ? otherCount / (sameCount + otherCount) : null,
  };
  if (!kept) return metrics;

  metrics.effectiveKeys = Math.exp(Math.max(0, Math.log(mass) - (sameLog + otherLog) / mass));
  if (both) metrics.interclassNoise = otherMass / mass;
  if (sameCount >= 2) {
    metrics.intraclassNoise = 1;
    metrics.hollowFraction = 1;
    if (sameMass > 0) {
      const entropy = Math.max(0, Math.log(sameMass) - sameLog / sameMass);
      metrics.intraclassNoise = Math.min(1, Math.max(0, 1 - entropy / Math.log(sameCount)));
      const threshold = (HOLLOW_THRESHOLD * sameMass) / sameCount;
      let below = 0;
      for (let n = 0; n < row.length; n++) {
        if (n !== cell && classes[n] === own && row[n] < threshold) below++;
      }
      metrics.hollowFraction = below / sameCount;
    }
  }
  return metrics;
}

/** The share of a row's attention on each class, largest first: [class, share]; the query's own cell left out. */
export function classShares(row, classes, cell, noClass) {
  const shares = new Map();
  let total = 0;
  for (let n = 0; n < row.length; n++) {
    if (n === cell || classes[n] === noClass) continue;
    shares.set(classes[n], (shares.get(classes[n]) ?? 0) + row[n]);
    total += row[n];
  }
  if (total < EMPTIED) return [];
  return [...shares].map(([label, mass]) => [label, mass / total]).sort((a, b) => b[1] - a[1]);
}

// --- colour ----------------------------------------------------------------------------------------------------------

/**
 * What the maps show. "weight": the rows as they are. "share" and "log": each row over its own sum, in multiples of
 * the uniform share 1/N, so that stages of different mass can be compared.
 */
export function shownRow(row, scale) {
  if (scale === "weight") return row;
  let total = 0;
  for (const value of row) total += value;
  return total > 0 ? row.map((value) => (value * row.length) / total) : row;
}

/** The one range {low, high, clipped} of the colours of several rows; a few outliers may lie beyond its end. */
export function colourRange(rows, scale) {
  const all = new Float32Array(rows.reduce((length, row) => length + row.length, 0));
  let start = 0;
  for (const row of rows) {
    all.set(row, start);
    start += row.length;
  }
  all.sort();
  const highest = all[all.length - 1];
  const most = all[Math.ceil((1 - CLIPPED_SHARE) * (all.length - 1))] || highest;
  // Where a few cells take everything, the scale still reaches the even spread.
  const high = scale === "share" ? Math.min(highest, Math.max(most, 1)) : most;
  // Four decades below the brightest are kept on a logarithmic scale.
  if (scale === "log") return { low: highest / 1e4, high: highest, clipped: false };
  return { low: 0, high, clipped: high < highest };
}

/** The place of a value on the colour scale, in 0 … 1. A range without extent gives 0. */
export function colourPosition(value, { low, high }, scale) {
  if (!(high > low)) return 0;
  const position = scale === "log" ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return position > 0 ? Math.min(1, position) : 0;
}

/** Round values to put numbers at: [value, label] from the range's low to its high end. */
export function colourTicks({ low, high }, scale) {
  if (!(high > low)) return [[high, formatNumber(high)]];
  const ticks = [];
  if (scale === "log") {
    for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) ticks.push(10 ** power);
  } else {
    const rough = (high - low) / 5;
    const magnitude = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= rough);
    for (let count = 0; low + count * step <= high * (1 + 1e-9); count++) ticks.push(low + count * step);
  }
  return ticks.map((value) => [value, formatNumber(value)]);
}

export function formatNumber(value) {
  if (value === 0) return "0";
  if (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5) return value.toExponential(0);
  return String(Number(value.toPrecision(3)));
}

/** RGBA pixels of a map, h×w, opaque. */
function paintRow(row, range, scale, colormap) {
  const pixels = new Uint8ClampedArray(row.length * 4);
  for (let n = 0; n < row.length; n++) {
    const colour = Math.round(colourPosition(row[n], range, scale) * 255) * 3;
    pixels[4 * n] = colormap[colour];
    pixels[4 * n + 1] = colormap[colour + 1];
    pixels[4 * n + 2] = colormap[colour + 2];
    pixels[4 * n + 3] = 255;
  }
  return pixels;
}

// --- drawing ---------------------------------------------------------------------------------------------------------

function bitmap(pixels, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** The capture's pictures as canvases: the photo, the photo in grey, labels and prediction in their class colours. */
function pictures(capture) {
  return remembered(capture, "pictures", () => {
    const { image, palette, imageWidth: width, imageHeight: height } = capture;
    const colour = new Uint8ClampedArray(width * height * 4);
    const grey = new Uint8ClampedArray(width * height * 4);
    for (let n = 0; n < width * height; n++) {
      const [red, green, blue] = [image[3 * n], image[3 * n + 1], image[3 * n + 2]];
      colour.set([red, green, blue, 255], 4 * n);
      grey.fill(0.299 * red + 0.587 * green + 0.114 * blue, 4 * n, 4 * n + 3);
      grey[4 * n + 3] = 255;
    }
    const painted = (labels) => {
      const pixels = new Uint8ClampedArray(width * height * 4);
      labels.forEach((label, n) => label !== capture.no_class && pixels.set([...palette[label], 255], 4 * n));
      return bitmap(pixels, width, height);
    };
    return {
      photo: bitmap(colour, width, height),
      grey: bitmap(grey, width, height),
      labels: capture.labels && painted(capture.labels),
      prediction: capture.prediction && painted(capture.prediction),
    };
  });
}

/** A canvas's context in image pixels, with as many device pixels as the screen has. */
function contextOf(canvas, capture) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round(canvas.clientWidth * scale));
  const height = Math.max(1, Math.round((width * capture.imageHeight) / capture.imageWidth));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.setTransform(width / capture.imageWidth, 0, 0, height / capture.imageHeight, 0, 0);
  context.globalAlpha = 1;
  return context;
}

function drawPhoto(canvas, capture, overlay) {
  const context = contextOf(canvas, capture);
  const { photo, [overlay]: over } = pictures(capture);
  context.drawImage(photo, 0, 0);
  if (overlay !== "photo" && over) {
    context.globalAlpha = 0.7;
    context.drawImage(over, 0, 0);
    context.globalAlpha = 1;
  }
  return context;
}

function drawMap(canvas, capture, row, range, { scale, photoOpacity }) {
  const context = contextOf(canvas, capture);
  const cells = bitmap(paintRow(row, range, scale, capture.colormap), capture.width, capture.height);
  const across = mapSpan(capture.imageWidth, capture.width);
  const down = mapSpan(capture.imageHeight, capture.height);
  context.imageSmoothingEnabled = true;
  context.drawImage(pictures(capture).grey, 0, 0);
  context.globalAlpha = 1 - photoOpacity;
  context.imageSmoothingEnabled = false; // a cell is a cell: no invented values between them
  context.drawImage(cells, across.start, down.start, across.pitch * capture.width, down.pitch * capture.height);
  context.globalAlpha = 1;
  return context;
}

/** The border of all cells of one class. */
function classOutline(capture, label) {
  return remembered(capture, `outline ${label}`, () => {
    const { cellClasses: classes, width, height } = capture;
    const across = mapSpan(capture.imageWidth, width);
    const down = mapSpan(capture.imageHeight, height);
    const at = (x, y) => [across.start + x * across.pitch, down.start + y * down.pitch];
    const path = new Path2D();
    const edge = (from, to) => {
      path.moveTo(...from);
      path.lineTo(...to);
    };
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const inside = classes[y * width + x] === label;
        if (x + 1 < width && inside !== (classes[y * width + x + 1] === label)) edge(at(x + 1, y), at(x + 1, y + 1));
        if (y + 1 < height && inside !== (classes[(y + 1) * width + x] === label)) edge(at(x, y + 1), at(x + 1, y + 1));
      }
    }
    return path;
  });
}

/** A line that reads on any background: dark below, light above; widths in screen pixels. */
function strokeTwice(context, path, colour, width) {
  const unit = 1 / context.getTransform().a;
  const screen = (window.devicePixelRatio || 1) * unit;
  context.lineWidth = (width + 2) * screen;
  context.strokeStyle = "rgba(0, 0, 0, 0.6)";
  context.stroke(path);
  context.lineWidth = width * screen;
  context.strokeStyle = colour;
  context.stroke(path);
}

function drawMarker(context, [y, x], colour, radius) {
  const screen = (window.devicePixelRatio || 1) / context.getTransform().a;
  const ring = new Path2D();
  ring.arc(x + 0.5, y + 0.5, radius * screen, 0, 2 * Math.PI);
  strokeTwice(context, ring, colour, 2);
}

// --- words -----------------------------------------------------------------------------------------------------------

const STAGE_WORDS = {
  raw: ["Raw", "softmax of q·k"],
  rectified: ["Rectified", "raw × gate (GR)"],
  retained: ["Retained", "neighbours gathered (LR)"],
};
const GATE_WORDS = {
  off: "GR off: rectified equals raw.",
  sigmoid: "σ(p·p), between 0.50 and 0.73: what the authors' code computes.",
  binary: "1 where both cells have the same predicted class, else 0: what the paper's abstract says.",
  similarity: "p·p, the probability that both cells share a class.",
  oracle: "1 where the true labels agree: the best that any gate could do.",
};
const RETENTION_WORDS = {
  off: "LR off: retained equals rectified.",
  learnt: "Each cell gathers its neighbours' attention with weights σ(q·k).",
  box: "A constant box in place of the learnt weights: a control.",
};
const FIGURES = [
  [
    "interclassNoise",
    "interclass noise",
    "The share of the attention that falls on cells of other classes: 0 is none, 1 is all of it. " +
      "Chance is what attention spread evenly over the image would get.",
  ],
  [
    "intraclassNoise",
    "intraclass noise",
    "How unevenly the attention lies on the query's own class: 0 is evenly, 1 is all on one cell.",
  ],
  [
    "hollowFraction",
    "hollow fraction",
    "The share of the class's cells that get less than a quarter of the class's mean attention.",
  ],
  [
    "keptMass",
    "kept mass",
    "The row's total on labelled cells, the query's own left out. Raw rows sum to 1 with it; GR takes mass away, " +
      "LR adds.",
  ],
];

const NO_FIGURES = "Neither labels nor a prediction: there are maps, but no classes to measure noise against.";
const FLATTERED = "No labels: measured against the model's own prediction, which flatters it.";
const NO_GATE = "GR's gates need class_probs, a class distribution in each cell, which is missing here.";
const NO_LEARNT = "LR's learnt weights need query and key; this is a finished map, which leaves the box.";

/** What this capture lacks, and what that takes away: a list of sentences. */
export function lacks(capture) {
  return [
    !capture.hasClasses && NO_FIGURES,
    capture.hasClasses && !capture.hasLabels && FLATTERED,
    !capture.class_probs && NO_GATE,
    !capture.query && NO_LEARNT,
  ].filter(Boolean);
}

const className = (capture, label) => (label === capture.no_class ? "no class" : capture.class_names[label]);
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;

/** One sentence or two: where a query's attention goes at first, and in the end. */
export function sentence(capture, cell, stages) {
  const own = capture.cellClasses[cell];
  if (!capture.hasClasses) return "";
  if (own === capture.no_class) return "This cell has no class in the labels, so it has no figures, only maps.";
  const name = className(capture, own);
  const shares = (row) => new Map(classShares(row, capture.cellClasses, cell, capture.no_class));
  const [raw, retained] = [shares(stages.raw), shares(stages.retained)];
  if (!raw.size) return "This cell gives all its attention to itself.";
  const itself = stages.raw[cell] > 0.5 ? `It gives itself ${percent(stages.raw[cell])}. Of the rest, ` : "";
  const [stray, straying] = [...raw].find(([label]) => label !== own) ?? [own, 0];
  const astray = straying >= 0.005 ? `, ${percent(straying)} falls on ${className(capture, stray)}` : "";
  const start = `${itself}${percent(raw.get(own) ?? 0)} of its raw attention is on ${name}${astray}`;
  if (stages.retained === stages.raw) return `${start}.`;
  if (!retained.size) return `${start}; the gate leaves nothing of it.`;
  return `${start}; after GR and LR ${percent(retained.get(own) ?? 0)} is on ${name}.`;
}

// --- the page --------------------------------------------------------------------------------------------------------

// What the user has chosen, kept while the browser tab lives: the component is taken down on every change of page.
// Pins and choices are told to the server as a whole, so that both sides always read them alike.
const memory = {
  pins: new Map(), // image_id -> list of pixels [y, x]
  choices: { gate: null, retention: null }, // null: the model's own
  look: { overlay: "photo", scale: "share", outline: true, photoOpacity: 0.3 },
  granted: null, // id of the last request, which another page may have sent along with the buffer
};
const PIN_COLOUR = "#4de1ff";
const HOVER_COLOUR = "#ffffff";

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** One choice out of a few, as a row of radio buttons. options: [value, label, explanation]. */
function segmented(name, legend, options, chosen, onchange) {
  return element(
    "fieldset",
    { class: "segmented", "data-choice": name },
    element("legend", {}, legend),
    element(
      "div",
      {},
      ...options.map(([value, label, title]) =>
        element(
          "label",
          { title },
          element("input", { type: "radio", name, value, checked: value === chosen, onchange: () => onchange(value) }),
          element("span", {}, label),
        ),
      ),
    ),
  );
}

function dropdown(name, label, options, chosen, onchange) {
  const select = element(
    "select",
    { name, onchange: (event) => onchange(event.target.value) },
    ...options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)),
  );
  return element("label", { class: "field" }, element("span", {}, label), select);
}

/** Builds the lens in `root` once; `show` may then be called with any number of buffers. */
function createLens(root) {
  let capture = null;
  let tell = () => {};
  let preview = null; // the pixel under the pointer or the keyboard's cursor
  let frame = null;
  const parts = {};
  const resizing = new ResizeObserver(() => schedule());

  const pinned = () => memory.pins.get(capture.image_id)?.[0] ?? capture.starting_pixel;
  const choices = () => effectiveChoices(capture, memory.choices);

  function schedule() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      if (root.isConnected) render();
    });
  }

  function pin(pixel) {
    memory.pins.set(capture.image_id, [pixel]);
    preview = null;
    tell("pins", Object.fromEntries(memory.pins));
    schedule();
  }

  function choose(name, value) {
    memory.choices[name] = value;
    tell("choices", { ...memory.choices });
    schedule();
  }

  function look(name, value) {
    memory.look[name] = value;
    schedule();
  }

  function pixelUnder(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const inside = (share, pixels) => Math.min(pixels - 1, Math.max(0, Math.floor(share * pixels)));
    return [
      inside((event.clientY - box.top) / box.height, capture.imageHeight),
      inside((event.clientX - box.left) / box.width, capture.imageWidth),
    ];
  }

  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  function onKey(event) {
    if (event.key in ARROWS) {
      const [down, right] = ARROWS[event.key];
      const cell = cellOf(capture, preview ?? pinned());
      const row = Math.min(capture.height - 1, Math.max(0, Math.floor(cell / capture.width) + down));
      const column = Math.min(capture.width - 1, Math.max(0, (cell % capture.width) + right));
      preview = pixelOf(capture, row * capture.width + column);
    } else if (event.key === "Enter") {
      pin(preview ?? pinned());
    } else if (event.key === "Escape") {
      preview = null;
    } else {
      return;
    }
    event.preventDefault();
    schedule();
  }

  function panel(kind, title, note, label) {
    const canvas = element("canvas", {
      role: "img",
      "aria-label": label,
      onpointermove: (event) => {
        preview = pixelUnder(event);
        schedule();
      },
      onpointerleave: () => {
        preview = null;
        schedule();
      },
      onclick: (event) => pin(pixelUnder(event)),
    });
    const caption = element("figcaption", {}, element("strong", {}, title), element("span", {}, note));
    parts[kind] = canvas;
    const frame = element("div", { class: "frame" }, canvas);
    return element("figure", { class: "panel", "data-panel": kind }, caption, frame);
  }

  function figureList(stage) {
    const rows = FIGURES.map(([name, label, definition]) => {
      const value = element("dd", { "data-figure": name });
      parts[`${stage} ${name}`] = value;
      return element("div", { class: name }, element("dt", { title: definition }, label), value);
    });
    const bar = element("i");
    const tick = element("b", { title: "chance" });
    const times = element("dd", { class: "times", "data-figure": "timesChance" });
    parts[`${stage} times`] = times;
    parts[`${stage} bar`] = bar;
    parts[`${stage} tick`] = tick;
    rows[0].append(element("div", { class: "bar", "aria-hidden": "true" }, bar, tick), times);
    return element("dl", { class: "figures" }, ...rows);
  }

  function build() {
    const own = capture.ownChoices;
    const chosen = choices();
    const mark = (value, ownValue) => (value === ownValue ? `${value} •` : value);
    const explained = (value, ownValue, words) => words[value] + (value === ownValue ? " The model's own." : "");
    const option = (ownValue, words) => (value) => [value, mark(value, ownValue), explained(value, ownValue, words)];
    const { overlay, scale, outline, photoOpacity } = memory.look;
    const overlays = [["photo", "Photo"], ["labels", "Labels"], ["prediction", "Prediction"]].filter(
      ([name]) => name === "photo" || capture[name],
    );
    const gates = availableGates(capture).map(option(own.gate, GATE_WORDS));
    const retentions = availableRetentions(capture).map(option(own.retention, RETENTION_WORDS));

    const toolbar = element(
      "div",
      { class: "toolbar" },
      segmented("gate", "Gate (GR)", gates, chosen.gate, (value) => choose("gate", value)),
      segmented("retention", "Retention (LR)", retentions, chosen.retention, (value) => choose("retention", value)),
      element("p", { class: "own" }, "• the model's own"),
    );
    const looks = element(
      "div",
      { class: "toolbar" },
      dropdown("overlay", "On the photo", overlays, overlay, (value) => look("overlay", value)),
      dropdown(
        "scale",
        "Colours show",
        [
          ["share", "share of attention"],
          ["log", "share, logarithmic"],
          ["weight", "weight, not normalised"],
        ],
        scale,
        (value) => look("scale", value),
      ),
      element(
        "label",
        { class: "field" },
        element("span", {}, "Photo under the maps"),
        element("input", {
          type: "range",
          name: "photoOpacity",
          min: 0,
          max: 0.8,
          step: 0.05,
          value: photoOpacity,
          oninput: (event) => look("photoOpacity", Number(event.target.value)),
        }),
      ),
    );
    if (capture.hasClasses) {
      const box = element("input", {
        type: "checkbox",
        name: "outline",
        checked: outline,
        onchange: (event) => look("outline", event.target.checked),
      });
      const words = capture.hasLabels ? "Outline the true class" : "Outline the predicted class";
      looks.append(element("label", { class: "check" }, box, element("span", {}, words)));
    }

    parts.readout = element("p", { class: "readout" });
    parts.sentence = element("p", { class: "sentence" });
    parts.announcement = element("p", { class: "unseen", "aria-live": "polite" });
    const photo = panel("photo", "Photo", capture.name, "");
    Object.entries({ tabindex: 0, role: "application", "aria-describedby": "lens-hint" }).forEach(([name, value]) =>
      parts.photo.setAttribute(name, value),
    );
    parts.photo.setAttribute(
      "aria-label",
      `${capture.name}: choose a pixel with the arrow keys, pin it with Enter, go back with Escape`,
    );
    parts.photo.addEventListener("keydown", onKey);
    parts.photo.addEventListener("blur", () => {
      preview = null;
      schedule();
    });
    const classes = element(
      "ul",
      { class: "classes", "aria-label": "Classes and their colours" },
      ...capture.class_names.map((name, label) =>
        element(
          "li",
          { "data-label": label },
          element("i", { style: `background: rgb(${capture.palette[label]})` }),
          name,
        ),
      ),
    );
    parts.classes = [...classes.children];
    const about = element("div", { class: "about" }, parts.readout, parts.sentence);
    about.append(...lacks(capture).map((words) => element("p", { class: "note" }, words)));
    photo.append(about);

    const maps = STAGES.map((stage) => {
      const figure = panel(stage, ...STAGE_WORDS[stage], "");
      figure.append(figureList(stage));
      return figure;
    });
    parts.gradient = element("canvas", { width: 256, height: 1, role: "img", "aria-label": "Colour scale" });
    parts.ticks = element("div", { class: "ticks" });
    parts.scaleName = element("span", { class: "scale-name" });

    const colourbar = element(
      "div",
      { class: "colourbar" },
      parts.scaleName,
      element("div", { class: "gradient" }, parts.gradient, parts.ticks),
    );
    const keys = element("div", { class: "keys" }, colourbar, classes, looks);
    root.replaceChildren(
      toolbar,
      element(
        "p",
        { class: "hint", id: "lens-hint" },
        "Move over the photo or a map; click to pin. ",
        element("span", {}, "Keys: arrows move by one cell, Enter pins."),
      ),
      element("div", { class: "panels" }, element("div", { class: "left" }, photo, keys), ...maps),
      parts.announcement,
    );
    root.style.setProperty("--lens-aspect", `${capture.imageWidth} / ${capture.imageHeight}`);
    const gradient = new Uint8ClampedArray(256 * 4).fill(255);
    for (let n = 0; n < 256; n++) gradient.set(capture.colormap.subarray(3 * n, 3 * n + 3), 4 * n);
    parts.gradient.getContext("2d").putImageData(new ImageData(gradient, 256, 1), 0, 0);
  }

  function render() {
    const started = performance.now();
    const pixel = preview ?? pinned();
    const cell = cellOf(capture, pixel);
    const stages = attentionStages(capture, cell, choices());
    drawPanels(pixel, cell, stages);
    for (const stage of STAGES) {
      showFigures(stage, queryMetrics(stages[stage], capture.cellClasses, cell, capture.no_class));
    }
    showWords(pixel, cell, stages);
    root.dataset.pixel = pixel.join(" ");
    performance.clearMeasures("lens");
    performance.measure("lens", { start: started, end: performance.now() });
  }

  function drawPanels(pixel, cell, stages) {
    const { overlay, scale, outline } = memory.look;
    const shown = STAGES.map((stage) => shownRow(stages[stage], scale));
    const range = colourRange(shown, scale);
    const contexts = [drawPhoto(parts.photo, capture, overlay)];
    const own = capture.cellClasses[cell];
    STAGES.forEach((stage, index) => {
      const context = drawMap(parts[stage], capture, shown[index], range, memory.look);
      if (outline && own !== capture.no_class) {
        strokeTwice(context, classOutline(capture, own), "rgba(255, 255, 255, 0.85)", 1);
      }
      contexts.push(context);
    });
    for (const context of contexts) {
      drawMarker(context, pinned(), PIN_COLOUR, 7);
      if (preview) drawMarker(context, pixel, HOVER_COLOUR, 5);
    }
    showScale(range, scale);
  }

  function showScale(range, scale) {
    parts.scaleName.textContent =
      scale === "weight" ? "attention weight" : "attention, in multiples of an even spread";
    const ticks = colourTicks(range, scale).map(([value, label]) =>
      element("span", { style: `left: ${100 * colourPosition(value, range, scale)}%` }, label),
    );
    if (range.clipped) {
      ticks.push(element("span", { class: "beyond", title: "A few cells lie above the end of the scale." }, "▸"));
    }
    parts.ticks.replaceChildren(...ticks);
  }

  function showFigures(stage, metrics) {
    for (const [name] of FIGURES) {
      const cell = parts[`${stage} ${name}`];
      const value = metrics[name];
      cell.dataset.value = value ?? "";
      const text = value === null ? (metrics.emptied ? "emptied" : "–") : value.toFixed(3);
      cell.textContent = text;
    }
    const { interclassNoise, chance } = metrics;
    parts[`${stage} times`].textContent =
      interclassNoise === null ? "" : `${(interclassNoise / chance).toFixed(2)} × chance (${chance.toFixed(3)})`;
    parts[`${stage} bar`].style.width = `${100 * (interclassNoise ?? 0)}%`;
    parts[`${stage} tick`].style.left = `${100 * (chance ?? 0)}%`;
    parts[`${stage} tick`].hidden = chance === null;
  }

  function showWords([y, x], cell, stages) {
    const row = Math.floor(cell / capture.width);
    const own = capture.cellClasses[cell];
    const predicted = capture.cell_prediction?.[cell];
    const swatch = element("i", { class: "swatch" });
    if (own !== capture.no_class) swatch.style.background = `rgb(${capture.palette[own]})`;
    let says = "";
    if (!capture.hasLabels) says = capture.hasClasses ? ", as predicted" : "";
    else if (predicted !== undefined && predicted !== own) says = `, predicted as ${className(capture, predicted)}`;
    parts.readout.replaceChildren(
      element("span", { class: "state" }, preview ? "Preview" : "Pinned"),
      swatch,
      element("strong", {}, className(capture, own)),
      `${says} `,
      element("span", {}, `· pixel ${x}, ${y} `),
      element("span", {}, `· cell ${cell % capture.width}, ${row}`),
    );
    const words = sentence(capture, cell, stages);
    parts.sentence.textContent = words;
    parts.classes.forEach((item, label) => item.classList.toggle("current", label === own));
    if (!preview) announce(cell, words);
  }

  /** The text alternative of the maps: spoken for pinned pixels alone, or it would never be silent. */
  function announce(cell, words) {
    const name = className(capture, capture.cellClasses[cell]);
    const spoken = `Pinned ${name}. ${words}`;
    if (parts.announcement.textContent !== spoken) parts.announcement.textContent = spoken;
    for (const stage of STAGES) {
      const noise = parts[`${stage} interclassNoise`].textContent;
      const label = `${STAGE_WORDS[stage][0]} attention of the pinned pixel (${name}); interclass noise ${noise}`;
      parts[stage].setAttribute("aria-label", label);
    }
  }

  return {
    show(bytes, report) {
      tell = report;
      const { header } = readHeader(bytes);
      const asked = header.request && header.request.id !== memory.granted;
      if (asked) {
        memory.granted = header.request.id;
        if (header.request.pins) memory.pins.set(header.image_id, header.request.pins);
        Object.assign(memory.choices, header.request.choices);
      }
      if (asked || header.payload_id !== capture?.payload_id) {
        capture = unpack(bytes);
        preview = null;
        build();
      }
      resizing.observe(root);
      schedule();
    },
    rest() {
      resizing.disconnect();
      tell = () => {};
    },
  };
}

const lenses = new WeakMap(); // element -> lens: the component's script runs again whenever its data is sent again

export default function showLens({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".lens");
  if (!lenses.has(root)) lenses.set(root, createLens(root));
  const lens = lenses.get(root);
  lens.show(data, setStateValue);
  return () => lens.rest();
}
