// --- drawing ---------------------------------------------------------------------------------------------------------

function bitmap(pixels, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas;
}

/** The image's pictures as canvases: the photo, the photo in grey, labels and prediction in their class colours. */
function pictures(image) {
  return remembered(image, "pictures", () => {
    const { image: photo, palette, imageWidth: width, imageHeight: height } = image;
    const colour = new Uint8ClampedArray(width * height * 4).fill(255);
    const grey = new Uint8ClampedArray(width * height * 4).fill(255);
    for (let n = 0; n < width * height; n++) {
      const [red, green, blue] = [photo[3 * n], photo[3 * n + 1], photo[3 * n + 2]];
      colour[4 * n] = red;
      colour[4 * n + 1] = green;
      colour[4 * n + 2] = blue;
      grey.fill(0.299 * red + 0.587 * green + 0.114 * blue, 4 * n, 4 * n + 3);
    }
    const painted = (labels) => {
      const pixels = new Uint8ClampedArray(width * height * 4);
      labels.forEach((label, n) => label !== image.no_class && pixels.set([...palette[label], 255], 4 * n));
      return bitmap(pixels, width, height);
    };
    const [{ prediction }] = image.models;
    return {
      photo: bitmap(colour, width, height),
      grey: bitmap(grey, width, height),
      labels: image.labels && painted(image.labels),
      prediction: prediction && painted(prediction),
    };
  });
}

/** A canvas of a panel with its context and its size in CSS pixels, which an observer keeps up to date. */
function surfaceOf(canvas) {
  return { canvas, context: canvas.getContext("2d"), width: 0, height: 0, ratio: 1 };
}

/** As many pixels as the screen has for the canvas, of which CSS tells the size. */
function fit(surface, width, height) {
  const ratio = window.devicePixelRatio || 1;
  Object.assign(surface, { width, height, ratio });
  surface.canvas.width = Math.max(1, Math.round(width * ratio));
  surface.canvas.height = Math.max(1, Math.round(height * ratio));
}

/** Lay the coordinates of the image, as zoomed, over the canvas; returns its context. */
function begin({ canvas, context }, image, view) {
  const across = (canvas.width * view.zoom) / image.imageWidth;
  const down = (canvas.height * view.zoom) / image.imageHeight;
  context.setTransform(across, 0, 0, down, -view.x * across, -view.y * down);
  context.globalAlpha = 1;
  return context;
}

/** Dim what lies outside the part of the image that a model saw, { top, left, height, width }, and draw its border. */
function dimOutside(context, image, { top, left, height, width }) {
  if (height === image.imageHeight && width === image.imageWidth) return;
  context.beginPath();
  context.rect(0, 0, image.imageWidth, image.imageHeight);
  context.rect(left, top, width, height);
  context.fillStyle = OUTSIDE_COLOUR;
  context.fill("evenodd");
  context.lineWidth = screenPixel(context);
  context.strokeStyle = OUTSIDE_LINE;
  context.strokeRect(left, top, width, height);
}

function drawPhoto(surface, image, view, overlay) {
  const context = begin(surface, image, view);
  const { photo, [overlay]: over } = pictures(image);
  context.imageSmoothingEnabled = view.zoom < 3;
  context.drawImage(photo, 0, 0);
  if (overlay !== "photo" && over) {
    context.globalAlpha = 0.7;
    context.drawImage(over, 0, 0);
    context.globalAlpha = 1;
  }
  dimOutside(context, image, image.crop);
  return context;
}

