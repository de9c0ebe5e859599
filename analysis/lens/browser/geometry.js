// --- geometry --------------------------------------------------------------------------------------------------------

/** The index of the cell, of `count` along one side, into which a pixel of `pixels` falls. */
export function pixelToCell(pixel, pixels, count) {
  if (pixels === 1 || count === 1) return 0;
  return Math.floor((2 * pixel * (count - 1) + (pixels - 1)) / (2 * (pixels - 1)));
}

/** The pixel nearest to a cell's centre. */
export function cellToPixel(cell, pixels, count) {
  return count === 1 ? Math.floor((pixels - 1) / 2) : Math.floor((cell * (pixels - 1)) / (count - 1) + 0.5);
}

export function cellOf(model, [y, x]) {
  const row = pixelToCell(y, model.imageHeight, model.height);
  return row * model.width + pixelToCell(x, model.imageWidth, model.width);
}

export function pixelOf(model, cell) {
  const row = Math.floor(cell / model.width);
  return [
    cellToPixel(row, model.imageHeight, model.height),
    cellToPixel(cell % model.width, model.imageWidth, model.width),
  ];
}

/** Where the map lies on the image, in pixels along one side: corner cells are centred on corner pixels. */
export function mapSpan(pixels, count) {
  if (pixels === 1 || count === 1) return { start: 0, pitch: pixels / count };
  const pitch = (pixels - 1) / (count - 1);
  return { start: 0.5 - pitch / 2, pitch };
}

/** The cells whose centres lie within `radius` pixels of a pixel, and that of the pixel itself. */
export function cellsAround(model, pixel, radius) {
  const cells = new Set([cellOf(model, pixel)]);
  const across = mapSpan(model.imageWidth, model.width);
  const down = mapSpan(model.imageHeight, model.height);
  for (let row = 0; row < model.height; row++) {
    const dy = down.start + (row + 0.5) * down.pitch - pixel[0] - 0.5;
    if (Math.abs(dy) > radius) continue;
    for (let column = 0; column < model.width; column++) {
      const dx = across.start + (column + 0.5) * across.pitch - pixel[1] - 0.5;
      if (dx * dx + dy * dy <= radius * radius) cells.add(row * model.width + column);
    }
  }
  return cells;
}
