
// The table of samples. Only rows in sight exist, so that thousands scroll like a few.
const ROW_PX = 45;
const AHEAD = 6;
const MAX_PRINTED = 500;
const made = new Map();
let columns = [];

const isNumber = (column) => column.digits !== undefined;
const lengthOfClips = (place) => DATA.clips[place].reduce((sum, clip) => sum + clip[1], 0);

function makeHead() {
  const row = byId("sample-table").tHead.rows[0];
  row.replaceChildren(...columns.map((column) => {
    const arrow = element("span", { className: "arrow", "aria-hidden": "true" });
    const button = element("button", { type: "button" }, t(column.title, column.values), " ", arrow);
    button.addEventListener("click", () => sortBy(column));
    return element("th", { scope: "col", className: `c-${column.key}${isNumber(column) ? " number" : ""}` }, button);
  }));
}

function showOrder() {
  columns.forEach((column, number) => {
    const head = byId("sample-table").tHead.rows[0].cells[number];
    const sorts = view.sort === column;
    if (sorts) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    head.querySelector(".arrow").textContent = sorts ? (view.down ? "▼" : "▲") : "";
  });
}

function wave(shape, width, height) {
  const SVG = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("class", "wave");
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  const peaks = Array.from(shape, (character) => (Math.max(0, ALPHABET.indexOf(character)) / 63) ** 2);
  const loudest = Math.max(...peaks, 0.05); // a quiet clip is drawn larger, silence is not
  path.setAttribute("d", peaks.map((peak, number) => {
    const x = (((number + 0.5) * width) / peaks.length).toFixed(1);
    const half = Math.max(0.5, (peak / loudest) * (height / 2 - 1)).toFixed(1);
    return `M${x} ${(height / 2 - half).toFixed(1)}v${(2 * half).toFixed(1)}`;
  }).join(""));
  picture.append(path);
  return picture;
}

function clipCell(place) {
  const cell = element("td");
  for (const clip of DATA.clips[place].slice(0, 2)) {
    if (canPlay(clip)) cell.append(playButton(clip));
    if (clip[3] && DATA.clips[place].length === 1) cell.append(wave(clip[3], 96, 30));
  }
  if (DATA.clips[place].length === 1) cell.append(`${DATA.clips[place][0][1].toFixed(1)} s`);
  return cell;
}

function shownNumber(value, digits) {
  return value === null || value === undefined ? "" : value.toFixed(digits);
}

function cellOf(column, place) {
  if (column.cell) return column.cell(place);
  if (column.key === "clip") return clipCell(place);
  if (column.key === "id") {
    const button = element("button", { type: "button", className: "row-id", title: DATA.id[place] }, DATA.id[place]);
    button.addEventListener("click", () => openDetail(place));
    return element("td", {}, element("bdi", {}, button));
  }
  if (isNumber(column)) return element("td", { className: "number" }, shownNumber(column.of(place), column.digits));
  const text = String(column.of(place)).slice(0, 300);
  return element("td", { title: text }, element("bdi", {}, text));
}

function rowOf(number) {
  const place = view.places[number];
  const row = element("tr", { "aria-rowindex": String(number + 2) }, ...columns.map((column) => cellOf(column, place)));
  row.dataset.place = String(place);
  return row;
}

function forgetRows() {
  made.clear();
  byId("sample-table").tBodies[0].replaceChildren();
}

function gap(rows) {
  const cell = element("td", { colSpan: columns.length });
  cell.style.height = `${rows * ROW_PX}px`;
  return element("tr", { className: "gap", "aria-hidden": "true" }, cell);
}

function showRows(isPrinted = false) {
  const box = byId("rows");
  const total = view.places.length;
  let first = Math.max(0, Math.floor(box.scrollTop / ROW_PX) - AHEAD);
  let end = Math.min(total, Math.ceil((box.scrollTop + box.clientHeight) / ROW_PX) + AHEAD);
  if (isPrinted) [first, end] = [0, Math.min(total, MAX_PRINTED)];
  const body = byId("sample-table").tBodies[0];
  for (const [number, row] of made) {
    if (number >= first && number < end) continue;
    if (row.contains(document.activeElement)) box.focus({ preventScroll: true });
    row.remove();
    made.delete(number);
  }
  for (const old of [...body.querySelectorAll(".gap")]) old.remove();
  let before = null;
  for (let number = end - 1; number >= first; number -= 1) {
    if (!made.has(number)) {
      made.set(number, rowOf(number));
      body.insertBefore(made.get(number), before);
    }
    before = made.get(number);
  }
  body.prepend(gap(first));
  body.append(gap(isPrinted ? 0 : total - end));
}

function showTable() {
  forgetRows();
  showOrder();
  byId("sample-table").setAttribute("aria-rowcount", String(view.places.length + 1));
  byId("rows").classList.toggle("few", view.places.length < 12);
  byId("rows").scrollTop = 0;
  showRows();
}

// Figures that no row has need no column.
function isOfUse(column) {
  if (column.isShown) return column.isShown();
  return !isNumber(column) || DATA.id.some((_, place) => (column.of(place) ?? null) !== null);
}

function startTable() {
  columns = COLUMNS.filter(isOfUse);
  let asked = false;
  byId("rows").addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      showRows();
    });
  }, { passive: true });
  window.addEventListener("resize", () => showRows());
  window.addEventListener("beforeprint", () => showRows(true));
  window.addEventListener("afterprint", () => showRows());
}
