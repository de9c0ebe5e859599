// --- the toolbar -----------------------------------------------------------------------------------------------------

const OWN = "own"; // with two models, each of which has its own
// What the lists call what they offer.
const DIRECTION_NAMES = { row: "where it looks", column: "who looks at it" };
const OVERLAY_NAMES = { photo: "nothing", labels: "the labels", prediction: "the prediction" };
const SCALE_NAMES = {
  share: "multiples of an even spread",
  log: "multiples, logarithmic",
  weight: "weights as they are",
};
const RANGE_NAMES = {
  shared: "one for all maps",
  each: "one for each map",
  own: "one for each, from its lowest value",
};

/** The choices of the model and, folded away, how the lens draws. */
function toolbarOf(lens) {
  const { image, memory } = lens;
  const several = image.models.length > 1;
  const union = (available) => [...new Set(image.models.flatMap(available))];
  const [gates, retentions] = [union(availableGates), union(availableRetentions)];
  // What keys on another grid take away is shown all the same, with the reason.
  const listed = (values, possible, name) => {
    const known = [...possible, ...union((model) => refusedChoices(model)[name])];
    return values.filter((value) => known.includes(value));
  };
  const bar = element(
    "div",
    { class: "toolbar" },
    modelChoice(lens, "gate", "Gate (GR)", listed(GATES, gates, "gate"), (value) => GATE_WORDS[value], gates),
    modelChoice(
      lens,
      "retention",
      "Retention (LR)",
      listed(RETENTIONS, retentions, "retention"),
      (value) => RETENTION_WORDS[value],
      retentions,
    ),
  );
  if (!several) bar.append(element("p", { class: "own" }, "• the model's own"));
  const directions = SETTINGS.looks.direction.values.map((value) => [
    value,
    DIRECTION_NAMES[value],
    value === "column" && image.queryNames ? UNPLACED.column : DIRECTION_WORDS[value],
    value === "column" && image.queryNames !== null,
  ]);
  bar.append(
    segmented("direction", "Shown is", directions, directionIn(lens), (value) => look(lens, "direction", value)),
  );
  return element("div", {}, bar, moreOf(lens));
}

/**
 * A choice of what the models compute; their own is marked. words(value): its explanation. Values that are not
 * `possible` are disabled.
 */
function modelChoice(lens, name, legend, values, words, possible = values) {
  const { image, memory } = lens;
  const [model] = image.models;
  const several = image.models.length > 1;
  const own = model.ownChoices[name];
  const options = values.map((value) => {
    if (!possible.includes(value)) return [value, value, OTHER_KEYS.reason, true];
    const mark = value === own && !several;
    return [value, mark ? `${value} •` : value, words(value) + (mark ? " The model's own." : "")];
  });
  if (several) options.unshift([OWN, OWN, "Each model as it was trained."]);
  const current = several ? (memory.choices[name] ?? OWN) : effectiveChoices(model, memory.choices)[name];
  return segmented(name, legend, options, current, (value) => choose(lens, name, value === OWN ? null : value));
}

/** The rarely used options, folded away. */
function moreOf(lens) {
  const { memory } = lens;
  const details = element(
    "details",
    { class: "more", open: !memory.folded, ontoggle: () => (memory.folded = !details.open) },
    element("summary", {}, "More options"),
    element("div", { class: "options" }, mapOptionsOf(lens), colourOptionsOf(lens), markOptionsOf(lens)),
  );
  return details;
}

/** Of what the maps are computed with, and what they are drawn over. */
function mapOptionsOf(lens) {
  const { image, memory } = lens;
  const [model] = image.models;
  const there = { photo: true, labels: image.labels, prediction: model.prediction };
  const overlays = namedValues("overlay", OVERLAY_NAMES).filter(([name]) => there[name]);
  const options = element(
    "div",
    { class: "toolbar" },
    modelChoice(lens, "kernel", "LR window", KERNELS, (value) => `LR gathers over ${value}×${value} cells.`),
  );
  if (image.models.some(({ query }) => query)) options.append(temperatureOf(lens));
  options.append(
    lookList(lens, "overlay", "On the photo", overlays),
    lookSlider(lens, "photoOpacity", "Photo under the maps", 0.05, percent),
  );
  return options;
}

/** The softmax's temperature, on a logarithmic scale. */
function temperatureOf(lens) {
  const degrees = (power) => Number((10 ** power).toPrecision(2));
  const set = (final) => (power) =>
    choose(lens, "temperature", degrees(power) === 1 ? null : degrees(power), final);
  return slider(
    "temperature",
    "Temperature of the softmax",
    { low: Math.log10(TEMPERATURES.low), high: Math.log10(TEMPERATURES.high), step: 0.05 },
    Math.log10(lens.memory.choices.temperature ?? 1),
    (power) => String(degrees(power)),
    set(false),
    set(true),
  );
}

/** Of what the colours mean. */
function colourOptionsOf(lens) {
  const colormaps = lens.image.colormaps.map((name) => [name, name]);
  return element(
    "div",
    { class: "toolbar" },
    lookList(lens, "scale", "Colours show", namedValues("scale", SCALE_NAMES)),
    lookList(lens, "range", "Colour scale", namedValues("range", RANGE_NAMES)),
    lookList(lens, "colormap", "Colours", colormaps),
    lookSlider(lens, "clip", "Colours end at percentile", 0.1, (value) => value.toFixed(1)),
  );
}

/** Of what is marked on the maps. */
function markOptionsOf(lens) {
  const [model] = lens.image.models;
  const options = element("div", { class: "toolbar" });
  const check = (name, words) =>
    options.append(checkbox(name, words, lens.memory.look[name], (value) => look(lens, name, value)));
  if (model.hasClasses) {
    check("outline", model.hasLabels ? "outline the true class" : "outline the predicted class");
    if (model.hasLabels && model.cell_prediction) check("predictedOutline", "outline the predicted class");
    check("hollows", "mark the hollows");
  }
  check("difference", "show what GR and LR change");
  return options;
}

/** The values of one entry of the look, each with its name. */
const namedValues = (name, names) => SETTINGS.looks[name].values.map((value) => [value, names[value]]);

const lookList = (lens, name, label, options) =>
  dropdown(name, label, options, lens.memory.look[name], (value) => look(lens, name, value));

function lookSlider(lens, name, label, step, words) {
  const { low, high } = SETTINGS.looks[name];
  const set = (final) => (value) => look(lens, name, value, final);
  return slider(name, label, { low, high, step }, lens.memory.look[name], words, set(false), set(true));
}
