// --- what is drawn for every move ------------------------------------------------------------------------------------

/** Compute, draw and say everything about the pixel or region that a lens shows. */
function render(lens) {
  const started = performance.now();
  const region = lens.preview ? null : lens.background.region();
  const pixel = lens.preview ?? activePixel(lens.memory, lens.image);
  renderScene({ ...lens, region, pixel });
  if (lens.listing) showNoisiest(lens);
  lens.parts.queries?.show(pixel[1]);
  lens.root.dataset.pixel = pixel.join(" ");
  performance.clearMeasures("lens");
  performance.measure("lens", { start: started, end: performance.now() });
  if (lens.overview && lens.parts.several && !lens.preview) showOverview(lens);
}

/** scene: a lens, with the `region` that is shown, or null, and the `pixel` that is shown where there is no region. */
function renderScene(scene) {
  const { image, parts, region, pixel } = scene;
  const found = parts.models.map((panel) => (region ? regionOf(scene, panel) : pixelIn(scene, panel, pixel)));
  drawAll(scene, found);
  parts.models.forEach((panel, index) => showWords(scene, panel, found[index]));
  const { from } = gridsIn(image.models[0], directionIn(scene));
  const own = region ? region.own[0] : from.classes[cellOf(from, pixel)];
  parts.classes.forEach(({ item, button: of }, label) => {
    item.classList.toggle("current", label === own);
    of.setAttribute("aria-pressed", region?.label === label);
  });
  if (!scene.preview || scene.byKeyboard) announce(scene, found);
}

/** One model's stages and metrics for a pixel; `stages` is null as long as a worker is at it. */
function pixelIn(scene, { model, sheets }, pixel) {
  const direction = directionIn(scene);
  const cell = cellOf(gridsIn(model, direction).from, pixel);
  const choices = effectiveChoices(model, scene.memory.choices);
  const { space } = sheets[direction];
  let stages;
  if (direction === "column") {
    const logSums = scene.background.logSums(model, choices.temperature);
    stages = logSums && attentionColumns(model, cell, choices, logSums, space);
  } else {
    stages = attentionStages(model, cell, choices, space);
  }
  return { cell, stages, metrics: stages ? metricsOf(model, cell, stages, direction) : {} };
}

function regionOf(scene, { model }) {
  const { background, memory } = scene;
  const result = background.regionResult(model, effectiveChoices(model, memory.choices), directionIn(scene));
  return { cell: null, stages: result?.stages ?? null, metrics: result?.metrics ?? {} };
}

/** Work out what each map shows, in `values`; returns the maps and, where they are asked for, the changes. */
function shownMaps(scene, found) {
  const { scale, difference } = scene.memory.look;
  const [maps, changes] = [[], []];
  scene.parts.models.forEach(({ model, maps: of, sheets }, index) => {
    const { stages } = found[index];
    if (!stages) return;
    const { maps: sheet, differences } = sheets[directionIn(scene)];
    for (const stage of STAGES) {
      Object.assign(of[stage], sheet[stage]);
      of[stage].values = shownRow(stages[stage], scale, of[stage].shown);
    }
    maps.push(of.raw);
    const there = stagesThere(effectiveChoices(model, scene.memory.choices));
    for (const [stage, before] of CHANGES) {
      if (!there.includes(stage)) continue; // it is the stage before once more
      if (difference) of[stage].values = differenceRow(of[stage].shown, of[before].shown, differences[stage]);
      (difference ? changes : maps).push(of[stage]);
    }
  });
  return { maps, changes };
}

const CHANGES = [
  ["rectified", "raw"],
  ["retained", "rectified"],
];

/** Paint maps in the colours of `table`, on one scale with a colour bar of its own, or on one for each map. */
function paintMaps({ memory }, maps, table, rangeOf, bar, name) {
  if (!maps.length) return;
  if (memory.look.range !== "shared") {
    for (const { values, picture, bar: own } of maps) {
      const range = rangeOf([values]);
      paintRow(values, range, table, picture.pixels);
      showColourbar(own, range, table, range.kind === "linear" && range.low > 0 ? NOT_FROM_ZERO : "");
    }
  } else {
    const range = rangeOf(maps.map(({ values }) => values));
    for (const { values, picture } of maps) paintRow(values, range, table, picture.pixels);
    showColourbar(bar, range, table, name);
  }
}

function drawAll(scene, found) {
  const { image, memory, parts, tables, view } = scene;
  const { scale, range, clip, overlay, photoOpacity } = memory.look;
  const { maps, changes } = shownMaps(scene, found);
  const words = scale === "weight" ? "attention weight" : "attention, in multiples of an even spread";
  paintMaps(scene, maps, tables.maps, (rows) => colourRange(rows, scale, clip, range === "own"), parts.bar, words);
  paintMaps(scene, changes, tables.differences, (rows) => differenceRange(rows, clip), parts.differenceBar, "change");

  const direction = directionIn(scene);
  mark(scene, drawPhoto(parts.photo.surface, image, view, overlay), image.models[0], drawPin);
  parts.models.forEach(({ model, maps: of }, index) => {
    const { stages, metrics, cell } = found[index];
    for (const stage of stagesThere(effectiveChoices(model, memory.choices))) {
      // As long as a worker is at it there is the photo alone.
      const drawn = stages ? of[stage] : { grid: null };
      const context = drawMap(of[stage].surface, image, model, view, drawn, stages ? photoOpacity : 1);
      if (stages && cell !== null) outline(memory.look, direction, context, model, cell, stages[stage], metrics[stage]);
      mark(scene, context, model, drawMapPin);
    }
  });
}

