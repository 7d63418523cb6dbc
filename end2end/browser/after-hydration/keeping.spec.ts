// What is in a cache and what stays: a path's page, its files, pins, rules, removal and the way back.
import { alive, expect, setUp, test } from "../iglu";

// The browser notes each refused call, and the pages that are gone.
test.use({ allowed: /Failed to load resource.*40\d/ });

test("a path is looked at, pinned, kept, removed and put back", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "pusher", "--cache", "main", "--scope", "push");
  await fresh.push("main", token, 3, 7);
  await page.goto(`${fresh.url}/caches/main/paths`);
  await alive(page);
  await page.getByRole("link", { name: /synthetic-2$/ }).click();
  await expect(page.getByRole("heading", { name: "synthetic-2" })).toBeVisible();
  await expect(page.getByText("Nothing in this cache refers to it.")).toBeVisible();
  const address = page.url();

  // One file out of it, to be saved.
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: /^Save / }).first().click();
  expect((await (await download).createReadStream()).readable).toBe(true);

  await page.getByRole("link", { name: "Pin", exact: true }).click();
  await expect(page.getByLabel("Store path", { exact: true })).toHaveValue(/synthetic-2$/);
  await page.getByLabel("Name").fill("kept");
  await page.getByLabel("Keep").selectOption("days");
  await page.getByLabel("How many").fill("none");
  await page.getByRole("button", { name: "Pin", exact: true }).click();
  await expect(page.getByLabel("How many")).toHaveAccessibleDescription(/how many/);
  await expect(page.getByLabel("Name"), "what was typed stays").toHaveValue("kept");
  await page.getByLabel("How many").fill("30");
  await page.getByRole("button", { name: "Pin", exact: true }).click();
  await expect(page.getByRole("table", { name: "Pins" })).toContainText("kept");

  // A pinned path stays.
  await page.goto(address);
  await alive(page);
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove path" }).click();
  await expect(page.getByRole("alert").filter({ hasText: "pin" })).toBeVisible();
  await page.getByRole("link", { name: "Pins", exact: true }).click();
  await page.getByRole("button", { name: "Unpin kept" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Unpin" }).click();
  await expect(page.getByText("Nothing is pinned.")).toBeVisible();

  await page.goto(address);
  await alive(page);
  await page.getByRole("button", { name: "Remove", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove path" }).click();
  const removals = page.getByRole("table", { name: "Removals" });
  await expect(removals).toContainText("By ada");
  await removals.getByRole("button", { name: "Undo" }).click();
  await expect(removals).toContainText("undone");
  await page.goto(address);
  await expect(page.getByRole("heading", { name: "synthetic-2" })).toBeVisible();
});

test("rules are previewed before they are saved", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "pusher", "--cache", "main", "--scope", "push");
  await fresh.push("main", token, 3, 7);
  await page.goto(`${fresh.url}/caches/main`);
  await alive(page);
  await page.getByRole("link", { name: "Retention", exact: true }).click();
  await expect(page.getByText("No rule takes anything out")).toBeVisible();
  await page.getByLabel("Days since the last push").fill("30");
  await page.getByLabel("Size of the cache").fill("5 GiB");
  await page.getByRole("button", { name: "Preview" }).click();
  await expect(page).toHaveURL(/pushed_days=30&used_days=&bytes=5%20GiB/);
  await expect(page.getByText("paths stay")).toBeVisible();
  await expect(page.getByLabel("Size of the cache")).toHaveValue("5 GiB");
  await page.getByRole("button", { name: "Save rules" }).click();
  await expect(page.getByRole("status").filter({ hasText: "Saved." })).toBeVisible();
  await page.goto(`${fresh.url}/caches/main/retention`);
  await expect(page.getByLabel("Days since the last push")).toHaveValue("30");

  // Somebody else was here meanwhile.
  await alive(page);
  await fresh.admin("retention", "set", "main", "--pushed-days", "60");
  await page.getByLabel("Days since the last push").fill("1");
  await page.getByRole("button", { name: "Save rules" }).click();
  await expect(page.getByRole("alert").filter({ hasText: "somebody changed" })).toBeVisible();
  await expect(page.getByLabel("Days since the last push"), "what was typed stays").toHaveValue("1");
});

test("settings are saved, and a cache goes only by its name", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  await page.goto(`${fresh.url}/caches/main/settings`);
  await alive(page);
  await page.getByLabel("Upstreams (optional)", { exact: true }).fill("no address");
  await page.getByRole("button", { name: "Save settings" }).click();
  await expect(page.getByLabel("Upstreams (optional)", { exact: true })).toHaveAccessibleDescription(/no URL/);
  await page.getByLabel("Upstreams (optional)", { exact: true }).fill("https://cache.nixos.org");
  await page.getByLabel("Priority").fill("30");
  await page.getByRole("button", { name: "Save settings" }).click();
  await expect(page.getByText("priority 30")).toBeVisible();

  await page.getByRole("button", { name: "Remove cache" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel(/^Type main/).fill("mai");
  await dialog.getByRole("button", { name: "Remove for ever" }).click();
  await expect(dialog.getByLabel(/^Type main/)).toHaveAccessibleDescription(/type main/i);
  await dialog.getByLabel(/^Type main/).fill("main");
  await dialog.getByRole("button", { name: "Remove for ever" }).click();
  await expect(page.getByText("There is no cache yet")).toBeVisible();
});
