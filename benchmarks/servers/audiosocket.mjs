// npm asterisk-audiosocket through its own server and paced playback. Argument: the file that the package begins with.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { AudioSocketServer } = await import(pathToFileURL(process.argv[2]).href);

const tone = Buffer.alloc(16000); // a second of 440 Hz at 8 kHz
for (let n = 0; n < 8000; n++) tone.writeInt16LE(Math.round(8000 * Math.sin((2 * Math.PI * 440 * n) / 8000)), 2 * n);
const sound = process.env.BENCH_SOUND ? readFileSync(process.env.BENCH_SOUND) : tone;

const server = new AudioSocketServer({ port: 0 });
server.on('connection', async (call) => {
  let gone = false;
  let heard = 0;
  call.on('error', () => {});
  call.on('hangup', () => (gone = true));
  call.on('audio', (pcm) => (heard += pcm.length));
  while (!gone) await call.play(sound);
});
await server.listen();
console.log(server.address.port);
