// Measures the package on two schemas in turn: ours (views) and its own. See benchmarks/interop.py.
// Prints, per round, the runs per second that each schema has started, executed, and both in all.
// Fresh statistics before each, as autovacuum would see to: without, the plans are a matter of luck.
import { OpenWorkflow } from "openworkflow";
import { BackendPostgres } from "openworkflow/postgres";
import postgres from "postgres";

const [database, rounds, runs, slots] = process.argv.slice(2);

async function prepare(schema) {
  const backend = await BackendPostgres.connect(`postgres:///${database}`, { schema });
  const ow = new OpenWorkflow({ backend });
  const side = { schema, ow, passes: 0 };
  side.workflow = ow.defineWorkflow({ name: "measured" }, async ({ input, step }) => {
    side.passes += 1;
    const first = await step.run({ name: "first" }, () => input.n + 1);
    return step.run({ name: "second" }, () => first + 1);
  });
  return side;
}

const sql = postgres(`postgres:///${database}`, { onnotice: () => {} });

async function seconds(work) {
  await sql`ANALYZE`;
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

async function start({ workflow }) {
  for (let n = 0; n < runs; n += 10)
    await Promise.all(Array.from({ length: 10 }, (_, i) => workflow.run({ n: n + i })));
}

async function execute(side) {
  const worker = side.ow.newWorker({ concurrency: Number(slots) });
  side.passes = 0;
  while (side.passes < runs || worker.activeExecutions.size) {
    await worker.tick();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const sides = [await prepare("openworkflow"), await prepare("its_own")];
for (let round = 0; round <= rounds; round += 1) {
  const found = {};
  for (const side of round % 2 ? sides : sides.toReversed()) {
    const start_s = await seconds(() => start(side));
    const execute_s = await seconds(() => execute(side));
    found[side.schema] = {
      started: runs / start_s,
      executed: runs / execute_s,
      both: runs / (start_s + execute_s),
    };
  }
  if (round) console.log(JSON.stringify(found)); // the first one warms up
}
process.exit();
