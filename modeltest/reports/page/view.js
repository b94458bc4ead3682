
// Which rows of a page's table are shown: search, filters, order, count. The page's own script
// names its COLUMNS, what a row's texts are (searched), its own filter (rowFilter) and what the
// detail of a row holds (detailParts).
const DATA = byId("samples") ? JSON.parse(byId("samples").textContent) : null;
const view = { places: [], sort: null, down: false };

const labelOf = (value) => (typeof value === "number" ? DATA.labels[value] : value);

const haystacks = [];
function haystack(place) {
  haystacks[place] ??= [
    DATA.id[place], labelOf(DATA.truth[place]), ...searched(place),
    ...DATA.clips[place].map((clip) => clip[0]), ...DATA.subsets[place].map((subset) => DATA.slices[subset]),
  ].join("\n").toLowerCase();
  return haystacks[place];
}

function chosen(id) {
  const found = byId(id);
  return found && found.value !== "" ? found.value : null;
}

function filtered() {
  const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [truth, slice] = ["truth", "slice"].map(chosen);
  const passes = rowFilter();
  const found = [];
  for (let place = 0; place < DATA.id.length; place += 1) {
    if (truth !== null && DATA.truth[place] !== Number(truth)) continue;
    if (slice !== null && !DATA.subsets[place].includes(Number(slice))) continue;
    if (!passes(place)) continue;
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
  document.dispatchEvent(new Event("filtered"));
  sayCount();
  showTable();
}

function sortBy(column) {
  view.down = view.sort === column ? !view.down : false;
  view.sort = column;
  showFiltered();
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
  document.addEventListener("wording", () => {
    haystacks.length = 0;
    makeHead();
    forgetRows();
    showFiltered();
    if (byId("detail").open) showDetail(detailPlace);
  });
  startTable();
  startDetail();
  startPlayer();
}
