import type { LoginAttempt } from "./login.ts";

/** What a device has seen. Secrets are counted, never kept. */
export interface DeviceLog {
  /** TCP connections accepted. */
  readonly connections: number;
  /** TCP connections open now. */
  readonly open: number;
  /** The most that were open at once. */
  readonly mostOpen: number;
  readonly shells: number;
  readonly execs: number;
  readonly logins: readonly LoginAttempt[];
  /** Enable secrets typed. */
  readonly enableAttempts: number;
  /** Commands received, without what was typed at a question. */
  readonly commands: readonly string[];
}

/** Entries of a list kept per device: a demo may run for days. */
const KEPT = 500;

/** The log in the making. */
export class DeviceJournal implements DeviceLog {
  connections = 0;
  open = 0;
  mostOpen = 0;
  shells = 0;
  execs = 0;
  enableAttempts = 0;
  readonly logins: LoginAttempt[] = [];
  readonly commands: string[] = [];

  opened(): void {
    this.connections++;
    this.open++;
    this.mostOpen = Math.max(this.mostOpen, this.open);
  }

  closed(): void {
    this.open--;
  }

  add<T>(list: T[], entry: T): void {
    list.push(entry);
    if (list.length > KEPT) list.shift();
  }
}
