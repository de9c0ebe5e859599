// --- work for the worker ---------------------------------------------------------------------------------------------

const MOST_WORKERS = 8; // each holds a copy of the image's arrays
const WORTH_A_WORKER = 2 ** 24; // entries of the map: fewer take less time than a worker's start

/** How many workers share a task's items. The rows of a finished map are there: one copies them. */
export function workersFor(model, items) {
  if ((model.parts?.[0] ?? model).attention) return 1;
  const useful = Math.ceil((items * model.keyGrid.cells) / WORTH_A_WORKER);
  return Math.max(1, Math.min(useful, items, MOST_WORKERS, navigator.hardwareConcurrency || 1));
}

/**
 * Have a task of averages.js run in workers. handlers: { progress(share), done(result), failed(message) }.
 * Returns a function that calls it off.
 */
export function startJob(image, model, task, options, { progress, done, failed }) {
  const { count, join } = TASKS[task];
  const items = count(model, options);
  const number = workersFor(model, items);
  const address = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: "text/javascript" }));
  const workers = [];
  const counts = new Array(number).fill(0);
  const results = new Map();
  const end = () => {
    for (const worker of workers) {
      Object.assign(worker, { onmessage: null, onerror: null }); // what is on its way comes too late
      worker.terminate();
    }
    URL.revokeObjectURL(address);
  };
  const fail = (message) => {
    end();
    failed(message || "this browser does not let the page compute in the background");
  };
  const finish = () => {
    end();
    let result;
    try {
      result = join(model, options, counts.map((_, place) => results.get(place)));
    } catch (error) {
      failed(error.message);
      return;
    }
    done(result);
  };
  for (let index = 0; index < number; index++) {
    const [first, stop] = [index, index + 1].map((place) => Math.round((place * items) / number));
    const worker = new Worker(address);
    workers.push(worker);
    worker.onmessage = ({ data }) => {
      const finished = "result" in data;
      counts[index] = finished ? stop - first : data.done;
      if (finished) results.set(index, data.result);
      if (results.size === number) finish();
      else progress(counts.reduce((sum, share) => sum + share, 0) / items);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      fail(event.message);
    };
    worker.postMessage({ bytes: image.bytes, map: image.map, model: model.index, task, options, first, stop });
  }
  return end;
}

/** What runs in workers for one image, each job under its own name. changed() is called whenever there is more to show. */
function createJobs(image, changed) {
  const running = new Map(); // name -> what calls the job off
  const shares = new Map(); // name -> how far it is, in 0 … 1
  const failures = new Map(); // name -> why it cannot be had

  function stop(name) {
    running.get(name)?.();
    [running, shares, failures].forEach((map) => map.delete(name));
  }

  return {
    stop,
    stopAll: () => [...running.keys()].forEach(stop),

    /** Start a task under a name, in place of what ran under it. done(result) is called in the end. */
    start(name, model, task, options, done) {
      stop(name);
      shares.set(name, 0);
      const finish = (then) => (value) => {
        running.delete(name);
        shares.delete(name);
        then(value);
        changed();
      };
      running.set(
        name,
        startJob(image, model, task, options, {
          progress: (share) => {
            shares.set(name, share);
            changed();
          },
          done: finish(done),
          failed: finish((message) => failures.set(name, message)),
        }),
      );
    },

    /** What a job is at, in words; "" where there is nothing to wait for. */
    words(name, doing) {
      if (failures.has(name)) return `This could not be worked out: ${failures.get(name)}.`;
      return shares.has(name) ? `${doing} … ${percent(shares.get(name))}` : "";
    },
  };
}
