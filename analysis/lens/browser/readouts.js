// --- readouts --------------------------------------------------------------------------------------------------------

/** Put the metrics of one stage under its map; null: there are none yet. */
function showFigures(parts, metrics, direction) {
  const inColumns = direction === "column";
  for (const [name, words] of Object.entries(FIGURES)) {
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

/** Say which pixel it is. state: [words, colour of its pin or null]. */
function showPixel(about, model, cell, pixel, [words, colour]) {
  const own = model.cellClasses[cell];
  const predicted = model.cell_prediction?.[cell];
  let says = "";
  if (!model.hasLabels) says = model.hasClasses ? ", as predicted" : "";
  else if (predicted !== undefined && predicted !== own) says = `, predicted as ${className(model, predicted)}`;
  showState(about, words, colour);
  showSwatch(about.swatch, model, own);
  write(about.name, className(model, own));
  write(about.says, says);
  const place = [Math.floor(cell / model.width), cell % model.width];
  write(about.place, `${placeWords(pixel)} (cell in ${placeWords(place)})`);
}

function showRegion(about, model, region) {
  const own = region.own[model.index];
  const count = region.cells[model.index].size;
  showState(about, "Region", null);
  showSwatch(about.swatch, model, own ?? model.no_class);
  write(about.name, own === null ? "several classes" : className(model, own));
  write(about.says, "");
  write(about.place, `${count} ${count === 1 ? "cell" : "cells"}`);
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
