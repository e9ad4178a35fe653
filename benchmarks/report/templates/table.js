// The headline table: which columns, in which order of rows.
const shareText = (share, digits) => (share === null ? "–" : (100 * share).toFixed(digits));

function verdictColumn(key, label, note) { // accuracy on the films of one verdict of the classifier
  const cell = (row) => {
    const [share, low, high] = verdictTable().values[row.method][key], films = verdictTable().films[key];
    return element("span", { title: share === null ? "no film" : `95 % interval ${percent(low)} – ${percent(high)}, ${films} films`, textContent: shareText(share, 1) });
  };
  return { key, label, note, number: true, option: "wide", value: (row) => verdictTable().values[row.method][key][0], cell };
}

const columns = [
  { key: "method", label: "Method", value: (row) => named(row.method).toLowerCase() },
  { key: "accuracy", label: "Accuracy, %", number: true, value: (row) => row.accuracy, cell: (row) => percent(row.accuracy) },
  { key: "interval", label: "95 % interval", number: true, option: "wide", value: (row) => row.ci_low, cell: (row) => `${percent(row.ci_low)} – ${percent(row.ci_high)}` },
  { key: "difference", label: "Real difference from the best?", option: "always", value: (row) => (row.method === row.best ? 2 : row.p_holm ?? -row.difference[0]), cell: difference },
  ...(data.verdicts.length ? [
    verdictColumn("found", "Says object, %", "On films of which the classifier says that there is an object."),
    verdictColumn("missed", "Misses it, %", "On films whose object the classifier misses; there the map explains “clean”."),
    { key: "share", label: "Misses that are the classifier's, %", number: true, option: "off", note: "Of this method's misses, the share that lies on films whose object the classifier misses.",
    value: (row) => verdictTable().values[row.method].share, cell: (row) => shareText(verdictTable().values[row.method].share, 0) },
  ] : []),
  { key: "ranks", label: "Ranks", number: true, option: "off", lowFirst: true, value: (row) => row.rank_low, cell: (row) => `${row.rank_low.toFixed(0)} – ${row.rank_high.toFixed(0)}` },
  { key: "seconds", label: `s/${unit}`, number: true, option: "wide", lowFirst: true, value: (row) => row.seconds_per_image, cell: (row) => duration(row.seconds_per_image) },
  { key: "cost", label: "Cost", option: "off", lowFirst: true, value: (row) => costName(methods.get(row.method).cost), cell: (row) => costName(methods.get(row.method).cost) },
  { key: "reduction", label: "Reduction", option: "off", lowFirst: true, value: (row) => methods.get(row.method).reduction, cell: (row) => methods.get(row.method).reduction },
  ...data.measures.map((measure, i) => ({
    key: `measure-${measure.name}`, label: measure.title + (measure.better === "lower" ? " (lower is better)" : ""), number: true, option: i < 4 ? "wide" : "off",
    lowFirst: measure.better === "lower", note: measure.note, value: (row) => measure.values[row.method]?.[0] ?? null, cell: (row) => measured(measure, row.method),
  })),
];
columns[0].lowFirst = true;
const shownColumns = new Set(columns.filter((column) => !column.option || column.option === "always" || (column.option === "wide" && !narrow())).map((column) => column.key));
let measureIntervals = false;

function measured(measure, name) {
  const [value, low, high, films] = measure.values[name] ?? [null, null, null, null];
  const interval = low === null ? "" : `${plain(low)} – ${plain(high)}`;
  const cell = element("span", { class: bestMethods.get(measure.name).includes(name) ? "best" : "", title: interval && `95 % interval ${interval}, ${counted(films, unit)}`, textContent: plain(value) });
  return measureIntervals && interval ? [cell, element("small", { class: "interval", textContent: interval })] : cell;
}

function points(row) { // how far below the best, over seeds
  const [value, low, high] = row.difference.map((share) => (-100 * share).toFixed(1));
  return `${value} [${high}, ${low}]`;
}

function difference(row) {
  if (row.method === row.best) return element("span", { class: "best", textContent: "best" });
  if (row.difference) return element("span", { class: row.differs ? "differs" : "same", title: "Mean over seeds, to the best, in points [95 % interval]" }, row.differs ? "yes" : "none shown", element("span", { class: "p-value", textContent: `, ${points(row)}` }));
  const p = row.p_holm < 0.001 ? "p < 0.001" : `p = ${row.p_holm.toFixed(3)}`;
  const title = `On ${counted(row.only_best, unit)} only the best method hits, on ${row.only_method} only this one.`;
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

function header(shown) {
  const cells = shown.map((column) => element("th", {
    scope: "col", class: column.number ? "number" : "", title: column.note ?? "",
    "aria-sort": state.sort !== column.key ? "none" : state.ascending ? "ascending" : "descending",
  }, element("button", {
    type: "button", textContent: column.label, id: `sort-${column.key}`,
    onclick: () => {
      state.ascending = state.sort === column.key ? !state.ascending : Boolean(column.lowFirst);
      state.sort = column.key;
      drawTable();
      byId(`sort-${column.key}`).focus(); // the header has been drawn anew
    },
  })));
  cells.splice(1, 0, element("th", { scope: "col" }, element("span", { class: "hidden", textContent: "Bar" })));
  return element("tr", {}, ...cells);
}

function sortedRows() {
  const column = columns.find((entry) => entry.key === state.sort), sign = state.ascending ? 1 : -1;
  return filteredRows().sort((a, b) => {
    const x = column.value(a), y = column.value(b);
    if (x === null || y === null) return (x === null) - (y === null); // what is not known comes last, either way
    return (x < y ? -1 : x > y ? 1 : 0) * sign;
  }).slice(0, state.most);
}

function drawTable() {
  const shown = columns.filter((column) => shownColumns.has(column.key)), rows = sortedRows();
  byId("table").tHead.replaceChildren(header(shown));
  byId("table").tBodies[0].replaceChildren(...rows.map((row) => {
    const method = methods.get(row.method);
    const name = element("button", { type: "button", title: `${row.method}: show on the ${units}`, onclick: () => showMethod(row.method) }, ...rowHead(row.method));
    const cells = shown.slice(1).map((column) => element("td", { class: column.number ? "number" : "" }, ...[column.cell(row)].flat()));
    return element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, bar(row, method.family)), ...cells);
  }));
  const total = chosenRows().length, matching = filteredRows().length;
  const cut = rows.length < matching ? ` (${matching} match; “all” above shows them)` : "";
  byId("shown").textContent = `${rows.length} of ${counted(total, "method")}${cut}. Chance is ${percent(data.chance[String(state.tolerance)])} %.`;
}

function checkbox(label, checked, onchange) { return element("label", {}, element("input", { type: "checkbox", checked, onchange }), ` ${label}`); }

byId("columns").append(...columns.filter((column) => column.option).map((column) => checkbox(column.label, shownColumns.has(column.key), (event) => {
  if (event.target.checked) shownColumns.add(column.key);
  else shownColumns.delete(column.key);
  if (!shownColumns.has(state.sort)) { state.sort = "accuracy"; state.ascending = false; }
  drawTable();
})));
if (data.measures.length) {
  byId("columns").append(checkbox("intervals of the measures", measureIntervals, (event) => { measureIntervals = event.target.checked; drawTable(); }));
}
views.push(drawTable);
