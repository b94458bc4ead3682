
// One sample with all that is known of it.
let detailPlace = null;
let openedFrom = null;

function term(list, key, ...content) {
  list.append(element("dt", {}, t(key)), element("dd", {}, ...content));
}

function shareBar(share) {
  const SVG = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(SVG, "svg");
  picture.setAttribute("class", "share");
  picture.setAttribute("viewBox", "0 0 100 8");
  picture.setAttribute("preserveAspectRatio", "none");
  picture.setAttribute("aria-hidden", "true");
  const bar = document.createElementNS(SVG, "rect");
  bar.setAttribute("height", "8");
  bar.setAttribute("width", (100 * share).toFixed(2));
  picture.append(bar);
  return picture;
}

function shares(logits) {
  const best = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - best));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

// The options of a sample with the logits of one run, or of several: [name of the run, logits].
function optionTable(place, runs) {
  const all = runs.map(([, logits]) => ({ logits, share: shares(logits) }));
  const rows = all[0].logits.map((_, option) => {
    const name = DATA.labels.length === all[0].logits.length ? DATA.labels[option] : String(option + 1);
    const mark = DATA.truth[place] === option ? ` (${t("truth")})` : "";
    const cells = all.filter(({ logits }) => option < logits.length).flatMap(({ logits, share }) => [
      element("td", {}, logits[option].toFixed(3)), element("td", {}, `${(100 * share[option]).toFixed(1)} %`),
      element("td", {}, shareBar(share[option])),
    ]);
    return element("tr", {}, element("th", { scope: "row" }, name, mark), ...cells);
  });
  const heads = runs.flatMap(([run]) => [...["logit", "share"].map((key) =>
    element("th", { scope: "col" }, `${t(key)} ${run}`.trim())), element("td")]);
  const head = element("tr", {}, element("th", { scope: "col", className: "text" }, t("option")), ...heads);
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

const clipLines = (place) => element("div", {}, ...DATA.clips[place].map(clipLine));

function reply(name, whole, leftOut, numLeftOut) {
  const text = element("div", { className: "reply", tabIndex: 0, "aria-label": name, role: "group" }, element("bdi", {}, whole));
  return numLeftOut ? element("div", {}, text, element("p", { className: "soft" }, leftOut)) : text;
}

function placeTerms(list, place) {
  const slices = DATA.subsets[place].map((subset) => DATA.slices[subset]);
  if (slices.length) term(list, "slices", slices.join(", "));
  term(list, "place", String(DATA.index[place] + 1));
}

function showDetail(place) {
  detailPlace = place;
  byId("detail-title").textContent = DATA.id[place];
  byId("detail-body").replaceChildren(...detailParts(place));
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
