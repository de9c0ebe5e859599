// --- a lens as a notebook's widget -----------------------------------------------------------------------------------

/** What anywidget runs. The model's traits: payload, pins ([[y, x], …] of the image), choices, look and map. */
function renderWidget({ model, el }) {
  const frame = element("div", { class: "lens-widget" }, element("div", { class: "lens" }));
  el.append(frame);
  const view = model.get("payload");
  const data = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const lens = newLens(frame.firstElementChild, newMemory());
  let own = false; // what the lens itself has just said
  const tell = (name, value) => {
    own = true;
    model.set(name, name === "pins" ? (value[lens.image.image_id] ?? []) : value);
    model.save_changes();
    own = false;
  };
  show(lens, data, tell);
  const take = (names) => {
    const wanted = Object.fromEntries(names.map((name) => [name, model.get(name)]));
    grant(lens.memory, lens.image, { id: unique("widget"), ...wanted });
    rebuild(lens);
    schedule(lens);
  };
  const names = ["pins", "choices", "look", "map"];
  take(names);
  const asked = names.map((name) => [`change:${name}`, () => own || take([name])]);
  for (const [event, listener] of asked) model.on(event, listener);
  return () => {
    for (const [event, listener] of asked) model.off(event, listener);
    rest(lens);
  };
}

export default { render: renderWidget };
