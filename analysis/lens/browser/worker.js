// --- the worker ------------------------------------------------------------------------------------------------------

const REPORT_EVERY = 100; // milliseconds

/** One share of a task, then the worker's life is over. Posts { done }, of its items, now and then, and { result } in
 * the end. */
self.onmessage = ({ data: { bytes, map, model, task, options, first, stop } }) => {
  const job = TASKS[task].share(unpack(bytes, map).models[model], options, first, stop);
  let reported = performance.now();
  for (let step = job.next(); ; step = job.next()) {
    if (step.done) {
      self.postMessage({ result: step.value });
      return;
    }
    if (performance.now() - reported > REPORT_EVERY) {
      reported = performance.now();
      self.postMessage({ done: step.value });
    }
  }
};
