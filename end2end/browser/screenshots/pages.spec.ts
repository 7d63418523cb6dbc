// Every page in both themes and at two widths, as pictures: `make screenshots`.
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { Iglu, alive, logIn, settled, test } from "../iglu";

const out = process.env.SCREENSHOTS ?? path.resolve(__dirname, "../../../docs/screenshots");

test("pages", async ({ page, browser }) => {
  test.setTimeout(900_000);
  await mkdir(out, { recursive: true });
  const { iglu, password } = await Iglu.demo();
  await logIn(page, iglu, password);
  const { caches } = (await iglu.admin("cache", "list")) as unknown as { caches: { name: string; path_count: number }[] };
  const cache = caches.reduce((most, cache) => (cache.path_count > most.path_count ? cache : most)).name;
  const listed = (await iglu.admin("path", "list", cache, "nixos-system-web")) as unknown as { rows: { hash: string }[] };
  const hash = listed.rows[0].hash;
  const { link } = await iglu.admin("member", "invite", cache, "pusher", "Linus, kernel builds");
  const invitation = new URL(link).pathname;
  const runs = (await iglu.admin("run", "list", "website")) as unknown as { runs: { id: number; state: string }[] };
  const failed = runs.runs.find((run) => run.state === "failed")?.id;
  const succeeded = runs.runs.find((run) => run.state === "succeeded")?.id;
  const pages: [string, string][] = [
    ["overview", "/"],
    ["caches", "/caches"],
    ["use", `/caches/${cache}`],
    ["paths", `/caches/${cache}/paths`],
    ["path", `/caches/${cache}/paths/${hash}`],
    ["pins", `/caches/${cache}/pins`],
    ["keys", `/caches/${cache}/keys`],
    ["retention", `/caches/${cache}/retention?pushed_days=&used_days=&bytes=10+MiB&revisions=`],
    ["settings", `/caches/${cache}/settings`],
    ["members", `/caches/${cache}/members`],
    ["activity", `/caches/${cache}/activity`],
    ["why", `/caches/${cache}/why?path=${hash}`],
    ["statistics", `/caches/${cache}/statistics?span=day`],
    ["builders", "/builders"],
    ["builder", "/builders/website"],
    ["builder-webhook", "/builders/website/webhook"],
    ["builder-settings", "/builders/website/settings"],
    ["builder-new", "/builders/new"],
    ["run", `/runs/${failed}`],
    ["run-succeeded", `/runs/${succeeded}`],
    ["queue", "/queue"],
    ["nodes", "/nodes"],
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
        await shown.goto(iglu.url + address);
        await alive(shown);
        await settled(shown);
        await shown.screenshot({ path: path.join(out, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      }
      await context.close();
    }
  }
  // A live page would miss its server and say so.
  await page.goto("about:blank");
  await iglu.stop();
});
