
// One player for all clips: files beside the data, or parts of this page.
const KINDS = { wav: "audio/wav", flac: "audio/flac", ogg: "audio/ogg", mp3: "audio/mpeg", aiff: "audio/aiff", au: "audio/basic" };
let playing = null;
let addresses = [];
let made_address = null;

function canPlay(clip) {
  return DATA.embedded ? byId(`clip-${clip[5]}`) !== null || document.readyState === "loading" : DATA.folders.length > 0;
}

function addressesOf(clip) {
  if (DATA.embedded) {
    const held = byId(`clip-${clip[5]}`);
    if (!held) return [];
    const bytes = Uint8Array.from(atob(held.textContent), (character) => character.charCodeAt(0));
    made_address = URL.createObjectURL(new Blob([bytes], { type: KINDS[held.dataset.kind] ?? "" }));
    return [made_address];
  }
  const name = clip[0].split("/").map(encodeURIComponent).join("/");
  return DATA.folders
    .filter((folder) => location.protocol === "file:" || !folder.startsWith("file:"))
    .map((folder) => `${folder}/${name}`);
}

function playButton(clip) {
  const button = element("button", { type: "button", className: "play" });
  button.dataset.clip = clip[0];
  nameButton(button);
  button.addEventListener("click", () => {
    if (playing === clip[0] && !byId("audio").paused) byId("audio").pause();
    else play(clip);
  });
  return button;
}

function nameButton(button) {
  const sounds = button.dataset.clip === playing && !byId("audio").paused;
  button.textContent = sounds ? "❚❚" : "▶";
  button.setAttribute("aria-label", t(sounds ? "pause" : "play", { name: button.dataset.clip }));
}

function nameButtons() {
  for (const button of document.querySelectorAll(".play")) nameButton(button);
}

function play(clip) {
  const audio = byId("audio");
  byId("player").hidden = false;
  byId("player-problem").textContent = "";
  if (playing !== clip[0]) {
    if (made_address) URL.revokeObjectURL(made_address);
    made_address = null;
    playing = clip[0];
    byId("player-name").textContent = clip[0];
    addresses = addressesOf(clip);
    audio.src = addresses.shift() ?? "";
  }
  audio.play().catch(() => {}); // the error event tells why
}

function startPlayer() {
  const audio = byId("audio");
  for (const event of ["play", "pause", "ended"]) audio.addEventListener(event, nameButtons);
  audio.addEventListener("error", () => {
    if (!audio.hasAttribute("src")) return;
    const next = addresses.shift();
    if (next) {
      audio.src = next;
      audio.play().catch(() => {});
      return;
    }
    byId("player-problem").textContent = t("player.problem", { name: playing });
    playing = null;
    nameButtons();
  });
  byId("player-close").addEventListener("click", () => {
    audio.pause();
    audio.removeAttribute("src");
    playing = null;
    byId("player").hidden = true;
    nameButtons();
  });
}
