// A workflow that does what its input says. The same stands in scripts.py: either side can execute
// any run, or half of it.
import fs from "node:fs";

export function note(journal, line) {
  if (journal) fs.appendFileSync(journal, line + "\n");
}

function count(journal, line) {
  return fs.readFileSync(journal, "utf8").split("\n").filter((each) => each === line).length;
}

async function fileAppears(path) {
  while (!fs.existsSync(path)) await new Promise((resolve) => setTimeout(resolve, 5));
}

// What a step's body does: note it, and then "return", "fail", "hold" or "crash".
async function body(journal, run, name, what, argument) {
  const line = `${run.id} ${name}`;
  note(journal, line);
  if (["fail", "stumble"].includes(what) && count(journal, line) <= argument) throw new TypeError(`${name} failed`);
  if (what === "hold") await fileAppears(argument);
  if (what === "crash" && argument === "ts") {
    process.kill(process.pid, "SIGKILL");
    await new Promise(() => {});
  }
  return what === "return" ? argument : `${name} by ts`;
}

const POLICIES = {
  fail: { initialInterval: "20ms", maximumAttempts: 3 },
  stumble: { initialInterval: "10s", maximumInterval: "1h", maximumAttempts: 9 },
};

async function perform(step, run, journal, [what, name, argument, more]) {
  switch (what) {
    case "sleep":
      return (await step.sleep(name, argument)) ?? null;
    case "send":
      return (await step.sendSignal({ signal: name, data: argument })).workflowRunIds;
    case "wait":
      return step.waitForSignal({ signal: name, ...(argument && { timeout: argument }) });
    case "child":
      return step.runWorkflow({ name }, argument, more && { timeout: more });
    case "raise":
      throw new TypeError(name);
  }
  const options = { name, retryPolicy: POLICIES[what] };
  return step.run(options, () => body(journal, run, name, what, argument));
}

export async function script({ input, step, run }) {
  const results = [];
  for (const each of input.steps) results.push(await perform(step, run, input.journal, each));
  return results;
}

// The instructions side by side.
export async function together({ input, step, run }) {
  return Promise.all(input.steps.map((each) => perform(step, run, input.journal, each)));
}
