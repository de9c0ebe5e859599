// --- what takes a while ----------------------------------------------------------------------------------------------

const NOISIEST_COUNT = 8;

/** The work that runs in workers for one image. changed() is called whenever there is more to show. */
function createBackground(image, changed) {
  const running = new Map(); // name -> what calls the job off
  const shares = new Map(); // name -> how far it is, in 0 … 1
  const failures = new Map(); // name -> why it cannot be had

  function stop(name) {
    running.get(name)?.();
    [running, shares, failures].forEach((map) => map.delete(name));
  }

  function start(name, model, task, options, done) {
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
  }

  let region = null;

  return {
    /** What a job is at, in words; "" where there is nothing to wait for. */
    words(name, doing) {
      if (failures.has(name)) return `This could not be worked out: ${failures.get(name)}.`;
      return shares.has(name) ? `${doing} … ${percent(shares.get(name))}` : "";
    },

    /** All rows' log Σ exp at a temperature, which columns need; null until a worker has them. */
    logSums(model, temperature) {
      if (model.attention) return [];
      if (temperature === 1 && model.log_sums) return model.log_sums;
      const known = model.cache.get("log sums");
      if (known?.temperature === temperature) return known.sums;
      const name = `log sums ${model.index}`;
      if (model.cache.get("log sums wanted") !== temperature) {
        model.cache.set("log sums wanted", temperature);
        start(name, model, "allLogSums", { temperature }, (sums) => {
          model.cache.set("log sums", { temperature, sums });
        });
      }
      return null;
    },

    region: () => region,

    /** Average over `cells`, a set for each model. label: the class that they are, or null if painted by hand. */
    averageOver(cells, label) {
      this.endRegion();
      const labels = cells.map((set, index) => new Set([...set].map((cell) => image.models[index].cellClasses[cell])));
      region = {
        cells,
        label,
        own: labels.map((found) => (found.size === 1 ? [...found][0] : null)),
        outlines: cells.map((set, index) => outlineOf(image.models[index], (cell) => set.has(cell))),
        results: cells.map(() => null),
        asked: cells.map(() => ""),
      };
    },

    /** The region's average for one model as chosen; null until a worker has it. */
    regionResult(model, choices, direction) {
      const asked = JSON.stringify([choices, direction]);
      if (region.asked[model.index] !== asked) {
        const logSums = direction === "column" ? this.logSums(model, choices.temperature) : [];
        if (logSums === null) return null;
        region.asked[model.index] = asked;
        region.results[model.index] = null;
        const [shown, cells] = [region, [...region.cells[model.index]]];
        start(`region ${model.index}`, model, "regionAverage", { cells, choices, direction, logSums }, (result) => {
          shown.results[model.index] = result;
        });
      }
      return region.results[model.index];
    },

    endRegion() {
      image.models.forEach(({ index }) => stop(`region ${index}`));
      region = null;
    },

    /** The queries of the first model with the most raw interclass noise; null until a worker has them. */
    noisiest(choices) {
      const asked = choices.temperature;
      const [model] = image.models;
      const known = model.cache.get("noisiest");
      if (known?.asked === asked) return known.found;
      model.cache.set("noisiest", { asked, found: null });
      start("noisiest", model, "noisiestQueries", { choices, stage: "raw", count: NOISIEST_COUNT }, (found) => {
        model.cache.set("noisiest", { asked, found });
      });
      return null;
    },

    end() {
      [...running.keys()].forEach(stop);
      for (const model of image.models) {
        model.cache.delete("log sums wanted");
        if (model.cache.get("noisiest")?.found === null) model.cache.delete("noisiest");
      }
      if (region) region.asked.fill("");
    },
  };
}
