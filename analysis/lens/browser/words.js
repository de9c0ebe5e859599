// --- words -----------------------------------------------------------------------------------------------------------

const {
  stages: STAGE_WORDS,
  differences: DIFFERENCE_WORDS, // of the stages, where their changes are shown
  lacking: LACKING_WORDS, // of the stages that need not be there
  gates: GATE_WORDS,
  retentions: RETENTION_WORDS,
  directions: DIRECTION_WORDS,
  figures: FIGURES, // name: [in rows, definition, in columns, definition]; the last two are missing where undefined
  columnNote: COLUMN_NOTE,
  otherKeys: OTHER_KEYS, // of a model whose keys are other cells than its queries
  unplaced: UNPLACED, // of queries without a place
  otherTokens: OTHER_TOKENS, // what a share of a row does that went to tokens that are no cells
} = SETTINGS.words;
const OTHER_KEYS_FIGURES = { ...FIGURES, ...OTHER_KEYS.figures };

/** What the figures are called and mean for a model. */
const figureWords = ({ apart }) => (apart ? OTHER_KEYS_FIGURES : FIGURES);

/** The stages that there are under the choices at work: rectified with GR, retained with LR. */
export function stagesThere({ gate, retention }) {
  const there = { raw: true, rectified: gate !== "off", retained: retention !== "off" };
  return STAGES.filter((stage) => there[stage]);
}

/** A stage's name, or that of its change, and what stands beside it, under the choices at work. */
function stageTitle(stage, choices, difference) {
  if (!stagesThere(choices).includes(stage)) return [STAGE_WORDS[stage][0], LACKING_WORDS[stage]];
  const [name, note] = (difference ? DIFFERENCE_WORDS : STAGE_WORDS)[stage];
  // Where there is no GR, it is the raw map that LR changes.
  const fromRaw = difference && stage === "retained" && choices.gate === "off";
  return [fromRaw ? `${STAGE_WORDS.retained[0]} − raw` : name, note];
}

/** Which of GR and LR are at work, in words; "" for neither. */
function atWork({ gate, retention }) {
  return [gate !== "off" && "GR", retention !== "off" && "LR"].filter(Boolean).join(" and ");
}

const NO_FIGURES = "Neither labels nor a prediction: there are maps, but no classes to measure noise against.";
const FLATTERED = "No labels: measured against the model's own prediction, which flatters it.";
const NO_GATE = "GR's gates need class_probs, a class distribution in each cell, which is missing here.";
const NO_LEARNT = "LR's learnt weights need query and key; this is a finished map, which leaves the box.";
const NOT_FROM_ZERO = "not from 0: from this map's lowest value";
const MEAN_HAS_NONE = "The mean of the heads' maps has no query and key, so that LR has its box alone.";
const SIGNED = "This map has weights below 0, which are drawn as 0: noise is defined for shares alone.";
const CROPPED = "The model saw the bright part of the photo alone.";

/** What this model's capture lacks, and what that takes away: a list of sentences. */
export function lacks(model) {
  const { apart, keyGrid, hasClasses } = model;
  return [
    !hasClasses && (model.signed ? SIGNED : NO_FIGURES),
    hasClasses && !model.hasLabels && FLATTERED,
    apart && `${OTHER_KEYS.reason} There are ${keysWords(model)}.`,
    !apart && !model.class_probs && NO_GATE,
    !apart && !model.query && (model.parts ? MEAN_HAS_NONE : NO_LEARNT),
    keyGrid.crop && CROPPED,
    ...(model.notes ?? []),
  ].filter(Boolean);
}

const sizeWords = ({ height, width }) => `${height}×${width}`;
const keysWords = ({ queryGrid, keyGrid, query_names }) =>
  `${query_names ? query_names.length : sizeWords(queryGrid)} queries and ${sizeWords(keyGrid)} keys`;

/** What a model's queries are called, counted. */
function several({ query_names }, count) {
  const [one, more] = query_names ? ["query", "queries"] : ["cell", "cells"];
  return `${count} ${count === 1 ? one : more}`;
}

/** How much of the rows of some queries went to tokens that are no cells; "" where there are none. */
function droppedWords(model, cells) {
  const shares = cells.map((cell) => droppedShare(model, cell));
  if (!shares.length || shares.includes(null)) return "";
  const share = shares.reduce((sum, one) => sum + one, 0) / shares.length;
  return `${percent(share)} of ${cells.length === 1 ? "its" : "their"} attention ${OTHER_TOKENS}`;
}

const className = (model, label) => (label === model.no_class ? "no class" : model.class_names[label]);
/** A pixel or cell (y, x), as the page's tables and figures call it. */
const placeWords = ([y, x]) => `row\u00a0${y}, column\u00a0${x}`;
const percent = (share) => `${Math.round(100 * share)}\u00a0%`;
const NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const counted = (count) => `${NUMBERS[count] ?? count} cell${count === 1 ? " takes" : "s take"}`;

