/**
 * Random histories of the lease engine against its model. ROOKERY_MODEL_RUNS asks for more of them than the suite takes,
 * ROOKERY_MODEL_SEED for the very same ones again; a failure prints its seed and the shortest history that shows it.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { testDatabase } from "../../support/database.ts";
import { LeaseEngine } from "./lease_engine.ts";
import { apply, type MadeUp, type Operation, type Outcome, REAP_PARTS } from "./lease_model.ts";
import { type Plan, PLANS, RACERS } from "./lease_plans.ts";
import { initialState, type State } from "./lease_state.ts";
import { compare, holdTime, look, matches } from "./observe_leases.ts";

const database = testDatabase({ poolSize: 6 });
const RUNS = Number(Deno.env.get("ROOKERY_MODEL_RUNS") ?? 40);
const SEED = Number(Deno.env.get("ROOKERY_MODEL_SEED") ?? Math.trunc(Math.random() * 2 ** 31));
/** Whoever only wants to know that something fails does not wait for the shortest history. */
const SHRINKS = Deno.env.get("ROOKERY_MODEL_SHRINKS") !== "0";

interface Model {
  state: State;
}

/** The engine, and until when it has been looked at. */
interface Real {
  readonly engine: LeaseEngine;
  since: string;
}

class LeaseStep implements fc.AsyncCommand<Model, Real> {
  readonly #plan: Plan;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  check({ state }: Readonly<Model>): boolean {
    return this.#plan.resolve(state) !== undefined;
  }

  async run(model: Model, real: Real): Promise<void> {
    const operation = this.#plan.resolve(model.state) ?? assert.fail();
    const told = await real.engine.perform(operation);
    const { state, reply } = apply(model.state, operation, told.madeUp);
    assert.deepEqual(told.reply, reply, `the answer to ${this}`);
    const seen = await look(database.db, real.engine, real.since);
    compare(state, seen, real.engine);
    await settleOn(state, { model, real, at: seen.at });
  }

  toString(): string {
    return textOf(this.#plan);
  }
}

function textOf({ name, values }: Plan): string {
  return [name, ...values.map((value) => JSON.stringify(value))].join(" ");
}

async function settleOn(
  state: State,
  { model, real, at }: { model: Model; real: Real; at: string },
): Promise<void> {
  await holdTime(database.db, real.engine, { state, since: real.since });
  model.state = state;
  real.since = at;
}

/** Two operations in the same moment: what comes of them must be what comes of them one after the other, in either order. */
class LeaseRace implements fc.AsyncCommand<Model, Real> {
  readonly #plans: readonly [Plan, Plan];

  constructor(plans: readonly [Plan, Plan]) {
    this.#plans = plans;
  }

  check({ state }: Readonly<Model>): boolean {
    return this.#plans.every((plan) => plan.resolve(state) !== undefined);
  }

  async run(model: Model, real: Real): Promise<void> {
    const operations = this.#plans.map((plan) => plan.resolve(model.state) ?? assert.fail());
    const told = await Promise.all(operations.map((one) => real.engine.perform(one)));
    const seen = await look(database.db, real.engine, real.since);
    const histories = ordersOf(operations.map((one, index) => partsOf(one, index)))
      .flatMap((history) => [history, withEarlyChoice(history, model.state)]);
    const replies = told.map(({ reply }) => reply);
    const fitting = histories.map((history) => play(model.state, history)).filter((end) =>
      operations.every((_, index) => isSame(end.replies[index], replies[index]))
    );
    const end = fitting.find(({ state }) => matches(state, seen, real.engine));
    if (!end) {
      const [first] = fitting;
      if (first) compare(first.state, seen, real.engine);
      assert.fail(`no order of ${this} gives the answers ${JSON.stringify(replies)}`);
    }
    await settleOn(end.state, { model, real, at: seen.at });
  }

  toString(): string {
    return this.#plans.map(textOf).join(" || ");
  }
}

interface Part {
  readonly operation: Operation;
  readonly of: number;
}

/** The upkeep is four transactions, between which others may come. */
function partsOf(operation: Operation, of: number): Part[] {
  if (operation.type !== "reap") return [{ operation, of }];
  return REAP_PARTS.map((part) => ({ operation: { type: "reap", part }, of }));
}

/** A claim may have chosen before the other one came, and then does without what that one took; two claims wait for each other. */
function withEarlyChoice(history: readonly Part[], chosenIn: State): Part[] {
  if (history.every(({ operation }) => operation.type === "claim")) return [...history];
  return history.map(({ operation, of }) =>
    operation.type === "claim" ? { operation: { ...operation, chosenIn }, of } : { operation, of }
  );
}

/** Every way of putting the lists into one, each of them in its own order. */
function ordersOf([one = [], other = []]: readonly (readonly Part[])[]): Part[][] {
  const [first, ...rest] = one;
  const [second, ...remaining] = other;
  if (!first) return [[...other]];
  if (!second) return [[...one]];
  return [
    ...ordersOf([rest, other]).map((tail) => [first, ...tail]),
    ...ordersOf([one, remaining]).map((tail) => [second, ...tail]),
  ];
}

const NONE_MADE_UP: MadeUp = new Map();

function play(state: State, history: readonly Part[]) {
  const replies: unknown[] = [];
  let end: Outcome = { state, reply: undefined };
  for (const { operation, of } of history) {
    end = apply(end.state, operation, NONE_MADE_UP);
    replies[of] = end.reply;
  }
  return { state: end.state, replies };
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

const COMMANDS = [
  ...PLANS.map((plan) => plan.map((drawn) => new LeaseStep(drawn))),
  ...RACERS.slice(0, 6).map((racer) =>
    fc.tuple(racer, fc.oneof(...RACERS)).map((plans) => new LeaseRace(plans))
  ),
];

Deno.test("the lease engine does what its model does, in random histories with operations in the same moment", async () => {
  const histories = fc.commands(COMMANDS, { maxCommands: 60, size: "max" });
  await fc.assert(
    fc.asyncProperty(histories, async (commands) => {
      const engine = await LeaseEngine.make(database.db);
      const real: Real = { engine, since: "-infinity" };
      const model: Model = { state: initialState() };
      real.since = (await look(database.db, engine, real.since)).at;
      await holdTime(database.db, engine, { state: model.state, since: real.since });
      await fc.asyncModelRun(() => ({ model, real }), commands);
    }),
    { numRuns: RUNS, seed: SEED, endOnFailure: !SHRINKS },
  );
});
