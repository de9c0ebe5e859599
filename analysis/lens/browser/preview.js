// --- the preview of a figure -----------------------------------------------------------------------------------------

// A picture of a figure. A click or a drag on one of its panels tells Python in which image pixels it began and ended.
// Joined with controls.js; places are [left, top] in parts of the picture, pixels are [y, x] of the row's image.

const SVG = "http://www.w3.org/2000/svg";

/** The panel at a place; undefined between panels. */
export function panelAt(panels, [left, top]) {
  return panels.find(
    (panel) =>
      left >= panel.left && left < panel.left + panel.width && top >= panel.top && top < panel.top + panel.height,
  );
}

/** The pixel of a panel's image that is nearest to a place. */
export function pixelIn(panel, [left, top]) {
  const [first, start, rows, columns] = panel.shown;
  const nearest = (part, count) => Math.min(count - 1, Math.max(0, Math.floor(part * count)));
  const down = nearest((top - panel.top) / panel.height, rows);
  return [first + down, start + nearest((left - panel.left) / panel.width, columns)];
}

/** A preview in `root`: what is shown, and its parts on the page. */
function newPreview(root) {
  const preview = { root, panels: [], begun: null, pick: () => {} };
  const line = document.createElementNS(SVG, "line");
  const overlay = document.createElementNS(SVG, "svg");
  overlay.append(line);
  const image = element("img", { draggable: "false" });
  const readout = element("p", { class: "readout" });
  const frame = element(
    "div",
    {
      class: "figure-frame",
      onpointerdown: (event) => begin(preview, event),
      onpointermove: (event) => move(preview, event),
      onpointerup: (event) => end(preview, event),
      onpointercancel: () => forget(preview),
      onpointerleave: () => (readout.textContent = readout.dataset.hint ?? ""),
    },
    image,
    overlay,
  );
  Object.assign(preview, { image, line, frame, readout });
  root.replaceChildren(frame, readout);
  return preview;
}

function placeOf({ image }, event) {
  const box = image.getBoundingClientRect();
  return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
}

function begin(preview, event) {
  const place = placeOf(preview, event);
  const panel = panelAt(preview.panels, place);
  if (event.button !== 0 || panel === undefined) return;
  preview.begun = { panel, place };
  preview.frame.setPointerCapture(event.pointerId);
}

function move(preview, event) {
  const place = placeOf(preview, event);
  const panel = preview.begun?.panel ?? panelAt(preview.panels, place);
  const { readout, line, begun } = preview;
  if (panel === undefined) {
    readout.textContent = readout.dataset.hint;
    return;
  }
  const [y, x] = pixelIn(panel, place);
  readout.textContent = `Row ${panel.row + 1} of the figure: pixel's row ${y}, column ${x}`;
  if (begun === null) return;
  const ends = { x1: begun.place[0], y1: begun.place[1], x2: place[0], y2: place[1] };
  for (const [name, value] of Object.entries(ends)) line.setAttribute(name, `${100 * value}%`);
}

function end(preview, event) {
  if (preview.begun === null) return;
  const { panel, place } = preview.begun;
  forget(preview);
  preview.pick({ row: panel.row, from: pixelIn(panel, place), to: pixelIn(panel, placeOf(preview, event)) });
}

function forget(preview) {
  preview.begun = null;
  for (const name of ["x1", "y1", "x2", "y2"]) preview.line.setAttribute(name, "0");
}

const previews = new WeakMap(); // element -> preview: the script runs again whenever its data is sent again

export default function showPreview({ data, parentElement, setTriggerValue }) {
  const root = parentElement.querySelector(".figure-preview");
  if (!previews.has(root)) previews.set(root, newPreview(root));
  const preview = previews.get(root);
  Object.assign(preview, { panels: data.panels, pick: (picked) => setTriggerValue("picked", picked) });
  if (preview.image.src !== data.picture) preview.image.src = data.picture;
  preview.image.alt = data.words;
  preview.readout.dataset.hint = data.hint;
  preview.readout.textContent = data.hint;
  preview.root.style.maxWidth = `${data.width}px`;
  return () => (preview.pick = () => {});
}
