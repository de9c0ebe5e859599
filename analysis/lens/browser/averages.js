// --- many queries ----------------------------------------------------------------------------------------------------
// These take seconds on a large map, and run in workers, each on its share of the items: `count` says how many there
// are, `share` works on those from first to stop, and `join` makes the result of what all shares have come to. A share
// is a generator: it yields now and then how many items are done, so that whoever drives it decides how often to report.

const whole = (first, stop) => Array.from({ length: stop - first }, (_, place) => first + place);

/** log Σ exp of every query's scores at a temperature: Float64Array of length N, of a mean heads·N. */
const allLogSums = {
  count: (model) => (model.parts ?? [model]).length * model.queryGrid.cells,
  share: shareOfLogSums,
  join: (model, options, shares) => Float64Array.from(shares.flatMap((sums) => [...sums])),
};

function* shareOfLogSums(model, { temperature }, first, stop) {
  const { cells } = model.queryGrid;
  const sums = new Float64Array(stop - first);
  let done = 0;
  for (const [head, part] of (model.parts ?? [model]).entries()) {
    const [from, to] = [first, stop].map((place) => Math.min(Math.max(place - head * cells, 0), cells));
    if (from === to) continue;
    for (const { total, highest } of exponentialRows(part, temperature, whole(from, to))) {
      sums[done++] = highest / temperature + Math.log(total);
      yield done;
    }
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
const regionAverage = { count: (model, { cells }) => cells.length, share: shareOfRegion, join: meansOfRegion };

/** The stages of cells one after another, each overwritten by the next. */
function* stagesOf(model, { choices, direction, logSums }, cells) {
  const space = workspace(gridsIn(model, direction).onto.cells);
  if (direction === "column") {
    for (const cell of cells) yield [cell, attentionColumns(model, cell, choices, logSums, space)];
    return;
  }
  for (const [cell, raw] of rawRows(model, choices.temperature, cells)) {
    yield [cell, stagesAfter(model, cell, choices, raw, space)];
  }
}

/** Sums over the region's cells from first to stop, for `meansOfRegion`. */
function* shareOfRegion(model, options, first, stop) {
  const { direction } = options;
  const sums = workspace(gridsIn(model, direction).onto.cells);
  const totals = Object.fromEntries(STAGES.map((stage) => [stage, AVERAGED.map(() => [0, 0])]));
  const emptied = { raw: 0, rectified: 0, retained: 0 };
  let done = 0;
  for (const [cell, stages] of stagesOf(model, options, options.cells.slice(first, stop))) {
    const found = Object.values(metricsOf(model, cell, stages, direction));
    const held = found.every((metrics) => !metrics.emptied);
    STAGES.forEach((stage, place) => {
      const row = stages[stage];
      for (let n = 0; n < row.length; n++) sums[stage][n] += row[n];
      emptied[stage] += Number(found[place].emptied);
      AVERAGED.forEach((name, index) => {
        // Chance is averaged over the very queries whose interclass noise stands beside it.
        const deciding = name === "chance" ? "interclassNoise" : name;
        if (!held || found.some((metrics) => metrics[deciding] === null)) return;
        totals[stage][index][0] += found[place][name];
        totals[stage][index][1]++;
      });
    });
    yield ++done;
  }
  return { sums: Object.fromEntries(STAGES.map((stage) => [stage, sums[stage]])), totals, emptied };
}

function meansOfRegion(model, { cells }, shares) {
  const [stages, metrics] = [{}, {}];
  for (const stage of STAGES) {
    stages[stage] = shares[0].sums[stage].map((_, n) => addedUp(shares, ({ sums }) => sums[stage][n]) / cells.length);
    const emptied = addedUp(shares, (share) => share.emptied[stage]);
    metrics[stage] = { labelled: true, emptied: emptied === cells.length, emptiedCount: emptied };
    AVERAGED.forEach((name, index) => {
      const [total, count] = [0, 1].map((place) => addedUp(shares, ({ totals }) => totals[stage][index][place]));
      metrics[stage][name] = count ? total / count : null;
    });
  }
  return { stages, metrics };
}

const addedUp = (shares, numberOf) => shares.reduce((sum, share) => sum + numberOf(share), 0);

const APART = 3; // cells: nearer ones show the same thing again

/**
 * The `count` queries with the most interclass noise in the raw map, worst first: [{ cell, noise, chance, taker }].
 * taker: the other class that most of its attention falls on.
 */
const noisiestQueries = { count: ({ queryGrid }) => queryGrid.cells, share: shareOfNoise, join: farApart };

/** [{ cell, noise, chance }] of the queries from first to stop that have noise. */
function* shareOfNoise(model, { choices: { temperature } }, first, stop) {
  const { queryGrid, keyGrid, no_class } = model;
  const { classes } = queryGrid;
  const found = [];
  const labelled = whole(first, stop).filter((cell) => classes[cell] !== no_class);
  for (const [cell, row] of rawRows(model, temperature, labelled)) {
    const place = ownPlace(model, cell);
    const { noise, chance } = interclassNoise(row, keyGrid.classes, place, no_class, classes[cell]);
    if (noise > 0) found.push({ cell, noise, chance });
    yield cell + 1 - first;
  }
  return found;
}

/** The raw rows of queries one after another, each overwritten by the next: [cell, row]. */
function* rawRows(model, temperature, queries) {
  const space = new Float64Array(model.keyGrid.cells);
  if (model.parts || model.attention) {
    for (const cell of queries) yield [cell, rawRow(model, cell, temperature, space)];
    return;
  }
  for (const { cell, row, total } of exponentialRows(model, temperature, queries)) {
    for (let n = 0; n < row.length; n++) space[n] = row[n] / total;
    yield [cell, space];
  }
}

function farApart(model, { choices: { temperature }, count }, shares) {
  const { queryGrid, keyGrid, no_class } = model;
  const { width, classes } = queryGrid;
  const found = shares.flat().sort((a, b) => b.noise - a.noise || a.cell - b.cell);
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
    const row = rawRow(model, query.cell, temperature);
    const taken = classShares(row, keyGrid.classes, ownPlace(model, query.cell), no_class);
    return { ...query, taker: taken.find(([label]) => label !== classes[query.cell])[0] };
  });
}

export const TASKS = { allLogSums, regionAverage, noisiestQueries };
