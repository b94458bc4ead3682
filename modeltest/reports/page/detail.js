
// One sample with all that is known of it.
let detailPlace = null;
let openedFrom = null;

function term(list, key, ...content) {
  list.append(element("dt", {}, t(key)), element("dd", {}, ...content));
}

function optionTable(place) {
  const logits = DATA.logits[place];
  const best = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - best));
  const sum = weights.reduce((a, b) => a + b, 0);
  const SVG = "http://www.w3.org/2000/svg";
  const rows = logits.map((logit, option) => {
    const share = weights[option] / sum;
    const picture = document.createElementNS(SVG, "svg");
    picture.setAttribute("class", "share");
    picture.setAttribute("viewBox", "0 0 100 8");
    picture.setAttribute("preserveAspectRatio", "none");
    picture.setAttribute("aria-hidden", "true");
    const bar = document.createElementNS(SVG, "rect");
    bar.setAttribute("height", "8");
    bar.setAttribute("width", (100 * share).toFixed(2));
    picture.append(bar);
    const name = DATA.labels.length === logits.length ? DATA.labels[option] : String(option + 1);
    const mark = DATA.truth[place] === option ? ` (${t("truth")})` : "";
    return element("tr", {}, element("th", { scope: "row" }, name, mark), element("td", {}, logit.toFixed(3)),
      element("td", {}, `${(100 * share).toFixed(1)} %`), element("td", {}, picture));
  });
  const head = element("tr", {}, ...["option", "logit", "share", ""].map((key) =>
    key ? element("th", { scope: "col" }, t(key)) : element("td")));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
}

function clipLine(clip) {
  const line = element("div", { className: "clip-line" });
  if (canPlay(clip)) line.append(playButton(clip));
  if (clip[3]) line.append(wave(clip[3], 240, 48));
  line.append(element("bdi", {}, clip[0]), element("span", { className: "soft" },
    t("clip.length", { s: clip[1].toFixed(2), heard: clip[2].toFixed(2) })));
  if (clip[4]) line.append(element("span", { className: "soft" }, clip[4]));
  return line;
}

function reply(place) {
  const text = element("div", { className: "reply", tabIndex: 0, "aria-label": t("reply"), role: "group" }, element("bdi", {}, DATA.text[place]));
  const more = DATA.left_out[place];
  return more ? element("div", {}, text, element("p", { className: "soft" }, t("left_out", { n: more }))) : text;
}

function showDetail(place) {
  detailPlace = place;
  const status = `${SYMBOLS[DATA.status[place]]} ${statusText(place)}`;
  byId("detail-title").textContent = DATA.id[place];
  const list = element("dl");
  term(list, "outcome", status);
  term(list, "truth", element("bdi", {}, String(labelOf(DATA.truth[place]))));
  if (DATA.answer[place] !== null) term(list, "answer", DATA.labels[DATA.answer[place]]);
  if (DATA.labels.length) term(list, "legacy_answer", DATA.legacy[place] ?? "–");
  if (DATA.words[place][0] !== null) term(list, "word_edits", `${DATA.words[place][0]} / ${DATA.words[place][1]}`);
  term(list, "reply", reply(place));
  if (DATA.error[place]) term(list, "status.error", DATA.error[place]);
  if (DATA.e2e[place] !== null) term(list, "e2e", `${DATA.e2e[place]} s`);
  const tokens = DATA.tokens[place].map((count) => count ?? "–");
  term(list, "tokens", tokens.join(" / "));
  const slices = DATA.subsets[place].map((subset) => DATA.slices[subset]);
  if (slices.length) term(list, "slices", slices.join(", "));
  term(list, "place", String(DATA.index[place] + 1));
  const parts = [element("div", {}, ...DATA.clips[place].map(clipLine)), list];
  if (DATA.logits[place].length) parts.push(element("h3", {}, t("logits")), optionTable(place));
  byId("detail-body").replaceChildren(...parts);
  const number = view.places.indexOf(place);
  byId("before").disabled = number <= 0;
  byId("next").disabled = number < 0 || number + 1 >= view.places.length;
}

function openDetail(place) {
  openedFrom = place;
  showDetail(place);
  byId("detail").append(byId("player"));
  byId("detail").showModal();
  byId("detail-title").focus();
}

function step(by) {
  const place = view.places[view.places.indexOf(detailPlace) + by];
  if (place === undefined) return;
  const wasPlaying = !byId("audio").paused;
  showDetail(place);
  if (wasPlaying && canPlay(DATA.clips[place][0])) play(DATA.clips[place][0]);
}

function startDetail() {
  const dialog = byId("detail");
  byId("close").addEventListener("click", () => dialog.close());
  byId("before").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.target.closest("audio, .reply") || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => {
    document.body.append(byId("player"));
    const box = byId("rows");
    const number = view.places.indexOf(detailPlace);
    if (detailPlace !== openedFrom && number >= 0) box.scrollTop = (number - 3) * ROW_PX;
    showRows();
    (made.get(number)?.querySelector(".row-id") ?? box).focus({ preventScroll: true });
  });
}
