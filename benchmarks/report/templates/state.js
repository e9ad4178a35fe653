// What the reader has chosen, and the controls that choose it.
const data = JSON.parse(document.getElementById("data").textContent);
const unit = data.run.unit, units = `${unit}s`; // what a row is about
const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
const byId = (id) => document.getElementById(id);
const methods = new Map(data.methods.map((method) => [method.name, method]));
const FEW = 20; // methods that are shown at first when there are many
const narrow = () => window.matchMedia("(max-width: 46rem)").matches;
const state = {
  protocol: data.protocols.includes("fair") ? "fair" : data.protocols[0],
  tolerance: data.tolerances.includes(15) ? 15 : data.tolerances[0],
  families: new Set(data.methods.map((method) => method.family)),
  costs: new Set(data.methods.map((method) => method.cost)),
  most: data.methods.length > FEW + 5 ? FEW : Infinity,
  query: "", sort: "accuracy", ascending: false,
};
const views = []; // functions that draw one part of the page anew

function render() { for (const view of views) view(); }

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") node.className = value;
    else if (name === "style") for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria-") || name === "role" || name === "scope" || name === "tabindex") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

function drawn(tag, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== null) node.textContent = text;
  return node;
}

const percent = (share) => (100 * share).toFixed(1);
const within = (tolerance) => (tolerance ? `within ${tolerance} px` : "inside");
const known = ["normgrad", "cam", "gradient", "perturbation", "baseline"];
const named = (name) => methods.get(name)?.title ?? name;
const colour = (family) => `var(--${known.includes(family) ? family : "other"})`;
const dot = (family) => element("span", { class: "dot", style: { "--c": colour(family) }, "aria-hidden": "true" });
const duration = (seconds) => (seconds < 0.0005 ? "<0.001" : seconds < 10 ? seconds.toFixed(3) : seconds.toFixed(1));

const rowHead = (name) => [element("span", { class: "name" }, ...(methods.has(name) ? [dot(methods.get(name).family)] : []), element("span", { textContent: named(name) }))];
const costs = { none: "no pass", one_pass: "one pass", many_passes: "many passes" };
const costName = (cost) => costs[cost] ?? cost.replaceAll("_", " ");

function chosenRows() { // of the protocol and tolerance
  return data.rows.filter((row) => row.protocol === state.protocol && row.tolerance === state.tolerance);
}

function verdictTable() { return data.verdicts.find((entry) => entry.protocol === state.protocol && entry.tolerance === state.tolerance); }

function visible(name) {
  const method = methods.get(name), query = state.query.trim().toLowerCase();
  const text = `${method.title} ${name} ${method.family} ${costName(method.cost)} ${method.reduction}`.toLowerCase();
  return state.families.has(method.family) && state.costs.has(method.cost) && query.split(/\s+/).every((word) => text.includes(word));
}

const byAccuracy = (a, b) => b.accuracy - a.accuracy || (b.method === b.best) - (a.method === a.best); // of equal ones the best is the first
function filteredRows() { return chosenRows().filter((row) => visible(row.method)).sort(byAccuracy); }
function visibleRows() { return filteredRows().slice(0, state.most); }

function isHit(distance) { return state.tolerance === 0 ? distance === 0 : distance < state.tolerance; }

function segments(id, values, label, key) {
  const buttons = values.map((value) => element("button", {
    type: "button", textContent: label(value), "aria-pressed": String(state[key] === value),
    onclick: () => {
      state[key] = value;
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(values[i] === value)));
      render();
    },
  }));
  byId(id).append(...buttons);
}

segments("protocol", data.protocols, (name) => name, "protocol");
function chips(id, chosen, content) { // buttons that take values out of a set and put them back
  for (const value of [...chosen]) {
    byId(id).append(element("button", {
      type: "button", "aria-pressed": "true",
      onclick: (event) => {
        if (!chosen.delete(value)) chosen.add(value);
        event.currentTarget.setAttribute("aria-pressed", String(chosen.has(value)));
        render();
      },
    }, ...content(value)));
  }
  byId(id).parentElement.hidden = chosen.size < 2;
}

segments("tolerance", data.tolerances, within, "tolerance");
if (state.most < Infinity) segments("most", [FEW, Infinity], (value) => (value === FEW ? `${FEW} best` : "all"), "most");
byId("most").parentElement.hidden = state.most === Infinity;
chips("families", state.families, (family) => [dot(family), family]);
chips("costs", state.costs, (cost) => [costName(cost)]);
byId("query").addEventListener("input", (event) => { state.query = event.target.value; render(); });
