// Drives the npm package: a request per line on standard input, an answer per line on standard
// output. The address of the database comes in PG… variables and SCHEMA; the arguments are the names
// of the workflows that its workers know.
import readline from "node:readline";
import { OpenWorkflow } from "openworkflow";
import { BackendPostgres } from "openworkflow/postgres";
import { script, together } from "./scripts.mjs";

const [database, ...known] = process.argv.slice(2);
const options = process.env.SCHEMA ? { schema: process.env.SCHEMA } : {};
const backend = await BackendPostgres.connect(`postgres:///${database}`, options);
const ow = new OpenWorkflow({ backend });
for (const name of known) {
  const [base, version] = name.split("@");
  const spec = { name: base, ...(version && { version }) };
  ow.implementWorkflow(spec, base === "together" ? together : script);
}
const handles = await handleClass();
let worker = null;

async function handleClass() {
  // The class of handles is not exported: take it from one whose run is never written.
  const create = backend.createWorkflowRun;
  backend.createWorkflowRun = async () => ({ id: "", workflowName: "" });
  const handle = await ow.runWorkflow({ name: "none" });
  backend.createWorkflowRun = create;
  return handle.constructor;
}

const quiet = async (some) => {
  while (some.activeExecutions.size) await new Promise((resolve) => setTimeout(resolve, 2));
};

const operations = {
  async start({ workflow, version, input, ...options }) {
    for (const name of ["deadlineAt", "availableAt"])
      if (options[name]?.includes("T")) options[name] = new Date(options[name]);
    const handle = await ow.runWorkflow({ name: workflow, version }, input, options);
    return handle.workflowRun.id;
  },
  async startMany({ times, ...request }) {
    return Promise.all(Array.from({ length: times }, () => operations.start(request)));
  },
  async result({ id, timeoutMs = 20000 }) {
    const workflowRun = await backend.getWorkflowRun({ workflowRunId: id });
    const options = { backend, workflowRun, resultPollIntervalMs: 10, resultTimeoutMs: timeoutMs };
    return new handles(options).result();
  },
  cancel: ({ id }) => ow.cancelWorkflowRun(id),
  signal: async (request) => (await ow.sendSignal(request)).workflowRunIds,
  get: ({ id }) => backend.getWorkflowRun({ workflowRunId: id }),
  steps: ({ id, ...page }) => backend.listStepAttempts({ workflowRunId: id, ...page }),
  list: (request) => backend.listWorkflowRuns(request),
  counts: () => backend.countWorkflowRuns(),
  // Executes what is due, as testing.run_until_idle does; returns how many runs were claimed.
  async drain({ concurrency = 4 }) {
    const some = ow.newWorker({ concurrency });
    let total = 0;
    for (;;) {
      const claimed = await some.tick();
      await quiet(some);
      if (!claimed) return total;
      total += claimed;
    }
  },
  async tick() {
    const some = ow.newWorker();
    const claimed = await some.tick();
    await quiet(some);
    return claimed;
  },
  async work({ concurrency = 4 }) {
    worker = ow.newWorker({ concurrency });
    await worker.start();
  },
  rest: () => worker.stop(),
  // A claim and nothing else, as a worker that dies in this moment leaves it.
  claim: ({ workerId, leaseDurationMs = 30000 }) =>
    backend.claimWorkflowRun({ workerId, leaseDurationMs }),
};

function answer(message) {
  process.stdout.write(JSON.stringify(message) + "\n");
}

const lines = readline.createInterface({ input: process.stdin });
lines.on("line", async (line) => {
  const { ticket, operation, ...request } = JSON.parse(line);
  try {
    answer({ ticket, value: (await operations[operation](request)) ?? null });
  } catch (error) {
    answer({ ticket, error: error.message });
  }
});
lines.on("close", () => process.exit());
answer({ ready: true });
