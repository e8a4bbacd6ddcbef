// Listening in to one call at a time: its sound comes over a WebSocket and plays in an AudioWorklet.
"use strict";

window.listenIn = (() => {
  let now = null; // what is listened to

  /** Begin; `told` is called with {state: "connecting" | "on" | "off", why, gaps}. One that is under way ends. */
  async function begin(uuid, worklet, { mixed, volume, muted }, told) {
    end();
    const mine = { uuid, told, muted, volume };
    now = mine;
    told({ state: "connecting" });
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    mine.socket = new WebSocket(`${scheme}//${location.host}/live/${uuid}/listen`);
    mine.socket.binaryType = "arraybuffer";
    mine.socket.onmessage = async ({ data }) => {
      if (data instanceof ArrayBuffer) {
        mine.node?.port.postMessage(data, [data]);
        return;
      }
      try {
        await play(mine, JSON.parse(data).rate, worklet, mixed);
      } catch (error) {
        stop(mine, `This browser plays no sound: ${error.message}`);
      }
    };
    mine.socket.onclose = ({ code, reason }) =>
      stop(mine, reason || (code === 1000 ? "The call is over." : "The connection was lost."));
  }

  async function play(mine, rate, worklet, mixed) {
    mine.context = new AudioContext({ latencyHint: "interactive" });
    await mine.context.audioWorklet.addModule(worklet);
    if (now !== mine) return;
    const node = new AudioWorkletNode(mine.context, "call-sound", {
      numberOfInputs: 0,
      outputChannelCount: [2],
      processorOptions: { rate },
    });
    node.port.onmessage = ({ data }) => mine.told({ state: "on", ...data });
    node.port.postMessage({ mixed });
    mine.gain = new GainNode(mine.context, { gain: mine.muted ? 0 : mine.volume });
    node.connect(mine.gain).connect(mine.context.destination);
    mine.node = node;
    await mine.context.resume();
    mine.told({ state: "on", gaps: 0, playing: false, waiting_s: 0 });
  }

  function stop(mine, why) {
    mine.socket?.close();
    mine.context?.close().catch(() => {});
    mine.context = null;
    if (now === mine) {
      now = null;
      mine.told({ state: "off", why });
    }
  }

  /** Stop listening. */
  function end() {
    if (now) stop(now, "");
  }

  function loudness() {
    now?.gain?.gain.setTargetAtTime(now.muted ? 0 : now.volume, now.context.currentTime, 0.02);
  }

  return {
    begin,
    end,
    get uuid() {
      return now?.uuid ?? "";
    },
    /** Both sides in both ears, or the caller left and the agent right. */
    mix(mixed) {
      now?.node?.port.postMessage({ mixed });
    },
    mute(muted) {
      if (now) now.muted = muted;
      loudness();
    },
    /** 0 to 1.5 */
    volume(volume) {
      if (now) now.volume = volume;
      loudness();
    },
  };
})();
