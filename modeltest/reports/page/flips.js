
// The samples of which two runs do not say the same: what each of them said. Where a task has no
// labels, a reply is all that there is of an answer.
const CHANGES = { r: "regression", i: "improvement", o: "other" };
const SYMBOLS = { r: "−", i: "+", o: "≠" };
const SIDES = ["A", "B"];

const changeText = (place) => t(`compare.change.${CHANGES[DATA.change[place]]}`);

function changeCell(place) {
  const badge = element("span", { className: "badge", "aria-hidden": "true" }, SYMBOLS[DATA.change[place]]);
  return element("td", { className: `is-${DATA.change[place]}` }, badge, changeText(place));
}

const hasLabels = () => DATA.labels.length > 0;

function answerText(side, place) {
  const { answer, error } = DATA.sides[side];
  if (error[place]) return t("status.error");
  return answer[place] === null ? t("status.unparsed") : labelOf(answer[place]);
}

const saidText = (side, place) => DATA.sides[side].text[place] || DATA.sides[side].error[place];

function replyCell(side, place) {
  const { text, error } = DATA.sides[side];
  const said = (error[place] ? `${t("status.error")}: ${error[place]}` : text[place]).slice(0, 300);
  return element("td", { title: said, className: "two" }, element("div", { className: "lines" }, element("bdi", {}, said)));
}

function answerCell(side, place) {
  const { answer, error } = DATA.sides[side];
  const isRight = !error[place] && answer[place] === DATA.truth[place];
  const badge = element("span", { className: "badge", "aria-hidden": "true" }, isRight ? "✓" : "✗");
  const said = saidText(side, place).slice(0, 300);
  return element("td", { title: said, className: `two ${isRight ? "is-c" : "is-w"}` },
    element("div", {}, badge, element("bdi", {}, answerText(side, place))),
    element("div", { className: "said" }, element("bdi", {}, said)));
}

const searched = (place) => SIDES.flatMap((_, side) => [hasLabels() ? answerText(side, place) : "", saidText(side, place)]);

const COLUMNS = [
  { key: "change", title: "compare.change", of: changeText, cell: changeCell, isShown: () => "change" in DATA },
  { key: "id", title: "sample", of: (place) => DATA.id[place] },
  { key: "clip", title: "clip", of: lengthOfClips },
  { key: "truth", title: "truth", of: (place) => labelOf(DATA.truth[place]) },
  { key: "gap", title: "compare.gap", digits: 3, of: (place) => DATA.gap?.[place] },
  ...SIDES.map((name, side) => ({
    key: `side${side}`, title: "compare.answer", values: { run: name }, isShown: hasLabels,
    of: (place) => answerText(side, place), cell: (place) => answerCell(side, place),
  })),
  ...SIDES.map((name, side) => ({
    key: `reply${side}`, title: "compare.reply", values: { run: name }, isShown: () => !hasLabels(),
    of: (place) => saidText(side, place), cell: (place) => replyCell(side, place),
  })),
  ...SIDES.map((name, side) => ({
    key: `margin${side}`, title: "compare.option_margin", values: { run: name }, digits: 2,
    of: (place) => DATA.sides[side].margin[place],
  })),
];

function rowFilter() {
  const change = chosen("change");
  return (place) => change === null || DATA.change[place] === change;
}

function sideColumn(side, place) {
  const { text, left_out: leftOut, error, margin } = DATA.sides[side];
  const run = SIDES[side];
  const list = element("dl");
  if (hasLabels()) term(list, "answer", element("bdi", {}, answerText(side, place)));
  const name = `${t("reply")} ${run}`;
  term(list, "reply", reply(name, text[place], t("compare.left_out", { n: leftOut[place] }), leftOut[place]));
  if (error[place]) term(list, "status.error", error[place]);
  if (margin[place] !== null) term(list, "margin", margin[place].toFixed(3));
  return element("section", { "aria-label": run }, element("h3", {}, run), list);
}

function detailParts(place) {
  const list = element("dl");
  if (DATA.change) term(list, "compare.change", `${SYMBOLS[DATA.change[place]]} ${changeText(place)}`);
  if (DATA.gap) term(list, "compare.gap", DATA.gap[place].toFixed(4));
  term(list, "truth", element("bdi", {}, String(labelOf(DATA.truth[place]))));
  placeTerms(list, place);
  const both = element("div", { className: "sides" }, ...SIDES.map((_, side) => sideColumn(side, place)));
  const parts = [clipLines(place), list, both];
  const logits = SIDES.map((name, side) => [name, DATA.sides[side].logits[place]]).filter(([, found]) => found.length);
  if (logits.length) parts.push(element("h3", {}, t("logits")), optionTable(place, logits));
  return parts;
}
