// --- the page --------------------------------------------------------------------------------------------------------

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const BRUSH_CELLS = 1.5; // radius of the brush
const ZOOM_STEP = 1.5;

/** Builds the lens in `root` once; `show` may then be called with any number of buffers. */
function createLens(root) {
  let image = null;
  let background = null;
  let tell = () => {};
  let preview = null; // the pixel under the pointer or the keyboard's cursor
  let byKeyboard = false;
  let view = WHOLE;
  let painting = false; // the brush is in hand
  let painted = null; // the cells under the brush so far, a set for each model
  let listing = false; // the noisiest pixels
  let clicked = false; // whether the last click changed the pins
  let frame = null;
  let panels = []; // of each model
  let parts = {};
  let tables = { maps: null, differences: null };

  const resizing = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const surface = parts.surfaces?.find(({ canvas }) => canvas === target);
      if (surface) fit(surface, contentRect.width, contentRect.height);
    }
    schedule();
  });


  function schedule() {
    frame ??= requestAnimationFrame(() => {
      frame = null;
      if (root.isConnected && image) render();
    });
  }

  // --- what the user does ---

  function tellPins() {
    tell("pins", Object.fromEntries(memory.pins));
    preview = null;
    showPins();
    schedule();
  }

  function choose(name, value, final = true) {
    memory.choices[name] = value;
    if (final) tell("choices", { ...memory.choices });
    schedule();
  }

  function look(name, value, final = true) {
    memory.look[name] = value;
    if (name === "colormap") paintTables();
    if (final) tell("look", { ...memory.look });
    if (name === "range" || name === "difference") showBars();
    schedule();
  }

  function turn() {
    look("direction", memory.look.direction === "row" ? "column" : "row");
    root.querySelector(`[data-choice=direction] input[value=${memory.look.direction}]`).checked = true;
  }

  function pin(pixel) {
    const pins = pinsOf(image);
    const known = pins.findIndex(([y, x]) => y === pixel[0] && x === pixel[1]);
    if (known >= 0) {
      touchPin(image, known);
      clicked = false;
    } else if (pins.length === PIN_LIMIT) {
      say(`${PIN_LIMIT} pins are the most: remove one first with the × after its name.`);
      return;
    } else {
      addPin(image, pixel);
    }
    background.endRegion();
    setView(showing(image, view, pixel));
    tellPins();
  }

  function unpin(index) {
    if (index < 0 || index >= pinsOf(image).length) return;
    removePin(image, index);
    tellPins();
  }

  function undo() {
    if (!canUndo(image)) return;
    undoPins(image);
    tellPins();
  }

  function touch(index) {
    if (index >= pinsOf(image).length) return;
    touchPin(image, index);
    background.endRegion();
    preview = null;
    showPins();
    setView(showing(image, view, activePixel(image)));
  }

  function setView(next) {
    view = next;
    parts.whole.disabled = view.zoom === 1;
    schedule();
  }

  const middle = () => pointUnder(image, view, [0.5, 0.5]);
  const zoomBy = (factor) => setView(zoomedAt(image, view, factor, preview ?? middle()));

  function usePaint(use) {
    painting = use;
    parts.brush.setAttribute("aria-pressed", use);
    root.toggleAttribute("data-painting", use);
    say(use ? "Paint over a region, and its mean attention is shown." : "");
  }

  function averageOver(cells, label) {
    if (cells.every((set) => set.size === 0)) return;
    background.averageOver(cells, label);
    preview = null;
    schedule();
  }

  function endRegion() {
    background.endRegion();
    usePaint(false);
    schedule();
  }

  function averageClass(label) {
    if (background.region()?.label === label) return endRegion();
    averageOver(
      image.models.map(({ cellClasses }) => new Set([...cellClasses.keys()].filter((n) => cellClasses[n] === label))),
      label,
    );
  }

  function toggleNoisiest() {
    listing = !listing;
    parts.noisiestButton.setAttribute("aria-expanded", listing);
    parts.noisiest.hidden = !listing;
    schedule();
  }

  function say(words) {
    write(parts.status, words);
  }

  /** The pin under a point, or −1. size: of the panel, in screen pixels. */
  function pinAt([y, x], size) {
    const reach = ((PIN_RADIUS + 2) * image.imageWidth) / (size * view.zoom);
    return pinsOf(image).findLastIndex((pixel) => Math.hypot(pixel[0] + 0.5 - y, pixel[1] + 0.5 - x) <= reach);
  }

  const pixelAt = (point) => {
    const [y, x] = pointUnder(image, view, point);
    const inside = (value, side) => Math.min(side - 1, Math.max(0, Math.floor(value)));
    return [inside(y, image.imageHeight), inside(x, image.imageWidth)];
  };

  const actions = {
    hover(point) {
      preview = pixelAt(point);
      byKeyboard = false;
      schedule();
    },
    leave() {
      preview = null;
      schedule();
    },
    click(point, size) {
      say("");
      clicked = true;
      const index = pinAt(pointUnder(image, view, point), size);
      if (index >= 0) unpin(index);
      else pin(pixelAt(point));
    },
    doubleClick() {
      if (view.zoom === 1 || painting) return;
      if (clicked) undo();
      setView(WHOLE);
    },
    paint(point) {
      painted ??= image.models.map(() => new Set());
      const [first] = image.models;
      const radius = BRUSH_CELLS * mapSpan(image.imageWidth, first.width).pitch;
      image.models.forEach((model, index) => {
        for (const cell of cellsAround(model, pixelAt(point), radius)) painted[index].add(cell);
      });
      schedule();
    },
    painted() {
      if (painted) averageOver(painted, null);
      painted = null;
      usePaint(false);
    },
    pan: ([down, across]) =>
      setView(moved(image, view, [(down * image.imageHeight) / view.zoom, (across * image.imageWidth) / view.zoom])),
    zoom: (factor, point) => setView(zoomedAt(image, view, factor, pointUnder(image, view, point))),
    isPainting: () => painting,
    isZoomed: () => view.zoom > 1,
  };

  function step([down, right]) {
    const [model] = image.models;
    const cell = cellOf(model, preview ?? activePixel(image));
    const row = Math.min(model.height - 1, Math.max(0, Math.floor(cell / model.width) + down));
    const column = Math.min(model.width - 1, Math.max(0, (cell % model.width) + right));
    preview = pixelOf(model, row * model.width + column);
    byKeyboard = true;
    setView(showing(image, view, preview));
  }

  function onKey(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.shiftKey) undo();
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key in ARROWS) step(ARROWS[event.key]);
    else if (event.key === "Enter") pin(preview ?? activePixel(image));
    else if (event.key === "Delete" || event.key === "Backspace") unpin(activeIndex(image));
    else if (event.key.toLowerCase() === "r") turn();
    else if (event.key === "+" || event.key === "=") zoomBy(ZOOM_STEP);
    else if (event.key === "-") zoomBy(1 / ZOOM_STEP);
    else if (event.key === "0") setView(WHOLE);
    else if (event.key >= "1" && event.key <= String(PIN_LIMIT)) touch(Number(event.key) - 1);
    else if (event.key === "Escape" && preview !== null && byKeyboard) preview = null;
    else if (event.key === "Escape") endRegion();
    else return;
    event.preventDefault();
    schedule();
  }

  // --- what is built once for each buffer ---

  function build() {
    parts = partsOf(image, { choose, look, undo, zoomBy, setView, usePaint, toggleNoisiest, averageClass, onKey });
    parts.brush.addEventListener("click", () => usePaint(!painting));
    panels = parts.models;
    parts.surfaces = [parts.photo.surface, ...panels.flatMap(({ maps }) => STAGES.map((stage) => maps[stage].surface))];
    for (const { canvas } of parts.surfaces) {
      listen(canvas, actions);
      canvas.addEventListener("keydown", onKey);
      canvas.addEventListener("blur", () => byKeyboard && actions.leave());
      resizing.observe(canvas);
    }
    root.replaceChildren(...parts.nodes);
    root.style.setProperty("--lens-aspect", `${image.imageWidth} / ${image.imageHeight}`);
    root.onkeydown = (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !event.defaultPrevented) onKey(event);
    };
    painting = false;
    listing = false;
    view = WHOLE;
    paintTables();
    showBars();
    showPins();
  }

  function paintTables() {
    const place = Math.max(0, image.colormaps.indexOf(memory.look.colormap));
    tables = {
      maps: colourTable(image.colours.subarray(place * 768, (place + 1) * 768)),
      differences: colourTable(image.difference_colours),
    };
  }

  function showBars() {
    const { range, difference } = memory.look;
    parts.bar.node.hidden = range === "each";
    parts.differenceBar.node.hidden = range === "each" || !difference;
    for (const { maps } of panels) {
      for (const stage of STAGES) {
        maps[stage].bar.node.hidden = range === "shared";
        write(maps[stage].title, (difference ? DIFFERENCE_WORDS : STAGE_WORDS)[stage][0]);
      }
    }
  }

  function showPins() {
    parts.undo.disabled = !canUndo(image);
    const chips = pinsOf(image).map((pixel, index) => pinChipOf(image, pixel, index, activeIndex(image), touch, unpin));
    parts.pins.replaceChildren(...chips);
    parts.pins.hidden = !chips.length;
    parts.noPins.hidden = chips.length > 0;
  }

  // --- what is drawn for every move ---

  function render() {
    const started = performance.now();
    const region = preview ? null : background.region();
    const pixel = preview ?? activePixel(image);
    renderScene({ image, background, panels, parts, tables, view, preview, painted, region, pixel, aloud: byKeyboard });
    if (listing) showNoisiest();
    root.dataset.pixel = pixel.join(" ");
    performance.clearMeasures("lens");
    performance.measure("lens", { start: started, end: performance.now() });
  }

  function showNoisiest() {
    const [model] = image.models;
    const found = background.noisiest(effectiveChoices(model, memory.choices));
    if (found === null) {
      write(parts.noisiest, background.words("noisiest", "Looking at every pixel"));
    } else if (parts.noisiest.found !== found) {
      parts.noisiest.replaceChildren(...noisiestOf(model, found, (cell) => pin(pixelOf(model, cell))));
    }
    parts.noisiest.found = found;
  }

  return {
    show(bytes, report) {
      tell = report;
      const { header } = readHeader(bytes);
      const fresh = header.payload_id !== image?.payload_id;
      if (fresh) {
        background?.end();
        image = unpack(bytes);
        background = createBackground(image, schedule);
      }
      if (grant(image, header.request) || fresh) {
        preview = null;
        build();
      }
      parts.surfaces.forEach(({ canvas }) => resizing.observe(canvas));
      schedule();
    },
    rest() {
      resizing.disconnect();
      background.end();
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