/** A picture of one map's cells that is painted again for every query: { pixels, draw canvas }. */
function cellPicture({ width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const data = new ImageData(width, height);
  return { canvas, context, data, pixels: new Uint32Array(data.data.buffer) };
}

/** grid: on which the picture's cells lie; null: there is the photo alone. */
function drawMap(surface, image, { keyGrid }, view, { grid, picture }, photoOpacity) {
  const context = begin(surface, image, view);
  const { crop, seen } = keyGrid;
  if (photoOpacity > 0 || crop) context.drawImage(pictures(image).grey, 0, 0);
  if (grid) {
    picture.context.putImageData(picture.data, 0, 0);
    const { across, down } = spansOf(grid);
    context.save();
    if (crop) {
      context.beginPath();
      context.rect(seen.left, seen.top, seen.width, seen.height);
      context.clip();
    }
    context.globalAlpha = 1 - photoOpacity;
    context.imageSmoothingEnabled = false; // a cell is a cell: no invented values between them
    context.drawImage(picture.canvas, across.start, down.start, across.pitch * grid.width, down.pitch * grid.height);
    context.restore();
  }
  dimOutside(context, image, seen);
  return context;
}

/** The border of all cells for which `inside(cell)` holds, as a path on the image; edges in a row are one line. */
function outlineOf(grid, inside) {
  const { width, height } = grid;
  const { across, down } = spansOf(grid);
  const xAt = (column) => across.start + column * across.pitch;
  const yAt = (row) => down.start + row * down.pitch;
  const path = new Path2D();
  /** Lines along one direction: isEdge(line, step), for `lines` lines of `steps` steps each. */
  const trace = (lines, steps, isEdge, point) => {
    for (let line = 1; line < lines; line++) {
      for (let step = 0, begun = -1; step <= steps; step++) {
        const edge = step < steps && isEdge(line, step);
        if (edge && begun < 0) begun = step;
        if (edge || begun < 0) continue;
        path.moveTo(...point(line, begun));
        path.lineTo(...point(line, step));
        begun = -1;
      }
    }
  };
  const vertical = (x, y) => inside(y * width + x) !== inside(y * width + x - 1);
  const horizontal = (y, x) => inside(y * width + x) !== inside((y - 1) * width + x);
  trace(width, height, vertical, (x, y) => [xAt(x), yAt(y)]);
  trace(height, width, horizontal, (y, x) => [xAt(x), yAt(y)]);
  return path;
}

/** The border of one class. of: "classes" (what the figures are measured against) or "predicted". */
function classOutline(grid, label, of) {
  return remembered(grid, `outline ${of} ${label}`, () => outlineOf(grid, (cell) => grid[of][cell] === label));
}

/** A line that reads on any background: dark below, light above; widths in screen pixels. */
function strokeTwice(context, path, colour, width, dashes = []) {
  const screen = screenPixel(context);
  context.setLineDash([]);
  context.lineWidth = (width + 2) * screen;
  context.strokeStyle = "rgba(0, 0, 0, 0.6)";
  context.stroke(path);
  context.setLineDash(dashes.map((length) => length * screen));
  context.lineWidth = width * screen;
  context.strokeStyle = colour;
  context.stroke(path);
  context.setLineDash([]);
}

/** The side of a pixel of the screen (as CSS counts them) in the context's coordinates. */
const screenPixel = (context) => (window.devicePixelRatio || 1) / context.getTransform().a;

/** A dot on every cell of the query's class that gets less than a quarter of its mean. cell: of `ownPlace`. */
function drawHollows(context, grid, row, cell, label, below) {
  const { classes, width } = grid;
  const { across, down } = spansOf(grid);
  const radius = Math.min(across.pitch, down.pitch) * 0.22;
  context.beginPath();
  for (let n = 0; n < row.length; n++) {
    if (n === cell || classes[n] !== label || !(row[n] < below)) continue;
    const x = across.start + ((n % width) + 0.5) * across.pitch;
    const y = down.start + (Math.floor(n / width) + 0.5) * down.pitch;
    context.moveTo(x + radius, y);
    context.arc(x, y, radius, 0, 2 * Math.PI);
  }
  context.fillStyle = HOLLOW_COLOUR;
  context.fill();
  context.lineWidth = 0.75 * screenPixel(context);
  context.strokeStyle = "rgba(0, 0, 0, 0.7)";
  context.stroke();
}

function drawRing(context, [y, x], colour, radius) {
  const ring = new Path2D();
  ring.arc(x + 0.5, y + 0.5, radius * screenPixel(context), 0, 2 * Math.PI);
  strokeTwice(context, ring, colour, 2);
}

/** A pin on the photo: its number, on the image pixel that it marks. */
function drawPin(context, [y, x], number, colour, active) {
  drawNumber(context, [y + 0.5, x + 0.5], number, colour, active ? PIN_RADIUS + 2 : PIN_RADIUS, active);
}

/** A pin on a map: a ring that leaves its cell in sight, and its number beside it. */
function drawMapPin(context, [y, x], number, colour, active) {
  const screen = screenPixel(context);
  const { a: across, d: down, e: left, f: top } = context.getTransform();
  const away = MAP_PIN_AWAY * screen;
  // Up and to the right, unless the panel ends there.
  const right = (x + 2 * away) * across + left < context.canvas.width;
  const up = (y - 2 * away) * down + top > 0;
  drawRing(context, [y, x], colour, active ? MAP_PIN_RADIUS + 1 : MAP_PIN_RADIUS);
  const place = [y + 0.5 + (up ? -away : away), x + 0.5 + (right ? away : -away)];
  drawNumber(context, place, number, colour, MAP_PIN_RADIUS + 1, active);
}

/** A pin's number in a disc of its colour around a point. size: its radius in screen pixels. */
function drawNumber(context, [y, x], number, colour, size, active) {
  const screen = screenPixel(context);
  const radius = size * screen;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.lineWidth = (active ? 2.5 : 1.25) * screen;
  context.strokeStyle = active ? "#ffffff" : "rgba(0, 0, 0, 0.75)";
  context.stroke();
  if (active) {
    context.beginPath();
    context.arc(x, y, radius + 1.75 * screen, 0, 2 * Math.PI);
    context.lineWidth = screen;
    context.strokeStyle = "rgba(0, 0, 0, 0.75)";
    context.stroke();
  }
  context.fillStyle = inkOn(colour);
  context.font = `700 ${1.35 * radius}px sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(number), x, y + 0.5 * screen);
}

/** Black or white, whichever reads better on a colour "#rrggbb". */
export function inkOn(colour) {
  const linear = [1, 3, 5].map((start) => {
    const share = parseInt(colour.slice(start, start + 2), 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  return luminance > 0.179 ? "#000000" : "#ffffff";
}

const PIN_RADIUS = 8; // screen pixels
const MAP_PIN_RADIUS = 6; // of the ring, in screen pixels
const MAP_PIN_AWAY = 11; // from the ring's middle to the number's, across and down, in screen pixels
const HOVER_COLOUR = "#ffffff";
const HOLLOW_COLOUR = "#3ff0ff";
const OUTSIDE_COLOUR = "rgba(0, 0, 0, 0.65)";
const OUTSIDE_LINE = "rgba(255, 255, 255, 0.45)";
const OUTLINE_COLOUR = "rgba(255, 255, 255, 0.9)";
const PREDICTED_COLOUR = "#ffd84d";
