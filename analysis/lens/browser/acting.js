// --- what the user does ----------------------------------------------------------------------------------------------

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const BRUSH_CELLS = 1.5; // radius of the brush
const ZOOM_STEP = 1.5;

// --- choices and look ---

/** final: false on the way of a slider, which is drawn but not yet told. */
function choose(lens, name, value, final = true) {
  const { choices } = lens.memory;
  choices[name] = value;
  showStages(lens);
  if (final) lens.tell("choices", { ...choices });
  schedule(lens);
}

function look(lens, name, value, final = true) {
  const { look: now } = lens.memory;
  now[name] = value;
  if (name === "colormap") paintTables(lens);
  if (final) lens.tell("look", { ...now });
  // A region holds cells of the grid that is asked about.
  if (name === "direction" && lens.image.models.some(({ apart }) => apart)) lens.background.endRegion();
  if (name === "range" || name === "difference") showBars(lens);
  schedule(lens);
}

function turn(lens) {
  if (lens.image.queryNames) return say(lens, UNPLACED.column);
  const direction = lens.memory.look.direction === "row" ? "column" : "row";
  look(lens, "direction", direction);
  lens.root.querySelector(`[data-choice=direction] input[value=${direction}]`).checked = true;
}

// --- pins ---

function tellPins(lens) {
  lens.tell("pins", Object.fromEntries(lens.memory.pins));
  tellActive(lens);
  lens.preview = null;
  showPins(lens);
  schedule(lens);
}

const tellActive = (lens) => lens.tell("active", Object.fromEntries(lens.memory.active));

function pin(lens, pixel) {
  const { memory, image } = lens;
  const pins = pinsOf(memory, image);
  const known = pins.findIndex(([y, x]) => y === pixel[0] && x === pixel[1]);
  if (known >= 0) {
    touchPin(memory, image, known);
    lens.clicked = false;
  } else if (pins.length === PIN_LIMIT) {
    say(lens, `${PIN_LIMIT} pins are the most: remove one first with the × after its name.`);
    return;
  } else {
    addPin(memory, image, pixel);
  }
  lens.background.endRegion();
  bringInSight(lens, pixel);
  tellPins(lens);
}

function unpin(lens, index) {
  const { memory, image } = lens;
  if (index < 0 || index >= pinsOf(memory, image).length) return;
  removePin(memory, image, index);
  tellPins(lens);
}

function undo(lens) {
  const { memory, image } = lens;
  if (!canUndo(memory, image)) return;
  undoPins(memory, image);
  tellPins(lens);
}

function touch(lens, index) {
  const { memory, image } = lens;
  if (index >= pinsOf(memory, image).length) return;
  touchPin(memory, image, index);
  tellActive(lens);
  lens.background.endRegion();
  lens.preview = null;
  showPins(lens);
  bringInSight(lens, activePixel(memory, image));
}

/** The pin under a point, or −1. size: of the panel, in screen pixels. */
function pinAt({ memory, image, view }, [y, x], size) {
  const reach = ((PIN_RADIUS + 2) * image.imageWidth) / (size * view.zoom);
  return pinsOf(memory, image).findLastIndex((pixel) => Math.hypot(pixel[0] + 0.5 - y, pixel[1] + 0.5 - x) <= reach);
}

// --- the view ---

function setView(lens, view) {
  lens.view = view;
  lens.parts.whole.disabled = view.zoom === 1;
  schedule(lens);
}

/** Move the view so that a pixel, which may stand for a query without a place, is in sight. */
function bringInSight(lens, pixel) {
  const { image, view } = lens;
  setView(lens, image.queryNames ? view : showing(image, view, pixel));
}

/** Zoom around the pixel under the pointer, or else the middle. */
function zoomBy(lens, factor) {
  const { image, view, preview } = lens;
  const around = image.queryNames ? null : preview;
  setView(lens, zoomedAt(image, view, factor, around ?? pointUnder(image, view, [0.5, 0.5])));
}

// --- regions ---

function usePaint(lens, use) {
  lens.painting = use;
  lens.parts.brush.setAttribute("aria-pressed", use);
  lens.root.toggleAttribute("data-painting", use);
  say(lens, use ? "Paint over a region, and its mean attention is shown." : "");
}

function paint(lens, point) {
  const { image } = lens;
  lens.painted ??= image.models.map(() => new Set());
  const grids = askedGrids(lens);
  const radius = BRUSH_CELLS * spansOf(grids[0]).across.pitch;
  grids.forEach((grid, index) => {
    for (const cell of cellsAround(grid, pixelAt(lens, point), radius)) lens.painted[index].add(cell);
  });
  schedule(lens);
}

/** Of each model, the grid whose cells are asked about. */
const askedGrids = (lens) => lens.image.models.map((model) => gridsIn(model, directionIn(lens)).from);

