// The lens: the three attention maps of any pixel of one image, computed and drawn in the browser.
//
// The files of this folder are joined into one script, in the order that script.py gives, behind SETTINGS, which comes
// from Python. The first compute and do not touch the page; they follow dnl/attention/stages.py, analysis/noise/query.py
// and analysis/geometry.py, and a test in a real browser holds both together. Cells are numbered row by row; N is their
// number. Arrays over cells are flat. A model's queries and keys have a grid each, one and the same as a rule. Queries
// without a place are the cells of an image of their own, 1×Q pixels: the pixel of query n is [0, n].

// --- the buffer ------------------------------------------------------------------------------------------------------

export const { stages: STAGES } = SETTINGS;
export const { values: GATES } = SETTINGS.choices.gate;
export const { values: RETENTIONS } = SETTINGS.choices.retention;
export const { values: KERNELS } = SETTINGS.choices.kernel;
export const TEMPERATURES = SETTINGS.choices.temperature;

const ARRAY_TYPES = { uint8: Uint8Array, float32: Float32Array, float64: Float64Array };

/** The header of a buffer of analysis/lens/payload.py, and where its arrays begin. Throws on another format. */
export function readHeader(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  if (header.format !== SETTINGS.format) {
    throw new Error(`the lens reads format ${SETTINGS.format}, but was sent ${header.format}`);
  }
  return { header, start: 4 + length };
}

/**
 * The buffer as an object: what belongs to the image, and `models`, a list of what belongs to each model. Where the
 * buffer holds layers, the one model is that of `map`, a layer's name and a head; see `showMap`.
 */
export function unpack(bytes, map = null) {
  const { header, start } = readHeader(bytes);
  const body = aligned(bytes.subarray(start));
  const views = (index) =>
    Object.fromEntries(
      Object.entries(index).map(([name, { dtype, shape, offset }]) => {
        const length = shape.reduce((product, side) => product * side, 1);
        return [name, new ARRAY_TYPES[dtype](body.buffer, body.byteOffset + offset, length)];
      }),
    );
  const [imageHeight, imageWidth] = header.image_size;
  const image = { ...header, ...views(header.arrays), bytes, imageHeight, imageWidth, cache: new Map() };
  image.layers = (header.layers ?? []).map((layer) => ({ ...layer, arrays: views(layer.arrays) }));
  if (image.layers.length) return showMap(image, map ?? header.map);
  return withModels(
    image,
    header.models.map((facts, index) => modelOf(image, { ...facts, index }, views(facts.arrays))),
  );
}

/** Put these models on the image, with what all of them have in common. */
function withModels(image, models) {
  image.models = models;
  image.crop = shared(models.map(({ keyGrid }) => keyGrid.seen)); // what all models saw
  image.places = shared(models.map(({ queryGrid }) => queryGrid.seen)); // of all pixels that have a query
  image.queryNames = models[0].query_names ?? null; // of queries without a place
  return image;
}

// --- layers and heads ------------------------------------------------------------------------------------------------

export const MEAN = "mean";
const OF_HEADS = ["query", "key", "attention", "extra_keys", "dropped"]; // the first axis is that of the heads

/** Whether the image has this map: { layer, head }, the layer's name and the head's number or MEAN. */
export const hasMap = ({ layers }, map) =>
  layers.some(({ name, heads, mean }) => name === map?.layer && (map.head === MEAN ? mean : heads.includes(map.head)));

/** Have the image show one head of a layer, or the mean of its heads' maps, as its only model. */
export function showMap(image, map) {
  const { layer: name, head } = hasMap(image, map) ? map : image.map;
  const layer = image.layers.find((each) => each.name === name);
  image.map = { layer: name, head };
  return withModels(image, [modelOfHead(image, layer, image.map.head)]);
}

/** All maps in the network's order: [{ layer, head }]. */
export const allMaps = ({ layers }) => layers.flatMap(({ name, heads }) => heads.map((head) => ({ layer: name, head })));

/** The model of one head of a layer; of MEAN, one that has those of all heads as `parts`. */
export function modelOfHead(image, layer, head) {
  return remembered(image, `model ${layer.name} ${head}`, () => {
    const facts = { ...layer, index: 0, name: "", arrays: undefined };
    if (head !== MEAN) return modelOf(image, facts, arraysOfHead(layer, head));
    const common = Object.entries(layer.arrays).filter(([name]) => !OF_HEADS.includes(name));
    const model = modelOf(image, facts, Object.fromEntries(common));
    model.parts = layer.heads.map((each) => modelOfHead(image, layer, each));
    return model;
  });
}

function arraysOfHead({ arrays, heads }, head) {
  const place = heads.indexOf(head);
  const own = Object.entries(arrays).map(([name, array]) => {
    const size = array.length / heads.length;
    return [name, OF_HEADS.includes(name) ? array.subarray(place * size, (place + 1) * size) : array];
  });
  return Object.fromEntries(own);
}

