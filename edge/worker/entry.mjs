// Holds the instance of the program and survives it. A trap leaves an instance that must never be called again: whatever it was
// doing for other requests ends too. Each of them is then answered from the origin by a new instance, unless its body was
// read already. Nothing is decided here.
import module from "./index.wasm";
import { SnapshotObject as Kept, __wbg_reset_state, fetch, initSync, lost, origin } from "./glue.js";

// Which instance it is, and whether it has trapped.
let generation = 0;
let broken = false;
// How to end the requests that the instance works on.
const working = new Set();
// Requests since the last report that the control plane took.
let unreported = 0;
// Requests of instances that ended, until the next one can report them.
let gone = 0;

function ended(error) {
  if (broken) return;
  broken = true;
  console.error("the program ended:", error);
  gone += unreported;
  unreported = 0;
  for (const end of working) end(error);
  working.clear();
}

// Every call into the instance goes through here, those of timers and promises too.
const guard = (exports) => {
  const guarded = {};
  const own = generation;
  for (const [name, value] of Object.entries(exports)) {
    if (typeof value !== "function") {
      guarded[name] = value;
      continue;
    }
    guarded[name] = (...args) => {
      if (broken || own !== generation) throw new Error("this instance has ended");
      try {
        return value(...args);
      } catch (error) {
        ended(error);
        throw error;
      }
    };
  }
  return guarded;
};

// The glue calls these two.
globalThis.bascule = { guard, reported: (requests) => (unreported = Math.max(0, unreported - requests)) };
initSync({ module });

function restart() {
  if (!broken) return;
  generation += 1;
  broken = false;
  __wbg_reset_state();
}

// What the work gives, or the error that ended the instance.
const attempt = (work) =>
  new Promise((resolve, reject) => {
    working.add(reject);
    const done = () => working.delete(reject);
    try {
      work().then(
        (value) => (done(), resolve(value)),
        (error) => (done(), reject(error)),
      );
    } catch (error) {
      done();
      reject(error);
    }
  });

const unavailable = () =>
  new Response('{"status":503,"code":"engine_ended","detail":"the Worker had to start anew; try again"}', {
    status: 503,
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", "retry-after": "1" },
  });

export default {
  async fetch(request, env, context) {
    try {
      restart();
      unreported += 1;
      return await attempt(() => fetch(request, env, context));
    } catch {
      // The program answers every request that it survives.
      if (request.bodyUsed) return unavailable();
    }
    try {
      restart();
      if (gone > 0) {
        lost(env, gone);
        gone = 0;
      }
      return await attempt(() => origin(request, env));
    } catch {
      return unavailable();
    }
  },
};

export class SnapshotObject {
  constructor(state, env) {
    this.state = state;
    this.env = env;
    this.generation = -1;
  }

  async fetch(request) {
    try {
      restart();
      if (this.generation !== generation) {
        this.kept = new Kept(this.state, this.env);
        this.generation = generation;
      }
      return await attempt(() => this.kept.fetch(request));
    } catch {
      return unavailable();
    }
  }
}
