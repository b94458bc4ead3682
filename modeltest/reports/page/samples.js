
// The samples: what is filtered, in which order, and how the confusion matrix picks some.
const DATA = byId("samples") ? JSON.parse(byId("samples").textContent) : null;
const MISSED = "wue";
const SYMBOLS = { c: "✓", w: "✗", u: "?", e: "!", a: "·" };
const STATUS_KEYS = { c: "correct", w: "wrong", u: "unparsed", e: "error", a: "answered" };

const labelOf = (value) => (typeof value === "number" ? DATA.labels[value] : value);
const statusText = (place) => t(`status.${STATUS_KEYS[DATA.status[place]]}`);

// The column of the confusion matrix: a label, unparsed or error.
function answerColumn(place) {
  if (DATA.status[place] === "e") return DATA.labels.length + 1;
  return DATA.answer[place] ?? DATA.labels.length;
}

function answerText(place) {
  if (DATA.status[place] === "e" || DATA.status[place] === "u") return statusText(place);
  return DATA.answer[place] === null ? "" : DATA.labels[DATA.answer[place]];
}

// How far the right option's logit is above the best other one.
function margin(place) {
  const logits = DATA.logits[place];
  const truth = DATA.truth[place];
  if (typeof truth !== "number" || logits.length !== DATA.labels.length || logits.length < 2) return null;
  return logits[truth] - Math.max(...logits.filter((_, option) => option !== truth));
}

const haystacks = [];
function haystack(place) {
  haystacks[place] ??= [
    DATA.id[place], labelOf(DATA.truth[place]), labelOf(DATA.answer[place] ?? ""), DATA.text[place],
    DATA.error[place], ...DATA.clips[place].map((clip) => clip[0]),
    ...DATA.subsets[place].map((subset) => DATA.slices[subset]),
  ].join("\n").toLowerCase();
  return haystacks[place];
}

const COLUMNS = [
  { key: "id", title: "sample", of: (place) => DATA.id[place] },
  { key: "clip", title: "clip", of: (place) => DATA.clips[place].reduce((sum, clip) => sum + clip[1], 0) },
  { key: "truth", title: "truth", of: (place) => labelOf(DATA.truth[place]) },
  { key: "answer", title: "answer", of: (place) => answerText(place) },
  { key: "reply", title: "reply", of: (place) => DATA.text[place] || DATA.error[place] },
  { key: "margin", title: "margin", number: true, of: margin },
  { key: "words", title: "word_edits", number: true, of: (place) => DATA.words[place][0] },
  { key: "e2e", title: "e2e", number: true, of: (place) => DATA.e2e[place] },
];

const view = { places: [], sort: null, down: false };

function chosen(id) {
  const found = byId(id);
  return found && found.value !== "" ? found.value : null;
}

function filtered() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [status, truth, answer, slice] = ["status", "truth", "answer", "slice"].map(chosen);
  const found = [];
  for (let place = 0; place < DATA.id.length; place += 1) {
    if (status !== null && !status.includes(DATA.status[place])) continue;
    if (truth !== null && DATA.truth[place] !== Number(truth)) continue;
    if (answer !== null && answerColumn(place) !== Number(answer)) continue;
    if (slice !== null && !DATA.subsets[place].includes(Number(slice))) continue;
    if (words.length && !words.every((word) => haystack(place).includes(word))) continue;
    found.push(place);
  }
  return found;
}

function compared(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1; // what is not known stands last, whatever the order
  if (b === null || b === undefined) return -1;
  const order = typeof a === "string" ? (a < b ? -1 : 1) : a - b;
  return view.down ? -order : order;
}

function sorted(places) {
  if (!view.sort) return places;
  const values = new Map(places.map((place) => [place, view.sort.of(place)]));
  return places.sort((a, b) => compared(values.get(a), values.get(b)) || a - b);
}

function sayCount() {
  byId("count").textContent = t("count", {
    shown: view.places.length.toLocaleString("en"), n: DATA.id.length.toLocaleString("en"),
  });
}

function showFiltered() {
  view.places = sorted(filtered());
  const [truth, answer] = ["truth", "answer"].map(chosen);
  for (const cell of document.querySelectorAll(".cell")) {
    cell.setAttribute("aria-pressed", String(cell.dataset.truth === truth && cell.dataset.answer === answer));
  }
  sayCount();
  showTable();
}

function sortBy(column) {
  view.down = view.sort === column ? !view.down : false;
  view.sort = column;
  showFiltered();
}

function pick(cell) {
  byId("filters").reset();
  byId("truth").value = cell.dataset.truth;
  byId("answer").value = cell.dataset.answer;
  showFiltered();
  byId("samples-title").focus();
  byId("samples-title").scrollIntoView();
}

function nameCells() {
  for (const cell of document.querySelectorAll(".cell")) {
    const [truth, answer] = [Number(cell.dataset.truth), Number(cell.dataset.answer)];
    const said = DATA.labels[answer] ?? t(`status.${answer === DATA.labels.length ? "unparsed" : "error"}`);
    cell.setAttribute("aria-label", t("cell", { truth: DATA.labels[truth], answer: said, n: cell.textContent }));
  }
}

function startSamples() {
  let waiting = 0;
  const soon = () => {
    clearTimeout(waiting);
    waiting = setTimeout(showFiltered, 120);
  };
  byId("search").addEventListener("input", soon);
  for (const select of byId("filters").querySelectorAll("select")) select.addEventListener("change", showFiltered);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => {
    view.sort = null;
    setTimeout(showFiltered, 0); // the fields are reset behind this event
  });
  for (const cell of document.querySelectorAll(".cell")) cell.addEventListener("click", () => pick(cell));
  document.addEventListener("wording", () => {
    haystacks.length = 0;
    nameCells();
    makeHead();
    forgetRows();
    showFiltered();
    if (byId("detail").open) showDetail(detailPlace);
  });
  startTable();
  startDetail();
  startPlayer();
}