/** What is marked of the query's class. */
function outline({ outline: own, predictedOutline, hollows }, direction, context, model, cell, row, metrics) {
  const { from, onto } = gridsIn(model, direction);
  const label = from.classes[cell];
  if (own && label !== model.no_class) strokeTwice(context, classOutline(onto, label, "classes"), OUTLINE_COLOUR, 1);
  const predicted = from.predicted?.[cell] ?? model.no_class;
  if (predictedOutline && model.hasLabels && predicted !== model.no_class) {
    strokeTwice(context, classOutline(onto, predicted, "predicted"), PREDICTED_COLOUR, 1, [4, 3]);
  }
  if (hollows && direction === "row" && metrics.hollowBelow !== null) {
    drawHollows(context, onto, row, ownPlace(model, cell), label, metrics.hollowBelow);
  }
}

/** Pins, the pixel under the pointer, and the region. drawOne: how a pin is drawn here. */
function mark(scene, context, model, drawOne) {
  const { image, memory, region, pixel, preview, painted } = scene;
  if (image.queryNames) return; // they have no place
  const under = painted?.[model.index];
  const { from } = gridsIn(model, directionIn(scene));
  if (under) strokeTwice(context, outlineOf(from, (cell) => under.has(cell)), HOVER_COLOUR, 2);
  else if (region) strokeTwice(context, region.outlines[model.index], HOVER_COLOUR, 1.5, [6, 3]);
  const pins = pinsOf(memory, image);
  const shown = activeIndex(memory, image);
  pins.forEach((each, index) => index !== shown && drawOne(context, each, index + 1, image.pin_colours[index], false));
  if (pins.length) drawOne(context, pins[shown], shown + 1, image.pin_colours[shown], !preview && !region);
  else if (!region) drawRing(context, image.starting_pixel, HOVER_COLOUR, 7);
  if (preview && !painted) drawRing(context, pixel, HOVER_COLOUR, 5);
}

function showWords(scene, { model, maps, about }, { cell, stages, metrics }) {
  const { background, memory, region, pixel } = scene;
  const { difference } = memory.look;
  const direction = directionIn(scene);
  const inColumns = direction === "column";
  const choices = effectiveChoices(model, memory.choices);
  const there = stagesThere(choices);
  for (const stage of STAGES) {
    showFigures(maps[stage].figures, there.includes(stage) ? metrics[stage] : null, direction, figureWords(model));
    const [title, note] = stageTitle(stage, choices, difference);
    write(maps[stage].title, title);
    write(maps[stage].note, note);
  }
  let words = "";
  if (region) {
    showRegion(about, model, region);
    const [own, count] = [region.own[model.index], region.cells[model.index].size];
    if (stages) words = regionSentence(model, count, own, metrics, direction, choices);
    else words = background.words(`region ${model.index}`, "Averaging over the region");
  } else {
    const { from } = gridsIn(model, direction);
    showPixel(about, model, from, cellOf(from, pixel), pixel, stateOf(scene));
    if (stages) words = inColumns ? columnSentence(model, cell, stages) : sentence(model, cell, stages, choices);
  }
  if (!stages && !words) words = background.words(`log sums ${model.index}`, "Working out every row");
  write(about.sentence, words);
  if (inColumns) write(about.note, model.hasClasses ? COLUMN_NOTE : "");
  else write(about.note, droppedWords(model, region ? [...region.cells[model.index]] : [cell]));
}

/** What kind of pixel is shown: words, and the colour of its pin. */
function stateOf({ image, memory, preview }) {
  if (preview) return [image.queryNames ? "Chosen" : "Preview", null];
  if (!pinsOf(memory, image).length) return ["Example", null];
  return ["Pinned", image.pin_colours[activeIndex(memory, image)]];
}

/** The text alternative of the maps: spoken for what stays and for the keyboard, or it would never be silent. */
function announce({ image, memory, parts, region, preview }, found) {
  const [{ about }] = parts.models;
  const state = preview ? "" : `${about.state.textContent} `;
  write(parts.announcement, `${state}${about.name.textContent}${about.says.textContent}. ${about.sentence.textContent}`);
  if (!found[0].stages) return;
  parts.models.forEach(({ model, maps: of, about: { name } }) => {
    for (const stage of stagesThere(effectiveChoices(model, memory.choices))) {
      const value = of[stage].figures.values.interclassNoise.textContent;
      const term = of[stage].figures.terms.interclassNoise.textContent;
      const who = parts.models.length > 1 && model.name ? `${model.name}: ` : "";
      const what = region ? "the region's mean" : `the ${image.queryNames ? "query" : "pixel"} (${name.textContent})`;
      const label = `${who}${of[stage].title.textContent} attention of ${what}; ${term} ${value}`;
      const { canvas } = of[stage].surface;
      if (canvas.getAttribute("aria-label") !== label) canvas.setAttribute("aria-label", label);
    }
  });
}
