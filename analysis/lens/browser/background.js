// --- what takes a while ----------------------------------------------------------------------------------------------

const NOISIEST_COUNT = 8;

/** What workers find out of one image, and the region that is averaged. changed() is called when there is more to show. */
function createBackground(image, changed) {
  const jobs = createJobs(image, changed);
  let region = null;

  return {
    words: jobs.words,
    region: () => region,
    logSums: (model, temperature) => logSumsFrom(jobs, model, temperature),
    noisiest: (choices) => noisiestFrom(jobs, image.models[0], choices),

    /** Average over `cells` that are asked about, a set for each model. label: their class, or null if painted by hand. */
    averageOver(cells, label, direction) {
      this.endRegion();
      const grids = image.models.map((model) => gridsIn(model, direction).from);
      const labels = cells.map((set, index) => new Set([...set].map((cell) => grids[index].classes[cell])));
      region = {
        cells,
        label,
        own: labels.map((found) => (found.size === 1 ? [...found][0] : null)),
        outlines: cells.map((set, index) => outlineOf(grids[index], (cell) => set.has(cell))),
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
        jobs.start(`region ${model.index}`, model, "regionAverage", { cells, choices, direction, logSums }, (result) => {
          shown.results[model.index] = result;
        });
      }
      return region.results[model.index];
    },

    endRegion() {
      image.models.forEach(({ index }) => jobs.stop(`region ${index}`));
      region = null;
    },

    end() {
      jobs.stopAll();
      for (const model of image.models) {
        model.cache.delete("log sums wanted");
        if (model.cache.get("noisiest")?.found === null) model.cache.delete("noisiest");
      }
      if (region) region.asked.fill("");
    },
  };
}

/** All rows' log Σ exp at a temperature, which columns need; null until a worker has them. */
function logSumsFrom(jobs, model, temperature) {
  if ((model.parts?.[0] ?? model).attention) return [];
  if (temperature === 1 && model.log_sums) return model.log_sums;
  const known = model.cache.get("log sums");
  if (known?.temperature === temperature) return known.sums;
  if (model.cache.get("log sums wanted") !== temperature) {
    model.cache.set("log sums wanted", temperature);
    jobs.start(`log sums ${model.index}`, model, "allLogSums", { temperature }, (sums) => {
      model.cache.set("log sums", { temperature, sums });
    });
  }
  return null;
}

/** The queries of a model with the most raw interclass noise; null until a worker has them. */
function noisiestFrom(jobs, model, choices) {
  const asked = choices.temperature;
  const known = model.cache.get("noisiest");
  if (known?.asked === asked) return known.found;
  model.cache.set("noisiest", { asked, found: null });
  jobs.start("noisiest", model, "noisiestQueries", { choices, count: NOISIEST_COUNT }, (found) => {
    model.cache.set("noisiest", { asked, found });
  });
  return null;
}
