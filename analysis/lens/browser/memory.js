// --- memory ----------------------------------------------------------------------------------------------------------

// What the user has chosen, kept while the browser tab lives: the component is taken down on every change of page.
// Pins, choices and look are told to the server as a whole, so that both sides always read them alike.
const memory = {
  pins: new Map(), // image_id -> list of pixels [y, x], in the order of their numbers
  active: new Map(), // image_id -> index of the pin last touched
  undone: new Map(), // image_id -> what the pins were, the latest last
  choices: { gate: null, retention: null, kernel: null, temperature: null }, // null: the model's own
  look: {
    overlay: "photo",
    scale: "share",
    range: "shared",
    clip: 99.8,
    colormap: "magma",
    outline: true,
    predictedOutline: false,
    hollows: false,
    difference: false,
    photoOpacity: 0.3,
    direction: "row",
  },
  folded: true, // the rarely used options
  granted: null, // id of the last request, which the page may have sent along with the buffer
};
const PIN_LIMIT = 8;
const UNDO_LIMIT = 100;

const pinsOf = (image) => memory.pins.get(image.image_id) ?? [];
const activeIndex = (image) => Math.min(memory.active.get(image.image_id) ?? 0, pinsOf(image).length - 1);
/** What is shown when nothing is hovered. */
const activePixel = (image) => pinsOf(image)[activeIndex(image)] ?? image.starting_pixel;
const canUndo = (image) => (memory.undone.get(image.image_id) ?? []).length > 0;

function touchPin(image, index) {
  memory.active.set(image.image_id, index);
}

/** Put other pins in place of an image's, so that they can be undone. */
function changePins(image, pins, active) {
  const before = [...(memory.undone.get(image.image_id) ?? []), pinsOf(image)];
  memory.undone.set(image.image_id, before.slice(-UNDO_LIMIT));
  memory.pins.set(image.image_id, pins);
  touchPin(image, Math.max(0, active));
}

function addPin(image, pixel) {
  const pins = pinsOf(image);
  changePins(image, [...pins, pixel], pins.length);
}

function removePin(image, index) {
  const pins = pinsOf(image).toSpliced(index, 1);
  const active = activeIndex(image);
  changePins(image, pins, Math.min(active > index ? active - 1 : active, pins.length - 1));
}

function undoPins(image) {
  const before = memory.undone.get(image.image_id) ?? [];
  if (!before.length) return;
  memory.pins.set(image.image_id, before.at(-1));
  memory.undone.set(image.image_id, before.slice(0, -1));
  touchPin(image, Math.max(0, before.at(-1).length - 1));
}

const oneOf =
  (...values) =>
  (value) =>
    values.includes(value);
const between = (low, high) => (value) => typeof value === "number" && value >= low && value <= high;
const isSwitch = (value) => typeof value === "boolean";

// As analysis/lens/state.py knows them: a request may come from a link, and what is not as here is ignored.
const KNOWN_CHOICES = {
  gate: oneOf(null, ...GATES),
  retention: oneOf(null, ...RETENTIONS),
  kernel: oneOf(null, ...KERNELS),
  temperature: (value) => value === null || between(TEMPERATURES.lowest, TEMPERATURES.highest)(value),
};
const KNOWN_LOOKS = {
  overlay: oneOf("photo", "labels", "prediction"),
  scale: oneOf("share", "log", "weight"),
  range: oneOf("shared", "each"),
  clip: between(90, 100),
  colormap: (value) => typeof value === "string",
  outline: isSwitch,
  predictedOutline: isSwitch,
  hollows: isSwitch,
  difference: isSwitch,
  photoOpacity: between(0, 0.8),
  direction: oneOf("row", "column"),
};

function take(into, values, known) {
  for (const [name, isKnown] of Object.entries(known)) {
    if (values && name in values && isKnown(values[name])) into[name] = values[name];
  }
}

/** Take over what a request asks for, once; returns whether it was new. */
export function grant(image, request) {
  if (!request || request.id === memory.granted) return false;
  memory.granted = request.id;
  if (Array.isArray(request.pins)) {
    const inside = (side, pixels) => Number.isInteger(side) && side >= 0 && side < pixels;
    const pins = request.pins.filter(
      (pixel) => Array.isArray(pixel) && inside(pixel[0], image.imageHeight) && inside(pixel[1], image.imageWidth),
    );
    memory.pins.set(image.image_id, pins.slice(0, PIN_LIMIT));
    touchPin(image, 0);
  }
  take(memory.choices, request.choices, KNOWN_CHOICES);
  take(memory.look, request.look, KNOWN_LOOKS);
  if (!image.colormaps.includes(memory.look.colormap)) memory.look.colormap = image.colormaps[0];
  return true;
}
