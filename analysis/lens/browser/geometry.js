// --- geometry --------------------------------------------------------------------------------------------------------

/**
 * A map's cells and how they lie on the image, as analysis/geometry.py has it. imageSize, cells: [height, width].
 * placement: "corners" or "blocks". crop: [top, left, height, width], what the model saw; null for the whole image.
 */
export function gridOf([imageHeight, imageWidth], [height, width], placement = "corners", crop = null) {
  const [top, left, high, wide] = crop ?? [0, 0, imageHeight, imageWidth];
  return {
    imageHeight,
    imageWidth,
    height,
    width,
    cells: height * width,
    placement,
    crop,
    seen: { top, left, height: high, width: wide },
  };
}

/** The index of the cell, of `count` along one side, into which a pixel of `pixels` falls. */
export function pixelToCell(pixel, pixels, count, placement = "corners") {
  if (placement === "blocks") return Math.floor((pixel * count) / pixels);
  if (pixels === 1 || count === 1) return 0;
  return Math.floor((2 * pixel * (count - 1) + (pixels - 1)) / (2 * (pixels - 1)));
}

/** The pixel nearest to a cell's centre. */
export function cellToPixel(cell, pixels, count, placement = "corners") {
  if (placement === "blocks") {
    const first = Math.ceil((cell * pixels) / count); // of the block's pixels
    const last = Math.max(first, Math.ceil(((cell + 1) * pixels) / count) - 1);
    const middle = Math.floor(((2 * cell + 1) * pixels) / (2 * count));
    return Math.min(Math.max(middle, first), last, pixels - 1);
  }
  return count === 1 ? Math.floor((pixels - 1) / 2) : Math.floor((cell * (pixels - 1)) / (count - 1) + 0.5);
}

/** The pixel of a rectangle { top, left, height, width } nearest to a pixel or point, in whole numbers. */
export function nearestIn({ top, left, height, width }, [y, x]) {
  const within = (value, start, side) => Math.min(start + side - 1, Math.max(start, Math.floor(value)));
  return [within(y, top, height), within(x, left, width)];
}

/** The cell under a pixel; one off the part that the model saw belongs to the nearest cell. */
export function cellOf(grid, pixel) {
  const { seen, height, width, placement } = grid;
  const [y, x] = nearestIn(seen, pixel);
  const row = pixelToCell(y - seen.top, seen.height, height, placement);
  return row * width + pixelToCell(x - seen.left, seen.width, width, placement);
}

export function pixelOf({ seen, height, width, placement }, cell) {
  return [
    seen.top + cellToPixel(Math.floor(cell / width), seen.height, height, placement),
    seen.left + cellToPixel(cell % width, seen.width, width, placement),
  ];
}

/** Where the map lies on the image, in pixels along one side: the first cell's start, and a cell's length. */
export function mapSpan(pixels, count, placement = "corners", start = 0) {
  if (placement === "blocks" || pixels === 1 || count === 1) return { start, pitch: pixels / count };
  const pitch = (pixels - 1) / (count - 1); // corner cells are centred on corner pixels
  return { start: start + 0.5 - pitch / 2, pitch };
}

/** `mapSpan` of a grid's columns (across) and rows (down). */
export function spansOf({ seen, height, width, placement }) {
  return {
    across: mapSpan(seen.width, width, placement, seen.left),
    down: mapSpan(seen.height, height, placement, seen.top),
  };
}

/** The cells whose centres lie within `radius` pixels of a pixel, and that of the pixel itself. */
export function cellsAround(grid, pixel, radius) {
  const cells = new Set([cellOf(grid, pixel)]);
  const { across, down } = spansOf(grid);
  for (let row = 0; row < grid.height; row++) {
    const dy = down.start + (row + 0.5) * down.pitch - pixel[0] - 0.5;
    if (Math.abs(dy) > radius) continue;
    for (let column = 0; column < grid.width; column++) {
      const dx = across.start + (column + 0.5) * across.pitch - pixel[1] - 0.5;
      if (dx * dx + dy * dy <= radius * radius) cells.add(row * grid.width + column);
    }
  }
  return cells;
}

/** What all of several rectangles { top, left, height, width } share. */
export function shared(rectangles) {
  const most = (of) => Math.max(...rectangles.map(of));
  const least = (of) => Math.min(...rectangles.map(of));
  const [top, left] = [most((each) => each.top), most((each) => each.left)];
  return {
    top,
    left,
    height: least((each) => each.top + each.height) - top,
    width: least((each) => each.left + each.width) - left,
  };
}
