// --- a lens as a notebook's widget -----------------------------------------------------------------------------------

/** What anywidget runs. The model's traits: payload, pins ([[y, x], …] of the image), choices, look and map. */
function renderWidget({ model, el }) {
  const frame = element("div", { class: "lens-widget" }, element("div", { class: "lens" }));
  el.append(frame);
  const view = model.get("payload");
  const data = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const lens = newLens(frame.firstElementChild, newMemory());
  let own = false; // what the lens itself has just said
  const names = ["pins", "choices", "look", "map"];
  const tell = (name, value) => {
    if (name !== "maps" && !names.includes(name)) return;
    own = true;
    if (name === "pins") model.set("pins", value[lens.image.image_id] ?? []);
    else if (name === "maps") model.set("map", value[lens.image.image_id] ?? {});
    else model.set(name, value);
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
  take(names);
  const asked = names.map((name) => [`change:${name}`, () => own || take([name])]);
  for (const [event, listener] of asked) model.on(event, listener);
  return () => {
    for (const [event, listener] of asked) model.off(event, listener);
    rest(lens);
  };
}

export default { render: renderWidget };
