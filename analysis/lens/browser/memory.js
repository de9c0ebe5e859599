// --- memory ----------------------------------------------------------------------------------------------------------

const PIN_LIMIT = SETTINGS.pinLimit;
const UNDO_LIMIT = 100;

/**
 * What the user has chosen in one lens. Pins, choices and look are told to the server as a whole, so that both sides
 * always read them alike.
 */
function newMemory() {
  return {
    pins: new Map(), // image_id -> list of pixels [y, x], in the order of their numbers
    active: new Map(), // image_id -> index of the pin last touched
    maps: new Map(), // image_id -> { layer, head }, of images with several layers or heads
    undone: new Map(), // image_id -> what the pins were, the latest last
    choices: Object.fromEntries(Object.keys(SETTINGS.choices).map((name) => [name, null])), // null: the model's own
    look: { ...SETTINGS.firstLook },
    folded: true, // the rarely used options
    granted: null, // id of the last request, which the page may have sent along with the buffer
  };
}

// They live as long as the browser tab: a component is taken down on every change of page, and comes back in a new element.
const memories = []; // { component, memory, root }, in the order in which the lenses were built

/** The memory of a lens in `root`: that of the first lens of the same component which has left the page, or a new one. */
function memoryFor(component, root) {
  let place = memories.find((each) => each.component === component && !each.root.deref()?.isConnected);
  if (!place) memories.push((place = { component, memory: newMemory() }));
  place.root = new WeakRef(root);
  return place.memory;
}

const pinsOf = (memory, image) => memory.pins.get(image.image_id) ?? [];
const activeIndex = (memory, image) =>
  Math.min(memory.active.get(image.image_id) ?? 0, pinsOf(memory, image).length - 1);
/** What is shown when nothing is hovered. */
const activePixel = (memory, image) => pinsOf(memory, image)[activeIndex(memory, image)] ?? image.starting_pixel;
const canUndo = (memory, image) => (memory.undone.get(image.image_id) ?? []).length > 0;

function touchPin(memory, image, index) {
  memory.active.set(image.image_id, index);
}

/** Put other pins in place of an image's, so that they can be undone. */
function changePins(memory, image, pins, active) {
  const before = [...(memory.undone.get(image.image_id) ?? []), pinsOf(memory, image)];
  memory.undone.set(image.image_id, before.slice(-UNDO_LIMIT));
  memory.pins.set(image.image_id, pins);
  touchPin(memory, image, Math.max(0, active));
}

function addPin(memory, image, pixel) {
  const pins = pinsOf(memory, image);
  changePins(memory, image, [...pins, pixel], pins.length);
}

function removePin(memory, image, index) {
  const pins = pinsOf(memory, image).toSpliced(index, 1);
  const active = activeIndex(memory, image);
  changePins(memory, image, pins, Math.min(active > index ? active - 1 : active, pins.length - 1));
}

function undoPins(memory, image) {
  const before = memory.undone.get(image.image_id) ?? [];
  if (!before.length) return;
  memory.pins.set(image.image_id, before.at(-1));
  memory.undone.set(image.image_id, before.slice(0, -1));
  touchPin(memory, image, Math.max(0, before.at(-1).length - 1));
}

/** Whether there is a query at a pixel. */
function hasQuery({ places: { top, left, height, width } }, [y, x]) {
  const inside = (side, start, pixels) => Number.isInteger(side) && side >= start && side < start + pixels;
  return inside(y, top, height) && inside(x, left, width);
}

/** Leave out the pins where this model has no query, though another one had. */
function keepInside(memory, image) {
  const pins = pinsOf(memory, image);
  const inside = pins.filter((pixel) => hasQuery(image, pixel));
  if (inside.length === pins.length) return;
  memory.pins.set(image.image_id, inside);
  memory.undone.delete(image.image_id);
}

/** Which way the attention is looked at: who looks at a pixel is not shown of queries without a place. */
const directionIn = ({ image, memory }) => (image.queryNames ? "row" : memory.look.direction);

/** Whether a value is among `values`, or else a number from `low` to `high`. */
const isKnown = ({ values, low, high }, value) =>
  values ? values.includes(value) : typeof value === "number" && value >= low && value <= high;

/** Take over what a request asks for, once; returns whether it was new. It may come from a link: nonsense is ignored. */
export function grant(memory, image, request) {
  if (!request || request.id === memory.granted) return false;
  memory.granted = request.id;
  if (Array.isArray(request.pins)) {
    const pins = request.pins.filter((pixel) => Array.isArray(pixel) && hasQuery(image, pixel));
    memory.pins.set(image.image_id, pins.slice(0, PIN_LIMIT));
    touchPin(memory, image, Number.isInteger(request.active) && request.active >= 0 ? request.active : 0);
  }
  if (hasMap(image, request.map)) memory.maps.set(image.image_id, request.map);
  for (const [name, check] of Object.entries(SETTINGS.choices)) {
    const asked = request.choices?.[name];
    if (asked === null || isKnown(check, asked)) memory.choices[name] = asked;
  }
  for (const [name, check] of Object.entries(SETTINGS.looks)) {
    const asked = request.look?.[name];
    if (isKnown(check, asked)) memory.look[name] = asked;
  }
  return true;
}
