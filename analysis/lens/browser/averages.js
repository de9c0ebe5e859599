// --- many queries ----------------------------------------------------------------------------------------------------
// These take seconds on a large map, and run in a worker. Each is a generator: it yields its progress in 0 … 1 after
// every query, so that whoever drives it decides how often to report, and returns its result.

/** log Σ exp of every query's scores at a temperature: Float64Array of length N, of a mean heads·N. */
export function* allLogSums(model, { temperature }) {
  const parts = model.parts ?? [model];
  const { cells } = model.queryGrid;
  const sums = new Float64Array(parts.length * cells);
  const scratch = new Float64Array(model.keyGrid.cells);
  for (let n = 0; n < sums.length; n++) {
    sums[n] = logSum(parts[Math.floor(n / cells)], n % cells, temperature, scratch);
    yield (n + 1) / sums.length;
  }
  return sums;
}

// The figures of `queryMetrics` that are numbers, and have a mean.
const AVERAGED = [
  "interclassNoise",
  "chance",
  "keptMass",
  "intraclassNoise",
  "hollowFraction",
  "effectiveKeys",
];

/**
 * The mean over several cells, of queries (or keys): `stages`, their mean rows (or columns), and `metrics` of each
 * stage, the mean of the figures over the queries that have them in all three, so that stages are compared on the same.
 * logSums: of all queries, needed for columns.
 */
export function* regionAverage(model, { cells, choices, direction, logSums }) {
  const { onto } = gridsIn(model, direction);
  const space = workspace(onto.cells);
  const sums = workspace(onto.cells);
  const totals = Object.fromEntries(STAGES.map((stage) => [stage, AVERAGED.map(() => [0, 0])]));
  const emptied = { raw: 0, rectified: 0, retained: 0 };
  for (const [done, cell] of cells.entries()) {
    const stages =
      direction === "column"
        ? attentionColumns(model, cell, choices, logSums, space)
        : attentionStages(model, cell, choices, space);
    const found = Object.values(metricsOf(model, cell, stages, direction));
    const held = found.every((metrics) => !metrics.emptied);
    STAGES.forEach((stage, place) => {
      const row = stages[stage];
      for (let n = 0; n < row.length; n++) sums[stage][n] += row[n] / cells.length;
      emptied[stage] += Number(found[place].emptied);
      AVERAGED.forEach((name, index) => {
        // Chance is averaged over the very queries whose interclass noise stands beside it.
        const deciding = name === "chance" ? "interclassNoise" : name;
        if (!held || found.some((metrics) => metrics[deciding] === null)) return;
        totals[stage][index][0] += found[place][name];
        totals[stage][index][1]++;
      });
    });
    yield (done + 1) / cells.length;
  }
  const metrics = {};
  for (const stage of STAGES) {
    metrics[stage] = { labelled: true, emptied: emptied[stage] === cells.length, emptiedCount: emptied[stage] };
    AVERAGED.forEach((name, index) => {
      const [total, count] = totals[stage][index];
      metrics[stage][name] = count ? total / count : null;
    });
  }
  const { raw, rectified, retained } = sums;
  return { stages: { raw, rectified, retained }, metrics };
}

const APART = 3; // cells: nearer ones show the same thing again

/**
 * The `count` queries with the most interclass noise in one stage, worst first: [{ cell, noise, chance, taker }].
 * taker: the other class that most of its attention falls on.
 */
export function* noisiestQueries(model, { choices, stage, count }) {
  // What comes after the stage is not computed.
  const needed = {
    ...choices,
    gate: stage === "raw" ? "off" : choices.gate,
    retention: stage === "retained" ? choices.retention : "off",
  };
  const { queryGrid, keyGrid, no_class } = model;
  const { cells, width, classes } = queryGrid;
  const space = workspace(keyGrid.cells);
  const found = [];
  for (let cell = 0; cell < cells; cell++) {
    const own = classes[cell];
    if (own !== no_class) {
      const row = attentionStages(model, cell, needed, space)[stage];
      const { interclassNoise, chance } = queryMetrics(row, keyGrid.classes, ownPlace(model, cell), no_class, own);
      if (interclassNoise > 0) found.push({ cell, noise: interclassNoise, chance });
    }
    yield (cell + 1) / cells;
  }
  found.sort((a, b) => b.noise - a.noise || a.cell - b.cell);
  const far = (a, b) =>
    model.query_names !== undefined ||
    Math.abs(Math.floor(a / width) - Math.floor(b / width)) >= APART ||
    Math.abs((a % width) - (b % width)) >= APART;
  const chosen = [];
  for (const query of found) {
    if (chosen.length === count) break;
    if (chosen.every(({ cell }) => far(cell, query.cell))) chosen.push(query);
  }
  return chosen.map((query) => {
    const row = attentionStages(model, query.cell, needed, space)[stage];
    const shares = classShares(row, keyGrid.classes, ownPlace(model, query.cell), no_class);
    return { ...query, taker: shares.find(([label]) => label !== classes[query.cell])[0] };
  });
}
