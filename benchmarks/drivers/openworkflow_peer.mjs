// openworkflow, the TypeScript original, on PostgreSQL or SQLite. The verbs are those of driver.py.
import fs from "node:fs";
import { OpenWorkflow } from "openworkflow";

const [verb, ...rest] = process.argv.slice(2);
const option = (name, fallback) => {
  const at = rest.indexOf(`--${name}`);
  return at < 0 ? fallback : rest[at + 1];
};
const url = option("url");
const size = Number(option("size", 100));
const workflowName = option("workflow", "three");
const concurrency = Number(option("concurrency", 10));
const gapSeconds = Number(option("gap-seconds", 0.05));

const file = process.env.BENCH_LOG ? fs.openSync(process.env.BENCH_LOG, "a") : null;
const now = () => (performance.timeOrigin + performance.now()) / 1000;
const log = (letter, moment) => {
  if (file !== null) fs.writeSync(file, `${letter} ${moment} ${now().toFixed(6)}\n`);
};
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));
const quantile = (values, share) => {
  const ordered = [...values].sort((one, other) => one - other);
  return ordered[Math.min(ordered.length - 1, Math.floor(share * ordered.length))];
};

const backend = await connect();
const client = new OpenWorkflow({ backend });
const workflows = {
  three: client.defineWorkflow({ name: "three" }, async ({ input, step }) => {
    const one = await step.run({ name: "a" }, () => {
      log("S", input.moment);
      return { value: 1 };
    });
    const two = await step.run({ name: "b" }, () => ({ value: one.value + 1 }));
    return await step.run({ name: "c" }, () => ({ value: two.value + 1 }));
  }),
  "five-hundred": client.defineWorkflow({ name: "five-hundred" }, async ({ input, step }) => {
    log("F", input.moment);
    for (let number = 0; number < 500; number++)
      await step.run({ name: `step-${number}` }, () => ({ number }));
    log("P", input.moment);
    await step.sleep("nap", "1s");
    log("E", input.moment);
    return {};
  }),
  loop: client.defineWorkflow({ name: "loop" }, async ({ input, step }) => {
    for (let number = 0; number < 100; number++)
      await step.run({ name: `step-${number}` }, async () => {
        log("L", input.moment);
        await sleep(0.05);
        log("L", input.moment);
        return {};
      });
    return {};
  }),
};

async function connect() {
  if (url.startsWith("sqlite:")) {
    const { BackendSqlite } = await import("openworkflow/sqlite");
    return BackendSqlite.connect(url.replace("sqlite://", ""));
  }
  const { BackendPostgres } = await import("openworkflow/postgres");
  return await BackendPostgres.connect(url, { runMigrations: verb === "init" });
}

const start = (moment = now()) => workflows[workflowName].run({ moment });

async function startMany() {
  const handles = [];
  let begun = 0;
  const lane = async () => {
    while (begun++ < size) handles.push(await start());
  };
  await Promise.all(Array.from({ length: 10 }, lane));
  return handles;
}

async function timed(work) {
  const started = now();
  const result = await work();
  return [now() - started, result];
}

const measures = {
  init: async () => ({}),
  start: async () => {
    await start();
    const [seconds] = await timed(async () => {
      for (let number = 1; number < size; number++) await start();
    });
    return { per_second: (size - 1) / seconds };
  },
  "start-many": async () => {
    const [seconds] = await timed(startMany);
    return { per_second: size / seconds };
  },
  latency: async () => {
    for (let number = 0; number < size; number++) {
      await start();
      await sleep(gapSeconds * 2 * Math.random());
    }
    return {};
  },
  "cancel-one": async () => {
    const handles = await startMany();
    const seconds = [];
    for (const handle of handles) seconds.push((await timed(() => handle.cancel()))[0]);
    return { p50_ms: 1000 * quantile(seconds, 0.5), p95_ms: 1000 * quantile(seconds, 0.95) };
  },
  "cancel-many": async () => {
    const handles = await startMany();
    const [seconds] = await timed(() => Promise.all(handles.map((handle) => handle.cancel())));
    return { per_second: size / seconds };
  },
  "cancel-running": async () => {
    for (let number = 0; number < size; number++) {
      const moment = now();
      const handle = await start(moment);
      await sleep(0.9 + 0.05 * Math.random());
      log("C", moment);
      await handle.cancel();
      log("D", moment);
      await sleep(0.4);
    }
    return {};
  },
};

if (verb === "worker") {
  process.on("SIGTERM", () => process.exit(0));
  await client.newWorker({ concurrency }).start();
} else {
  console.log(JSON.stringify(await measures[verb]()));
  await backend.stop();
  process.exit(0);
}
