// --- many rows -------------------------------------------------------------------------------------------------------
// Whoever needs the raw rows of many queries gets them here: from rows.wat, a block of queries at a time, where the
// browser has WebAssembly's SIMD, and one by one from attention.js where it has not. Both in double precision.

const ROWS_AT_ONCE = 16; // queries of a block
const TILE = 4; // queries, and keys, that rows.wat takes at once
const KEYS_IN_CACHE = 2048;
const PAGE = 65536; // bytes, in which WebAssembly's memory grows
const DOUBLE = 8; // bytes
const MOST_BYTES = 2 ** 29; // of a worker's memory: larger maps are computed without

/**
 * exp((score − highest) / temperature) of the given queries' rows, one after another: { cell, row, total, highest },
 * `row` overwritten by the next, `total` its sum. model: one that has query and key of its own.
 */
export function* exponentialRows(model, temperature, queries, simd = rowsInstance()) {
  const width = TILE * Math.ceil(model.keyGrid.cells / TILE);
  const space = simd && spaceIn(simd.memory, model.depth, width);
  if (space) {
    yield* blocksOfRows(simd, space, model, temperature, queries);
    return;
  }
  const row = new Float64Array(model.keyGrid.cells);
  for (const cell of queries) yield { cell, row, ...exponentials(model, cell, temperature, row) };
}

/** What rows.wat exports, with a memory of its own; null where the browser cannot run it. */
export function rowsInstance() {
  const bytes = Uint8Array.from(atob(ROWS_WASM), (letter) => letter.charCodeAt(0));
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(bytes)) return null; // an old browser
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports;
  } catch {
    return null; // a page may forbid it, which browsers say in errors of different kinds, or memory may lack
  }
}

function* blocksOfRows(simd, space, model, temperature, queries) {
  const { depth } = model;
  const { cells } = model.keyGrid;
  const width = space.rows.length / ROWS_AT_ONCE; // the keys of a row, filled up to whole tiles
  packKeys(model, space.keys);
  for (let first = 0; first < queries.length; first += ROWS_AT_ONCE) {
    const block = queries.slice(first, first + ROWS_AT_ONCE);
    packQueries(model, block, space.queries);
    scoreBlock(simd, space, depth, width);
    for (const [place, cell] of block.entries()) {
      const row = space.rows.subarray(place * width, (place + 1) * width);
      row.fill(-Infinity, cells);
      const highest = simd.highest(row.byteOffset, width / 2);
      const total = simd.exponentials(row.byteOffset, width / 2, highest, temperature);
      yield { cell, row: row.subarray(0, cells), total, highest };
    }
  }
}

/** How many numbers a block's queries, all keys, and the block's rows are. */
const sizesOf = (depth, width) => ({
  queries: ROWS_AT_ONCE * depth,
  keys: width * depth,
  rows: ROWS_AT_ONCE * width,
});

const numbersIn = (depth, width) => Object.values(sizesOf(depth, width)).reduce((sum, size) => sum + size, 0);

/** Room for them in a memory: Float64Arrays, one behind the other; null where there is not so much. */
function spaceIn(memory, depth, width) {
  const bytes = numbersIn(depth, width) * DOUBLE;
  if (bytes > MOST_BYTES) return null;
  try {
    memory.grow(Math.ceil(bytes / PAGE));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
  let start = 0;
  return Object.fromEntries(
    Object.entries(sizesOf(depth, width)).map(([name, size]) => {
      const array = new Float64Array(memory.buffer, start, size);
      start += size * DOUBLE;
      return [name, array];
    }),
  );
}

/** Keys as tiles×depth×TILE; what fills up the last tile stays 0. */
function packKeys({ key, depth, keyGrid: { cells } }, packed) {
  for (let channel = 0; channel < depth; channel++) {
    for (let n = 0; n < cells; n++) {
      packed[(Math.floor(n / TILE) * depth + channel) * TILE + (n % TILE)] = key[channel * cells + n];
    }
  }
}

/** The queries of a block as tiles×depth×TILE. */
function packQueries({ query, depth, queryGrid: { cells } }, block, packed) {
  block.forEach((cell, place) => {
    const start = Math.floor(place / TILE) * depth * TILE + (place % TILE);
    for (let channel = 0; channel < depth; channel++) packed[start + channel * TILE] = query[channel * cells + cell];
  });
}

/** Scores of the queries with all keys, as many keys at a time as stay in the cache for all queries. */
function scoreBlock(simd, { queries, keys, rows }, depth, width) {
  for (let key = 0; key < width; key += KEYS_IN_CACHE) {
    const tiles = Math.min(KEYS_IN_CACHE, width - key) / TILE;
    for (let query = 0; query < ROWS_AT_ONCE; query += TILE) {
      simd.scores(
        queries.byteOffset + query * depth * DOUBLE,
        keys.byteOffset + key * depth * DOUBLE,
        rows.byteOffset + (query * width + key) * DOUBLE,
        depth,
        tiles,
        width * DOUBLE,
      );
    }
  }
}
