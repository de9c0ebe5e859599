// --- attention -------------------------------------------------------------------------------------------------------

const sigmoid = (value) => 1 / (1 + Math.exp(-value));

/** Arrays for one query's stages: given to the functions below again and again, they spare an allocation each time. */
export function workspace(cells) {
  const array = () => new Float64Array(cells);
  return { raw: array(), rectified: array(), retained: array(), gates: array(), column: array() };
}

/** Dot products of one cell's vector in `left`, depth×across, with every cell's in `right`, depth×N, into `out`. */
function dotProducts(left, across, right, cell, depth, out) {
  const cells = out.length;
  out.fill(0);
  let channel = 0;
  // Four channels at a time: `out` is read and written a quarter as often.
  for (; channel + 4 <= depth; channel += 4) {
    const four = [channel, channel + 1, channel + 2, channel + 3];
    const [fa, fb, fc, fd] = four.map((index) => left[index * across + cell]);
    const [a, b, c, d] = four.map((index) => index * cells);
    for (let n = 0; n < cells; n++) {
      out[n] += fa * right[a + n] + fb * right[b + n] + fc * right[c + n] + fd * right[d + n];
    }
  }
  for (; channel < depth; channel++) {
    const start = channel * cells;
    const factor = left[channel * across + cell];
    for (let n = 0; n < cells; n++) out[n] += factor * right[start + n];
  }
  return out;
}

/** The scores of one query in place of `out`, less their largest; returns the sum of their exponentials and that. */
function exponentials(model, cell, temperature, out) {
  dotProducts(model.query, model.queryGrid.cells, model.key, cell, model.depth, out);
  let highest = -Infinity;
  for (let n = 0; n < out.length; n++) if (out[n] > highest) highest = out[n];
  let total = 0;
  for (let n = 0; n < out.length; n++) total += out[n] = Math.exp((out[n] - highest) / temperature);
  return { total, highest };
}

/** The mean over heads of what `fill(head's model, array)` puts into an array, into `out`. */
function meanOf(parts, out, fill) {
  const one = new Float64Array(out.length);
  out.fill(0);
  parts.forEach((part, index) => {
    fill(part, one, index);
    for (let n = 0; n < out.length; n++) out[n] += one[n] / parts.length;
  });
  return out;
}

/** The share of a query's row that goes to tokens that are no cells; null where there are none, or nobody knows. */
export function droppedShare(model, cell) {
  const { parts, dropped, extra_keys: extra, depth } = model;
  if (parts) {
    const shares = parts.map((part) => droppedShare(part, cell));
    return shares.includes(null) ? null : shares.reduce((sum, share) => sum + share, 0) / parts.length;
  }
  if (dropped) return dropped[cell];
  if (!extra) return null;
  const { total, highest } = exponentials(model, cell, 1, new Float64Array(model.keyGrid.cells));
  const scores = dotProducts(model.query, model.queryGrid.cells, extra, cell, depth, new Float64Array(extra.length / depth));
  const most = Math.max(highest, ...scores);
  const others = scores.reduce((sum, score) => sum + Math.exp(score - most), 0);
  return others / (others + total * Math.exp(highest - most));
}

/** softmax over all keys of q·k / temperature for one query cell, or its row of a finished map. */
export function rawRow(model, cell, temperature = 1, out = new Float64Array(model.keyGrid.cells)) {
  if (model.parts) return meanOf(model.parts, out, (part, into) => rawRow(part, cell, temperature, into));
  if (model.attention) {
    out.set(model.attention.subarray(cell * out.length, (cell + 1) * out.length));
    return out;
  }
  const { total } = exponentials(model, cell, temperature, out);
  for (let n = 0; n < out.length; n++) out[n] /= total;
  return out;
}

/** What every query gives to one key in the raw map: a column. logSums: that of every query, unless it is a map; of a
 * mean, those of its heads one after another. */
export function rawColumn(model, cell, temperature, logSums, out = new Float64Array(model.queryGrid.cells)) {
  if (model.parts) {
    const ofHead = (index) => logSums.slice(index * out.length, (index + 1) * out.length);
    return meanOf(model.parts, out, (part, into, index) => rawColumn(part, cell, temperature, ofHead(index), into));
  }
  if (model.attention) {
    const { cells } = model.keyGrid;
    for (let n = 0; n < out.length; n++) out[n] = model.attention[n * cells + cell];
    return out;
  }
  dotProducts(model.key, model.keyGrid.cells, model.query, cell, model.depth, out);
  for (let n = 0; n < out.length; n++) out[n] = Math.exp(out[n] / temperature - logSums[n]);
  return out;
}

/** GR's gate between one cell and every cell, in 0 … 1, the same both ways. `gate` is one of GATES except "off". */
export function gateRow(model, cell, gate, out = new Float64Array(model.queryGrid.cells)) {
  if (gate === "binary") {
    const classes = likeliestClasses(model);
    for (let n = 0; n < out.length; n++) out[n] = Number(classes[n] === classes[cell]);
    return out;
  }
  if (gate === "oracle") {
    const labels = model.cell_labels;
    const own = labels[cell];
    for (let n = 0; n < out.length; n++) out[n] = Number(labels[n] === own && own !== model.no_class);
    return out;
  }
  const { class_probs: probs } = model;
  dotProducts(probs, out.length, probs, cell, probs.length / out.length, out);
  if (gate === "sigmoid") for (let n = 0; n < out.length; n++) out[n] = sigmoid(out[n]);
  return out;
}

