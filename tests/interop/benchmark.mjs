// Measures the package on two schemas in turn: ours (views) and its own. See benchmarks/interop.py.
// Prints, per round, the runs per second that each schema has started and executed.
import { OpenWorkflow } from "openworkflow";
import { BackendPostgres } from "openworkflow/postgres";

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

async function perSecond(count, work) {
  const started = performance.now();
  await work();
  return (count / (performance.now() - started)) * 1000;
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
    const started = await perSecond(runs, () => start(side));
    const executed = await perSecond(runs, () => execute(side));
    found[side.schema] = { started, executed };
  }
  if (round) console.log(JSON.stringify(found)); // the first one warms up
}
process.exit();
