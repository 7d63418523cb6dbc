// A team's first day, from the set-up link to a revoked login. Each step is done by the same clicks with JavaScript and without.
import type { Page } from "@playwright/test";
import { admin, alive, expect, logIn, setUp, test } from "../iglu";

// The browser notes each refused call, and the pages that are gone.
test.use({ allowed: /Failed to load resource.*40\d|was preloaded/ });

test("a team's first day", async ({ page, fresh, browser, javaScriptEnabled }) => {
  test.setTimeout(90_000);
  const scripted = javaScriptEnabled !== false;
  const ready = (page: Page) => (scripted ? alive(page) : Promise.resolve());
  const open = async (path: string) => {
    await page.goto(fresh.url + path);
    await ready(page);
  };
  const newcomer = async () => {
    const context = await browser.newContext({ javaScriptEnabled: scripted });
    return { context, page: await context.newPage() };
  };

  await test.step("a private cache is made", async () => {
    await setUp(page, fresh.setupLink);
    await open("/caches/new");
    await page.getByLabel("Name").fill("team");
    await page.getByLabel(/^Private/).check();
    await page.getByRole("button", { name: "Create cache" }).click();
    await expect(page).toHaveURL(/\/caches\/team/);
    const stranger = await newcomer();
    const answer = await stranger.page.goto(`${fresh.url}/caches/team`);
    expect(stranger.page.url(), "it is as if it were not there").toContain("/login");
    expect(answer?.ok()).toBe(true);
    await stranger.context.close();
  });

  const member = await newcomer();
  await test.step("somebody is invited and joins", async () => {
    await open("/caches/team/members");
    await page.getByRole("button", { name: "Make a link" }).click();
    const dialog = page.getByRole("dialog");
    const note = (await dialog.count()) > 0 ? dialog.getByLabel("Whom it is for") : page.getByLabel("Whom it is for");
    await note.fill("Grace");
    await page.getByRole("button", { name: "Make a link" }).last().click();
    const link = (await page.getByTestId("created-link").innerText()).trim();
    await member.page.goto(link.replace(/^http:\/\/[^/]+/, fresh.url));
    await ready(member.page);
    await member.page.getByLabel("Name").fill("grace");
    await member.page.getByLabel("Password").fill("a password of Grace");
    await member.page.getByRole("button", { name: "Create account" }).click();
    await expect(member.page.getByRole("heading", { name: "Overview" })).toBeVisible();
  });

  let token = "";
  await test.step("a token is made and paths are pushed", async () => {
    await open("/tokens/new");
    await page.getByLabel("Name").fill("ci");
    await page.getByLabel("Cache", { exact: true }).selectOption("team");
    await page.getByRole("button", { name: "Create token" }).click();
    token = (await page.getByTestId("created-token").innerText()).trim();
    await fresh.push("team", token, 5, 11);
  });

  await test.step("a path is searched, and one file is read out of it", async () => {
    await open("/caches/team/paths");
    const search = page.getByRole("main").getByRole("searchbox").first();
    await search.fill("synthetic-3");
    await search.press("Enter");
    const found = page.getByRole("main").getByRole("link", { name: /synthetic-\d$/ });
    await expect(found).toHaveCount(1);
    await found.click();
    await expect(page.getByRole("heading", { name: "synthetic-3" })).toBeVisible();
    const download = page.waitForEvent("download");
    await page.getByRole("link", { name: /^Save / }).first().click();
    expect(await (await download).failure()).toBeNull();
  });

  await test.step("it is pinned", async () => {
    await ready(page);
    await page.getByRole("link", { name: "Pin", exact: true }).click();
    await ready(page);
    await page.getByLabel("Name").fill("release");
    await page.getByRole("button", { name: "Pin", exact: true }).click();
    await expect(page.getByRole("table", { name: "Pins" })).toContainText("synthetic-3");
  });

  await test.step("retention is previewed, set and run", async () => {
    // What is young stays whatever the rules say.
    await fresh.age(2);
    await open("/caches/team/retention");
    await page.getByLabel("Size of the cache").fill("1 KiB");
    await page.getByRole("button", { name: "Preview" }).click();
    await expect(page.getByText("paths stay")).toBeVisible();
    await expect(page.getByRole("table", { name: "Paths that would go" }).getByRole("row")).not.toHaveCount(0);
    await page.getByRole("button", { name: "Save rules" }).click();
    if (scripted) await expect(page.getByRole("status").filter({ hasText: "Saved." })).toBeVisible();
    await expect(async () => {
      await open("/caches/team/retention");
      await expect(page.getByLabel("Size of the cache")).toHaveValue("1 KiB", { timeout: 500 });
    }).toPass();
    await page.getByRole("button", { name: "Run now" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Remove now" }).click();
    await expect(async () => {
      await open("/caches/team/paths");
      await expect(page.getByRole("main").getByRole("link", { name: /synthetic-\d$/ })).toHaveCount(4, { timeout: 500 });
    }, "what the pin needs stays, and one path goes").toPass({ timeout: 20_000 });
  });

  await test.step("the key is rotated", async () => {
    await open("/caches/team/keys");
    await page.getByRole("button", { name: "Add a key" }).click();
    const rows = page.getByRole("table", { name: "Keys" }).getByRole("row");
    await expect(rows).toHaveCount(3);
    await expect(async () => {
      await open("/caches/team/keys");
      await expect(rows.nth(2)).not.toContainText("signing", { timeout: 500 });
    }).toPass({ timeout: 40_000 });
    await page.getByRole("button", { name: /Retire key team\..*-1$/ }).click();
    await page.getByRole("dialog", { name: /-1\?$/ }).getByRole("button", { name: "Retire key" }).click();
    await expect(rows.nth(1)).toContainText("retired");
  });

  await test.step("why a path is not substituted", async () => {
    await open("/caches/team/why");
    const asked = page.getByRole("main").getByLabel("Store path");
    await asked.fill("/nix/store/00000000000000000000000000000000-absent");
    await asked.press("Enter");
    await expect(page.getByText(/is not in cache "team"/).first()).toBeVisible();
  });

  await test.step("the log has all of it", async () => {
    await open("/admin/audit");
    const table = page.getByRole("table", { name: "Changes" });
    for (const said of ["grace", "team", "ci", "release"]) await expect(table).toContainText(said);
  });

  await test.step("another login is ended", async () => {
    const userAgent = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Safari/604.1";
    const context = await browser.newContext({ javaScriptEnabled: scripted, userAgent });
    const elsewhere = { context, page: await context.newPage() };
    await logIn(elsewhere.page, fresh);
    await open("/account");
    await page.getByRole("button", { name: /Log out Safari on iPhone/ }).click();
    await expect(page.getByRole("row", { name: /iPhone/ })).toHaveCount(0);
    await elsewhere.page.goto(`${fresh.url}/tokens`);
    await expect(elsewhere.page).toHaveURL(/\/login/);
    await elsewhere.context.close();
  });
  await member.context.close();
  expect(token.length).toBeGreaterThan(20);
  expect(await page.content()).not.toContain(admin.password);
});
