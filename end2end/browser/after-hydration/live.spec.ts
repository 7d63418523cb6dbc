// With JavaScript: the whole first hour, and what only a live page does.
import { admin, alive, expect, logIn, setUp, test } from "../iglu";

test("from the set-up link to a path that appears by itself", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  await alive(page);
  await expect(page.getByText("Waiting for the first path.")).toBeVisible();
  const commands = await page.getByTestId("snippet-cachix-push").innerText();
  const token = commands.match(/authtoken (\S+)/)?.[1] ?? "";
  await fresh.push("main", token, 1, 1);
  await expect(page.getByTestId("arrived")).toContainText("synthetic-0");
  await expect(page.getByText("It is there.")).toBeVisible();

  await page.getByRole("link", { name: "Use this cache" }).click();
  await expect(page.getByRole("heading", { name: "main", exact: true })).toBeVisible();
  const shown = await fresh.admin("cache", "show", "main");
  const keys = ([] as string[]).concat(shown.public_keys).join(" ");
  await page.getByText("nix.conf", { exact: true }).click();
  expect(await page.getByTestId("snippet-nix-conf").innerText()).toBe(
    `substituters = https://cache.nixos.org ${shown.uri}\n` +
      `trusted-public-keys = cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY= ${keys}\n`,
  );
});

test("what is copied is what is shown", async ({ page, iglu, context }) => {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.goto(`${iglu.url}/caches/main`);
  await alive(page);
  await page.getByText("nix.conf", { exact: true }).click();
  await page.getByRole("button", { name: "Copy /etc/nix/nix.conf" }).click();
  await expect(page.getByRole("button", { name: "Copy /etc/nix/nix.conf" })).toContainText("Copied");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  expect(copied).toBe(await page.getByTestId("snippet-nix-conf").innerText());
  expect(copied).toMatch(/^substituters = .*\ntrusted-public-keys = .*\n$/);
});

test("the list of paths grows without a reload", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "live", "--cache", "main", "--scope", "push");
  await page.goto(`${fresh.url}/caches/main/paths`);
  await alive(page);
  await expect(page.getByText("Nothing has been pushed to this cache yet.")).toBeVisible();
  await page.evaluate(() => ((window as unknown as { same: boolean }).same = true));
  await fresh.push("main", token, 3, 2);
  await expect(page.getByRole("row")).toHaveCount(4);
  await expect(page.getByRole("row").nth(1)).toContainText("synthetic-2");
  expect(await page.evaluate(() => (window as unknown as { same?: boolean }).same)).toBe(true);

  await page.getByRole("searchbox").fill("synthetic-1");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("row")).toHaveCount(2);
  expect(await page.evaluate(() => (window as unknown as { same?: boolean }).same)).toBe(true);
  await fresh.push("main", token, 1, 3);
  await expect(page.getByText("1 path was pushed meanwhile.")).toBeVisible();
  await page.getByRole("link", { name: "Show the newest" }).click();
  await expect(page.getByRole("row")).toHaveCount(5);
});

test("a tab that is left open does not grow", async ({ page, fresh }) => {
  test.setTimeout(120_000);
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "busy", "--cache", "main", "--scope", "push");
  const browser = await page.context().newCDPSession(page);
  const weigh = async () => {
    await browser.send("HeapProfiler.collectGarbage");
    const { nodes, jsEventListeners } = await browser.send("Memory.getDOMCounters");
    const heap = await browser.send("Runtime.getHeapUsage");
    return { nodes, jsEventListeners, heap: heap.usedSize };
  };
  // What came last stands on top; pushes that run beside each other do not end in their order.
  const showsNewest = async () => {
    const listed = (await fresh.admin("path", "list", "main")) as unknown as { rows: { name: string }[] };
    await expect(page.getByText(listed.rows[0].name, { exact: true }).first()).toBeVisible({ timeout: 20_000 });
  };
  for (const address of ["/", "/caches/main/paths"]) {
    await page.goto(fresh.url + address);
    await alive(page);
    // Past the first, when a list is as long as it gets and everything that is loaded once is loaded.
    await fresh.push("main", token, 100, address.length);
    await showsNewest();
    const before = await weigh();
    for (const seed of [1, 2, 3, 4]) {
      await fresh.push("main", token, 100 + seed, 100 * address.length + seed);
      await showsNewest();
    }
    const after = await weigh();
    expect(after.nodes, `nodes of ${address}`).toBeLessThanOrEqual(before.nodes + 50);
    expect(after.jsEventListeners, `listeners of ${address}`).toBeLessThanOrEqual(before.jsEventListeners + 10);
    expect(after.heap, `heap of ${address}, in bytes`).toBeLessThan(before.heap + 1_000_000);
  }
});

