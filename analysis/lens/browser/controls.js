// --- controls --------------------------------------------------------------------------------------------------------

/** An element; attributes that begin with "on" are listeners, `style` is an object. */
function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(node.style, value);
    else if (value !== false && value !== undefined) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

let named = 0;

/** A name that nothing else on the page has: two lenses may stand on it. */
const unique = (name) => `${name}-${++named}`;

/** One choice out of a few, as a row of radio buttons. options: [value, label, explanation, whether it is disabled]. */
function segmented(name, legend, options, chosen, onchange) {
  const group = unique(name);
  const buttons = options.map(([value, label, title, disabled = false]) =>
    element(
      "label",
      { title },
      element("input", {
        type: "radio",
        name: group,
        value,
        checked: value === chosen,
        disabled,
        onchange: () => onchange(value),
      }),
      element("span", {}, String(label)),
    ),
  );
  return element(
    "fieldset",
    { class: "segmented", "data-choice": name },
    element("legend", {}, legend),
    element("div", {}, ...buttons),
  );
}

/** options: [value, label]. */
function dropdown(name, label, options, chosen, onchange) {
  const select = element(
    "select",
    { name, onchange: (event) => onchange(event.target.value) },
    ...options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)),
  );
  return element("label", { class: "field" }, element("span", {}, label), select);
}

/** A slider whose number stands beside its label. ondrag is called on the way, onchange in the end. */
function slider(name, label, { low, high, step }, chosen, words, ondrag, onchange = ondrag) {
  const shown = element("output", {}, words(chosen));
  const follow = (then) => (event) => {
    const value = Number(event.target.value);
    shown.textContent = words(value);
    event.target.setAttribute("aria-valuetext", words(value));
    then(value);
  };
  const input = element("input", {
    type: "range",
    name,
    min: low,
    max: high,
    step,
    value: chosen,
    "aria-valuetext": words(chosen),
    oninput: follow(ondrag),
    onchange: follow(onchange),
  });
  return element("label", { class: "field" }, element("span", {}, `${label} `, shown), input);
}

function checkbox(name, label, checked, onchange) {
  const box = element("input", { type: "checkbox", name, checked, onchange: (event) => onchange(event.target.checked) });
  return element("label", { class: "check" }, box, element("span", {}, label));
}

function button(label, title, onclick, attributes = {}) {
  return element("button", { type: "button", title, onclick, ...attributes }, label);
}

const written = new WeakMap(); // node -> the text that it was given

/**
 * The same text is not written again: the page is laid out anew after every write. What was written counts, not what
 * is there: a browser that translates the page puts other words, and elements of its own, in its place.
 */
function write(node, text) {
  if (written.get(node) === text) return;
  written.set(node, text);
  node.textContent = text;
}
