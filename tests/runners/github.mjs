// What GitHub would run for an event: its own parser reads the workflows, its own evaluator decides.
// stdin: {folder, event, github, vars, secrets, inputs, workflow (of the button)}; stdout: {jobs}, or {errors}. What this file
// does not know (a key, an action, a shell) is an error, never a skip.
import { createHash } from "node:crypto";
import fs from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";

// GitHub's packages import JSON without saying so
registerHooks({
  load: (url, context, next) =>
    next(url, url.endsWith(".json") ? { ...context, importAttributes: { type: "json" } } : context),
});
const { convertWorkflowTemplate, parseWorkflow } = await import("@actions/workflow-parser");
const { Evaluator, Lexer, Parser, data } = await import("@actions/expressions");
const { parse } = await import("yaml");

const asked = JSON.parse(fs.readFileSync(0, "utf8"));
const errors = [];
const WORKFLOW = ["name", "run-name", "on", "permissions", "concurrency", "env", "jobs"];
const JOB = ["name", "needs", "if", "runs-on", "timeout-minutes", "permissions", "environment"];
JOB.push("concurrency", "env", "steps");
const STEP = ["name", "uses", "with", "run", "shell", "env", "if"];
const ACTIONS = {
  "actions/checkout": ["ref", "fetch-depth", "persist-credentials"],
  "actions/cache": ["path", "key", "restore-keys"],
  "actions/upload-artifact": ["name", "path"],
};

function only(known, object, place) {
  for (const key of Object.keys(object)) if (!known.includes(key)) errors.push(`${place}: ${key} is not known here`);
}

function evaluate(expression, contexts, status) {
  const text = (value) => new data.StringData(value);
  const flag = (value) => () => new data.BooleanData(value);
  const functions = new Map([
    ["success", flag(status === "success")],
    ["failure", flag(status === "failure")],
    ["cancelled", flag(false)],
    ["always", flag(true)],
    ["hashfiles", (...globs) => text(hashFiles(globs.map((glob) => glob.coerceString())))],
  ].map(([name, call]) => [name, { name, call, minArgs: 0, maxArgs: 255 }]));
  const names = ["github", "env", "vars", "secrets", "inputs", "runner"];
  const tree = new Parser(new Lexer(expression).lex().tokens, names, [...functions.values()]).parse();
  const dictionary = JSON.parse(JSON.stringify(contexts), data.reviver);
  return new Evaluator(tree, dictionary, functions).evaluate();
}

function hashFiles(globs) {
  const names = globs.flatMap((glob) => fs.globSync(glob, { cwd: asked.folder })).sort();
  const files = names.map((name) => path.join(asked.folder, name)).filter((name) => fs.statSync(name).isFile());
  const hash = createHash("sha256");
  for (const file of files) hash.update(fs.readFileSync(file));
  return files.length ? hash.digest("hex") : "";
}

function fill(value, contexts, status = "success") {
  if (Array.isArray(value)) return value.map((item) => fill(item, contexts, status));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, contexts, status)]));
  }
  if (typeof value !== "string") return value;
  return value.replace(/\$\{\{(.*?)\}\}/gs, (_, inner) => evaluate(inner, contexts, status).coerceString());
}

function holds(condition, contexts, status) {
  if (condition === undefined) return status === "success";
  const bare = String(condition).trim().replace(/^\$\{\{(.*)\}\}$/s, "$1");
  const asks = /\b(success|failure|cancelled|always)\s*\(/.test(bare);
  const value = evaluate(asks ? bare : `success() && (${bare})`, contexts, status);
  return !["", "false", "0"].includes(value.coerceString());
}

function matches(glob, name) {
  const pattern = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*\*/g, "\0").replace(/\*/g, "[^/]*");
  return new RegExp(`^${pattern.replace(/\0/g, ".*")}$`).test(name);
}

