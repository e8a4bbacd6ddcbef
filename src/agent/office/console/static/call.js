// One call: its sound, the time line, and the words that light up as they are heard.
"use strict";

(() => {
  const player = document.querySelector(".player");
  if (!player) return;
  const { TimeLine, clock } = window.callLine;
  const sound = player.querySelector("audio");
  const wave = player.querySelector(".wave");
  const seconds = Number(player.dataset.seconds);
  const line = new TimeLine(wave, seconds);
  const find = (selector) => player.querySelector(selector);

  // ---- words -------------------------------------------------------------------------------------------------------

  const sides = ["caller", "agent"].map((who) =>
    [...document.querySelectorAll(`.line.${who} [data-s]`)]
      .map((element) => ({ element, from: Number(element.dataset.s), to: Number(element.dataset.e) }))
      .sort((one, other) => one.from - other.from),
  );
  const lit = [null, null];
  let lastLine = null;

  /** The word of one side at a moment, or the one that was said last, for as long as nothing follows soon. */
  function wordAt(words, ms) {
    let low = 0;
    let high = words.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (words[middle].from <= ms) low = middle + 1;
      else high = middle;
    }
    const word = words[low - 1];
    return word && ms < word.to + 60 ? word : null;
  }

  function light(ms) {
    for (const [side, words] of sides.entries()) {
      const element = wordAt(words, ms)?.element ?? null;
      if (element === lit[side]) continue;
      lit[side]?.classList.remove("on");
      element?.classList.add("on");
      lit[side] = element;
      const said = element?.closest(".line");
      if (said && said !== lastLine) {
        lastLine?.classList.remove("now");
        said.classList.add("now");
        lastLine = said;
        if (following()) follow(said);
      }
    }
  }

  const following = () => sound && !sound.paused && find("[data-follow]")?.getAttribute("aria-pressed") === "true";

  function follow(said) {
    const top = player.getBoundingClientRect().bottom;
    const box = said.getBoundingClientRect();
    if (box.top < Math.max(0, top) || box.bottom > innerHeight) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      scrollBy({ top: box.top - Math.max(0, top) - 24, behavior: calm ? "auto" : "smooth" });
    }
  }

  // ---- playing -----------------------------------------------------------------------------------------------------

  function tell(at) {
    const now = find("[data-now]");
    if (now) now.textContent = clock(at);
    wave.setAttribute("aria-valuenow", at.toFixed(1));
    wave.setAttribute("aria-valuetext", `${clock(at)} of ${clock(seconds)}`);
    light(at * 1000);
  }

  function seek(at, play = false) {
    const place = Math.min(seconds, Math.max(0, at));
    if (sound) {
      sound.currentTime = place;
      if (play) sound.play().catch(() => {});
    }
    line.seek(place);
    tell(place);
  }

  function toggle() {
    if (!sound) return;
    if (sound.paused) sound.play().catch(() => {});
    else sound.pause();
  }

  function tick() {
    if (sound.paused) return;
    line.seek(sound.currentTime);
    tell(sound.currentTime);
    requestAnimationFrame(tick);
  }

  const here = () => (sound ? sound.currentTime : line.now);

  if (sound) {
    sound.controls = false;
    find("[data-controls]").hidden = false;
    document.body.classList.add("can-seek");
    const button = find("[data-play]");
    const show = () => {
      button.querySelector('[data-icon="play"]').hidden = !sound.paused;
      button.querySelector('[data-icon="pause"]').hidden = sound.paused;
      button.setAttribute("aria-label", sound.paused ? "Play" : "Pause");
    };
    button.addEventListener("click", toggle);
    sound.addEventListener("play", () => {
      show();
      requestAnimationFrame(tick);
    });
    sound.addEventListener("pause", show);
    sound.addEventListener("seeked", () => {
      if (!sound.paused) return;
      line.seek(sound.currentTime);
      tell(sound.currentTime);
    });
    sound.addEventListener("error", () => {
      find("[data-note]").textContent = "The recording cannot be played by this browser; it can be downloaded.";
    });
    find("[data-speed]").addEventListener("change", (event) => {
      sound.playbackRate = Number(event.target.value);
    });
    find("[data-follow]")?.addEventListener("click", (event) => {
      const pressed = event.currentTarget.getAttribute("aria-pressed") === "true";
      event.currentTarget.setAttribute("aria-pressed", String(!pressed));
    });
    for (const each of player.querySelectorAll("[data-side]")) each.addEventListener("click", () => hear(each));
  }

  /** One side alone is heard with both ears; the sound goes through the mixer from the first choice on. */
  let gains = null;
  function hear(button) {
    for (const each of player.querySelectorAll("[data-side]")) each.setAttribute("aria-pressed", String(each === button));
    if (!gains) {
      const context = new AudioContext();
      const splitter = context.createChannelSplitter(2);
      const merger = context.createChannelMerger(2);
      context.createMediaElementSource(sound).connect(splitter);
      gains = [0, 1].map((side) => [0, 1].map((ear) => {
        const gain = context.createGain();
        splitter.connect(gain, side);
        gain.connect(merger, 0, ear);
        return gain;
      }));
      merger.connect(context.destination);
      context.resume();
      sound.addEventListener("play", () => context.resume());
    }
    const side = ["caller", "agent"].indexOf(button.dataset.side);
    for (const [from, ears] of gains.entries()) {
      for (const [ear, gain] of ears.entries()) gain.gain.value = side < 0 ? Number(from === ear) : Number(from === side);
    }
  }

  // ---- the time line by mouse, finger and keyboard -----------------------------------------------------------------

  const placeOf = (event) => line.secondsAt(event.clientX - wave.getBoundingClientRect().left);
  const tip = find(".wave-tip");

  wave.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    wave.setPointerCapture(event.pointerId);
    seek(placeOf(event));
  });
  wave.addEventListener("pointermove", (event) => {
    const at = placeOf(event);
    if (wave.hasPointerCapture(event.pointerId)) seek(at);
    if (event.pointerType === "touch") return;
    tip.textContent = [clock(Math.max(0, at)), line.told(at)].filter(Boolean).join("  ");
    tip.hidden = false;
    const left = Math.min(wave.clientWidth - tip.offsetWidth, Math.max(0, line.x(at) + 10));
    tip.style.transform = `translateX(${left}px)`;
  });
  wave.addEventListener("pointerleave", () => {
    tip.hidden = true;
  });
  wave.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      line.zoom(event.deltaY > 0 ? 1.25 : 0.8, placeOf(event));
    } else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      line.look(line.from + (event.deltaX / wave.clientWidth) * (line.to - line.from), line.to - line.from);
    }
  }, { passive: false });

  function zoom(how) {
    if (how === "all") line.look(0, seconds);
    else line.zoom(how === "in" ? 0.5 : 2);
  }
  for (const button of player.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => zoom(button.dataset.zoom));
  }

  const moves = { ArrowLeft: -2, ArrowRight: 2, ArrowDown: -2, ArrowUp: 2, PageDown: -10, PageUp: 10 };

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (target.closest("input, select, textarea, audio") || document.querySelector("dialog[open]")) return;
    const onLine = target === wave;
    const sideways = key === "ArrowLeft" || key === "ArrowRight";
    if (onLine && key === "Home") seek(0);
    else if (onLine && key === "End") seek(seconds);
    else if (key in moves && (onLine || (sideways && !target.closest("pre, .scroll")))) {
      seek(here() + moves[key] * (event.shiftKey ? 5 : 1));
    } else if (key === " " && !target.closest("button, a, summary, pre, .scroll")) toggle();
    else if (key === "+" || key === "=") zoom("in");
    else if (key === "-") zoom("out");
    else if (key === "0") zoom("all");
    else return;
    event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const place = event.target.closest("[data-at]");
    const word = event.target.closest(".line-text [data-s]");
    if (place) seek(Number(place.dataset.at) / 1000, true);
    else if (word && getSelection().isCollapsed) seek(Number(word.dataset.s) / 1000, true);
  });

  // ---- what is drawn -----------------------------------------------------------------------------------------------

  window.consolePage
    .ask(`/calls/${player.dataset.call}/waveform`)
    .then((answer) => answer.json())
    .then((data) => {
      line.show(data);
      if (data.problem) find("[data-note]").textContent = `There is no picture of the sound: ${data.problem}.`;
    })
    .catch((error) => {
      find("[data-note]").textContent = error.message;
    });
  tell(0);
})();
