// The way of a newcomer to the end: what the page gives to copy is given to the real nix.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { alive, expect, setUp, test } from "../iglu";

const run = promisify(execFile);
// What a machine without nixbld users and without the internet needs, and no cache of ours.
const local = "build-users-group =\nsandbox = false\nconnect-timeout = 3\ndownload-attempts = 1\n";

test("nix pulls with the nix.conf that was copied from the page", async ({ page, fresh, context }) => {
  const folder = await mkdtemp(path.join(tmpdir(), "iglu-nix-"));
  const nix = (program: string, args: string[], config: string) =>
    run(program, args, {
      env: { ...process.env, HOME: folder, NIX_CONF_DIR: folder, NIX_CONFIG: config, NIX_REMOTE: "", NIX_PATH: "" },
    });
  const content = `pushed at ${Date.now()}`;
  const expression = `derivation { name = "from-the-page"; system = builtins.currentSystem; builder = "/bin/sh"; args = [ "-c" "echo '${content}' > $out" ]; }`;
  const built = (await nix("nix-build", ["--no-out-link", "-E", expression], `${local}substituters =\n`)).stdout.trim();

  await setUp(page, fresh.setupLink);
  await alive(page);
  const commands = await page.getByTestId("snippet-cachix-push").innerText();
  await fresh.pushPath("main", commands.match(/authtoken (\S+)/)?.[1] ?? "", built);
  await expect(page.getByTestId("arrived")).toContainText("from-the-page");

  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.getByRole("link", { name: "Use this cache" }).click();
  await page.getByText("nix.conf", { exact: true }).click();
  await page.getByRole("button", { name: "Copy /etc/nix/nix.conf" }).click();
  await expect(page.getByRole("button", { name: "Copy /etc/nix/nix.conf" })).toContainText("Copied");
  await writeFile(path.join(folder, "nix.conf"), await page.evaluate(() => navigator.clipboard.readText()));
  const store = path.join(folder, "store");
  await nix("nix-store", ["--store", store, "--realise", built], local);
  expect(await readFile(path.join(store, built), "utf8")).toBe(`${content}\n`);
});
