// The list of past calls by keyboard: j and k go through it, Enter opens what is chosen.
"use strict";

(() => {
  const links = [...document.querySelectorAll(".call-list .row-link")];
  const typing = (target) => target.closest("input, select, textarea, summary, dialog[open]") !== null;
  let chosen = -1;

  function choose(index) {
    if (!links.length) return;
    links[chosen]?.closest("tr").classList.remove("chosen");
    chosen = Math.min(links.length - 1, Math.max(0, index));
    const row = links[chosen].closest("tr");
    row.classList.add("chosen");
    links[chosen].focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  for (const [index, link] of links.entries()) {
    link.addEventListener("focus", () => {
      if (chosen !== index) choose(index);
    });
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(event.target)) return;
    if (event.key === "j") choose(chosen + 1);
    else if (event.key === "k") choose(chosen < 0 ? 0 : chosen - 1);
    else return;
    event.preventDefault();
  });

  // A choice among few is meant at once; words and numbers wait for Enter.
  const form = document.querySelector(".call-filters");
  for (const select of form?.querySelectorAll(".filters select") ?? []) {
    select.addEventListener("change", () => form.requestSubmit());
  }
  // What is empty has no place in the address.
  form?.addEventListener("formdata", (event) => {
    for (const [name, value] of [...event.formData.entries()]) if (!value) event.formData.delete(name);
  });
})();