const sharesOf = (model, grid, row, cell) =>
  new Map(classShares(row, grid.classes, ownPlace(model, cell), model.no_class));

/** A sentence or two: where a query's attention goes at first, how few cells take it, and what GR and LR make of it. */
export function sentence(model, cell, stages, choices) {
  const { queryGrid, keyGrid, apart } = model;
  const own = queryGrid.classes[cell];
  if (!model.hasClasses) return "";
  if (own === model.no_class) return withoutClass(model, cell, stages);
  const name = className(model, own);
  const [raw, retained] = [stages.raw, stages.retained].map((row) => sharesOf(model, keyGrid, row, cell));
  if (!raw.size && apart) return "None of its attention is on labelled cells.";
  if (!raw.size) return "This cell gives all its attention to itself.";
  const itself = !apart && stages.raw[cell] > 0.5 ? `It gives itself ${percent(stages.raw[cell])}. Of the rest, ` : "";
  const half = halfOf(model, cell, stages);
  const start = `${itself}${whereTo(model, own, raw)}${half}`;
  const by = atWork(choices);
  if (!by) return `${start}.`;
  if (!retained.size) return `${start}. The gate leaves nothing of it.`;
  return `${start}. After ${by}, ${percent(retained.get(own) ?? 0)} is on ${name}.`;
}

/** How few cells take half of a raw row. */
function halfOf(model, cell, { raw }) {
  const few = cellsHoldingHalf(raw, ownPlace(model, cell));
  return few === null ? "" : `; ${counted(few)} half of it`;
}

/** The sentence of a query that has no class: where it looks can be told of one that is no cell. */
function withoutClass(model, cell, stages) {
  if (!model.query_names) return "This cell has no class in the labels, so it has no figures, only maps.";
  const shares = [...sharesOf(model, model.keyGrid, stages.raw, cell)].filter(([, share]) => share >= 0.005);
  const [first, ...others] = shares.slice(0, 3).map(([label, share]) => [percent(share), className(model, label)]);
  if (!first) return UNPLACED.noClass;
  const more = others.map(([share, name]) => `, ${share} on ${name}`).join("");
  const where = `${first[0]} of its raw attention falls on ${first[1]}${more}${halfOf(model, cell, stages)}.`;
  return `${where} ${UNPLACED.noClass}`;
}

/** Noisy: the class that most of the stray attention falls on comes first. Else: the own class does. */
function whereTo(model, own, shares) {
  const name = className(model, own);
  const home = shares.get(own) ?? 0;
  const [stray, straying] = [...shares].find(([label]) => label !== own) ?? [own, 0];
  if (straying > home) {
    const rest = home >= 0.005 ? `, ${percent(home)} on ${name}` : "";
    return `${percent(straying)} of its raw attention falls on ${className(model, stray)}${rest}`;
  }
  const astray = straying >= 0.005 ? `, ${percent(straying)} falls on ${className(model, stray)}` : "";
  return `${percent(home)} of its raw attention is on ${name}${astray}`;
}

/** The same for a column: whose attention it is that a pixel gets. */
export function columnSentence(model, cell, stages) {
  const { queryGrid, keyGrid, apart } = model;
  const own = keyGrid.classes[cell];
  if (!model.hasClasses) return "";
  if (own === model.no_class) return "This cell has no class in the labels, so it has no figures, only maps.";
  const raw = sharesOf(model, queryGrid, stages.raw, cell);
  if (!raw.size) return `No ${apart ? "labelled" : "other"} cell attends to this one.`;
  const [first, second] = [...raw];
  const more = second && second[1] >= 0.005 ? `, ${percent(second[1])} from ${className(model, second[0])}` : "";
  const few = cellsHoldingHalf(stages.raw, ownPlace(model, cell));
  const half = few === null ? "" : `; ${few === 1 ? "one cell gives" : `${NUMBERS[few]} cells give`} half of it`;
  return `${percent(first[1])} of the raw attention it gets comes from ${className(model, first[0])}${more}${half}.`;
}

/** What a region's average shows. own: the class of all its cells, or null where they are of several. */
export function regionSentence(model, count, own, metrics, direction, choices) {
  const where = own === null ? "painted by hand" : `of ${className(model, own)}`;
  const start = `The mean over ${several(model, count)} ${where}.`;
  const { interclassNoise: before } = metrics.raw;
  const { interclassNoise: after } = metrics.retained;
  if (before === null || after === null) return start;
  const what = direction === "row" ? "falls on other classes" : "comes from other classes";
  const by = atWork(choices);
  const change = by ? `; after ${by}, ${percent(after)}` : "";
  return `${start} ${percent(before)} of their raw attention ${what}${change}.`;
}
