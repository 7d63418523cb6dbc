// Writes each text and wasm file of the built site also as .br and .gz, as small as they get, so that the server never
// compresses the same bytes twice.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const root = process.argv[2];
for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath ?? entry.path, entry.name);
  if (/\.(br|gz)$/.test(path)) rmSync(path);
  if (!/\.(wasm|js|css|svg|txt)$/.test(path)) continue;
  const bytes = readFileSync(path);
  const brotli = brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
  writeFileSync(`${path}.br`, brotli);
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  if (path.endsWith(".wasm")) console.log(`${entry.name}: ${bytes.length} bytes, ${brotli.length} as brotli`);
}
