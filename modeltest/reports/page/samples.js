
// The samples of one run: their columns and details, and how the confusion matrix picks some.
const SYMBOLS = { c: "✓", w: "✗", u: "?", e: "!", a: "·" };
const STATUS_KEYS = { c: "correct", w: "wrong", u: "unparsed", e: "error", a: "answered" };

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

function answerCell(place) {
  const badge = element("span", { className: "badge", "aria-hidden": "true" }, SYMBOLS[DATA.status[place]]);
  const status = statusText(place);
  return element("td", { title: status, className: `is-${DATA.status[place]}` }, badge, element("bdi", {}, answerText(place) || status));
}

// How far the right option's logit is above the best other one.
function margin(place) {
  const logits = DATA.logits[place];
  const truth = DATA.truth[place];
  if (typeof truth !== "number" || logits.length !== DATA.labels.length || logits.length < 2) return null;
  return logits[truth] - Math.max(...logits.filter((_, option) => option !== truth));
}

function searched(place) {
  return [labelOf(DATA.answer[place] ?? ""), DATA.text[place], DATA.error[place]];
}

// A task without labels has answers only where something went wrong.
const hasAnswers = () => DATA.labels.length > 0 || DATA.status.some((status) => status !== "a");

const COLUMNS = [
  { key: "id", title: "sample", of: (place) => DATA.id[place] },
  { key: "clip", title: "clip", of: lengthOfClips },
  { key: "truth", title: "truth", of: (place) => labelOf(DATA.truth[place]) },
  { key: "answer", title: "answer", of: answerText, cell: answerCell, isShown: hasAnswers },
  { key: "reply", title: "reply", of: (place) => DATA.text[place] || DATA.error[place] },
  { key: "margin", title: "margin", digits: 2, of: margin },
  { key: "words", title: "word_edits", digits: 0, of: (place) => DATA.words[place][0] },
  { key: "e2e", title: "e2e", digits: 3, of: (place) => DATA.e2e[place] },
];

function rowFilter() {
  const [status, answer] = ["status", "answer"].map(chosen);
  return (place) => (status === null || status.includes(DATA.status[place]))
    && (answer === null || answerColumn(place) === Number(answer));
}

function detailParts(place) {
  const list = element("dl");
  term(list, "outcome", `${SYMBOLS[DATA.status[place]]} ${statusText(place)}`);
  term(list, "truth", element("bdi", {}, String(labelOf(DATA.truth[place]))));
  if (DATA.answer[place] !== null) term(list, "answer", DATA.labels[DATA.answer[place]]);
  if (DATA.labels.length) term(list, "legacy_answer", DATA.legacy[place] ?? "–");
  if (DATA.words[place][0] !== null) term(list, "word_edits", `${DATA.words[place][0]} / ${DATA.words[place][1]}`);
  term(list, "reply", reply(t("reply"), DATA.text[place], t("left_out", { n: DATA.left_out[place] }), DATA.left_out[place]));
  if (DATA.error[place]) term(list, "status.error", DATA.error[place]);
  if (DATA.e2e[place] !== null) term(list, "e2e", `${DATA.e2e[place]} s`);
  term(list, "tokens", DATA.tokens[place].map((count) => count ?? "–").join(" / "));
  placeTerms(list, place);
  const parts = [clipLines(place), list];
  if (DATA.logits[place].length) parts.push(element("h3", {}, t("logits")), optionTable(place, [["", DATA.logits[place]]]));
  return parts;
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

function pressCells() {
  const [truth, answer] = ["truth", "answer"].map(chosen);
  for (const cell of document.querySelectorAll(".cell")) {
    cell.setAttribute("aria-pressed", String(cell.dataset.truth === truth && cell.dataset.answer === answer));
  }
}

function startConfusion() {
  for (const cell of document.querySelectorAll(".cell")) cell.addEventListener("click", () => pick(cell));
  document.addEventListener("wording", nameCells);
  document.addEventListener("filtered", pressCells);
}

if (byId("rows")) startConfusion();
