// Films one by one, with the map of a method over them.
const films = data.gallery.films;
const shown = { film: 0, method: null, opacity: 0.65, order: "worst", map: true, all: false };
const withMaps = new Set(films.flatMap((film) => film.drawn));
const ramp = Uint8Array.from(atob(data.gallery.ramp), (character) => character.charCodeAt(0)); // inferno, 256 x RGB
const loaded = new Map(); // film name -> [film image, map sheet], once decoded

function galleryMethods() { // those with maps, all when asked for, and always the one that is looked at
  const names = filteredRows().map((row) => row.method).filter((name) => films.length && name in films[0].points[state.protocol]);
  const some = names.filter((name) => shown.all || withMaps.has(name) || name === shown.method);
  return some.length ? some : names;
}
function point(film, method) { return film.points[state.protocol][method]; }
function hits(film, method) { const at = point(film, method); return Boolean(at) && isHit(at[2]); }
function galleryFilms() {
  if (shown.order === "name") return [...films].sort((a, b) => (a.name < b.name ? -1 : 1));
  if (shown.order === "far") return [...films].sort((a, b) => (point(b, shown.method)?.[2] ?? Infinity) - (point(a, shown.method)?.[2] ?? Infinity));
  return films; // as chosen, the worst first
}

function image(source) {
  return new Promise((resolve) => { const node = new Image(); node.onload = () => resolve(node); node.src = source; });
}

async function pictures(film) {
  if (!loaded.has(film.name)) loaded.set(film.name, Promise.all([image(film.film), image(film.maps)]));
  return loaded.get(film.name);
}

