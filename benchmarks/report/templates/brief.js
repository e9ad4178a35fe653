// What a reader should know who reads no more, and what is said once.
function drawBrief() {
  const rows = chosenRows().sort(byAccuracy);
  const best = rows.find((row) => row.method === row.best), chance = data.chance[String(state.tolerance)];
  const same = rows.filter((row) => row !== best && !row.differs);
  const lines = data.run.classifier ? [data.run.classifier] : [];
  lines.push(`${named(best.method)} is best: its maximum is a hit on ${percent(best.accuracy)} % of ${counted(data.run.count, unit)}${data.run.mean ?? ""} (95 % interval ${percent(best.ci_low)} to ${percent(best.ci_high)}), a random point on ${percent(chance)} %.`);
  const verdicts = verdictTable();
  if (verdicts?.films.missed && verdicts.films.found) {
    const of = verdicts.values[best.method], share = of.share === null ? "" : ` ${(100 * of.share).toFixed(0)} % of its misses lie on these films.`;
    const {found, missed} = verdicts.films, all = found + missed; // of several classifiers each film has a verdict by each
    lines.push(`Where the classifier says object (${all === data.run.count ? counted(found, unit) : `${found} of ${all} verdicts`}) it hits ${percent(of.found[0])} %, where the classifier misses it (${missed}) ${percent(of.missed[0])} %.${share}`);
  }
  const others = rows.length === 2 ? "the other method" : `the other ${rows.length - 1} methods`;
  if (rows.length === 1) lines.push("It is the only method.");
  else if (!same.length) lines.push(`These ${units} tell it apart from ${rows.length === 2 ? "" : "each of "}${others}.`);
  else {
    const names = same.slice(0, 4).map((row) => named(row.method)).join(", ") + (same.length > 4 ? ` and ${same.length - 4} more` : "");
    lines.push(`These ${units} do not tell it apart from ${rows.length === 2 ? "" : `${same.length} of `}${others}: ${names}.`);
  }
  const isNormGrad = (row) => methods.get(row.method).family === "normgrad";
  const other = rows.find((row) => isNormGrad(row) !== isNormGrad(best));
  if (other) {
    const verdict = other.difference ? `${points(other)} points, which ${other.differs ? "holds" : "does not hold"} over seeds` : other.differs ? `a real difference (p ${other.p_holm < 0.001 ? "< 0.001" : `= ${other.p_holm.toFixed(3)}`})` : `no difference that these ${units} can show`;
    lines.push(`${isNormGrad(other) ? "The best NormGrad" : "The best method that is not NormGrad"}: ${named(other.method)}, ${percent(other.accuracy)} %, ${verdict}.`);
  }
  if (data.measures.length) {
    const firsts = data.measures.map((measure) => {
      const [name, ...equal] = bestMethods.get(measure.name);
      return name ? `${measure.title} ${named(name)}${equal.length ? ` and ${equal.length} more` : ""} (${plain(measure.values[name][0])})` : null;
    });
    lines.push(`Best by other measures: ${firsts.filter(Boolean).join("; ")}.`);
  }
  byId("brief").replaceChildren(...lines.map((text) => element("li", { textContent: text })));
}

function bestOf(measure) { // the methods with the best value as it is shown
  const sign = measure.better === "lower" ? -1 : 1;
  const names = Object.keys(measure.values).filter((name) => measure.values[name][0] !== null && methods.has(name) && methods.get(name).family !== "baseline");
  const best = Math.max(...names.map((name) => sign * measure.values[name][0]));
  return names.filter((name) => plain(measure.values[name][0]) === plain(sign * best));
}

const plain = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(3));
const bestMethods = new Map(data.measures.map((measure) => [measure.name, bestOf(measure)]));

function drawOnce() {
  byId("facts").textContent = `${data.run.facts} · ${counted(data.methods.length, "method")}`;
  byId("hit").textContent = data.run.hit;
  for (const [id, text] of Object.entries(data.run.notes)) byId(id).textContent = text; // where they are not those of one run
  for (const id of ["verdict-term", "verdict-note"]) byId(id).hidden = !data.verdicts.length;
  for (const id of ["unannotated-term", "unannotated-note", "maps-term", "maps-note"]) byId(id).hidden = !data.gallery.films.length;
  for (const measure of data.measures) if (measure.note) byId("notes").append(element("dt", { textContent: measure.title }), element("dd", { textContent: measure.note }));
  for (const [term, text] of data.remarks) byId("notes").append(element("dt", { textContent: term }), element("dd", { textContent: text }));
  for (const [id, there] of [["localisation", data.localisation?.length], ["froc", data.froc], ["consistency", data.consistency.length], ["breakdown", data.breakdown.length], ["gallery", data.gallery.films.length]]) {
    byId(`${id}-section`).hidden = !there;
    document.querySelector(`nav a[href="#${id}"]`).hidden = !there;
  }
}
views.push(drawBrief);
