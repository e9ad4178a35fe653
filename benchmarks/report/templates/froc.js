// Maps as detectors: sensitivity against false positives a film.
const CURVES = 8; // in colour; the others stay grey
let pickedCurve = null;

function drawFroc() {
  if (!data.froc) return;
  const { rates, labels, values } = data.froc, mean = (name) => values[name].reduce((sum, value) => sum + value, 0) / rates.length;
  const order = visibleRows().map((row) => row.method).filter((name) => name in values).sort((a, b) => mean(b) - mean(a));
  const width = room("froc-chart"), height = Math.round(Math.max(300, 0.42 * width)), left = 52, right = 34, top = 14, bottom = 46;
  const low = Math.log2(rates[0]), high = Math.log2(rates.at(-1));
  const x = (rate) => left + (Math.log2(rate) - low) / (high - low) * (width - left - right);
  const y = (share) => height - bottom - share * (height - top - bottom);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Sensitivity against false positives a film; the numbers are in the table below" });
  rates.forEach((rate, i) => {
    svg.append(drawn("line", { class: "grid", x1: x(rate), x2: x(rate), y1: top, y2: height - bottom }));
    svg.append(drawn("text", { class: "faint", x: x(rate), y: height - bottom + 20, "text-anchor": "middle" }, labels[i]));
  });
  for (let tick = 0; tick <= 10; tick += 2) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(tick / 10), y2: y(tick / 10) }));
    svg.append(drawn("text", { class: "faint", x: left - 8, y: y(tick / 10) + 4, "text-anchor": "end" }, `${10 * tick} %`));
  }
  svg.append(drawn("text", { class: "faint", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "false positives a film"));
  const inColour = (name) => (pickedCurve !== null && order.includes(pickedCurve) ? name === pickedCurve : order.indexOf(name) < CURVES);
  const marks = [];
  for (const name of [...order].sort((a, b) => inColour(a) - inColour(b))) {
    const points = values[name].map((share, i) => `${x(rates[i]).toFixed(1)},${y(share).toFixed(1)}`).join(" ");
    const style = inColour(name) ? `stroke:${colour(methods.get(name).family)};stroke-width:2.5` : "stroke:var(--soft);stroke-width:1;opacity:.35";
    svg.append(drawn("polyline", { points, fill: "none", style, "stroke-linejoin": "round" }));
    if (inColour(name)) marks.push({ text: String(order.indexOf(name) + 1), y: y(values[name].at(-1)), style: `fill:${colour(methods.get(name).family)}` });
  }
  marks.sort((a, b) => a.y - b.y);
  marks.forEach((mark, i) => { if (i && mark.y < marks[i - 1].y + 13) mark.y = marks[i - 1].y + 13; }); // not over each other
  for (const label of marks) svg.append(drawn("text", { x: width - right + 6, y: label.y + 4, style: label.style, "font-weight": 600 }, label.text));
  byId("froc-chart").replaceChildren(svg);
  heatTable("froc", [...labels.map((label) => heatHead(label)), heatHead("mean")], order.map((name, i) => [
    [element("button", { type: "button", "aria-pressed": String(name === pickedCurve), id: `curve-${name}`, title: "show this curve alone", onclick: () => {
      pickedCurve = name === pickedCurve ? null : name;
      drawFroc();
      byId(`curve-${name}`).focus({ preventScroll: true });
    } }, `${i + 1}.\u2002`, ...rowHead(name))],
    [...values[name], mean(name)].map((share) => heatCell(share, (100 * share).toFixed(0), `${percent(share)} %`)),
  ]));
}

views.push(drawFroc);
window.addEventListener("resize", drawFroc);
