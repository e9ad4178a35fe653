// Headline table, the brief, breakdown, further tables and notes.
const columns = [
  { key: "method", label: "Method", value: (row) => methods.get(row.method).title.toLowerCase() },
  { key: "accuracy", label: "Accuracy, %", number: true },
  { key: "ci_low", label: "95 % interval", number: true, wide: true },
  { key: "p_holm", label: "Real difference from the best?", value: (row) => (row.method === row.best ? 2 : row.p_holm) },
  { key: "rank_low", label: "Ranks", number: true, wide: true },
  { key: "seconds_per_image", label: "s / film", number: true, wide: true },
  { key: "cost", label: "Cost", wide: true, value: (row) => methods.get(row.method).cost },
];

function header() {
  const cells = columns.map((column) => element("th", {
    scope: "col", class: `${column.number ? "number" : ""} ${column.wide ? "wide" : ""}`,
    "aria-sort": state.sort !== column.key ? "none" : state.ascending ? "ascending" : "descending",
  }, element("button", {
    type: "button", textContent: column.label, id: `sort-${column.key}`,
    onclick: () => {
      const names = ["method", "cost", "seconds_per_image", "rank_low"];
      state.ascending = state.sort === column.key ? !state.ascending : names.includes(column.key);
      state.sort = column.key;
      render();
      byId(`sort-${column.key}`).focus(); // the header has been drawn anew
    },
  })));
  cells.splice(1, 0, element("th", { scope: "col" }, element("span", { class: "hidden", textContent: "Bar" })));
  return element("tr", {}, ...cells);
}

function difference(row) {
  if (row.method === row.best) return element("span", { class: "best", textContent: "best" });
  const p = row.p_holm < 0.001 ? "p < 0.001" : `p = ${row.p_holm.toFixed(3)}`;
  const title = `On ${row.only_best} films only the best method hits, on ${row.only_method} only this one.`;
  const value = element("span", { class: "p-value", textContent: `, ${p}` });
  return element("span", { class: row.differs ? "differs" : "same", title }, row.differs ? "yes" : "none shown", value);
}

function bar(row, family) {
  const chance = data.chance[String(state.tolerance)];
  return element("span", { class: "bar", style: { "--c": colour(family) }, "aria-hidden": "true" },
    element("i", { style: { width: `${100 * row.accuracy}%` } }),
    element("u", { style: { left: `${100 * chance}%` } }),
    element("b", { style: { left: `${100 * row.ci_low}%`, width: `${100 * (row.ci_high - row.ci_low)}%` } }));
}

function drawTable() {
  const column = columns.find((entry) => entry.key === state.sort);
  const value = column.value || ((row) => row[column.key]);
  const rows = visibleRows().sort((a, b) => {
    const x = value(a), y = value(b);
    return (x < y ? -1 : x > y ? 1 : 0) * (state.ascending ? 1 : -1);
  });
  byId("table").tHead.replaceChildren(header());
  byId("table").tBodies[0].replaceChildren(...rows.map((row) => {
    const method = methods.get(row.method);
    const name = element("button", { type: "button", title: `${row.method}: show on the films`, onclick: () => showMethod(row.method) }, dot(method.family), method.title);
    return element("tr", {},
      element("th", { scope: "row" }, name),
      element("td", {}, bar(row, method.family)),
      element("td", { class: "number", textContent: percent(row.accuracy) }),
      element("td", { class: "number wide", textContent: `${percent(row.ci_low)} – ${percent(row.ci_high)}` }),
      element("td", {}, difference(row)),
      element("td", { class: "number wide", textContent: `${row.rank_low.toFixed(0)} – ${row.rank_high.toFixed(0)}` }),
      element("td", { class: "number wide", textContent: duration(row.seconds_per_image) }),
      element("td", { class: "wide", textContent: method.cost.replace("_", " ") }));
  }));
  byId("shown").textContent = `${rows.length} of ${chosenRows().length} methods. Chance is ${percent(data.chance[String(state.tolerance)])} %.`;
}

const named = (name) => methods.get(name).title;

