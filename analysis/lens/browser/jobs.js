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
  worker.postMessage({ bytes: image.bytes, model: model.index, task, options });
  return end;
}
