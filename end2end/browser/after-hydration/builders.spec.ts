// Builders: made, run, watched, cancelled, and looked into when they fail.
import { rm } from "node:fs/promises";
import { Forge, ownNode } from "../forge";
import { Iglu, alive, expect, setUp, test } from "../iglu";

// A form that is refused, once.
test.use({ allowed: /status of 400/ });

test("a builder is made, watched and cancelled, and tells why it failed", async ({ page }) => {
  test.setTimeout(180_000);
  const forge = await Forge.start();
  const node = await ownNode();
  const iglu = await Iglu.start(node.flags);
  try {
    await setUp(page, iglu.setupLink);
    await page.getByRole("link", { name: "Builders" }).click();
    await page.getByRole("link", { name: "Make a builder" }).click();
    await alive(page);
    await page.getByLabel("Name").fill("slow");
    await page.getByLabel("Repository").fill("file:///etc/passwd");
    await page.getByRole("button", { name: "Create builder" }).click();
    await expect(page.getByText("is reached by https, http or ssh")).toBeVisible();
    await page.getByLabel("Repository").fill(forge.repository);
    // A look before anything is made: what cannot be fetched says why, what can shows its outputs, and a press picks one.
    await page.getByLabel("Branch, tag or commit").fill("nowhere");
    await page.getByRole("button", { name: "Test connection" }).click();
    await expect(page.getByText(/couldn't find remote ref nowhere/i)).toBeVisible({ timeout: 30_000 });
    await page.getByLabel("Branch, tag or commit").fill("main");
    await page.getByRole("button", { name: "Test connection" }).click();
    const picker = page.getByTestId("picker");
    await expect(page.getByText("A node can fetch it.")).toBeVisible({ timeout: 30_000 });
    await expect(picker.getByRole("button", { name: "all packages" })).toHaveAttribute("aria-pressed", "true");
    await picker.getByRole("button", { name: "all packages" }).click();
    await picker.getByRole("button", { name: "report", exact: true }).click();
    await expect(page.locator('[name="spec[outputs]"]')).toHaveValue("checks\npackages.x86_64-linux.report");
    // Only the fields of the kind that is chosen are there.
    await expect(page.locator('[name="spec[command]"]')).toBeHidden();
    await page.locator('[name="spec[outputs]"]').fill("slow");
    await page.getByRole("button", { name: "Create builder" }).click();
    await page.waitForURL("**/builders/slow");

    // Lines arrive by themselves, within half a second of being written.
    await page.getByRole("button", { name: "Run now" }).click();
    await page.waitForURL("**/runs/1");
    await alive(page);
    const log = page.getByTestId("log");
    await expect(page.locator("header").getByText("running")).toBeVisible({ timeout: 20_000 });
    const delays: number[] = [];
    for (const tick of [2, 3, 4]) {
      const line = log.locator(".log-line", { hasText: `tick ${tick} ` });
      await line.waitFor({ timeout: 20_000 });
      const written = Number((await line.innerText()).match(/tick \d+ (\d+)/)?.[1]);
      delays.push(Date.now() - written);
    }
    // Half a second on a machine of one's own; this one is shared with whatever else is tested.
    expect(Math.min(...delays)).toBeLessThan(1000);
    await page.getByRole("button", { name: "Cancel run 1" }).click();
    await page.getByRole("button", { name: "Cancel run", exact: true }).click();
    await expect(page.locator("header").getByText("cancelled")).toBeVisible();
    await expect(page.getByTestId("reason")).toContainText("cancelled by ada");

    // A failure: the reason is on top, and the way to its line.
    await page.goto(`${iglu.url}/builders/slow/settings`);
    await alive(page);
    await page.getByLabel("A command").check();
    await expect(page.locator('[name="spec[outputs]"]')).toBeHidden();
    const many = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); echo row $i; done; printf '\\033[31mred\\033[0m <b>bold</b>\\n'; exit 3";
    await page.locator('[name="spec[command]"]').fill(many);
    await page.getByRole("button", { name: "Save" }).click();
    await expect(page.getByText("Saved.")).toBeVisible();
    await page.getByRole("button", { name: "Run now" }).click();
    await page.waitForURL("**/runs/2");
    await expect(page.getByTestId("reason")).toContainText("the command ended with exit status: 3", { timeout: 60_000 });
    await expect(page.getByText("60 004 lines")).toBeVisible();
    // Of all these lines some are on the page; what a program writes is text.
    expect(await log.locator(".log-line").count()).toBeLessThan(400);
    const red = log.locator(".log-line", { hasText: "<b>bold</b>" });
    await expect(red).toBeVisible();
    await expect(red.locator(".ansi-red")).toHaveText("red");
    await page.getByLabel("Search the log").fill("row 31415");
    await page.getByLabel("Search the log").press("Enter");
    await expect(log.locator(".log-chosen")).toContainText("row 31415");
    await expect(page.getByText("1 of 1", { exact: true })).toBeVisible();
    await log.evaluate((log) => log.scrollTo(0, 0));
    await expect(log.locator(".log-line", { hasText: "fetching main" })).toBeVisible();
    await page.getByRole("button", { name: "Jump to failure" }).click();
    await expect(log.locator(".log-chosen")).toContainText("exit status: 3");
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download" }).click()]);
    expect(file.suggestedFilename()).toBe("run-2.log");

    // The overview and the list know of it; the queue and the nodes have their pages.
    await page.goto(`${iglu.url}/`);
    await expect(page.getByRole("link", { name: "See the run" })).toBeVisible();
    await page.goto(`${iglu.url}/nodes`);
    await expect(page.getByText("takes runs")).toBeVisible();
    await page.goto(`${iglu.url}/queue`);
    await expect(page.getByText("Nothing waits and nothing runs.")).toBeVisible();
  } finally {
    await page.goto("about:blank");
    await iglu.stop();
    await forge.stop();
    await rm(node.folder, { recursive: true, force: true });
  }
});
