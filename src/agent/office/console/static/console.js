// What every page of the console does: keyboard, theme, dialogs, questions before what cannot be undone.
"use strict";

const csrf = document.querySelector('meta[name="csrf"]')?.content ?? "";

/** fetch() with the token that the console asks for; throws an Error with the console's own words when it refuses. */
async function ask(address, options = {}) {
  const answer = await fetch(address, {
    ...options,
    headers: { Accept: "application/json", "X-CSRF-Token": csrf, ...options.headers },
  });
  if (answer.status === 401) location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.error ?? `The console answered ${answer.status}.`);
  }
  return answer;
}

/** Say something to everybody, also to those who cannot see it; kind: good, warn or bad. */
function announce(text, kind = "good") {
  let place = document.querySelector("#announcements");
  if (!place) {
    place = document.createElement("div");
    place.id = "announcements";
    place.setAttribute("role", "status");
    document.body.append(place);
  }
  const note = document.createElement("p");
  note.className = `note ${kind}`;
  note.textContent = text;
  place.replaceChildren(note);
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => note.remove(), 6000);
}

window.consolePage = { ask, announce, csrf };

function switchTheme() {
  const choice = window.consoleTheme.next();
  announce({ auto: "As the system asks for", light: "Light", dark: "Dark" }[choice]);
}

function showHelp() {
  document.querySelector("#help")?.showModal();
}

let afterG = 0;
const typing = (target) => target.closest("input, select, textarea, [contenteditable]") !== null;

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    return;
  }
  if (typing(event.target) || document.querySelector("dialog[open]")) return;
  if (event.key === "g") {
    afterG = event.timeStamp + 1200;
    return;
  }
  if (event.timeStamp < afterG) {
    afterG = 0;
    const link = document.querySelector(`.nav [data-key="${CSS.escape(event.key)}"]`);
    const address = event.key === "a" ? "/account" : link?.getAttribute("href");
    if (address) {
      event.preventDefault();
      location.assign(address);
    }
    return;
  }
  if (event.key === "?") {
    event.preventDefault();
    showHelp();
  } else if (event.key === "t") {
    switchTheme();
  } else if (event.key === "/") {
    const search = document.querySelector('input[type="search"]');
    if (search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  }
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  const button = event.target.closest("button");
  if (!button) {
    if (event.target instanceof HTMLDialogElement) event.target.close(); // the veil behind it
    return;
  }
  if (button.hasAttribute("data-theme-switch")) switchTheme();
  if (button.hasAttribute("data-help")) {
    for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
    showHelp();
  }
  if (button.dataset.dialog) document.getElementById(button.dataset.dialog)?.showModal();
  if (button.dataset.close !== undefined) button.closest("dialog")?.close();
});

/** Ask before a form with data-confirm is sent. */
function confirmFirst(form, submitter) {
  const dialog = document.createElement("dialog");
  dialog.className = "dialog";
  const title = document.createElement("h2");
  title.textContent = form.dataset.confirm;
  const actions = document.createElement("div");
  actions.className = "actions";
  const no = document.createElement("button");
  no.type = "button";
  no.className = "button";
  no.textContent = "Cancel";
  no.addEventListener("click", () => dialog.close());
  const yes = document.createElement("button");
  yes.type = "button";
  yes.className = "button danger";
  yes.textContent = submitter?.textContent.trim() || "Yes";
  yes.addEventListener("click", () => {
    dialog.close();
    form.dataset.confirmed = "yes";
    form.requestSubmit(submitter ?? undefined);
  });
  actions.append(no, yes);
  dialog.append(title, actions);
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  no.focus();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.confirm && form.dataset.confirmed !== "yes") {
    event.preventDefault();
    confirmFirst(form, event.submitter);
    return;
  }
  delete form.dataset.confirmed;
  if (event.submitter && form.method === "post") event.submitter.classList.add("busy");
});

addEventListener("pageshow", () => {
  for (const button of document.querySelectorAll(".button.busy")) button.classList.remove("busy");
});
