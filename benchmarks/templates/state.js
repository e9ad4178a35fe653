// What the reader has chosen, and the controls that choose it.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const methods = new Map(data.methods.map((method) => [method.name, method]));
const state = {
  protocol: data.protocols.includes("fair") ? "fair" : data.protocols[0],
  tolerance: data.tolerances.includes(15) ? 15 : data.tolerances[0],
  families: new Set(data.methods.map((method) => method.family)),
  query: "", sort: "accuracy", ascending: false, by: null,
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
const known = ["normgrad", "cam", "gradient", "baseline"];
const colour = (family) => `var(--${known.includes(family) ? family : "other"})`;
const dot = (family) => element("span", { class: "dot", style: { "--c": colour(family) }, "aria-hidden": "true" });
const duration = (seconds) => (seconds < 0.0005 ? "<0.001" : seconds < 10 ? seconds.toFixed(3) : seconds.toFixed(1));

function chosenRows() { // of the protocol and tolerance
  return data.rows.filter((row) => row.protocol === state.protocol && row.tolerance === state.tolerance);
}

function visible(name) {
  const method = methods.get(name), query = state.query.trim().toLowerCase();
  return state.families.has(method.family) && `${method.title} ${name} ${method.family}`.toLowerCase().includes(query);
}

function visibleRows() {
  return chosenRows().filter((row) => visible(row.method)).sort((a, b) => b.accuracy - a.accuracy);
}

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
segments("tolerance", data.tolerances, within, "tolerance");
for (const family of state.families) {
  byId("families").append(element("button", {
    type: "button", "aria-pressed": "true",
    onclick: (event) => {
      if (!state.families.delete(family)) state.families.add(family);
      event.currentTarget.setAttribute("aria-pressed", String(state.families.has(family)));
      render();
    },
  }, dot(family), family));
}
byId("query").addEventListener("input", (event) => { state.query = event.target.value; render(); });