/** The most probable class of each cell according to GR's class distribution. */
function likeliestClasses(model) {
  return remembered(model, "likeliest", () => {
    const { class_probs: probs } = model;
    const { cells } = model.queryGrid;
    const classes = new Uint8Array(cells);
    for (let c = 1; c < probs.length / cells; c++) {
      for (let n = 0; n < cells; n++) if (probs[c * cells + n] > probs[classes[n] * cells + n]) classes[n] = c;
    }
    return classes;
  });
}

/** The offsets δ of a window, row by row: [down, right, index of δ]. */
function offsets(kernel) {
  const reach = (kernel - 1) / 2;
  return Array.from({ length: kernel ** 2 }, (_, index) => [
    Math.floor(index / kernel) - reach,
    (index % kernel) - reach,
    index,
  ]);
}

/** LR's weights sigmoid(q_m · k_{m+δ}), k²×N of the keys; "box" has 1/k² everywhere. Worked out once a kernel. */
export function retentionWeights(model, retention, kernel) {
  return remembered(model, `weights ${retention} ${kernel}`, () => {
    const { query, key, depth } = model;
    const { cells, height, width } = model.keyGrid;
    const weights = new Float64Array(kernel ** 2 * cells);
    if (retention === "box") return weights.fill(1 / kernel ** 2);
    for (const [down, right, index] of offsets(kernel)) {
      const scores = weights.subarray(index * cells, (index + 1) * cells);
      for (let channel = 0; channel < depth; channel++) {
        const start = channel * cells;
        for (let y = Math.max(0, -down); y < Math.min(height, height - down); y++) {
          const shift = start + down * width + right;
          const end = y * width + Math.min(width, width - right);
          for (let n = y * width + Math.max(0, -right); n < end; n++) scores[n] += query[start + n] * key[shift + n];
        }
      }
      for (let n = 0; n < cells; n++) scores[n] = sigmoid(scores[n]);
    }
    return weights;
  });
}

/** LR on a row: out[m] = Σ_δ weight[δ, m] · row[m + δ], terms outside the map dropped. */
export function retainRow(row, weights, height, width, kernel, out = new Float64Array(row.length)) {
  out.fill(0);
  for (const [down, right, index] of offsets(kernel)) {
    const shift = down * width + right;
    const start = index * row.length;
    for (let y = Math.max(0, -down); y < Math.min(height, height - down); y++) {
      const end = y * width + Math.min(width, width - right);
      for (let n = y * width + Math.max(0, -right); n < end; n++) out[n] += weights[start + n] * row[n + shift];
    }
  }
  return out;
}

/** What one query cell gives to every key in the three stages, under the given choices. Fills `space`. */
export function attentionStages(model, cell, choices, space = workspace(model.keyGrid.cells)) {
  return stagesAfter(model, cell, choices, rawRow(model, cell, choices.temperature, space.raw), space);
}

/** The three stages of one query cell whose raw row is known. Fills `space`. */
function stagesAfter(model, cell, { gate, retention, kernel }, raw, space) {
  const rectified = gate === "off" ? raw : gated(model, cell, gate, raw, space, space.rectified);
  if (retention === "off") return { raw, rectified, retained: rectified };
  const weights = retentionWeights(model, retention, kernel);
  const { height, width } = model.keyGrid;
  return { raw, rectified, retained: retainRow(rectified, weights, height, width, kernel, space.retained) };
}

/**
 * What every query gives to one key in the three stages. logSums: as in `rawColumn`. Fills `space`.
 * A column of retained attention gathers columns of the rectified: A″[n, m] = Σ_δ L[m, δ] · A′[n, m + δ].
 */
export function attentionColumns(model, cell, choices, logSums, space = workspace(model.queryGrid.cells)) {
  const { gate, retention, kernel, temperature } = choices;
  const raw = rawColumn(model, cell, temperature, logSums, space.raw);
  const rectified = gate === "off" ? raw : gated(model, cell, gate, raw, space, space.rectified);
  if (retention === "off") return { raw, rectified, retained: rectified };
  const weights = retentionWeights(model, retention, kernel);
  const { cells, height, width } = model.keyGrid;
  const [row, column] = [Math.floor(cell / width), cell % width];
  const { retained, column: gathered } = space;
  retained.fill(0);
  for (const [down, right, index] of offsets(kernel)) {
    const [y, x] = [row + down, column + right];
    if (y < 0 || y >= height || x < 0 || x >= width) continue;
    const neighbour = y * width + x;
    rawColumn(model, neighbour, temperature, logSums, gathered);
    if (gate !== "off") gated(model, neighbour, gate, gathered, space, gathered);
    const weight = weights[index * cells + cell];
    for (let n = 0; n < retained.length; n++) retained[n] += weight * gathered[n];
  }
  return { raw, rectified, retained };
}

/** `values` of one cell's row or column times its gate, into `out`. */
function gated(model, cell, gate, values, space, out) {
  const gates = gateRow(model, cell, gate, space.gates);
  for (let n = 0; n < out.length; n++) out[n] = values[n] * gates[n];
  return out;
}
