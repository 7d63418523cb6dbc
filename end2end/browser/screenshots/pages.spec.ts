// Every page in both themes and at two widths, as pictures: `make screenshots`.
import { execFile } from "node:child_process";
import { mkdir, mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { alive, setUp, test } from "../iglu";

const out = process.env.SCREENSHOTS ?? path.resolve(__dirname, "../../../docs/screenshots");

const run = promisify(execFile);

/** A closure as people have them, built on this machine: a program, libraries of many sizes, what all of them need. */
async function closure(): Promise<string> {
  const home = await mkdtemp(path.join(tmpdir(), "iglu-shots-"));
  const config = "build-users-group =\nsandbox = false\nsubstituters =\n";
  const expression = `
    let
      make = name: size: needs: derivation {
        inherit name; system = builtins.currentSystem; builder = "/bin/sh"; needs = needs;
        args = [ "-c" ''
          export PATH=/usr/bin:/bin
          mkdir -p $out/bin $out/lib $out/share/doc/\${name} $out/share/man/man1
          head -c \${toString size} /dev/zero | tr '\\0' x > $out/lib/lib\${name}.so
          printf '#!/bin/sh\\necho \${name}\\n' > $out/bin/\${name}; chmod +x $out/bin/\${name}
          echo "\${name}, made for a picture" > $out/share/doc/\${name}/README.md
          echo ".TH \${name} 1" > $out/share/man/man1/\${name}.1
          ln -s lib\${name}.so $out/lib/lib\${name}.so.1
          echo $needs > $out/needs
        '' ];
      };
      glibc = make "glibc-2.42" 9000000 [ ];
      zlib = make "zlib-1.3.1" 250000 [ glibc ];
      openssl = make "openssl-3.5.1" 6100000 [ glibc zlib ];
      sqlite = make "sqlite-3.50.4" 1900000 [ glibc zlib ];
      curl = make "curl-8.17.0" 900000 [ glibc openssl zlib ];
      boost = make "boost-1.88.0" 14000000 [ glibc ];
      editline = make "editline-1.17.1" 180000 [ glibc ];
      bash = make "bash-5.3" 1600000 [ glibc ];
      git = make "git-2.51.2" 7400000 [ bash curl glibc openssl zlib ];
    in make "nix-2.34.8" 4200000 [ boost curl editline git glibc openssl sqlite ]`;
  const env = { ...process.env, HOME: home, NIX_CONF_DIR: home, NIX_CONFIG: config, NIX_REMOTE: "", NIX_PATH: "" };
  const { stdout } = await run("nix-build", ["--no-out-link", "-E", expression], { env });
  return stdout.trim();
}

test("pages", async ({ page, fresh, browser }) => {
  test.setTimeout(600_000);
  await mkdir(out, { recursive: true });
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "ci-push", "--cache", "main", "--scope", "push");
  const top = await closure();
  await fresh.pushPath("main", token, top);
  await fresh.push("main", token, 30, 7);
  await fresh.admin("pin", "create", "main", "nix", top);
  await fresh.user("grace");
  await fresh.admin("member", "set", "main", "grace", "maintainer");
  const { link } = await fresh.admin("member", "invite", "main", "pusher", "Linus, kernel builds");
  const invitation = new URL(link).pathname;
  const hash = top.slice("/nix/store/".length).split("-")[0];
  const pages: [string, string][] = [
    ["overview", "/"],
    ["caches", "/caches"],
    ["use", "/caches/main"],
    ["paths", "/caches/main/paths"],
    ["path", `/caches/main/paths/${hash}`],
    ["pins", "/caches/main/pins"],
    ["keys", "/caches/main/keys"],
    ["retention", "/caches/main/retention?pushed_days=&used_days=&bytes=10+MiB&revisions="],
    ["settings", "/caches/main/settings"],
    ["members", "/caches/main/members"],
    ["activity", "/caches/main/activity"],
    ["why", `/caches/main/why?path=${encodeURIComponent(top)}`],
    ["statistics", "/caches/main/statistics?span=day"],
    ["admin", "/admin"],
    ["audit", "/admin/audit"],
    ["users", "/admin/users"],
    ["invite", invitation],
    ["tokens", "/tokens"],
    ["account", "/account"],
  ];
  const only = process.env.ONLY?.split(",");
  const state = await page.context().storageState();
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [1440, 390]) {
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 900 }, storageState: state });
      const shown = await context.newPage();
      for (const [name, address] of pages.filter(([name]) => !only || only.includes(name))) {
        await shown.goto(fresh.url + address);
        await alive(shown);
        await shown.evaluate(() => Promise.allSettled(document.getAnimations().map((animation) => animation.finished)));
        await shown.screenshot({ path: path.join(out, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      }
      await context.close();
    }
  }
});
