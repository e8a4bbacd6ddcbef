// What a script makes easier in a company's form: rows at once, Monday's hours until Friday, the greeting in words and
// aloud, and a secret that is copied. Without it each of them is a button that asks the console.
"use strict";

const form = document.querySelector("form#company");

function refreshDrops(list) {
  for (const button of list.querySelectorAll("[data-drop-row]")) {
    button.hidden = button.parentElement.querySelector("input").disabled;
  }
}

function addRow(where) {
  const list = form.querySelector(`[data-repeat="${CSS.escape(where)}"]`);
  const row = form.querySelector(`template[data-row="${CSS.escape(where)}"]`).content.firstElementChild.cloneNode(true);
  list.append(row);
  refreshDrops(list);
  return row;
}

function dropRow(button) {
  const row = button.closest(".repeat-row");
  const list = row.parentElement;
  if (list.children.length > 1) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    next.querySelector("input").focus();
  } else {
    for (const input of row.querySelectorAll("input")) input.value = "";
    row.querySelector("input").focus();
  }
}

function weekdaysAsMonday() {
  const rows = [...form.querySelectorAll('[data-repeat="mon"] > .repeat-row')];
  const spans = rows.map((row) => [...row.querySelectorAll("input")].map((input) => input.value));
  for (const day of ["tue", "wed", "thu", "fri"]) {
    form.querySelector(`[data-repeat="${day}"]`).replaceChildren();
    for (const span of spans) {
      const inputs = addRow(day).querySelectorAll("input");
      inputs.forEach((input, index) => {
        input.value = span[index];
      });
    }
  }
  window.consolePage.announce("Monday’s hours until Friday");
}

/** The greeting in words, a moment after the last letter. */
function keepGreetingInWords() {
  const place = form.querySelector("[data-spoken]");
  const told = new Set(["name", "greeting", "timezone", "conversation", "language"]);
  let timer = 0;
  let latest = 0;
  const refresh = async () => {
    const mine = ++latest;
    try {
      const answer = await window.consolePage.ask(`${form.dataset.greeting}?as=text`, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
      });
      const { text } = await answer.json();
      if (mine === latest) place.textContent = text || "Nothing can be said yet.";
    } catch {
      // What stands there stays; saving tells what is wrong.
    }
  };
  form.addEventListener("input", (event) => {
    if (!told.has(event.target.name)) return;
    clearTimeout(timer);
    timer = setTimeout(refresh, 350);
  });
}

/** The greeting aloud, in place of a new tab. */
function hearGreeting(button) {
  const word = form.querySelector("[data-hear-word]");
  const label = button.querySelector("span");
  let player = null;
  const stop = () => {
    player?.pause();
    if (player) URL.revokeObjectURL(player.src);
    player = null;
    label.textContent = "Hear it";
  };
  button.addEventListener("click", async (event) => {
    event.preventDefault();
    if (player) return stop();
    button.classList.add("busy");
    word.textContent = "A moment…";
    try {
      const answer = await window.consolePage.ask(form.dataset.greeting, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { Accept: "audio/wav, application/json" },
      });
      player = new Audio(URL.createObjectURL(await answer.blob()));
      player.addEventListener("ended", stop);
      await player.play();
      label.textContent = "Stop";
      word.textContent = "As a caller hears it.";
    } catch (error) {
      stop();
      word.textContent = error.message;
    } finally {
      button.classList.remove("busy");
    }
  });
}

if (form) {
  for (const list of form.querySelectorAll("[data-repeat]")) refreshDrops(list);
  keepGreetingInWords();
  const hear = form.querySelector("[data-hear]");
  if (hear) hearGreeting(hear);
  form.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.addRow) {
      event.preventDefault();
      addRow(button.dataset.addRow).querySelector("input").focus();
    } else if (button.hasAttribute("data-drop-row")) {
      dropRow(button);
    } else if (button.hasAttribute("data-weekdays")) {
      event.preventDefault();
      weekdaysAsMonday();
    }
  });
  document.querySelector("#problems")?.focus();
}

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    window.consolePage.announce("Copied");
  });
}
