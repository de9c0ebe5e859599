// --- work for the worker ---------------------------------------------------------------------------------------------

/**
 * Have a generator of averages.js run in a worker. handlers: { progress(share), done(result), failed(message) }.
 * Returns a function that calls it off.
 */
export function startJob(image, model, task, options, { progress, done, failed }) {
  const address = URL.createObjectURL(new Blob([WORKER_SOURCE], { type: "text/javascript" }));
  const worker = new Worker(address);
  const end = () => {
    worker.terminate();
    URL.revokeObjectURL(address);
  };
  worker.onmessage = ({ data }) => {
    if (!("result" in data)) return progress(data.progress);
    end();
    done(data.result);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    end();
    failed(event.message || "this browser does not let the page compute in the background");
  };
  worker.postMessage({ bytes: image.bytes, map: image.map, model: model.index, task, options });
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
