// Ranking and cost figures, drawn as SVG in the colours and at the width of the page.
function room(id) { return Math.min(980, Math.max(320, byId(id).clientWidth)); }

function short(text, letters) { // both ends tell long names apart
  const head = Math.floor(0.45 * letters);
  return text.length > letters ? `${text.slice(0, head)}…${text.slice(head + 1 - letters)}` : text;
}

function drawRanking() {
  const rows = visibleRows(), line = 26, width = room("ranking"), narrow = width < 600, top = 28;
  const left = narrow ? 150 : 320, right = narrow ? 68 : 150, letters = narrow ? 21 : 40;
  const height = top + line * rows.length + 12, x = (share) => left + share * (width - left - right);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Accuracy of each method with its interval; the numbers are in the table" });
  for (let tick = 0; tick <= 10; tick += narrow ? 5 : 2) {
    svg.append(drawn("line", { class: "grid", x1: x(tick / 10), x2: x(tick / 10), y1: top - 6, y2: height - 8 }));
    svg.append(drawn("text", { class: "faint", x: x(tick / 10), y: 14, "text-anchor": "middle" }, `${10 * tick} %`));
  }
  const chance = x(data.chance[String(state.tolerance)]);
  svg.append(drawn("line", { class: "chance", x1: chance, x2: chance, y1: top - 6, y2: height - 8 }));
  const place = new Map();
  rows.forEach((row, i) => {
    const y = top + line * (i + 0.5), hue = colour(methods.get(row.method).family);
    place.set(row.method, y);
    svg.append(drawn("text", { x: left - 10, y: y + 4, "text-anchor": "end", "font-size": narrow ? 10.5 : 13 }, short(named(row.method), letters)));
    svg.append(drawn("line", { x1: x(row.ci_low), x2: x(row.ci_high), y1: y, y2: y, style: `stroke:${hue};stroke-width:3`, "stroke-linecap": "round" }));
    svg.append(drawn("circle", { cx: x(row.accuracy), cy: y, r: 5, style: `fill:${hue}` }));
    svg.append(drawn("text", { class: "faint", x: width - right + 10, y: y + 4 }, `${row.rank_low.toFixed(0)}–${row.rank_high.toFixed(0)}`));
  });
  const groups = data.groups.find((entry) => entry.protocol === state.protocol && entry.tolerance === state.tolerance).groups;
  const spans = groups.map((group) => group.filter((name) => place.has(name)).map((name) => place.get(name)))
    .filter((ys) => ys.length > 1).map((ys) => [Math.min(...ys), Math.max(...ys)]);
  // Of the methods that are shown, some groups may be a part of others.
  const bars = spans.filter(([low, high], i) => !spans.some(([a, b], k) => a <= low && high <= b && (b - a > high - low || k < i)));
  const free = []; // lowest y that each lane is taken to
  const lanes = bars.map(([low, high]) => {
    const open = free.findIndex((end) => end < low), lane = open < 0 ? free.length : open;
    free[lane] = high;
    return lane;
  });
  const first = width - right + (narrow ? 46 : 66), step = Math.min(9, (width - 5 - first) / free.length);
  bars.forEach(([low, high], i) => {
    const at = first + step * lanes[i];
    svg.append(drawn("line", { x1: at, x2: at, y1: low - 6, y2: high + 6, class: "axis", "stroke-width": Math.min(4, 0.6 * step), "stroke-linecap": "round" }));
  });
  byId("ranking").replaceChildren(svg);
}

function drawCost() {
  const rows = visibleRows().filter((row) => methods.get(row.method).cost !== "none");
  const width = room("cost"), height = Math.round(Math.max(300, 0.47 * width)), left = 52, right = 24, top = 16, bottom = 46;
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `Seconds a ${unit} against accuracy` });
  byId("cost").replaceChildren(svg);
  byId("front").textContent = "";
  if (!rows.length) return;
  const seconds = rows.map((row) => Math.max(row.seconds_per_image, 1e-4));
  const low = Math.floor(Math.log10(Math.min(...seconds))), high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...seconds)) + 0.05));
  const x = (value) => left + (Math.log10(Math.max(value, 1e-4)) - low) / (high - low) * (width - left - right);
  const y = (share) => height - bottom - share * (height - top - bottom);
  for (let power = low; power <= high; power += 1) {
    svg.append(drawn("line", { class: "grid", x1: x(10 ** power), x2: x(10 ** power), y1: top, y2: height - bottom }));
    const label = power >= 0 ? String(10 ** power) : (10 ** power).toFixed(-power);
    svg.append(drawn("text", { class: "faint", x: x(10 ** power), y: height - bottom + 20, "text-anchor": "middle" }, `${label} s`));
  }
  for (let tick = 0; tick <= 10; tick += 2) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(tick / 10), y2: y(tick / 10) }));
    svg.append(drawn("text", { class: "faint", x: left - 8, y: y(tick / 10) + 4, "text-anchor": "end" }, `${10 * tick} %`));
  }
  svg.append(drawn("text", { class: "faint", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, `seconds a ${unit}`));
  const chance = y(data.chance[String(state.tolerance)]);
  svg.append(drawn("line", { class: "chance", x1: left, x2: width - right, y1: chance, y2: chance }));
  const tip = drawn("text", { class: "tip" });
  const better = (row) => rows.some((other) => other.accuracy >= row.accuracy && other.seconds_per_image <= row.seconds_per_image && (other.accuracy > row.accuracy || other.seconds_per_image < row.seconds_per_image));
  rows.forEach((row) => {
    const cx = x(row.seconds_per_image), cy = y(row.accuracy), text = `${named(row.method)}: ${percent(row.accuracy)} %, ${duration(row.seconds_per_image)} s`;
    const point = drawn("circle", { cx, cy, r: 6, tabindex: 0, role: "img", "aria-label": text, style: `fill:${colour(methods.get(row.method).family)}` });
    const show = () => {
      tip.textContent = text;
      tip.setAttribute("x", cx);
      tip.setAttribute("y", cy < top + 20 ? cy + 24 : cy - 14);
      tip.setAttribute("text-anchor", cx < width * 0.25 ? "start" : cx > width * 0.75 ? "end" : "middle");
    };
    for (const name of ["mouseenter", "focus", "click"]) point.addEventListener(name, show);
    if (!better(row)) svg.append(drawn("circle", { cx, cy, r: 10, fill: "none", style: "stroke:var(--ink)", "stroke-width": 1.5 }));
    svg.append(point);
  });
  svg.append(tip);
  const best = rows.filter((row) => !better(row)).sort((a, b) => a.seconds_per_image - b.seconds_per_image);
  byId("front").textContent = `Ringed, from the fastest: ${best.map((row) => `${named(row.method)} (${duration(row.seconds_per_image)} s, ${percent(row.accuracy)} %)`).join("; ")}.`;
}
views.push(drawRanking, drawCost);
window.addEventListener("resize", () => { drawRanking(); drawCost(); });
