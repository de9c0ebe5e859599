// --- the toolbar -----------------------------------------------------------------------------------------------------

const OWN = "own"; // with two models, each of which has its own

/** The choices of the model and, folded away, how the lens draws. actions: { choose(name, value), look(name, value) }. */
function toolbarOf(image, { choose, look }) {
  const [model] = image.models;
  const several = image.models.length > 1;
  const union = (available) => [...new Set(image.models.flatMap(available))];
  const chosen = effectiveChoices(model, memory.choices);

  function modelChoice(name, legend, values, words) {
    const own = model.ownChoices[name];
    const options = values.map((value) => [
      value,
      value === own && !several ? `${value} •` : value,
      words(value) + (value === own && !several ? " The model's own." : ""),
    ]);
    if (several) options.unshift([OWN, OWN, "Each model as it was trained."]);
    const current = several ? (memory.choices[name] ?? OWN) : chosen[name];
    return segmented(name, legend, options, current, (value) => choose(name, value === OWN ? null : value));
  }

  const gates = GATES.filter((gate) => union(availableGates).includes(gate));
  const retentions = RETENTIONS.filter((retention) => union(availableRetentions).includes(retention));
  const direction = segmented(
    "direction",
    "Shown is",
    [
      ["row", "where it looks", DIRECTION_WORDS.row],
      ["column", "who looks at it", DIRECTION_WORDS.column],
    ],
    memory.look.direction,
    (value) => look("direction", value),
  );
  const bar = element(
    "div",
    { class: "toolbar" },
    modelChoice("gate", "Gate (GR)", gates, (value) => GATE_WORDS[value]),
    modelChoice("retention", "Retention (LR)", retentions, (value) => RETENTION_WORDS[value]),
  );
  if (!several) bar.append(element("p", { class: "own" }, "• the model's own"));
  bar.append(direction);
  const kernel = modelChoice("kernel", "LR window", KERNELS, (value) => `LR gathers over ${value}×${value} cells.`);
  return element("div", {}, bar, moreOf(image, kernel, { choose, look }));
}

function moreOf(image, kernel, { choose, look }) {
  const current = memory.look;
  const [model] = image.models;
  const overlays = [
    ["photo", "nothing"],
    ["labels", "the labels"],
    ["prediction", "the prediction"],
  ].filter(([name]) => name === "photo" || (name === "labels" ? image.labels : model.prediction));
  const scales = [
    ["share", "multiples of an even spread"],
    ["log", "multiples, logarithmic"],
    ["weight", "weights as they are"],
  ];
  const ranges = [
    ["shared", "one for all maps"],
    ["each", "one for each map"],
  ];
  const power = Math.log10(memory.choices.temperature ?? 1);
  const degrees = (value) => Number((10 ** value).toPrecision(2));
  const setTemperature = (value) => choose("temperature", degrees(value) === 1 ? null : degrees(value));
  const hot = image.models.some(({ query }) => query);

  const models = element("div", { class: "toolbar" }, kernel);
  if (hot) {
    models.append(
      slider(
        "temperature",
        "Temperature of the softmax",
        { low: -1, high: 1, step: 0.05 },
        power,
        (value) => String(degrees(value)),
        (value) => choose("temperature", degrees(value) === 1 ? null : degrees(value), false),
        setTemperature,
      ),
    );
  }
  const colours = element(
    "div",
    { class: "toolbar" },
    dropdown("scale", "Colours show", scales, current.scale, (value) => look("scale", value)),
    dropdown("range", "Colour scale", ranges, current.range, (value) => look("range", value)),
    dropdown(
      "colormap",
      "Colours",
      image.colormaps.map((name) => [name, name]),
      current.colormap,
      (value) => look("colormap", value),
    ),
    slider(
      "clip",
      "Colours end at percentile",
      { low: 90, high: 100, step: 0.1 },
      current.clip,
      (value) => value.toFixed(1),
      (value) => look("clip", value, false),
      (value) => look("clip", value),
    ),
  );
  models.append(
    dropdown("overlay", "On the photo", overlays, current.overlay, (value) => look("overlay", value)),
    slider(
      "photoOpacity",
      "Photo under the maps",
      { low: 0, high: 0.8, step: 0.05 },
      current.photoOpacity,
      percent,
      (value) => look("photoOpacity", value, false),
      (value) => look("photoOpacity", value),
    ),
  );
  const checks = element("div", { class: "toolbar" });
  const check = (name, words) => checks.append(checkbox(name, words, current[name], (value) => look(name, value)));
  if (model.hasClasses) {
    check("outline", model.hasLabels ? "outline the true class" : "outline the predicted class");
    if (model.hasLabels && model.cell_prediction) check("predictedOutline", "outline the predicted class");
    check("hollows", "mark the hollows");
  }
  check("difference", "show what GR and LR change");

  const details = element(
    "details",
    { class: "more", open: !memory.folded, ontoggle: () => (memory.folded = !details.open) },
    element("summary", {}, "More options"),
    element("div", { class: "options" }, models, colours, checks),
  );
  return details;
}
