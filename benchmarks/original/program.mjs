// Workflows of the original, a worker, and a client: node program.mjs work | start NAME COUNT | send SIGNAL | cancel ID
import { appendFileSync } from "node:fs";
import { OpenWorkflow } from "openworkflow";
import { BackendPostgres } from "openworkflow/postgres";

const [command, ...rest] = process.argv.slice(2);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
// One appended line for each call of a body, outside of the database.
const note = (text) => appendFileSync(process.env.EFFECTS, `${text}\n`);

const backend = await BackendPostgres.connect(process.env.DATABASE_URL, {
  runMigrations: command === "start",
});
const ow = new OpenWorkflow({ backend });
const body = (run, name, ms) => async () => {
  note(`${run.id} ${name}`);
  await pause(ms);
  return name;
};
const once = { maximumAttempts: 1 };
const define = (name, fn, options = {}) => ow.defineWorkflow({ name, ...options }, fn);

const workflows = {
  steps: define("steps", async ({ step, run }) => {
    for (let i = 0; i < 8; i++)
      await step.run({ name: `s${i}`, retryPolicy: once }, body(run, `s${i}`, 60));
    return 8;
  }),
  beside: define("beside", async ({ step, run }) => {
    await Promise.all([step.run({ name: "slow" }, body(run, "slow", 1500)), step.sleep("nap", "200ms")]);
  }),
  budget: define(
    "budget",
    async ({ step, run }) => {
      for (let i = 0; i < 3; i++) await step.sleep(`nap${i}`, "10ms");
      note(`${run.id} try`);
      throw new Error("no");
    },
    { retryPolicy: { maximumAttempts: 3, initialInterval: "10ms" } },
  ),
  nap: define("nap", async ({ step }) => step.sleep("nap", "1s")),
  nul: define("nul", async ({ run }) => {
    note(`${run.id} try`);
    throw new Error("a\u0000b");
  }),
  values: define("values", async ({ step }) => {
    const values = { NaN: NaN, Infinity: Infinity, Map: new Map([["a", 1]]), Date: new Date(0), undefined: { a: undefined } };
    for (const [name, value] of Object.entries(values)) await step.run({ name }, () => value);
  }),
  poison: define("poison", async ({ step, run }) => {
    await step.run({ name: "crash" }, () => {
      note(`${run.id} crash`);
      process.exit(9);
    });
  }),
  wait: define("wait", async ({ step, run }) => step.waitForSignal({ signal: `go-${run.id}`, timeout: "364d" })),
};

if (command === "work") {
  process.on("SIGTERM", () => process.exit(0));
  await ow.newWorker({ concurrency: 10 }).start();
} else {
  if (command === "start") {
    const ids = [];
    for (let i = 0; i < Number(rest[1]); i++) ids.push((await workflows[rest[0]].run({})).workflowRun.id);
    console.log(JSON.stringify(ids));
  } else if (command === "send") {
    // Sends to every run named, again and again, until each has received its signal.
    const send = async (id) => {
      while (!(await ow.sendSignal({ signal: `go-${id}`, data: 1 })).workflowRunIds.length) await pause(5);
    };
    await Promise.all(rest.map(send));
    console.log("[]");
  } else if (command === "cancel-and-send") {
    await ow.cancelWorkflowRun(rest[0]);
    const sent = await ow.sendSignal({ signal: `go-${rest[0]}`, data: 1 });
    console.log(JSON.stringify(sent.workflowRunIds));
  }
  await backend.stop();
  process.exit(0);
}