function starts(on, place) {
  const triggers = typeof on === "string" ? { [on]: null } : Array.isArray(on) ? Object.fromEntries(on.map((name) => [name, null])) : on;
  only(["pull_request", "push", "workflow_dispatch", "schedule"], triggers, place);
  if (!(asked.event in triggers)) return false;
  const filter = triggers[asked.event] ?? {};
  if (asked.event === "pull_request") {
    only(["types", "branches"], filter, place);
    const types = filter.types ?? ["opened", "synchronize", "reopened"];
    return types.includes(asked.github.event.action) && (filter.branches ?? ["**"]).some((glob) => matches(glob, asked.github.base_ref));
  }
  if (asked.event === "push") {
    only(["branches", "tags"], filter, place);
    const globs = asked.github.ref_type === "tag" ? filter.tags : filter.branches;
    const others = filter.branches ?? filter.tags;
    return globs ? globs.some((glob) => matches(glob, asked.github.ref_name)) : !others;
  }
  if (asked.event === "schedule") return filter.some((row) => row.cron === asked.github.event.schedule);
  if (asked.event === "workflow_dispatch") {
    if (place !== asked.workflow) return false;
    for (const [name, value] of Object.entries(asked.inputs)) {
      const input = filter.inputs?.[name];
      if (!input) errors.push(`${place}: there is no input ${name}`);
      else if (input.type === "choice" && !input.options.includes(value)) errors.push(`${place}: ${value} is no ${name}`);
    }
  }
  return true;
}

function flatten(step, contexts, place) {
  only(STEP, step, place);
  const conditions = ["success", "failure"].map((status) => holds(step.if, contexts, status));
  const local = /^(\$|\.)\/(.+)$/.exec(step.uses ?? "");
  if (local) {
    const action = parse(fs.readFileSync(path.join(asked.folder, local[2], "action.yml"), "utf8"));
    only(["name", "description", "runs"], action, local[2]);
    only(["using", "steps"], action.runs, local[2]);
    for (const inner of action.runs.steps) if (inner.run && !inner.shell) errors.push(`${local[2]}: a run without shell`);
    return action.runs.steps.flatMap((inner) => flatten(inner, contexts, local[2]));
  }
  const found = { runs: conditions[0], runsAfterFailure: conditions[1], env: fill(step.env ?? {}, contexts) };
  if (step.run !== undefined) {
    if (!["bash", undefined].includes(step.shell)) errors.push(`${place}: shell ${step.shell} is not known here`);
    return [{ ...found, run: fill(step.run, contexts), strict: step.shell === "bash" }];
  }
  const [, name, revision] = /^([^@]+)@(.*)$/.exec(step.uses ?? "") ?? [];
  if (!ACTIONS[name]) errors.push(`${place}: action ${step.uses} is not known here`);
  else only(ACTIONS[name], step.with ?? {}, `${place}: ${name}`);
  if (!/^[0-9a-f]{40}$/.test(revision ?? "")) errors.push(`${place}: ${step.uses} is not a commit`);
  return [{ ...found, uses: name, with: fill(step.with ?? {}, contexts) }];
}

const jobs = [];
const folder = path.join(asked.folder, ".github", "workflows");
for (const file of fs.readdirSync(folder).sort()) {
  const content = fs.readFileSync(path.join(folder, file), "utf8");
  const trace = { error() {}, info() {}, verbose() {} };
  const parsed = parseWorkflow({ name: file, content }, trace);
  const template = await convertWorkflowTemplate(parsed.context, parsed.value);
  for (const error of [...parsed.context.errors.getErrors(), ...(template.errors ?? [])]) errors.push(`${file}: ${error.message ?? error.Message}`);
  if (errors.length) continue;
  const workflow = parse(content);
  only(WORKFLOW, workflow, file);
  if (!starts(workflow.on, file)) continue;
  const base = { github: asked.github, vars: asked.vars, secrets: asked.secrets, inputs: asked.inputs, runner: { os: "Linux" } };
  const shared = fill(workflow.env ?? {}, base);
  const left = new Set();
  for (const [id, job] of Object.entries(workflow.jobs)) {
    const place = `${file}: ${id}`;
    only(JOB, job, place);
    const needs = [job.needs ?? []].flat();
    if (needs.some((name) => left.has(name)) || !holds(job.if, base, "success")) {
      left.add(id);
      continue;
    }
    const env = { ...shared, ...fill(job.env ?? {}, { ...base, env: shared }) };
    const steps = (job.steps ?? []).flatMap((step) => flatten(step, { ...base, env }, place));
    const permissions = job.permissions ?? workflow.permissions ?? { contents: "write" };
    const facts = fill({ runner: job["runs-on"], concurrency: job.concurrency ?? workflow.concurrency, environment: job.environment ?? "" }, base);
    jobs.push({ name: id, needs, env, steps, permissions, minutes: job["timeout-minutes"], ...facts });
  }
}
console.log(JSON.stringify(errors.length ? { errors } : { jobs }, null, 1));