test("a cache that does not work says so", async ({ page, fresh }) => {
  await page.goto(fresh.setupLink);
  await page.getByLabel("Public URL").fill("http://127.0.0.1:9");
  await page.getByLabel("Name").first().fill(admin.name);
  await page.getByLabel("Password").fill(admin.password);
  await page.getByLabel("Name").nth(1).fill("main");
  await page.getByRole("button", { name: "Set up" }).click();
  await page.waitForURL("**/caches/main/first-push");
  await page.goto(`${fresh.url}/caches/main`);
  await alive(page);
  await page.getByRole("button", { name: "Try it" }).click();
  await expect(page.getByText("GET http://127.0.0.1:9/main/nix-cache-info")).toBeVisible();
  await expect(page.getByText(/cannot be reached from the server: .*refused/)).toBeVisible();
});

test.describe("refused", () => {
  // The browser notes each refused call.
  test.use({ allowed: /Failed to load resource.*40\d/ });

  test("a wrong password keeps the name and moves the keyboard to the password", async ({ page, iglu }) => {
    await page.goto(`${iglu.url}/login`);
    await alive(page);
    await page.getByLabel("Name").fill(admin.name);
    await page.getByLabel("Password").fill("not the password");
    await page.getByRole("button", { name: "Log in" }).click();
    await expect(page.getByLabel("Password")).toHaveAccessibleDescription(/wrong/);
    await expect(page.getByLabel("Name")).toHaveValue(admin.name);
    await expect(page.getByLabel("Password")).toBeFocused();
  });
});

test("a token is shown once", async ({ page, iglu }) => {
  await logIn(page, iglu);
  await page.getByRole("link", { name: "Tokens" }).click();
  await page.getByRole("link", { name: "New token" }).click();
  await page.getByLabel("Name").fill("once");
  await page.getByRole("button", { name: "Create token" }).click();
  const token = (await page.getByTestId("created-token").innerText()).trim();
  expect(token.length).toBeGreaterThan(20);
  await page.getByRole("link", { name: "Overview" }).click();
  await page.getByRole("link", { name: "Tokens" }).click();
  await expect(page.getByRole("row", { name: /once/ })).toBeVisible();
  await expect(page.getByTestId("created-token")).toHaveCount(0);
  expect(await page.content()).not.toContain(token);
});

test("revoking one token leaves the new one on the page", async ({ page, iglu }) => {
  await iglu.admin("token", "create", "old", "--cache", "main", "--scope", "pull");
  await logIn(page, iglu);
  await page.goto(`${iglu.url}/tokens/new`);
  await alive(page);
  await page.getByLabel("Name").fill("kept");
  await page.getByRole("button", { name: "Create token" }).click();
  const token = (await page.getByTestId("created-token").innerText()).trim();
  await page.getByRole("button", { name: "Revoke token old" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke token" }).click();
  await expect(page.getByRole("row", { name: /old/ })).toContainText("revoked");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  expect((await page.getByTestId("created-token").innerText()).trim()).toBe(token);
});

test("a new cache is in the switcher at once", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  await alive(page);
  await page.getByRole("link", { name: "Caches" }).first().click();
  await page.getByRole("link", { name: "New cache" }).click();
  await page.getByLabel("Name").fill("second");
  await page.getByRole("button", { name: "Create cache" }).click();
  await expect(page).toHaveURL(`${fresh.url}/caches/second`);
  await page.getByText("Cache: second").click();
  await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: "main" }).click();
  await expect(page).toHaveURL(`${fresh.url}/caches/main`);
  await expect(page.getByRole("heading", { name: "main", exact: true })).toBeVisible();
});

