// The page of running calls: cards that are made and kept up to date by the console's events.
"use strict";

(() => {
  const { ask, announce } = window.consolePage;
  const list = document.querySelector("#live-calls");
  const card = document.querySelector("#live-card");
  const operator = list.dataset.operator === "yes";
  const calls = new Map(); // by UUID: {call, card, parts, over}
  const DOING = {
    greeting: ["Greeting", "accent"],
    listening: ["Caller's turn", "caller"],
    thinking: ["Thinking", "warn"],
    speaking: ["Speaking", "accent live"],
    held: ["Interrupted", "warn"],
    ending: ["Ending", ""],
    over: ["Over", ""],
  };
  const GONE_S = 12; // a call that is over stays to be seen
  const KEPT_S = 3; // until then a call that is over is in the database, as a rule
  const NUMBERS = ".stats > .stat:not(.accent)";
  const AWAY_S = 20; // nobody looks at the page: its stream is closed
  const LOUD_DB = 48; // from silence to a full meter

  const of = (root, name) => root.querySelector(`[data-of="${name}"]`);
  const put = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };
  const who = (call) => call.caller_name || call.number || "Number withheld";

  // ---- cards -------------------------------------------------------------------------------------------------------

  function make(call) {
    const root = card.content.firstElementChild.cloneNode(true);
    root.dataset.uuid = call.uuid;
    const parts = Object.fromEntries([...root.querySelectorAll("[data-of]")].map((part) => [part.dataset.of, part]));
    const entry = { call, card: root, parts, over: false };
    calls.set(call.uuid, entry);
    list.append(root);
    seen.observe(root);
    return entry;
  }

  function show(entry, call) {
    const { parts } = entry;
    entry.call = call;
    const name = who(call);
    put(parts.who, name);
    entry.card.setAttribute("aria-label", `Call from ${name}`);
    const from = call.caller_name && call.number ? `${call.number} · ` : "";
    put(parts.company, from + (call.company || "…") + (call.line ? " ·" : ""));
    put(parts.line, call.line);
    parts.for.title = parts.for.textContent;
    doing(entry, call.doing);
    steps(entry, call);
    words(parts.caller, call.caller);
    words(parts.agent, call.agent);
    latency(parts.latency, call.latency_ms);
    put(parts.turns, call.turns === 1 ? "1 turn" : `${call.turns} turns`);
    parts.listeners.hidden = !call.listeners;
    put(parts.listeners, `${call.listeners} listening`);
    if (!operator) return;
    const ending = call.doing === "ending";
    const transfer = button(entry, "transfer");
    transfer.disabled = ending || !call.targets.length;
    transfer.title = call.targets.length ? "" : "The company has nobody to put callers through to";
    button(entry, "end").disabled = ending;
  }

  const button = (entry, what) => entry.card.querySelector(`[data-do="${what}"]`);

  function doing(entry, what) {
    const [text, kind] = DOING[what];
    put(entry.parts.doing, text);
    entry.parts.doing.className = `badge dot ${kind}`;
  }

  function steps({ parts }, call) {
    parts["steps-box"].hidden = !call.steps.length;
    if (!call.steps.length) return;
    if (parts.steps.children.length !== call.steps.length) {
      parts.steps.replaceChildren(
        ...call.steps.map((name) => Object.assign(document.createElement("li"), { title: name })),
      );
    }
    [...parts.steps.children].forEach((item, number) => {
      item.className = number < call.step ? "done" : number === call.step ? "here" : "";
    });
    put(parts.step, call.steps[call.step]);
    put(parts["step-count"], `step ${call.step + 1} of ${call.steps.length}`);
  }

  const said = new WeakMap(); // all that somebody said, by its place, which has room for two lines

  function words(place, text) {
    if (said.get(place) === text) return;
    said.set(place, text);
    fit(place);
  }

  /** The newest words: as many of the last ones as there is room for. */
  function fit(place) {
    const all = (said.get(place) ?? "").split(" ");
    const from = (first) => {
      place.textContent = (first ? "… " : "") + all.slice(first).join(" ");
      return place.scrollHeight <= place.clientHeight + 1;
    };
    if (from(0)) return;
    let [no, yes] = [0, all.length - 1];
    while (no + 1 < yes) {
      const middle = (no + yes) >> 1;
      if (from(middle)) yes = middle;
      else no = middle;
    }
    from(yes);
  }

  let width = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width === width) return;
    width = contentRect.width;
    for (const { parts } of calls.values()) [parts.caller, parts.agent].forEach(fit);
  }).observe(list);

  function latency(badge, ms) {
    badge.hidden = ms === null;
    if (ms === null) return;
    put(badge, ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(2)} s`);
    badge.className = `badge ${ms <= 800 ? "good" : ms <= 1500 ? "warn" : "bad"}`;
  }

  /** It is over: it says so for a while, then goes. */
  function over(uuid) {
    const entry = calls.get(uuid);
    if (!entry || entry.over) return;
    entry.over = true;
    entry.ended = Date.now() - clock;
    doing(entry, "over");
    entry.card.classList.add("over");
    for (const side of ["level-caller", "level-agent"]) level(entry.parts[side], 0);
    entry.parts.listeners.hidden = true;
    if (entry.parts.does) entry.parts.does.hidden = true;
    entry.parts.ended.hidden = false;
    entry.parts.past.href = `/calls/${uuid}`;
    news(`The call from ${who(entry.call)} is over`);
    setTimeout(() => remove(uuid), GONE_S * 1000);
    freshNumbers();
  }

  /** Today's numbers anew, some time after something came to them: several calls that end are one look. */
  function freshNumbers() {
    clearTimeout(freshNumbers.timer);
    freshNumbers.timer = setTimeout(async () => {
      const answer = await fetch("/").catch(() => null);
      if (!answer?.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const now = page.querySelectorAll(NUMBERS);
      document.querySelectorAll(NUMBERS).forEach((stat, at) => now[at] && stat.replaceWith(document.adoptNode(now[at])));
    }, KEPT_S * 1000);
  }

  function remove(uuid) {
    const entry = calls.get(uuid);
    if (!entry) return;
    if (entry.card.contains(document.activeElement) || entry.card.matches(":hover")) {
      setTimeout(() => remove(uuid), 2000); // somebody is about to do something with it
      return;
    }
    seen.unobserve(entry.card);
    entry.card.remove();
    calls.delete(uuid);
    count();
  }

  let toTell = [];
  /** For screen readers: only that calls come and go, together where there are many. */
  function news(text) {
    toTell.push(text);
    clearTimeout(news.timer);
    news.timer = setTimeout(() => {
      const place = document.querySelector("#live-news");
      place.textContent = toTell.length > 3 ? `${toTell.length} calls came or went` : `${toTell.join(". ")}.`;
      toTell = [];
    }, 1000);
  }

  function count() {
    const running = [...calls.values()].filter((entry) => !entry.over).length;
    put(document.querySelector("#live-count"), String(running));
    document.querySelector("#live-empty").hidden = calls.size > 0;
    document.title = `${running ? `(${running}) ` : ""}Live · Voice agent`;
  }

  let clock = 0; // this host's clock against the agent's, ms
  function tick() {
    for (const { call, parts, over: isOver, ended } of calls.values()) {
      const seconds = Math.max(0, Math.floor(((isOver ? ended : Date.now() - clock) - call.started) / 1000));
      const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
      const rest = String(seconds % 60).padStart(2, "0");
      put(parts.since, hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`);
    }
  }
  setInterval(tick, 500);

  // ---- levels ------------------------------------------------------------------------------------------------------

  function level(meter, rms) {
    const loud = rms > 0 ? 1 + (20 * Math.log10(rms / 32768)) / LOUD_DB + 0.15 : 0;
    meter.firstElementChild.style.setProperty("--level", Math.min(1, Math.max(0, loud)).toFixed(2));
  }

  const onScreen = new Set();
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      onScreen[isIntersecting ? "add" : "delete"](target.dataset.uuid);
    }
    clearTimeout(tellMeters.timer);
    tellMeters.timer = setTimeout(tellMeters, 150);
  });

  /** Only the calls on the screen have their levels sent. */
  async function tellMeters() {
    const shown = [...onScreen].filter((uuid) => calls.has(uuid) && !calls.get(uuid).over);
    if (!stream) return;
    try {
      await ask("/live/meter", { method: "POST", body: new URLSearchParams({ stream, calls: shown.join(",") }) });
    } catch {
      // the stream is being made anew, and tells again
    }
  }

  // ---- events ------------------------------------------------------------------------------------------------------

  let source = null;
  let stream = "";
  let failures = 0;
  let again = 0;

  function connect() {
    clearTimeout(again);
    source?.close();
    source = new EventSource("/live/events");
    source.addEventListener("hello", ({ data }) => {
      const hello = JSON.parse(data);
      stream = hello.stream;
      clock = Date.now() - hello.now;
      failures = 0;
      state("Live", "live");
      tellMeters();
    });
    source.addEventListener("calls", ({ data }) => {
      const told = JSON.parse(data);
      if (told.whole) {
        const there = new Set(told.calls.map((call) => call.uuid));
        for (const uuid of calls.keys()) if (!there.has(uuid)) over(uuid);
      }
      for (const call of told.calls) {
        const known = calls.get(call.uuid);
        if (!known && !told.whole) news(`A call from ${who(call)}${call.company ? ` for ${call.company}` : ""}`);
        show(known ?? make(call), call);
      }
      told.gone.forEach(over);
      count();
      tick();
    });
    source.addEventListener("levels", ({ data }) => {
      for (const [uuid, [caller, agent]] of Object.entries(JSON.parse(data))) {
        const parts = calls.get(uuid)?.parts;
        if (!parts) continue;
        level(parts["level-caller"], caller);
        level(parts["level-agent"], agent);
      }
    });
    source.addEventListener("bye", () => location.reload()); // the session is over, or sees other companies
    source.onerror = () => {
      source.close();
      stream = "";
      failures += 1;
      state("Connecting again", "warn");
      again = setTimeout(alive, Math.min(30_000, 500 * 2 ** failures) * (0.75 + Math.random() / 2));
    };
  }

  /** An EventSource does not tell why it failed: a plain question finds out whether to log in again. */
  async function alive() {
    try {
      await ask("/account", { method: "HEAD" });
    } catch {
      // not reachable yet: the stream finds out
    }
    connect();
  }

  function state(text, kind) {
    const place = document.querySelector("#live-state");
    put(place, text);
    place.className = `badge dot live-state ${kind}`;
  }

  let away = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(away);
    if (document.hidden) {
      away = setTimeout(() => {
        if (window.listenIn?.uuid) return;
        source?.close();
        source = null;
        stream = "";
        clearTimeout(again);
        state("Paused", "");
      }, AWAY_S * 1000);
    } else if (source === null) {
      connect();
      freshNumbers();
    }
  });

  // ---- what can be done to a call ----------------------------------------------------------------------------------

  list.addEventListener("click", ({ target }) => {
    const pressed = target.closest("[data-do]");
    if (!pressed) return;
    const entry = calls.get(pressed.closest(".live-call").dataset.uuid);
    if (!entry || entry.over) return;
    if (pressed.dataset.do === "listen") listenTo(entry);
    else decide(entry, pressed.dataset.do);
  });

  function decide(entry, what) {
    const dialog = document.querySelector(`#${what}-call`);
    const problem = of(dialog, "problem");
    const really = dialog.querySelector('[data-do="really"]');
    put(of(dialog, "who"), who(entry.call));
    problem.hidden = true;
    really.classList.remove("busy");
    if (what === "transfer") choices(dialog, entry.call.targets);
    really.onclick = async () => {
      const target = dialog.querySelector("input:checked")?.value ?? "";
      really.classList.add("busy");
      try {
        await ask(`/live/${entry.call.uuid}/${what}`, { method: "POST", body: new URLSearchParams({ target }) });
        dialog.close();
        announce(what === "end" ? "The agent says goodbye and hangs up." : `The caller is put through: ${target}.`);
      } catch (error) {
        problem.hidden = false;
        put(problem, error.message);
      }
      really.classList.remove("busy");
    };
    dialog.onkeydown = (event) => {
      if (event.key === "Enter" && event.target.matches("input")) really.click();
    };
    dialog.showModal();
    (what === "end" ? dialog.querySelector("[data-close]") : dialog.querySelector("input"))?.focus();
  }

  function choices(dialog, targets) {
    const place = of(dialog, "targets");
    for (const old of place.querySelectorAll(".choice")) old.remove();
    targets.forEach((name, number) => {
      const label = document.createElement("label");
      label.className = "choice";
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "target", value: name });
      input.checked = number === 0;
      const text = document.createElement("span");
      text.append(Object.assign(document.createElement("b"), { textContent: name }));
      label.append(input, text);
      place.append(label);
    });
  }

  document.addEventListener("click", async ({ target }) => {
    const copy = target.closest("[data-copy]");
    if (!copy) return;
    try {
      await navigator.clipboard.writeText(document.querySelector(copy.dataset.copy).textContent);
      announce("Copied.");
    } catch {
      getSelection().selectAllChildren(document.querySelector(copy.dataset.copy));
    }
  });

  // ---- listening in ------------------------------------------------------------------------------------------------

  const panel = document.querySelector("#listening");
  const choice = { mixed: true, muted: false, volume: 1 };

  function listenTo(entry) {
    const { uuid } = entry.call;
    if (window.listenIn.uuid === uuid) {
      window.listenIn.end();
      return;
    }
    window.listenIn.begin(uuid, list.dataset.worklet, choice, (told) => {
      const on = told.state !== "off";
      entry.card.classList.toggle("heard", on);
      const pressed = button(entry, "listen");
      pressed.setAttribute("aria-pressed", String(on));
      put(pressed.querySelector("span"), on ? "Stop" : "Listen in");
      panel.hidden = !on;
      if (!on) {
        if (told.why) announce(`Listening has ended. ${told.why}`, "warn");
        return;
      }
      put(of(panel, "state"), told.state === "on" ? "Listening in" : "Connecting");
      panel.dataset.playing = told.playing ? "yes" : ""; // sound comes out
      put(of(panel, "who"), who(entry.call));
      put(of(panel, "about"), entry.call.company);
    });
  }

  panel?.addEventListener("click", ({ target }) => {
    const pressed = target.closest("button");
    if (!pressed) return;
    if (pressed.dataset.do === "stop") window.listenIn.end();
    if (pressed.dataset.do === "mute") {
      choice.muted = !choice.muted;
      pressed.setAttribute("aria-pressed", String(choice.muted));
      put(pressed.querySelector("span"), choice.muted ? "Muted" : "Mute");
      window.listenIn.mute(choice.muted);
    }
    if (pressed.dataset.mode) {
      choice.mixed = pressed.dataset.mode === "mixed";
      for (const one of panel.querySelectorAll("[data-mode]")) one.setAttribute("aria-pressed", String(one === pressed));
      window.listenIn.mix(choice.mixed);
    }
  });
  panel?.addEventListener("input", ({ target }) => {
    choice.volume = target.value / 100;
    window.listenIn.volume(choice.volume);
  });

  connect();
})();
