
"use strict";
// Words in two languages and the colours: shared by the pages of all reports.
const byId = (id) => document.getElementById(id);
const TEXTS = JSON.parse(byId("texts").textContent);
const TAGS = { en: "en", zh: "zh-Hans" };

const kept = {
  // Some browsers keep nothing for a page that is a file.
  get(name) { try { return localStorage.getItem(name); } catch { return null; } },
  set(name, value) { try { localStorage.setItem(name, value); } catch { /* asked again next time */ } },
};

let language = "en";

function t(key, values = {}) {
  const text = TEXTS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function showLanguage(chosen) {
  language = chosen in TEXTS ? chosen : "en";
  document.documentElement.lang = TAGS[language];
  byId("language").value = language;
  for (const marked of document.querySelectorAll("[data-t]")) {
    const values = JSON.parse(marked.dataset.v ?? "{}");
    const counted = "counted" in marked.dataset ? ` (${values.n})` : "";
    marked.textContent = t(marked.dataset.t, values) + counted;
  }
  for (const marked of document.querySelectorAll("[data-l]")) {
    marked.setAttribute("aria-label", t(marked.dataset.l, JSON.parse(marked.dataset.v ?? "{}")));
  }
  document.dispatchEvent(new Event("wording"));
}

function preferredLanguage() {
  if ("fixed" in document.documentElement.dataset) {
    return document.documentElement.lang.startsWith("zh") ? "zh" : "en";
  }
  return kept.get("modeltest-language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
}

function showTheme(theme) {
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  byId("theme").value = document.documentElement.dataset.theme ?? "system";
}

function startFrame() {
  byId("language").addEventListener("change", (event) => {
    kept.set("modeltest-language", event.target.value);
    showLanguage(event.target.value);
  });
  byId("theme").addEventListener("change", (event) => {
    kept.set("modeltest-theme", event.target.value);
    showTheme(event.target.value);
  });
  showTheme(kept.get("modeltest-theme"));
  showLanguage(preferredLanguage());
}