function drawBrief() {
  const rows = chosenRows().sort((a, b) => b.accuracy - a.accuracy);
  const best = rows.find((row) => row.method === row.best), chance = data.chance[String(state.tolerance)];
  const same = rows.filter((row) => row !== best && !row.differs);
  const lines = [`${named(best.method)} is best: its maximum is a hit on ${percent(best.accuracy)} % of ${data.run.images} films (95 % interval ${percent(best.ci_low)} to ${percent(best.ci_high)}), a random point on ${percent(chance)} %.`];
  if (!same.length) lines.push(`These films tell it apart from each of the other ${rows.length - 1} methods.`);
  else {
    const names = same.slice(0, 4).map((row) => named(row.method)).join(", ") + (same.length > 4 ? ` and ${same.length - 4} more` : "");
    lines.push(`These films do not tell it apart from ${same.length} of the other ${rows.length - 1} methods: ${names}.`);
  }
  const isNormGrad = (row) => methods.get(row.method).family === "normgrad";
  const other = rows.find((row) => isNormGrad(row) !== isNormGrad(best));
  if (other) {
    const verdict = other.differs ? `a real difference (p ${other.p_holm < 0.001 ? "< 0.001" : `= ${other.p_holm.toFixed(3)}`})` : "no difference that these films can show";
    lines.push(`${isNormGrad(other) ? "The best NormGrad" : "The best method that is not NormGrad"}: ${named(other.method)}, ${percent(other.accuracy)} %, ${verdict}.`);
  }
  byId("brief").replaceChildren(...lines.map((text) => element("li", { textContent: text })));
}

function drawBreakdown() {
  const names = [...new Set(data.breakdown.map((row) => row.breakdown))];
  if (state.by === null) state.by = names[0] || null;
  const rows = data.breakdown.filter((row) => row.breakdown === state.by && row.protocol === state.protocol && row.tolerance === state.tolerance);
  const groups = [...new Set(rows.map((row) => row.group))];
  const cell = new Map(rows.map((row) => [`${row.method} ${row.group}`, row]));
  const first = (group) => rows.find((row) => row.group === group);
  const heads = groups.map((group) => element("th", { scope: "col", style: { "text-align": "center" } }, group, element("br"), element("span", { class: "note", textContent: `${first(group).films} films` })));
  byId("breakdown").tHead.replaceChildren(element("tr", {}, element("th", { scope: "col", textContent: "Method" }), ...heads));
  const heat = (share, title) => element("td", {
    class: `heat ${share > 0.78 ? "strong" : ""}`, style: { "--h": (0.06 + 0.84 * share).toFixed(2) }, title, textContent: (100 * share).toFixed(0),
  });
  const body = visibleRows().map((entry) => element("tr", {},
    element("th", { scope: "row" }, dot(methods.get(entry.method).family), named(entry.method)),
    ...groups.map((group) => {
      const row = cell.get(`${entry.method} ${group}`);
      return heat(row.accuracy, `95 % interval ${percent(row.ci_low)} to ${percent(row.ci_high)}`);
    })));
  body.push(element("tr", {}, element("th", { scope: "row", textContent: "(chance)" }), ...groups.map((group) => heat(first(group).chance, "what a random point scores"))));
  byId("breakdown").tBodies[0].replaceChildren(...(groups.length ? body : []));
  byId("by-note").textContent = groups.length ? `Films by ${data.breakdowns[state.by]}. Accuracy in percent; few films make wide intervals (shown on hover).` : "All films are of one kind.";
  if (!byId("by").options.length) byId("by").append(...names.map((name) => element("option", { value: name, textContent: name })));
}
byId("by").addEventListener("change", (event) => { state.by = event.target.value; render(); });

function drawOnce() {
  const run = data.run;
  byId("facts").textContent = `${run.arch} at ${run.image_size} × ${run.image_size} px, test AUC ${run.auc.toFixed(3)}, accuracy ${run.accuracy.toFixed(3)} · ${run.images} annotated test films (${run.excluded} without annotation are left out) · ${data.methods.length} methods · hit: the annotated ${run.truth}, in a frame of ${run.frame} × ${run.frame} px`;
  for (const table of data.extra) {
    byId("extra").append(element("h2", { textContent: table.title }), element("p", { class: "note", textContent: table.note }),
      element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": table.title }, element("table", {},
        element("thead", {}, element("tr", {}, ...table.columns.map((name) => element("th", { scope: "col", textContent: name })))),
        element("tbody", {}, ...table.rows.map((row) => element("tr", {}, ...row.map((text) => element("td", { textContent: text }))))))));
  }
  byId("extra-link").hidden = !data.extra.length;
  for (const [term, text] of data.remarks) byId("notes").append(element("dt", { textContent: term }), element("dd", { textContent: text }));
}
views.push(drawBrief, drawTable, drawBreakdown);
