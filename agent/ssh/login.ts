// @ts-types="@types/ssh2"
import type ssh2 from "ssh2";
import { PASSWORD_EXPIRED } from "@rookery/shared/drivers/questions.ts";
import { DeviceError, plainText } from "./ssh_failure.ts";

/** What a login may use; a key comes parsed, from `readPrivateKey`. */
export interface LoginSecrets {
  readonly username: string;
  readonly password: string | undefined;
  readonly key: ssh2.ParsedKey | undefined;
  /** `host:port`, for messages. */
  readonly where: string;
}

type Method = "none" | "publickey" | "password" | "keyboard-interactive";

/**
 * The question for the password of this login, and nothing else: not a one-time code, not the passphrase of a key,
 * not "Enable password:". "Password:", "admin@core-1's password:", "(admin@core-1) Password for admin:", "Enter your
 * RADIUS password:", and the same in the languages that devices and PAM speak.
 */
const PASSWORD_QUESTION = new RegExp(
  String.raw`^(?:\([^)]*\) ?|\S+'s )?(?:(?:please )?(?:enter|type|input) (?:your |the )?)?` +
    String.raw`(?:(?:login|user|account|unix|domain|system|ldap|radius|tacacs\+?|ad|aaa) )?` +
    String
      .raw`(?:password|passwort|kennwort|mot de passe|contraseña|contrasena|senha|hasło|密码|密碼|パスワード)` +
    String.raw`(?: (?:for|de|für|para) \S+)?\s*[:：>]?\s*$`,
  "i",
);
const CHANGE_QUESTION =
  /\b(?:new|current|old|retype|re-enter|change|expired)\b.{0,40}\bpassword\b|\bpassword\b.{0,40}\bexpired\b/i;
const EXPIRED = PASSWORD_EXPIRED.map((source) => new RegExp(source));

/**
 * Decides what to try next at one device: nothing (to learn what it accepts), the key, then the password. Each secret is sent
 * once: a device that locks out after a few failures must see at most one per secret. The password goes by `password`, or by
 * `keyboard-interactive` where `password` is not offered.
 */
export class Login {
  readonly #secrets: LoginSecrets;
  readonly #fail: (error: DeviceError) => void;
  readonly #tried: Method[] = [];
  #offered: readonly string[] = [];
  #answered = false;
  #refusals = 0;

  /** `fail` is called when the device asks something that ends the login at once. */
  constructor(secrets: LoginSecrets, fail: (error: DeviceError) => void) {
    this.#secrets = secrets;
    this.#fail = fail;
  }

  /** Whether the device was shown a secret: when it closes the connection then, that is its answer. */
  get secretShown(): boolean {
    return this.#tried.some((method) => method === "password" || method === "publickey") ||
      this.#answered;
  }

  /** ssh2's authentication handler. `offered` is null at the first call, whatever its types say. */
  next(
    offered: readonly string[] | null,
    partialSuccess: boolean | null,
    go: ssh2.NextAuthHandler,
  ): void {
    this.#offered = offered ?? [];
    const last = this.#tried.at(-1);
    if (last !== undefined && last !== "none" && partialSuccess !== true) this.#refusals++;
    const method = this.#choose();
    if (!method) return this.#fail(this.rejection());
    this.#tried.push(method);
    const request = this.#request(method);
    if (request) go(request);
  }

  /** The error of a login that the device refused. */
  rejection(): DeviceError {
    const { where, username } = this.#secrets;
    const tried = this.#tried.filter((method) => method !== "none");
    const offered = this.#offered.length > 0
      ? ` It offers ${plainText(this.#offered.join(", "), 200)}.`
      : "";
    const text = this.#refusals > 0 || tried.length > 0
      ? `it refused ${tried.join(" and ")}`
      : "the credential has nothing that it accepts";
    return new DeviceError(
      "auth_rejected",
      `Cannot log in to ${where} as ${plainText(username, 100)}: ${text}.${offered}`,
    );
  }

  #choose(): Method | undefined {
    if (this.#tried.length === 0) return "none";
    const { key, password } = this.#secrets;
    if (key && this.#mayTry("publickey")) return "publickey";
    if (password === undefined) return undefined;
    if (this.#mayTry("password")) return "password";
    // A device that goes on offering `password` has refused the password itself; asking again by another way would
    // only count as a second failure against the account.
    const passwordRefused = this.#tried.includes("password") &&
      (this.#offered.length === 0 || this.#offered.includes("password"));
    if (passwordRefused) return undefined;
    return this.#mayTry("keyboard-interactive") ? "keyboard-interactive" : undefined;
  }

  #mayTry(method: Method): boolean {
    // An empty list (some devices send none) says nothing.
    const offered = this.#offered.length === 0 || this.#offered.includes(method);
    return offered && !this.#tried.includes(method);
  }

  #request(method: Method): ssh2.AnyAuthMethod | undefined {
    const { username, key, password } = this.#secrets;
    if (method === "none") return { type: "none", username };
    if (method === "publickey") {
      // parseKey() passes a parsed key through; its type is missing in @types/ssh2 1.15.
      return key && { type: "publickey", username, key: key as unknown as ssh2.ParsedKey };
    }
    if (password === undefined) return undefined;
    if (method === "password") return { type: "password", username, password };
    return {
      type: "keyboard-interactive",
      username,
      prompt: (_name, instructions, _language, prompts, finish) =>
        this.#answer({ instructions, prompts }, finish),
    };
  }

  /** Answers one hidden password question, once; any other question ends the login: a secret is for its own prompt only. */
  #answer(
    asked: { readonly instructions: string; readonly prompts: readonly ssh2.Prompt[] },
    finish: (answers: string[]) => void,
  ): void {
    const { where, password } = this.#secrets;
    const [prompt, ...others] = asked.prompts;
    const question = plainText(asked.prompts.map((each) => each.prompt).join(" "), 200);
    // What stands before the question is a banner, in which such words mean little unless they say it outright.
    const banner = `${plainText(asked.instructions, 500)} ${question}`;
    const wantsNew = asked.prompts.some((each) => CHANGE_QUESTION.test(lastLine(each.prompt))) ||
      EXPIRED.some((pattern) => pattern.test(banner));
    if (wantsNew) {
      return this.#fail(passwordExpired(where, question));
    }
    const isPassword = prompt && others.length === 0 && prompt.echo !== true &&
      PASSWORD_QUESTION.test(lastLine(prompt.prompt));
    if (!isPassword || password === undefined) {
      return this.#fail(
        new DeviceError(
          "auth_rejected",
          `Cannot log in to ${where}: it asks "${question}", which Rookery does not answer`,
        ),
      );
    }
    if (this.#answered) return this.#fail(this.rejection());
    this.#answered = true;
    finish([password]);
  }
}

/** Some devices put a banner before the question. */
function lastLine(text: string): string {
  return text.slice(-1_000).split(/[\r\n]/).findLast((line) => line.trim() !== "")?.trim() ?? "";
}

/** The error of a device that wants a new password before it lets anybody in. */
export function passwordExpired(where: string, question: string): DeviceError {
  return new DeviceError(
    "password_expired",
    `Cannot log in to ${where}: it asks for a new password ("${plainText(question, 200)}")`,
  );
}
