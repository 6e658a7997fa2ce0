import type { AuthContext, ParsedKey } from "ssh2";
import { type KeyPair, makeKeyPair, parseKey } from "./key_pair.ts";
import type { Behaviour } from "./behaviour.ts";

export type LoginMethod = "password" | "keyboard-interactive" | "publickey";

/** Who may log in to a device of the farm, and by which methods. */
export interface Login {
  readonly username: string;
  /** Others who may log in by the same secrets. */
  readonly alsoUsers?: readonly string[];
  readonly methods: readonly LoginMethod[];
  readonly password?: string;
  readonly keyPair?: KeyPair;
  /** Asked for by `enable`; without one the session starts in enable mode. */
  readonly enableSecret?: string;
}

/** A login attempt as it is logged: never with what was sent. */
export interface LoginAttempt {
  readonly method: AuthContext["method"];
  readonly username: string;
  readonly accepted: boolean;
}

export const DEFAULT_LOGIN: Login = {
  username: "netops",
  methods: ["password", "keyboard-interactive"],
  password: "farm-Password.1",
};

/** A login by key alone; the client is given `login.keyPair`. */
export function makeKeyLogin(...settings: Parameters<typeof makeKeyPair>): Login {
  return { username: "netops", methods: ["publickey"], keyPair: makeKeyPair(...settings) };
}

interface Answering {
  readonly login: Login;
  readonly behaviour: Behaviour;
  readonly record: (attempt: LoginAttempt) => void;
}

/** Answers one authentication request as the login allows and the fault orders. */
export function answerLogin(context: AuthContext, { login, behaviour, record }: Answering): void {
  function decide(matches: boolean): void {
    const isKnown = [login.username, ...login.alsoUsers ?? []].includes(context.username);
    const accepted = matches && isKnown && behaviour.login !== "reject";
    record({ method: context.method, username: context.username, accepted });
    if (accepted) context.accept();
    else context.reject([...login.methods]);
  }
  if (behaviour.login === "hang" && context.method !== "none") {
    return record({ method: context.method, username: context.username, accepted: false });
  }
  if (!login.methods.some((method) => method === context.method)) return decide(false);
  if (context.method === "password") return decide(context.password === login.password);
  if (context.method === "keyboard-interactive") {
    const questions = [{ prompt: "Password: ", echo: false }];
    return context.prompt(questions, (answers) => decide(answers[0] === login.password));
  }
  if (context.method !== "publickey") return decide(false);
  const key = login.keyPair && parseKey(login.keyPair.publicKey);
  const known = key !== undefined && key.getPublicSSH().equals(context.key.data);
  // Without a signature the client only asks whether the key would do: that is no attempt yet.
  if (known && context.signature === undefined) return context.accept();
  decide(known && isSigned(context, key));
}

function isSigned(context: AuthContext, key: ParsedKey): boolean {
  if (context.method !== "publickey" || !context.blob || !context.signature) return false;
  return key.verify(context.blob, context.signature, context.hashAlgo) === true;
}