function overlay(sheet, row, side) { // one map of the sheet as a coloured canvas
  const canvas = element("canvas", { width: side, height: side }), context = canvas.getContext("2d");
  context.drawImage(sheet, 0, row * side, side, side, 0, 0, side, side);
  const picture = context.getImageData(0, 0, side, side), pixels = picture.data;
  for (let i = 0; i < pixels.length; i += 4) {
    const opacity = pixels[i], value = Math.round(opacity * opacity / 255); // as normgrad_attr.visualize.heat fades
    pixels[i] = ramp[3 * value]; pixels[i + 1] = ramp[3 * value + 1]; pixels[i + 2] = ramp[3 * value + 2];
    pixels[i + 3] = opacity;
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

async function drawStage(film) {
  const [background, sheet] = await pictures(film);
  if (galleryFilms()[shown.film] !== film) return; // the reader is faster
  const canvas = byId("canvas"), context = canvas.getContext("2d"), row = film.drawn.indexOf(shown.method);
  canvas.width = background.naturalWidth * 2; canvas.height = background.naturalHeight * 2;
  context.imageSmoothingQuality = "high";
  context.drawImage(background, 0, 0, canvas.width, canvas.height);
  if (row >= 0 && shown.map) {
    context.globalAlpha = shown.opacity;
    context.drawImage(overlay(sheet, row, data.gallery.side), 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
  }
  canvas.dataset.film = film.name; canvas.dataset.method = shown.method;
}

function outline(shape) {
  const [[x1, y1], [x2, y2]] = shape.points, same = { "vector-effect": "non-scaling-stroke" };
  if (shape.kind === "polygon") return drawn("polygon", { ...same, points: shape.points.map((pair) => pair.join(",")).join(" ") });
  const x = Math.min(x1, x2), y = Math.min(y1, y2), width = Math.abs(x2 - x1), height = Math.abs(y2 - y1);
  if (shape.kind === "ellipse") return drawn("ellipse", { ...same, cx: x + width / 2, cy: y + height / 2, rx: width / 2, ry: height / 2 });
  return drawn("rect", { ...same, x, y, width, height });
}

function drawMark(mark, at, hit) { // a circle or a cross, rimmed in black to be seen on bone
  const sign = hit ? ["circle", { cx: 10, cy: 10, r: 7 }] : ["path", { d: "M4 4 16 16M16 4 4 16" }];
  const svg = drawn("svg", { viewBox: "0 0 20 20" });
  svg.append(drawn(sign[0], { ...sign[1], class: "rim" }), drawn(...sign));
  mark.className = hit ? "hit" : "miss";
  mark.replaceChildren(...(at ? [svg] : []));
  if (at) { mark.style.left = `${100 * at[0]}%`; mark.style.top = `${100 * at[1]}%`; }
}

function drawCaption(film) {
  const at = point(film, shown.method), label = `${named(shown.method)} on ${unit} ${film.name}`;
  let result = "no point, the map is not finite: a miss";
  if (at) result = hits(film, shown.method) ? `hit${at[2] > 0 ? `, ${at[2]} px off` : ", inside an annotation"}` : `miss, ${at[2]} px from the nearest annotation`;
  const objects = film.shapes.length === 1 ? "1 annotated object" : `${film.shapes.length} annotated objects`;
  const count = galleryMethods(), good = count.filter((name) => hits(film, name)).length;
  const why = withMaps.has(shown.method) ? `the method is too slow for all ${units} of this page` : "this page holds maps of the best of each family";
  const missing = film.drawn.includes(shown.method) ? "" : ` No map is drawn: ${why}.`;
  byId("caption").replaceChildren(element("strong", { textContent: `${shown.film + 1} of ${films.length}: ${label}: ${result}.` }), ` ${objects}; ${film.verdict}; ${good} of ${counted(count.length, "method")} hit.${missing}`);
  byId("canvas").setAttribute("aria-label", `${label}: ${result}`);
}

const unannotated = new Set(); // rows of unannotated.csv by film and point, as the reader ticks them
function pointed(film) { // row about the mark that is shown: the film and its pixel
  const [x, y] = point(film, shown.method), name = /[",\n]/.test(film.name) ? `"${film.name.replaceAll('"', '""')}"` : film.name;
  return `${name},${Math.round(x * film.width)},${Math.round(y * film.height)}`;
}
function drawUnannotated(film) {
  const miss = Boolean(point(film, shown.method)) && !hits(film, shown.method), link = byId("unannotated-save");
  byId("unannotated-label").hidden = !miss;
  byId("unannotated").checked = miss && unannotated.has(pointed(film));
  link.hidden = !unannotated.size;
  link.textContent = `Save unannotated.csv (${unannotated.size})`;
  link.href = `data:text/csv;charset=utf-8,${encodeURIComponent(["image,x,y", ...unannotated, ""].join("\n"))}`;
}

function drawGallery() {
  const names = galleryMethods();
  byId("gallery").hidden = !films.length || !names.length;
  if (byId("gallery").hidden) return;
  if (!names.includes(shown.method)) shown.method = names[0];
  const order = galleryFilms();
  shown.film = Math.min(Math.max(shown.film, 0), order.length - 1);
  const film = order[shown.film], at = point(film, shown.method), mark = byId("mark");
  byId("outlines").replaceChildren(...film.shapes.map(outline));
  drawMark(mark, at, hits(film, shown.method));
  drawCaption(film);
  drawUnannotated(film);
  byId("gallery-methods").replaceChildren(...names.map((name) => {
    const hit = hits(film, name);
    return element("div", { role: "option", id: `option-${name}`, "aria-selected": String(name === shown.method), onclick: () => showMethod(name, false) },
      dot(methods.get(name).family), named(name), element("span", { class: `result ${hit ? "hit" : "miss"}`, textContent: hit ? "✓ hit" : "✗ miss" }));
  }));
  byId("gallery-methods").setAttribute("aria-activedescendant", `option-${shown.method}`);
  keepInView(byId("gallery-methods"), byId(`option-${shown.method}`), "Top", "Height");
  byId("strip").replaceChildren(...order.map((entry, i) => {
    const button = thumbnail(entry), hit = hits(entry, shown.method);
    button.onclick = () => { shown.film = i; drawGallery(); };
    button.setAttribute("aria-current", String(i === shown.film));
    button.setAttribute("aria-label", `Film ${entry.name}: ${hit ? "hit" : "miss"}`);
    button.firstChild.className = hit ? "hit" : "miss";
    button.firstChild.textContent = hit ? "✓" : "✗";
    return button;
  }));
  keepInView(byId("strip"), byId("strip").children[shown.film], "Left", "Width");
  drawStage(film);
}

const thumbnails = new Map(); // made once: the pictures are long strings
function thumbnail(film) {
  if (!thumbnails.has(film.name)) {
    thumbnails.set(film.name, element("button", { type: "button", tabindex: "-1", style: { "background-image": `url(${film.film})` } }, element("span", { "aria-hidden": "true" })));
  }
  return thumbnails.get(film.name);
}

function keepInView(box, item, side, length) { // scrolls the box only, never the page
  const start = item[`offset${side}`] - box[`offset${side}`], size = item[`offset${length}`], room = box[`client${length}`];
  if (start < box[`scroll${side}`]) box[`scroll${side}`] = start - 6;
  else if (start + size > box[`scroll${side}`] + room) box[`scroll${side}`] = start + size - room + 6;
}

function showMethod(name, scroll = true) {
  shown.method = name;
  if (shown.order === "far") shown.film = 0;
  drawGallery();
  if (scroll) { byId("gallery-title").scrollIntoView(); byId("gallery").focus({ preventScroll: true }); }
}

function step(films, among) {
  const names = galleryMethods();
  if (films) shown.film = (shown.film + films + galleryFilms().length) % galleryFilms().length;
  if (among) showMethod(names[(names.indexOf(shown.method) + among + names.length) % names.length], false);
  else drawGallery();
}

byId("gallery").addEventListener("keydown", (event) => {
  if (event.target.matches("select, input") || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key in keys) step(...keys[event.key]);
  else if (event.key === "Home") { shown.film = 0; drawGallery(); }
  else if (event.key === "End") { shown.film = films.length - 1; drawGallery(); }
  else if (event.key.toLowerCase() === "m") { shown.map = !shown.map; drawGallery(); }
  else return;
  event.preventDefault();
});
byId("unannotated").addEventListener("change", (event) => {
  const film = galleryFilms()[shown.film];
  if (event.target.checked) unannotated.add(pointed(film));
  else unannotated.delete(pointed(film));
  drawUnannotated(film);
});
byId("previous").addEventListener("click", () => step(-1, 0));
byId("next").addEventListener("click", () => step(1, 0));
byId("order").addEventListener("change", (event) => { shown.order = event.target.value; shown.film = 0; drawGallery(); });
byId("opacity").addEventListener("input", (event) => { shown.opacity = event.target.value / 100; shown.map = true; drawGallery(); });
let touch = null; // swipe
byId("stage").addEventListener("touchstart", (event) => { touch = event.touches[0].clientX; }, { passive: true });
byId("stage").addEventListener("touchend", (event) => {
  const moved = event.changedTouches[0].clientX - touch;
  if (Math.abs(moved) > 40) step(moved < 0 ? 1 : -1, 0);
}, { passive: true });
const withoutMaps = data.methods.filter((method) => !withMaps.has(method.name)).length;
byId("gallery-all").parentElement.hidden = !withoutMaps;
byId("gallery-all").addEventListener("change", (event) => { shown.all = event.target.checked; drawGallery(); });
byId("gallery-which").textContent = data.gallery.which;
views.push(drawGallery);
