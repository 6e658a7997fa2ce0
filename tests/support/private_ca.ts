/** A certificate authority of a test's own, made by openssl: no public CA knows it. */
import { join } from "node:path";
import { skipUnless } from "./skip.ts";

/** Registers a test that needs openssl. */
export const testWithOpenssl = skipUnless(
  await new Deno.Command("openssl", { args: ["version"], stdin: "null" }).output()
    .then(({ success }) => success, () => false),
  "openssl is not installed",
);

export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface PrivateCa extends AsyncDisposable {
  /** The CA's own certificate, PEM. */
  readonly pem: string;
  /** Issues for names such as `DNS:a.test` or `IP:::1`; with 0 days it is over at once. */
  issue(names: readonly string[], days?: number): Promise<Certificate>;
}

export async function makePrivateCa(): Promise<PrivateCa> {
  const folder = await Deno.makeTempDir({ prefix: "rookery-ca-" });
  const at = (name: string) => join(folder, name);
  const [key, pem] = [at("ca.key"), at("ca.pem")];
  await openssl(["req", "-x509", ...NEW_KEY, "-days", "30", "-subj", "/CN=A CA of this test"], {
    "-keyout": key,
    "-out": pem,
  });
  let made = 0;
  return {
    pem: await Deno.readTextFile(pem),
    async issue(names, days = 30) {
      const base = at(`server-${++made}`);
      await Deno.writeTextFile(`${base}.ext`, `subjectAltName=${names.join(",")}\n`);
      await openssl(["req", ...NEW_KEY, "-subj", "/CN=server"], {
        "-keyout": `${base}.key`,
        "-out": `${base}.csr`,
      });
      await openssl(["x509", "-req", "-CAcreateserial", "-days", String(days)], {
        "-in": `${base}.csr`,
        "-CA": pem,
        "-CAkey": key,
        "-extfile": `${base}.ext`,
        "-out": `${base}.pem`,
      });
      return {
        cert: await Deno.readTextFile(`${base}.pem`),
        key: await Deno.readTextFile(`${base}.key`),
      };
    },
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

async function openssl(args: readonly string[], files: Readonly<Record<string, string>>) {
  const { success, stderr } = await new Deno.Command("openssl", {
    args: [...args, ...Object.entries(files).flat()],
    stdin: "null",
  }).output();
  if (!success) throw new Error(`openssl ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}