/** The same bytes where a Float64Array can be laid over them. */
const aligned = (bytes) => (bytes.byteOffset % 8 === 0 ? bytes : bytes.slice());

/** One model's arrays and facts, with those of the image that its figures need, and sizes spelled out. */
function modelOf(image, facts, arrays) {
  const { class_names, palette, no_class } = image;
  const grids = gridsOfModel(image, facts, arrays);
  const apart = grids.keyGrid !== grids.queryGrid;
  const model = {
    ...facts,
    ...arrays,
    ...grids,
    class_names,
    palette,
    no_class,
    apart, // the keys are other cells than the queries
    depth: (arrays.query?.length ?? 0) / grids.queryGrid.cells,
    hasLabels: arrays.cell_labels !== undefined,
    hasClasses: (arrays.cell_labels ?? arrays.cell_prediction) !== undefined && !facts.signed,
    cache: new Map(),
  };
  const retention = facts.lr_kernel === null ? "off" : facts.lr_weights;
  model.ownChoices = {
    gate: apart ? "off" : (facts.gate ?? "off"),
    retention: availableRetentions(model).includes(retention) ? retention : "off",
    kernel: facts.lr_kernel ?? SETTINGS.defaultKernel,
    temperature: 1,
  };
  return model;
}

/** The grids of queries and keys, with what is known of their cells: `classes`, `predicted` (or undefined). */
function gridsOfModel(image, { cells, key_cells, placement, crop, query_names, signed }, arrays) {
  const size = [image.imageHeight, image.imageWidth];
  // What the figures are measured against: the truth, or else the model's own prediction, or else nothing.
  const known = (grid, labels, predicted) => ({
    ...grid,
    classes: (signed ? undefined : (labels ?? predicted)) ?? new Uint8Array(grid.cells).fill(image.no_class),
    predicted,
    cache: new Map(),
  });
  const place = query_names ? gridOf(cells, cells) : gridOf(size, cells, placement, crop);
  const queryGrid = known(place, arrays.cell_labels, arrays.cell_prediction);
  if (!key_cells) return { queryGrid, keyGrid: queryGrid };
  const keys = gridOf(size, key_cells, placement, crop);
  return { queryGrid, keyGrid: known(keys, arrays.key_labels, arrays.key_prediction) };
}

/** The grid on which a cell is asked about, and the one that the answer lies on: { from, onto }. */
export function gridsIn({ queryGrid, keyGrid }, direction) {
  return direction === "column" ? { from: keyGrid, onto: queryGrid } : { from: queryGrid, onto: keyGrid };
}

const NOWHERE = -1;

/** The place of a cell among those of the grid that the answer lies on: figures leave it out. */
export const ownPlace = (model, cell) => (model.apart ? NOWHERE : cell);

/** What `compute` gives, worked out once for each name and kept with its image or model. */
function remembered(owner, name, compute) {
  if (!owner.cache.has(name)) owner.cache.set(name, compute());
  return owner.cache.get(name);
}

// --- choices ---------------------------------------------------------------------------------------------------------

/** The gates that can be computed for this model: the oracle needs labels, the others the class distribution. */
export function availableGates(model) {
  return model.apart ? ["off"] : gatesOfArrays(model);
}

/** The gates for which the arrays are there. */
function gatesOfArrays(model) {
  const needed = { off: true, oracle: model.hasLabels };
  return GATES.filter((gate) => needed[gate] ?? model.class_probs !== undefined);
}

/** The kinds of LR that can be computed: learnt weights need query and key of one cell, which a finished map lacks. */
export function availableRetentions(model) {
  const learnt = model.query !== undefined && !model.apart;
  return RETENTIONS.filter((retention) => retention !== "learnt" || learnt);
}

/** The choices that would be there if the keys were the queries' cells. */
export function refusedChoices(model) {
  if (!model.apart) return { gate: [], retention: [] };
  return { gate: gatesOfArrays(model).filter((gate) => gate !== "off"), retention: model.query ? ["learnt"] : [] };
}

/** The user's choices where they can be had, the model's own in their place where not. */
export function effectiveChoices(model, chosen) {
  const own = model.ownChoices;
  const { low, high } = TEMPERATURES;
  const hot = model.query !== undefined && chosen.temperature >= low && chosen.temperature <= high;
  return {
    gate: availableGates(model).includes(chosen.gate) ? chosen.gate : own.gate,
    retention: availableRetentions(model).includes(chosen.retention) ? chosen.retention : own.retention,
    kernel: KERNELS.includes(chosen.kernel) ? chosen.kernel : own.kernel,
    temperature: hot ? chosen.temperature : own.temperature,
  };
}
