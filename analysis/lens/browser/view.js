// --- zoom and pan ----------------------------------------------------------------------------------------------------

// A view: how many times larger than the panel the image is, and the image pixel in the panel's upper left corner.
export const WHOLE = { zoom: 1, x: 0, y: 0 };
const MOST_ZOOM = 12;

/** The view with another zoom around a point that stays where it is; (y, x) in image pixels. */
export function zoomedAt(image, view, factor, [y, x]) {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
  const keep = view.zoom / zoom;
  return inside(image, { zoom, x: x - (x - view.x) * keep, y: y - (y - view.y) * keep });
}

/** The view moved by (down, right) image pixels. */
export function moved(image, view, [down, right]) {
  return inside(image, { ...view, x: view.x + right, y: view.y + down });
}

/** The view with a pixel in sight, moved no more than it takes. */
export function showing(image, view, [y, x]) {
  const [height, width] = [image.imageHeight / view.zoom, image.imageWidth / view.zoom];
  return inside(image, {
    zoom: view.zoom,
    x: Math.min(x, Math.max(view.x, x + 1 - width)),
    y: Math.min(y, Math.max(view.y, y + 1 - height)),
  });
}

function inside({ imageWidth, imageHeight }, { zoom, x, y }) {
  const within = (start, side) => Math.min(side - side / zoom, Math.max(0, start));
  return { zoom, x: within(x, imageWidth), y: within(y, imageHeight) };
}

/** The image pixel [y, x] under a point of a panel, both shares of its height and width; not rounded. */
export function pointUnder(image, view, [down, across]) {
  return [
    view.y + (down * image.imageHeight) / view.zoom,
    view.x + (across * image.imageWidth) / view.zoom,
  ];
}
