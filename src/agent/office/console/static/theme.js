// Light or dark, before anything is painted: what was chosen in this browser, else what the system asks for.
(() => {
  "use strict";
  const KEY = "voice-agent-theme";
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => {
    try {
      return localStorage.getItem(KEY) ?? "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  };
  let choice = kept();
  const apply = () => {
    document.documentElement.dataset.themeChoice = choice;
    document.documentElement.dataset.theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
  };
  system.addEventListener("change", apply);
  addEventListener("storage", (event) => {
    if (event.key === KEY) {
      choice = kept();
      apply();
    }
  });
  window.consoleTheme = {
    get choice() {
      return choice;
    },
    next() {
      choice = { auto: "light", light: "dark", dark: "auto" }[choice] ?? "auto";
      try {
        localStorage.setItem(KEY, choice);
      } catch {
        // then it holds for this page
      }
      apply();
      return choice;
    },
  };
  apply();
})();
