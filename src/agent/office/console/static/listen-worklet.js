// Plays PCM that comes in pieces over the network: a small buffer evens out when they come.
"use strict";

const BEGIN_S = 0.2; // so much is there before it plays
const MOST_S = 0.8; // more than this is behind the call: what is too much is left out
const TOLD_EVERY = 40; // blocks of 128 samples

class CallSound extends AudioWorkletProcessor {
  constructor(options) {
    super();
    const { rate } = options.processorOptions;
    this.step = rate / sampleRate;
    this.rate = rate;
    this.size = rate * 4;
    this.left = new Float32Array(this.size);
    this.right = new Float32Array(this.size);
    this.written = 0;
    this.read = 0; // may lie between two samples
    this.playing = false;
    this.mixed = true;
    this.gaps = 0;
    this.blocks = 0;
    this.port.onmessage = ({ data }) => (data instanceof ArrayBuffer ? this.take(new Int16Array(data)) : this.set(data));
  }

  set({ mixed }) {
    this.mixed = mixed;
  }

  take(pcm) {
    for (let at = 0; at + 1 < pcm.length; at += 2) {
      const place = this.written % this.size;
      this.left[place] = pcm[at] / 32768;
      this.right[place] = pcm[at + 1] / 32768;
      this.written += 1;
    }
    if (this.written - this.read > MOST_S * this.rate) this.read = this.written - BEGIN_S * this.rate;
  }

  process(inputs, [out]) {
    const there = this.written - this.read;
    if (!this.playing && there >= BEGIN_S * this.rate) this.playing = true;
    if (this.playing) {
      const [left, right] = [out[0], out[1] ?? out[0]];
      for (let at = 0; at < left.length; at += 1) {
        if (this.written - this.read < 2) {
          this.playing = false;
          this.gaps += 1;
          break;
        }
        const first = Math.floor(this.read);
        const [a, b] = [first % this.size, (first + 1) % this.size];
        const part = this.read - first;
        const caller = this.left[a] + part * (this.left[b] - this.left[a]);
        const agent = this.right[a] + part * (this.right[b] - this.right[a]);
        left[at] = this.mixed ? (caller + agent) * 0.7 : caller;
        right[at] = this.mixed ? left[at] : agent;
        this.read += this.step;
      }
    }
    this.blocks += 1;
    if (this.blocks % TOLD_EVERY === 0) {
      this.port.postMessage({ playing: this.playing, gaps: this.gaps, waiting_s: Math.max(0, this.written - this.read) / this.rate });
    }
    return true;
  }
}

registerProcessor("call-sound", CallSound);
