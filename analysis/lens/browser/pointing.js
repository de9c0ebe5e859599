// --- pointing --------------------------------------------------------------------------------------------------------

const DRAG_STARTS = 5; // screen pixels: less is a click
const WHEEL_STEP = 1.0018; // zoom per unit of the wheel

/**
 * Turns what pointers and wheel do on a panel into calls of `actions`; points are shares [down, across] of the panel.
 *
 * actions: { hover(point), leave(), click(point, target size), doubleClick(), paint(point), painted(),
 * pan([down, right]), zoom(factor, point), isPainting(), isZoomed() }. pan gets shares of the panel.
 */
function listen(canvas, actions) {
  const pointers = new Map(); // pointerId -> the event last seen of it
  let start = null; // where the pointer went down
  let dragged = false;
  let double = false;

  const pointOf = (event) => pointOn(canvas, event);
  const between = ([a, b]) => ({ clientX: (a.clientX + b.clientX) / 2, clientY: (a.clientY + b.clientY) / 2 });
  const distance = ([a, b]) => Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) || 1;
  const panFrom = (before, after) => {
    const [from, to] = [pointOf(before), pointOf(after)];
    actions.pan([from[0] - to[0], from[1] - to[1]]);
  };

  function down(event) {
    pointers.set(event.pointerId, event);
    if (pointers.size === 1) {
      start = event;
      dragged = false;
    } else {
      dragged = true; // two fingers never click
    }
    if (actions.isPainting() && pointers.size === 1) actions.paint(pointOf(event));
  }

  function move(event) {
    const before = pointers.get(event.pointerId);
    if (before === undefined) {
      actions.hover(pointOf(event));
      return;
    }
    const previous = [...pointers.values()];
    pointers.set(event.pointerId, event);
    if (start && Math.hypot(event.clientX - start.clientX, event.clientY - start.clientY) > DRAG_STARTS && !dragged) {
      dragged = true;
      canvas.setPointerCapture(event.pointerId);
    }
    const now = [...pointers.values()];
    if (now.length === 2) {
      panFrom(between(previous), between(now));
      actions.zoom(distance(now) / distance(previous), pointOf(between(now)));
    } else if (actions.isPainting()) {
      actions.paint(pointOf(event));
    } else if (event.pointerType === "mouse" && actions.isZoomed()) {
      if (dragged) panFrom(before, event);
    } else {
      actions.hover(pointOf(event));
    }
  }

  function up(event) {
    pointers.delete(event.pointerId);
    if (pointers.size === 0 && actions.isPainting()) actions.painted();
    if (event.pointerType !== "mouse") actions.leave();
  }

  const events = {
    pointerdown: down,
    pointermove: move,
    pointerup: up,
    pointercancel: up,
    pointerleave: () => pointers.size === 0 && actions.leave(),
    click: (event) => {
      double = event.detail > 1;
      if (!dragged && !double && !actions.isPainting()) actions.click(pointOf(event), canvas.clientWidth);
    },
    dblclick: () => actions.doubleClick(),
  };
  for (const [name, handle] of Object.entries(events)) canvas.addEventListener(name, handle);
  listenToZoom(canvas, actions);
}

/** Zoom by the wheel, and by two fingers, which zoom the lens, not the page. */
function listenToZoom(canvas, actions) {
  canvas.addEventListener(
    "wheel",
    (event) => {
      // A wheel over the page scrolls it, unless the lens has been clicked or Ctrl is held, as a trackpad's pinch does.
      if (!event.ctrlKey && !event.metaKey && !canvas.matches(":focus")) return;
      if (event.deltaY > 0 && !actions.isZoomed()) return;
      event.preventDefault();
      const units = event.deltaY * (event.deltaMode === 1 ? 30 : 1) * (event.ctrlKey ? 3 : 1);
      actions.zoom(WHEEL_STEP ** -Math.max(-400, Math.min(400, units)), pointOn(canvas, event));
    },
    { passive: false },
  );
  canvas.addEventListener("touchstart", (event) => event.touches.length > 1 && event.preventDefault(), {
    passive: false,
  });
}

/** The place of an event as shares [down, across] of a panel. */
function pointOn(canvas, { clientX, clientY }) {
  const box = canvas.getBoundingClientRect();
  return [(clientY - box.top) / box.height, (clientX - box.left) / box.width];
}
