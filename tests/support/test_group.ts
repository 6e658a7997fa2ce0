/**
 * Several test files in one isolate: the modules that all of them need are loaded and compiled once. Between the tests of one
 * file and those of the next everything is as when each has an isolate of its own: hooks run around the tests of their file,
 * and what they open and close is no leak, for it happens in tests of its own, whose leaks are not looked for.
 */

/** Begins the names of the tests that run the hooks of a file; they count only when they fail. */
export const HOOKS_OF = "hooks of ";

type Hook = () => void | Promise<void>;

const HOOK_NAMES = ["beforeAll", "afterAll", "beforeEach", "afterEach"] as const;

/** Registers the tests of a file of the group. A file that cannot be loaded is a test that fails. */
export async function loadTestFile(file: string, load: () => Promise<unknown>): Promise<void> {
  const before: Hook[] = [];
  const after: Hook[] = [];
  using _taken = takeHooks({
    beforeAll: (hook) => {
      // Where it stands in the file, as the first hook does.
      if (before.push(hook) === 1) registerHooks(`${HOOKS_OF}${file}: before all`, before);
    },
    // The last to be registered is the first to run, as in Deno.
    afterAll: (hook) => after.unshift(hook),
  });
  try {
    await load();
  } catch (error) {
    Deno.test(`${file} can be loaded`, () => {
      throw error;
    });
  }
  if (after.length > 0) registerHooks(`${HOOKS_OF}${file}: after all`, after);
}

/** All of them are tried, or a database would stay because something before it could not be closed. */
function registerHooks(name: string, hooks: readonly Hook[]): void {
  const fn = async () => {
    const errors: unknown[] = [];
    for (const hook of hooks) {
      try {
        await hook();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors.length === 1 ? errors[0] : new AggregateError(errors);
  };
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });
}

interface TakenHooks {
  readonly beforeAll: (hook: Hook) => void;
  readonly afterAll: (hook: Hook) => void;
}

/** Until it is disposed, hooks are those of one file. */
function takeHooks(taken: TakenHooks): Disposable {
  const own = HOOK_NAMES.map((name) => [name, Deno.test[name]] as const);
  const refuse = () => {
    throw new Error("Cannot group this file: its hooks run around each test. See ALONE");
  };
  Object.assign(Deno.test, { beforeEach: refuse, afterEach: refuse, ...taken });
  return { [Symbol.dispose]: () => void Object.assign(Deno.test, Object.fromEntries(own)) };
}
