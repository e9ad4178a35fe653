// Tables in colours: accuracy by groups of films, true positives and all, consistency.
function heatCell(share, text, title, negative = false) { // share from 0 to 1 of the strongest colour
  const strong = share > 0.7; // no text would be readable on the colours between
  const depth = strong ? 0.82 + 0.4 * (Math.min(share, 1) - 0.7) : 0.06 + 0.8 * share;
  return element("td", { class: `heat ${negative ? "negative" : ""} ${strong ? "strong" : ""}`, style: { "--h": depth.toFixed(3) }, title, textContent: text });
}

function heatHead(name, note) {
  return element("th", { scope: "col", class: "middle" }, name, ...(note ? [element("br"), element("span", { class: "note", textContent: note })] : []));
}

function heatTable(id, heads, rows) { // rows: [row header, cells]
  byId(id).tHead.replaceChildren(element("tr", {}, element("th", { scope: "col", textContent: "Method" }), ...heads));
  byId(id).tBodies[0].replaceChildren(...rows.map(([head, cells]) => element("tr", {}, element("th", { scope: "row" }, ...head), ...cells)));
}

let groupedBy = data.breakdown.length ? data.breakdown[0].by : null;

function drawBreakdown() {
  const table = data.breakdown.find((entry) => entry.by === groupedBy && entry.protocol === state.protocol && entry.tolerance === state.tolerance);
  if (!table) return;
  const rows = visibleRows().filter((row) => row.method in table.values).map((row) => [rowHead(row.method), table.values[row.method].map(
    ([share, low, high]) => heatCell(share, (100 * share).toFixed(0), `95 % interval ${percent(low)} to ${percent(high)}`))]);
  rows.push([["(chance)"], table.groups.map((group) => heatCell(group.chance, (100 * group.chance).toFixed(0), "what a random point scores"))]);
  heatTable("breakdown", table.groups.map((group) => heatHead(group.name, counted(group.films, unit))), rows);
  byId("by-note").textContent = `By ${data.breakdowns[groupedBy]}. Accuracy in percent; few ${units} make wide intervals (shown on hover, and in breakdown.csv).`;
}
byId("by").append(...[...new Set(data.breakdown.map((entry) => entry.by))].map((name) => element("option", { value: name, textContent: name })));
byId("by").addEventListener("change", (event) => { groupedBy = event.target.value; drawBreakdown(); });

function panels(id, tables) { // one of several tables, which a menu chooses
  let panel = 0;
  const draw = () => {
    const table = tables[panel];
    if (!table) return;
    const order = visibleRows().map((row) => row.method).filter((name) => name in table.values);
    const others = Object.keys(table.values).filter((name) => !methods.has(name)); // a row about all methods together
    const names = [...order, ...others];
    const strongest = Math.max(1e-9, ...names.flatMap((name) => table.values[name].map((cell) => Math.abs(cell?.[0] ?? 0))));
    heatTable(id, table.variants.map((name, i) => heatHead(name, table.below?.[i])), names.map((name) => [rowHead(name), table.values[name].map((cell) => {
      if (!cell || cell[0] === null) return element("td", { class: "middle", textContent: "–" });
      const [value, low, high, films] = cell, text = (number) => (table.factor * number).toFixed(table.digits);
      const interval = low === null ? "" : `95 % interval ${text(low)} to ${text(high)}, `;
      return heatCell(Math.abs(value) / strongest, text(value), `${interval}${counted(films, unit)}`, value < 0);
    })]));
    byId(`${id}-note`).textContent = table.note;
  };
  byId(`${id}-panel`).append(...tables.map((table, i) => element("option", { value: String(i), textContent: `${table.title}: ${table.measure}` })));
  byId(`${id}-panel`).addEventListener("change", (event) => { panel = Number(event.target.value); draw(); });
  views.push(draw);
}
views.push(drawBreakdown);
panels("localisation", data.localisation ?? []); // a stored page of an earlier version has none
panels("consistency", data.consistency);
