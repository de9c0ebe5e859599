// --- noise -----------------------------------------------------------------------------------------------------------

const { emptied: EMPTIED, hollowThreshold: HOLLOW_THRESHOLD } = SETTINGS;

/**
 * The noise of one query's row, as analysis/noise/query.py defines it; null where a figure is undefined.
 * classes: the label of every cell of the row, noClass for those that take no part. cell: the query's own among them,
 * or NOWHERE, and own its label.
 */
export function queryMetrics(row, classes, cell, noClass, own = classes[cell]) {
  const metrics = {
    labelled: own !== noClass,
    emptied: false,
    interclassNoise: null,
    chance: null,
    keptMass: null,
    intraclassNoise: null,
    hollowFraction: null,
    effectiveKeys: null,
    hollowBelow: null, // the cells of the own class that get less than this are hollows
  };
  if (own === noClass) return metrics;

  let sameCount = 0;
  let otherCount = 0;
  let sameMass = 0;
  let otherMass = 0;
  let sameLog = 0; // Σ a·log a gives the entropies below
  let otherLog = 0;
  for (let n = 0; n < row.length; n++) {
    const label = classes[n];
    if (n === cell || label === noClass) continue;
    const value = row[n];
    const valueLog = value > 0 ? value * Math.log(value) : 0;
    if (label === own) {
      sameCount++;
      sameMass += value;
      sameLog += valueLog;
    } else {
      otherCount++;
      otherMass += value;
      otherLog += valueLog;
    }
  }
  const mass = sameMass + otherMass;
  const both = sameCount > 0 && otherCount > 0;
  metrics.emptied = mass < EMPTIED;
  metrics.keptMass = mass;
  if (both) metrics.chance = otherCount / (sameCount + otherCount);
  if (metrics.emptied) return metrics;

  metrics.effectiveKeys = Math.exp(Math.max(0, Math.log(mass) - (sameLog + otherLog) / mass));
  if (both) metrics.interclassNoise = otherMass / mass;
  if (sameCount < 2) return metrics;
  metrics.intraclassNoise = 1;
  metrics.hollowFraction = 1;
  metrics.hollowBelow = Infinity;
  if (sameMass > 0) {
    const entropy = Math.max(0, Math.log(sameMass) - sameLog / sameMass);
    metrics.intraclassNoise = Math.min(1, Math.max(0, 1 - entropy / Math.log(sameCount)));
    metrics.hollowBelow = (HOLLOW_THRESHOLD * sameMass) / sameCount;
    let below = 0;
    for (let n = 0; n < row.length; n++) {
      if (n !== cell && classes[n] === own && row[n] < metrics.hollowBelow) below++;
    }
    metrics.hollowFraction = below / sameCount;
  }
  return metrics;
}

/** Interclass noise, null where it is undefined, and its chance: as `queryMetrics` has them, without the rest. */
export function interclassNoise(row, classes, cell, noClass, own) {
  let [sameCount, otherCount, sameMass, otherMass] = [0, 0, 0, 0];
  for (let n = 0; n < row.length; n++) {
    const label = classes[n];
    if (n === cell || label === noClass) continue;
    if (label === own) {
      sameCount++;
      sameMass += row[n];
    } else {
      otherCount++;
      otherMass += row[n];
    }
  }
  const mass = sameMass + otherMass;
  const defined = sameCount > 0 && otherCount > 0 && mass >= EMPTIED;
  return { noise: defined ? otherMass / mass : null, chance: otherCount / (sameCount + otherCount) };
}

/** The metrics of each of one cell's stages, whose rows or columns they are. */
export function metricsOf(model, cell, stages, direction) {
  const { from, onto } = gridsIn(model, direction);
  const [place, own] = [ownPlace(model, cell), from.classes[cell]];
  const metrics = {};
  for (const stage of STAGES) metrics[stage] = queryMetrics(stages[stage], onto.classes, place, model.no_class, own);
  return metrics;
}

/** The share of a row's attention on each class, largest first: [class, share]; the query's own cell left out. */
export function classShares(row, classes, cell, noClass) {
  const masses = new Float64Array(256);
  let total = 0;
  for (let n = 0; n < row.length; n++) {
    if (n === cell || classes[n] === noClass) continue;
    masses[classes[n]] += row[n];
    total += row[n];
  }
  if (total < EMPTIED) return [];
  const shares = [];
  masses.forEach((mass, label) => mass > 0 && shares.push([label, mass / total]));
  return shares.sort((a, b) => b[1] - a[1]);
}

const COUNTED_CELLS = 9;

/** How many of the strongest cells hold half of the row, the query's own left out; null if more than nine. */
export function cellsHoldingHalf(row, cell) {
  const strongest = new Float64Array(COUNTED_CELLS); // largest first
  let total = 0;
  for (let n = 0; n < row.length; n++) {
    if (n === cell) continue;
    const value = row[n];
    total += value;
    if (value <= strongest[COUNTED_CELLS - 1]) continue;
    let place = COUNTED_CELLS - 1;
    for (; place > 0 && strongest[place - 1] < value; place--) strongest[place] = strongest[place - 1];
    strongest[place] = value;
  }
  let held = 0;
  for (let count = 0; count < COUNTED_CELLS; count++) {
    held += strongest[count];
    if (total > 0 && held >= total / 2) return count + 1;
  }
  return null;
}
