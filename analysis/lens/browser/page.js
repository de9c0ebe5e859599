// --- a lens ----------------------------------------------------------------------------------------------------------

/** What a lens knows: what its user's actions change, and what is drawn of it. */
function newLens(root, memory) {
  const lens = {
    root,
    memory,
    image: null, // as `unpack` gives it
    background: null,
    tell: () => {}, // (name, value): what the user has changed, and once that it is alive
    alive: false, // it has drawn
    preview: null, // the pixel under the pointer or the keyboard's cursor
    byKeyboard: false,
    view: WHOLE,
    painting: false, // the brush is in hand
    painted: null, // the cells under the brush so far, a set for each model
    listing: false, // the noisiest pixels
    overview: false, // the maps of all heads are in sight
    clicked: false, // whether the last click changed the pins
    frame: null, // asked for, in which it will be drawn
    parts: {}, // of the page, as `partsOf` gives them
    tables: { maps: null, differences: null },
  };
  lens.resizing = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const surface = lens.parts.surfaces?.find(({ canvas }) => canvas === target);
      if (surface) fit(surface, contentRect.width, contentRect.height);
    }
    schedule(lens);
  });
  return lens;
}

/** Draw it in the next frame. */
function schedule(lens) {
  lens.frame ??= requestAnimationFrame(() => {
    lens.frame = null;
    if (!lens.root.isConnected || !lens.image) return;
    render(lens);
    if (!lens.alive) lens.tell("alive", true);
    lens.alive = true;
  });
}

/** Show a buffer, which may be the one that is shown with another request. */
function show(lens, bytes, tell) {
  lens.tell = tell;
  const { header } = readHeader(bytes);
  const fresh = header.payload_id !== lens.image?.payload_id;
  if (fresh) {
    lens.background?.end();
    lens.image = unpack(bytes);
    takeImage(lens);
  }
  if (grant(lens.memory, lens.image, header.request) || fresh) rebuild(lens);
  lens.parts.surfaces.forEach(({ canvas }) => lens.resizing.observe(canvas));
  schedule(lens);
}

/** Begin anew with what the image holds. */
function takeImage(lens) {
  lens.background?.end();
  lens.background = createBackground(lens.image, () => schedule(lens));
  keepInside(lens.memory, lens.image);
}

/** Build the page for what is remembered, which may be another map than the image shows. */
function rebuild(lens) {
  const { image, memory } = lens;
  const wanted = memory.maps.get(image.image_id);
  if (hasMap(image, wanted) && (wanted.layer !== image.map.layer || wanted.head !== image.map.head)) {
    showMap(image, wanted);
    takeImage(lens);
  }
  lens.preview = null;
  build(lens);
}

function rest(lens) {
  lens.resizing.disconnect();
  lens.background.end();
  lens.tell = () => {};
}

const lenses = new WeakMap(); // element -> lens: the component's script runs again whenever its data is sent again

/** What a component runs. name: that of the component; lenses of one component find each other's memory again. */
export default function showLens({ name, data, parentElement, setStateValue }) {
  const root = parentElement.querySelector(".lens");
  if (!lenses.has(root)) lenses.set(root, newLens(root, memoryFor(name, root)));
  const lens = lenses.get(root);
  show(lens, data, setStateValue);
  return () => rest(lens);
}
