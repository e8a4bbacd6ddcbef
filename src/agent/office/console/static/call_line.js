// The time line of a call: both sides' loudness, what was held and cut, waits, tools and moments, on a canvas.
"use strict";

const RULER = 20;
const LANE = 54;
const GAP = 6;
const EVENTS = RULER + 2 * LANE + 2 * GAP + 8; // the middle of the strip of moments
const BAR = 3; // px from one bar to the next
const DOTS = new Set(["resumed", "barged", "cut", "step", "key", "other"]);
const SHORTEST = 2; // s that can be seen at once, at the least

const clock = (seconds) => {
  const tenths = Math.max(0, Math.round(seconds * 10));
  return `${Math.floor(tenths / 600)}:${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
};

class TimeLine {
  /** `place` holds a canvas; `seconds` is how long the call was. */
  constructor(place, seconds) {
    this.place = place;
    this.canvas = place.querySelector("canvas");
    this.seconds = Math.max(0.1, seconds);
    this.from = 0;
    this.to = this.seconds;
    this.now = 0;
    this.data = { step_ms: 20, caller: new Uint8Array(), agent: new Uint8Array(), spans: [], speech: [] };
    this.colours = {};
    this.asked = false;
    new ResizeObserver(() => this.draw()).observe(place);
    const recolour = () => {
      this.colours = {};
      this.draw();
    };
    new MutationObserver(recolour).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);
  }

  /** What the console answers under /waveform. */
  show(data) {
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    this.data = { ...data, caller: bytes(data.caller), agent: bytes(data.agent) };
    this.draw();
  }

  seek(seconds) {
    this.now = Math.min(this.seconds, Math.max(0, seconds));
    const length = this.to - this.from;
    if (this.now < this.from || this.now > this.to - length * 0.02) this.look(this.now - length * 0.1, length);
    this.draw();
  }

  /** Show `length` seconds from `from` on. */
  look(from, length) {
    const shown = Math.min(this.seconds, Math.max(SHORTEST, length));
    this.from = Math.min(this.seconds - shown, Math.max(0, from));
    this.to = this.from + shown;
    this.draw();
  }

  /** Show more (factor above 1) or less, about a place that stays where it is. */
  zoom(factor, about = this.now) {
    const length = Math.min(this.seconds, Math.max(SHORTEST, (this.to - this.from) * factor));
    const share = (about - this.from) / (this.to - this.from);
    this.look(about - length * share, length);
  }

  secondsAt(x) {
    return this.from + (x / this.place.clientWidth) * (this.to - this.from);
  }

  x(seconds) {
    return ((seconds - this.from) / (this.to - this.from)) * this.place.clientWidth;
  }

  /** The moments and spans near a place, as words. */
  told(seconds) {
    const near = ((this.to - this.from) / this.place.clientWidth) * 6;
    return this.data.spans
      .filter((span) => seconds >= span.at_ms / 1000 - near && seconds <= (span.to_ms ?? span.at_ms) / 1000 + near)
      .map((span) => span.label)
      .slice(0, 3)
      .join(" · ");
  }

  draw() {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.paint();
    });
  }

  colour(name) {
    this.colours[name] ??= this.resolve(name);
    return this.colours[name];
  }

  /** A custom property may be made of others: only where it is used it is a colour. */
  resolve(name) {
    const probe = document.createElement("i");
    probe.hidden = true;
    probe.style.color = `var(--${name})`;
    this.place.append(probe);
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  }

  paint() {
    const { clientWidth: width, clientHeight: height } = this.place;
    if (!width) return;
    const scale = devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * scale) || this.canvas.height !== Math.round(height * scale)) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, width, height);
    this.paintRuler(pen, width);
    this.paintGround(pen, width);
    this.paintSide(pen, width, "caller", RULER);
    this.paintSide(pen, width, "agent", RULER + LANE + GAP);
    this.paintSpans(pen, width);
    this.paintHead(pen, height);
  }

  paintRuler(pen, width) {
    const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];
    const step = steps.find((each) => (each / (this.to - this.from)) * width > 64) ?? 600;
    pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = "top";
    for (let at = Math.ceil(this.from / step) * step; at <= this.to; at += step) {
      const x = Math.round(this.x(at)) + 0.5;
      pen.fillStyle = this.colour("line");
      pen.fillRect(x - 0.5, 14, 1, EVENTS - 20);
      pen.fillStyle = this.colour("muted");
      const text = step < 1 ? clock(at) : clock(at).slice(0, -2);
      const wide = pen.measureText(text).width;
      pen.fillText(text, Math.min(width - wide, Math.max(0, x - wide / 2)), 1);
    }
  }

  paintGround(pen, width) {
    for (const [who, top] of [["caller", RULER], ["agent", RULER + LANE + GAP]]) {
      pen.fillStyle = this.colour(`${who}-soft`);
      pen.globalAlpha = 0.55;
      for (const piece of this.data.speech) {
        if (piece.kind === who) this.block(pen, width, piece.at_ms, piece.to_ms, top, LANE, 5);
      }
      pen.globalAlpha = 1;
    }
  }

  paintSide(pen, width, who, top) {
    const levels = this.data[who];
    const middle = top + LANE / 2;
    pen.fillStyle = this.colour("line");
    pen.fillRect(0, middle - 0.5, width, 1);
    if (!levels.length) return;
    pen.fillStyle = this.colour(who);
    const head = this.x(this.now);
    const step = this.data.step_ms / 1000;
    // Bars stand at places of the call, not of the window, so that they do not flicker as it moves.
    const each = ((this.to - this.from) / width) * BAR;
    for (let index = Math.floor(this.from / each); index * each < this.to; index += 1) {
      const first = Math.floor((index * each) / step);
      const last = Math.max(first + 1, Math.floor(((index + 1) * each) / step));
      let level = 0;
      for (let at = Math.max(0, first); at < last && at < levels.length; at += 1) level = Math.max(level, levels[at]);
      if (!level) continue;
      const x = this.x(index * each);
      const high = Math.max(1.5, (level / 255) ** 1.6 * LANE);
      pen.globalAlpha = x <= head ? 1 : 0.5;
      pen.fillRect(x, middle - high / 2, BAR - 1, high);
    }
    pen.globalAlpha = 1;
  }

  paintSpans(pen, width) {
    const agent = RULER + LANE + GAP;
    for (const span of this.data.spans) {
      const colour = this.colour(span.kind);
      if (span.kind === "held") {
        pen.globalAlpha = 0.22;
        pen.fillStyle = colour;
        this.block(pen, width, span.at_ms, span.to_ms, agent, LANE, 3);
        pen.globalAlpha = 1;
        this.block(pen, width, span.at_ms, span.to_ms, agent + LANE - 2, 2, 1);
      } else if (span.kind === "wait") {
        pen.fillStyle = colour;
        this.block(pen, width, span.at_ms, span.to_ms, RULER + LANE + GAP / 2 - 1.5, 3, 1.5);
      } else if (span.kind === "tool") {
        pen.fillStyle = colour;
        this.block(pen, width, span.at_ms, Math.max(span.to_ms, span.at_ms + 1), EVENTS + 8, 5, 2.5, 5);
      } else if (DOTS.has(span.kind)) {
        const x = this.x(span.at_ms / 1000);
        if (x < -6 || x > width + 6) continue;
        pen.fillStyle = colour;
        pen.beginPath();
        pen.arc(x, EVENTS, 4, 0, 2 * Math.PI);
        pen.fill();
        if (span.kind === "cut" || span.kind === "barged") pen.fillRect(x - 0.75, agent, 1.5, EVENTS - agent);
      }
    }
  }

  block(pen, width, from_ms, to_ms, top, high, round, least = 2) {
    const left = Math.max(-10, this.x(from_ms / 1000));
    const right = Math.min(width + 10, Math.max(this.x(to_ms / 1000), this.x(from_ms / 1000) + least));
    if (right <= left) return;
    pen.beginPath();
    pen.roundRect(left, top, right - left, high, Math.min(round, (right - left) / 2));
    pen.fill();
  }

  paintHead(pen, height) {
    const x = Math.round(this.x(this.now));
    pen.fillStyle = this.colour("text");
    pen.fillRect(x - 0.75, 14, 1.5, height - 14);
    pen.beginPath();
    pen.arc(x, 14, 4, 0, 2 * Math.PI);
    pen.fill();
  }
}

window.callLine = { TimeLine, clock };
