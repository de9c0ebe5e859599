// --- colour ----------------------------------------------------------------------------------------------------------

/**
 * What a map shows of a row. "weight": the row as it is. "share" and "log": the row over its own sum, in multiples of
 * the even share 1/N, so that stages of different mass can be compared.
 */
export function shownRow(row, scale, out = new Float64Array(row.length)) {
  let factor = 1;
  if (scale !== "weight") {
    let total = 0;
    for (let n = 0; n < row.length; n++) total += row[n];
    if (total > 0) factor = row.length / total;
  }
  for (let n = 0; n < row.length; n++) out[n] = row[n] * factor;
  return out;
}

/** later − earlier, both as shown, into `out`. */
export function differenceRow(later, earlier, out = new Float64Array(later.length)) {
  for (let n = 0; n < out.length; n++) out[n] = later[n] - earlier[n];
  return out;
}

let spare = new Float32Array(0); // for all values of the maps on one scale

/** All values of several rows, or their sizes without sign, in one array that the next call overwrites. */
function together(rows, change = (value) => value) {
  const length = rows.reduce((sum, row) => sum + row.length, 0);
  if (spare.length < length) spare = new Float32Array(length);
  let index = 0;
  for (const row of rows) for (let n = 0; n < row.length; n++) spare[index++] = change(row[n]);
  return spare.subarray(0, length);
}

/** The value that stands at `rank` when the values are sorted; reorders them. */
export function ranked(values, rank) {
  let low = 0;
  let high = values.length - 1;
  while (low < high) {
    const pivot = values[(low + high) >> 1];
    let left = low;
    let right = high;
    while (left <= right) {
      while (values[left] < pivot) left++;
      while (values[right] > pivot) right--;
      if (left > right) break;
      const value = values[left];
      values[left++] = values[right];
      values[right--] = value;
    }
    if (rank <= right) high = right;
    else if (rank >= left) low = left;
    else break;
  }
  return values[rank];
}

/**
 * The one range of the colours of several rows: { low, high, clipped, kind }. kind: "linear" or "log" here, else "difference".
 * clip: the percentile at which the colours end; what lies above has the last colour, and `clipped` says so.
 * fromLowest: they begin at the lowest value in place of 0, but for a logarithmic scale.
 */
export function colourRange(rows, scale, clip, fromLowest = false) {
  const values = together(rows);
  let highest = -Infinity;
  for (let n = 0; n < values.length; n++) if (values[n] > highest) highest = values[n];
  const most = ranked(values, Math.ceil((clip / 100) * (values.length - 1))) || highest;
  // Where a few cells take everything, the scale still reaches the even spread.
  const high = scale === "weight" ? most : Math.min(highest, Math.max(most, 1));
  // Four decades are kept on a logarithmic scale.
  if (scale === "log") return { low: high / 1e4, high, clipped: high < highest, kind: "log" };
  const lowest = fromLowest ? values.reduce((least, value) => Math.min(least, value), Infinity) : 0;
  return { low: lowest < high ? lowest : 0, high, clipped: high < highest, kind: "linear" };
}

/** The range of differences, as far below 0 as above it. */
export function differenceRange(rows, clip) {
  const values = together(rows, Math.abs);
  let highest = 0;
  for (let n = 0; n < values.length; n++) if (values[n] > highest) highest = values[n];
  const high = ranked(values, Math.ceil((clip / 100) * (values.length - 1))) || highest;
  return { low: -high, high, clipped: high < highest, kind: "difference" };
}

/** The place of a value on the colour scale, in 0 … 1. A range without extent gives 0, around 0 the middle. */
export function colourPosition(value, { low, high, kind }) {
  if (!(high > low)) return kind === "difference" ? 0.5 : 0;
  const position = kind === "log" ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
  return position > 0 ? Math.min(1, position) : 0;
}

/** Round values to put numbers at: [value, label] from the range's low to its high end. */
export function colourTicks({ low, high, kind }) {
  if (!(high > low)) return [[high, formatNumber(high)]];
  const ticks = [];
  let digits = 3;
  if (kind === "log") {
    for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) ticks.push(10 ** power);
  } else {
    const rough = (high - low) / 5;
    const magnitude = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * magnitude).find((size) => size >= rough * (1 - 1e-9));
    for (let count = Math.ceil(low / step - 1e-9); count * step <= high * (1 + 1e-9); count++) ticks.push(count * step);
    // As many digits as it takes to tell neighbours apart.
    digits = Math.max(digits, Math.ceil(Math.log10(high / step)) + 1);
  }
  return ticks.map((value) => [value, formatNumber(value, digits)]);
}

export function formatNumber(value, digits = 3) {
  if (value === 0) return "0";
  const sign = value < 0 ? "−" : "";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) return `${sign}${size.toExponential(0).replace("-", "−")}`;
  return sign + String(Number(size.toPrecision(digits)));
}

/** A colormap as 256 opaque pixels. colours: 256×3 bytes. */
export function colourTable(colours) {
  const bytes = new Uint8ClampedArray(256 * 4).fill(255);
  for (let n = 0; n < 256; n++) bytes.set(colours.subarray(3 * n, 3 * n + 3), 4 * n);
  return new Uint32Array(bytes.buffer);
}

/** The pixels of a map into `pixels`, one of the table's for each value. A map without extent is one colour. */
export function paintRow(values, range, table, pixels) {
  const { low, high, kind } = range;
  if (!(high > low)) {
    pixels.fill(table[kind === "difference" ? 128 : 0]);
  } else if (kind === "log") {
    const factor = 255 / Math.log(high / low);
    for (let n = 0; n < values.length; n++) {
      const place = Math.log(values[n] / low) * factor + 0.5;
      pixels[n] = table[place > 0 ? Math.min(255, place | 0) : 0];
    }
  } else {
    const factor = 255 / (high - low);
    for (let n = 0; n < values.length; n++) {
      const place = (values[n] - low) * factor + 0.5;
      pixels[n] = table[place > 0 ? (place < 255 ? place | 0 : 255) : 0];
    }
  }
}