function averageOver(lens, cells, label) {
  if (cells.every((set) => set.size === 0)) return;
  lens.background.averageOver(cells, label, directionIn(lens));
  lens.preview = null;
  schedule(lens);
}

function averageClass(lens, label) {
  if (lens.background.region()?.label === label) return endRegion(lens);
  const cellsOf = ({ classes }) => new Set([...classes.keys()].filter((n) => classes[n] === label));
  averageOver(lens, askedGrids(lens).map(cellsOf), label);
}

function endRegion(lens) {
  lens.background.endRegion();
  usePaint(lens, false);
  schedule(lens);
}

// --- words ---

function toggleNoisiest(lens) {
  const { noisiest, noisiestButton } = lens.parts;
  lens.listing = !lens.listing;
  noisiestButton.setAttribute("aria-expanded", lens.listing);
  noisiest.hidden = !lens.listing;
  schedule(lens);
}

function say(lens, words) {
  write(lens.parts.status, words);
}

// --- pointer and keyboard ---

/** The pixel under a point of a panel, the nearest that has a query where the point is off them. */
const pixelAt = ({ image, view }, point) => nearestIn(image.places, pointUnder(image, view, point));

/** What `listen` asks for. */
function pointerActions(lens) {
  const unplaced = () => lens.image.queryNames !== null;
  return {
    hover(point) {
      if (unplaced()) return;
      lens.preview = pixelAt(lens, point);
      lens.byKeyboard = false;
      schedule(lens);
    },
    leave: () => leave(lens),
    click(point, size) {
      say(lens, unplaced() ? UNPLACED.choose : "");
      if (unplaced()) return;
      lens.clicked = true;
      const index = pinAt(lens, pointUnder(lens.image, lens.view, point), size);
      if (index >= 0) unpin(lens, index);
      else pin(lens, pixelAt(lens, point));
    },
    doubleClick() {
      if (lens.view.zoom === 1 || lens.painting) return;
      if (lens.clicked) undo(lens);
      setView(lens, WHOLE);
    },
    paint: (point) => paint(lens, point),
    painted() {
      if (lens.painted) averageOver(lens, lens.painted, null);
      lens.painted = null;
      usePaint(lens, false);
    },
    pan([down, across]) {
      const { image, view } = lens;
      setView(
        lens,
        moved(image, view, [(down * image.imageHeight) / view.zoom, (across * image.imageWidth) / view.zoom]),
      );
    },
    zoom(factor, point) {
      const { image, view } = lens;
      setView(lens, zoomedAt(image, view, factor, pointUnder(image, view, point)));
    },
    isPainting: () => lens.painting,
    isZoomed: () => lens.view.zoom > 1,
  };
}

function leave(lens) {
  if (lens.image.queryNames) return; // what is chosen from the list stays
  lens.preview = null;
  schedule(lens);
}

function step(lens, [down, right]) {
  const { memory, image } = lens;
  const now = lens.preview ?? activePixel(memory, image);
  const [grid] = askedGrids(lens);
  const cell = cellOf(grid, now);
  if (image.queryNames) return chooseQuery(lens, Math.min(grid.cells - 1, Math.max(0, cell + down + right)));
  const row = Math.min(grid.height - 1, Math.max(0, Math.floor(cell / grid.width) + down));
  const column = Math.min(grid.width - 1, Math.max(0, (cell % grid.width) + right));
  lens.preview = pixelOf(grid, row * grid.width + column);
  lens.byKeyboard = true;
  bringInSight(lens, lens.preview);
}

/** Show a query without a place. */
function chooseQuery(lens, number) {
  lens.preview = [0, number];
  lens.byKeyboard = true;
  say(lens, "");
  schedule(lens);
}

function onKey(lens, event) {
  const { memory, image, preview } = lens;
  if (isUndo(event)) undo(lens);
  else if (event.ctrlKey || event.metaKey || event.altKey) return;
  else if (event.key in ARROWS) step(lens, ARROWS[event.key]);
  else if (event.key === "Enter") pin(lens, preview ?? activePixel(memory, image));
  else if (event.key === "Delete" || event.key === "Backspace") unpin(lens, activeIndex(memory, image));
  else if (event.key.toLowerCase() === "r") turn(lens);
  else if (event.key === "+" || event.key === "=") zoomBy(lens, ZOOM_STEP);
  else if (event.key === "-") zoomBy(lens, 1 / ZOOM_STEP);
  else if (event.key === "0") setView(lens, WHOLE);
  else if (event.key >= "1" && event.key <= String(PIN_LIMIT)) touch(lens, Number(event.key) - 1);
  else if (event.key === "Escape" && preview !== null && lens.byKeyboard) lens.preview = null;
  else if (event.key === "Escape") endRegion(lens);
  else return;
  event.preventDefault();
  schedule(lens);
}

const isUndo = (event) => (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.shiftKey;
