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

  const active = () => pinsOf(image)[activeIndex(image)] ?? image.starting_pixel;
  const choicesOf = (model) => effectiveChoices(model, memory.choices);

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
      say(`${PIN_LIMIT} pins are all there are: click one to remove it first.`);
      return;
    } else {
      addPin(image, pixel);
    }
    background.endRegion();
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
    schedule();
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
    const cell = cellOf(model, preview ?? active());
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
    else if (event.key === "Enter") pin(preview ?? active());
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
        const [title, note] = (difference ? DIFFERENCE_WORDS : STAGE_WORDS)[stage];
        write(maps[stage].title, title);
        write(maps[stage].note, note);
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
    const pixel = preview ?? active();
    const region = preview ? null : background.region();
    const found = panels.map((panel) => (region ? regionOf(panel) : pixelIn(panel, pixel)));
    drawAll(pixel, region, found);
    panels.forEach((panel, index) => showWords(panel, pixel, region, found[index]));
    if (listing) showNoisiest();
    const own = region ? region.own[0] : image.models[0].cellClasses[cellOf(image.models[0], pixel)];
    parts.classes.forEach(({ item, button: of }, label) => {
      item.classList.toggle("current", label === own);
      of.setAttribute("aria-pressed", region?.label === label);
    });
    if (!preview || byKeyboard) announce(region, found);
    root.dataset.pixel = pixel.join(" ");
    performance.clearMeasures("lens");
    performance.measure("lens", { start: started, end: performance.now() });
  }

  /** One model's stages and metrics for a pixel; `stages` is null as long as a worker is at it. */
  function pixelIn({ model, space }, pixel) {
    const cell = cellOf(model, pixel);
    const choices = choicesOf(model);
    let stages;
    if (memory.look.direction === "column") {
      const logSums = background.logSums(model, choices.temperature);
      stages = logSums && attentionColumns(model, cell, choices, logSums, space);
    } else {
      stages = attentionStages(model, cell, choices, space);
    }
    const metrics = {};
    for (const stage of stages ? STAGES : []) {
      metrics[stage] = queryMetrics(stages[stage], model.cellClasses, cell, model.no_class);
    }
    return { cell, stages, metrics };
  }

  function regionOf({ model }) {
    const result = background.regionResult(model, choicesOf(model), memory.look.direction);
    return { cell: null, stages: result?.stages ?? null, metrics: result?.metrics ?? {} };
  }

  function drawAll(pixel, region, found) {
    const { scale, range, clip, difference, overlay, photoOpacity } = memory.look;
    const maps = [];
    const changes = [];
    panels.forEach((panel, index) => {
      const { stages } = found[index];
      if (!stages) return;
      for (const stage of STAGES) shownRow(stages[stage], scale, panel.maps[stage].shown);
      maps.push(panel.maps.raw);
      panel.maps.raw.values = panel.maps.raw.shown;
      for (const [stage, before] of [["rectified", "raw"], ["retained", "rectified"]]) {
        const map = panel.maps[stage];
        if (difference) map.values = differenceRow(map.shown, panel.maps[before].shown, panel.differences[stage]);
        else map.values = map.shown;
        (difference ? changes : maps).push(map);
      }
    });
    const valuesOf = (list) => list.map(({ values }) => values);
    const mapRange = maps.length && range === "shared" ? colourRange(valuesOf(maps), scale, clip) : null;
    const changeRange = changes.length && range === "shared" ? differenceRange(valuesOf(changes), clip) : null;
    const words = scale === "weight" ? "attention weight" : "attention, in multiples of an even spread";
    for (const map of maps) {
      const own = mapRange ?? colourRange([map.values], scale, clip);
      paintRow(map.values, own, tables.maps, map.picture.pixels);
      if (range === "each") showColourbar(map.bar, own, tables.maps, "");
    }
    for (const map of changes) {
      const own = changeRange ?? differenceRange([map.values], clip);
      paintRow(map.values, own, tables.differences, map.picture.pixels);
      if (range === "each") showColourbar(map.bar, own, tables.differences, "");
    }
    if (mapRange) showColourbar(parts.bar, mapRange, tables.maps, words);
    if (changeRange) showColourbar(parts.differenceBar, changeRange, tables.differences, "change");

    mark(drawPhoto(parts.photo.surface, image, view, overlay), pixel, region, image.models[0]);
    panels.forEach(({ model, maps: of }, index) => {
      const { stages, metrics, cell } = found[index];
      for (const stage of STAGES) {
        const context = drawMap(of[stage].surface, image, model, view, of[stage].picture, stages ? photoOpacity : 1);
        if (stages && cell !== null) outline(context, model, cell, stages[stage], metrics[stage]);
        mark(context, pixel, region, model);
      }
    });
  }

  /** What is marked of the query's class. */
  function outline(context, model, cell, row, metrics) {
    const { outline: own, predictedOutline, hollows, direction } = memory.look;
    const label = model.cellClasses[cell];
    if (own && label !== model.no_class) strokeTwice(context, classOutline(model, label, "cellClasses"), OUTLINE_COLOUR, 1);
    const predicted = model.cell_prediction?.[cell] ?? model.no_class;
    if (predictedOutline && model.hasLabels && predicted !== model.no_class) {
      strokeTwice(context, classOutline(model, predicted, "cell_prediction"), PREDICTED_COLOUR, 1, [4, 3]);
    }
    if (hollows && direction === "row" && metrics.hollowBelow !== null) {
      drawHollows(context, model, row, cell, metrics.hollowBelow);
    }
  }

  /** Pins, the pixel under the pointer, and the region. */
  function mark(context, pixel, region, model) {
    const under = painted?.[model.index];
    if (under) strokeTwice(context, outlineOf(model, (cell) => under.has(cell)), HOVER_COLOUR, 2);
    else if (region) strokeTwice(context, region.outlines[model.index], HOVER_COLOUR, 1.5, [6, 3]);
    const pins = pinsOf(image);
    const shown = activeIndex(image);
    pins.forEach((each, index) => index !== shown && drawPin(context, each, index + 1, image.pin_colours[index], false));
    if (pins.length) drawPin(context, pins[shown], shown + 1, image.pin_colours[shown], !preview && !region);
    else if (!region) drawRing(context, image.starting_pixel, HOVER_COLOUR, 7);
    if (preview && !painted) drawRing(context, pixel, HOVER_COLOUR, 5);
  }

  function showWords({ model, maps, about }, pixel, region, { cell, stages, metrics }) {
    const { direction } = memory.look;
    const inColumns = direction === "column";
    for (const stage of STAGES) showFigures(maps[stage].figures, metrics[stage], direction);
    let words = "";
    if (region) {
      showRegion(about, model, region);
      const [own, count] = [region.own[model.index], region.cells[model.index].size];
      if (stages) words = regionSentence(model, count, own, metrics, direction);
      else words = background.words(`region ${model.index}`, "Averaging over the region");
    } else {
      showPixel(about, model, cellOf(model, pixel), pixel, stateOf());
      if (stages) words = inColumns ? columnSentence(model, cell, stages) : sentence(model, cell, stages);
    }
    if (!stages && !words) words = background.words(`log sums ${model.index}`, "Working out every row");
    write(about.sentence, words);
    write(about.note, inColumns && model.hasClasses ? COLUMN_NOTE : "");
  }

  function stateOf() {
    if (preview) return ["Preview", null];
    if (!pinsOf(image).length) return ["Start", null];
    return ["Pinned", image.pin_colours[activeIndex(image)]];
  }

  function showNoisiest() {
    const [model] = image.models;
    const found = background.noisiest(choicesOf(model));
    if (found === null) {
      write(parts.noisiest, background.words("noisiest", "Looking at every pixel"));
    } else if (parts.noisiest.found !== found) {
      parts.noisiest.replaceChildren(...noisiestOf(model, found, (cell) => pin(pixelOf(model, cell))));
    }
    parts.noisiest.found = found;
  }

  /** The text alternative of the maps: spoken for what stays and for the keyboard, or it would never be silent. */
  function announce(region, found) {
    const [{ about, maps }] = panels;
    const state = preview ? "" : `${about.state.textContent} `;
    write(parts.announcement, `${state}${about.name.textContent}${about.says.textContent}. ${about.sentence.textContent}`);
    if (!found[0].stages) return;
    panels.forEach(({ model, maps: of }, index) => {
      for (const stage of STAGES) {
        const value = of[stage].figures.values.interclassNoise.textContent;
        const term = of[stage].figures.terms.interclassNoise.textContent;
        const who = panels.length > 1 && model.name ? `${model.name}: ` : "";
        const what = region ? "the region's mean" : `the pixel (${panels[index].about.name.textContent})`;
        const label = `${who}${of[stage].title.textContent} attention of ${what}; ${term} ${value}`;
        const { canvas } = of[stage].surface;
        if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
      }
    });
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
