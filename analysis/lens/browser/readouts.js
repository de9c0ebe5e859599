// --- readouts --------------------------------------------------------------------------------------------------------

/** Put the metrics of one stage under its map; nothing: there are none. figures: as in `figureWords`. */
function showFigures(parts, metrics, direction, figures) {
  const inColumns = direction === "column";
  for (const [name, words] of Object.entries(figures)) {
    const [label, definition] = inColumns ? words.slice(2) : words;
    parts.rows[name].hidden = label === undefined;
    if (label === undefined) continue;
    write(parts.terms[name], label);
    if (parts.terms[name].title !== definition) parts.terms[name].title = definition;
    const value = metrics?.[name] ?? null;
    const missing = metrics?.emptied && name !== "keptMass" ? (inColumns ? "nothing" : "emptied") : "–";
    parts.values[name].dataset.value = value ?? "";
    write(parts.values[name], value === null ? missing : value.toFixed(3));
  }
  const noise = metrics?.interclassNoise ?? null;
  const chance = metrics?.chance ?? null;
  write(parts.times, noise === null ? "" : `${(noise / chance).toFixed(2)} × chance (${chance.toFixed(3)})`);
  parts.bar.style.width = `${100 * (noise ?? 0)}%`;
  parts.tick.style.left = `${100 * (chance ?? 0)}%`;
  parts.tick.hidden = chance === null;
}

/** Say which pixel it is, or which query. grid: of the cell. state: [words, colour of its pin or null]. */
function showPixel(about, model, grid, cell, pixel, [words, colour]) {
  const own = grid.classes[cell];
  const predicted = grid.predicted?.[cell];
  showState(about, words, colour);
  showSwatch(about.swatch, model, own);
  if (model.query_names) {
    write(about.name, model.query_names[cell]);
    write(about.says, own === model.no_class ? "" : `, ${className(model, own)}`);
    write(about.place, `query ${cell + 1} of ${grid.cells}`);
    return;
  }
  let says = "";
  if (!model.hasLabels) says = model.hasClasses ? ", as predicted" : "";
  else if (predicted !== undefined && predicted !== own) says = `, predicted as ${className(model, predicted)}`;
  write(about.name, className(model, own));
  write(about.says, says);
  const place = [Math.floor(cell / grid.width), cell % grid.width];
  write(about.place, `${placeWords(pixel)} (cell in ${placeWords(place)})`);
}

function showRegion(about, model, region) {
  const own = region.own[model.index];
  const count = region.cells[model.index].size;
  showState(about, "Region", null);
  showSwatch(about.swatch, model, own ?? model.no_class);
  write(about.name, own === null ? "several classes" : className(model, own));
  write(about.says, "");
  write(about.place, several(model, count));
}

function showState({ state }, words, colour) {
  write(state, words);
  state.style.background = colour ?? "";
  state.style.color = colour ? inkOn(colour) : "";
}

function showSwatch(swatch, model, label) {
  swatch.hidden = label === model.no_class;
  if (label !== model.no_class) swatch.style.background = `rgb(${model.palette[label]})`;
}