test.describe("before the wasm", () => {
  // The test withholds it.
  test.use({ allowed: /ERR_FAILED|Failed to fetch/ });

  test("the theme stays chosen, without a flash", async ({ page, iglu }) => {
    await page.emulateMedia({ colorScheme: "light" });
    await page.goto(`${iglu.url}/caches/main`);
    await alive(page);
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await ground();
    await page.getByRole("button", { name: "Switch between light and dark" }).click();
    const dark = await ground();
    expect(dark).not.toBe(light);
    // Before the wasm has run, the first paint is dark already.
    await page.route("**/*.wasm", (route) => route.abort());
    await page.reload({ waitUntil: "domcontentloaded" });
    expect(await ground()).toBe(dark);
  });
});

test("keys search, go, and show themselves", async ({ page, iglu }) => {
  await logIn(page, iglu);
  await alive(page);
  await page.keyboard.press("g");
  await page.keyboard.press("t");
  await expect(page).toHaveURL(`${iglu.url}/tokens`);
  await page.keyboard.press("g");
  await page.keyboard.press("c");
  await expect(page).toHaveURL(`${iglu.url}/caches`);
  await page.goto(`${iglu.url}/caches/main/paths`);
  await alive(page);
  await page.keyboard.press("/");
  await expect(page.getByRole("searchbox")).toBeFocused();
  await page.keyboard.type("g");
  await page.keyboard.type("t");
  await expect(page).toHaveURL(`${iglu.url}/caches/main/paths`);
  await page.getByRole("searchbox").blur();
  await page.keyboard.press("?");
  await expect(page.getByRole("dialog", { name: "Keys" })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog", { name: "Keys" })).toBeHidden();
});

test("another login is ended from the account page", async ({ page, iglu, browser }) => {
  const other = await browser.newPage({ userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Safari/604.1" });
  await logIn(other, iglu);
  await logIn(page, iglu);
  await page.getByRole("link", { name: admin.name }).click();
  await page.getByRole("button", { name: /Log out Safari on iPhone/ }).click();
  await expect(page.getByRole("row", { name: /iPhone/ })).toHaveCount(0);
  await other.goto(`${iglu.url}/tokens`);
  expect(new URL(other.url()).pathname).toBe("/login");
  await other.close();
});

test.describe("deployed anew", () => {
  // A page that loads itself again while it still loads breaks off what it was fetching.
  test.use({ allowed: /Failed to fetch|[Aa]bort|ERR_/ });

  test("a page of an older server loads itself again, but not while somebody writes", async ({ page, iglu }) => {
    await logIn(page, iglu);
    // The page that one is led to may still load, and listen.
    await page.goto("about:blank");
    let loads = 0;
    // Not the end of loading: a page may load itself again before that.
    page.on("framenavigated", () => loads++);
    let others = 0;
    // As if another build had been deployed meanwhile.
    await page.route("**/events", async (route) => {
      others++;
      const body = `data: ${JSON.stringify({ kind: "hello", assets: "/assets/another" })}\n\n`;
      await (others === 1 ? route.fulfill({ contentType: "text/event-stream", body }) : route.continue());
    });
    await page.goto(`${iglu.url}/caches`);
    await expect.poll(() => loads, { message: "opened, and opened again" }).toBe(2);
    await alive(page);
    await expect(page.getByRole("heading", { name: "Caches", exact: true })).toBeVisible();

    others = 0;
    loads = 0;
    await page.route("**/events", async (route) => {
      // What is written in the first moment counts.
      await page.getByLabel("Name").fill("half a na");
      await route.fallback();
    });
    await page.goto(`${iglu.url}/caches/new`);
    await expect.poll(() => others).toBeGreaterThan(0);
    await page.waitForTimeout(1_000);
    expect(loads).toBe(1);
    await expect(page.getByLabel("Name")).toHaveValue("half a na");
  });
});
