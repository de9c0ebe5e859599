// --- the worker ------------------------------------------------------------------------------------------------------

const TASKS = { allLogSums, regionAverage, noisiestQueries };
const REPORT_EVERY = 100; // milliseconds

/** One task, then the worker's life is over. Posts { progress } now and then, and { result } in the end. */
self.onmessage = ({ data: { bytes, map, model, task, options } }) => {
  const job = TASKS[task](unpack(bytes, map).models[model], options);
  let reported = performance.now();
  for (let step = job.next(); ; step = job.next()) {
    if (step.done) {
      self.postMessage({ result: step.value });
      return;
    }
    if (performance.now() - reported > REPORT_EVERY) {
      reported = performance.now();
      self.postMessage({ progress: step.value });
    }
  }
};
