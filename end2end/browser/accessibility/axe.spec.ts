// Every page, both themes, both widths: axe finds nothing, nothing scrolls sideways.
import type { Page } from "@playwright/test";
import path from "node:path";
import { alive, binary, expect, logIn, settled, test } from "../iglu";
import { closed, documents, open } from "../pages";

const axe = path.resolve(__dirname, "../../../node_modules/axe-core/axe.min.js");

// The pages' policy lets no foreign script in; the tests bring one. Missing pages and refused calls are noted by the browser.
test.use({ bypassCSP: true, allowed: /Failed to load resource.*40\d/ });

async function check(page: Page, where: string): Promise<void> {
  await alive(page);
  await checkShown(page, where);
}

/** The same of a page that the browser does not take over. */
async function checkShown(page: Page, where: string): Promise<void> {
  await page.addScriptTag({ path: axe });
  await settled(page);
  const found = await page.evaluate(async () => {
    const { axe } = window as unknown as {
      axe: { run(): Promise<{ violations: { id: string; nodes: { html: string; failureSummary: string }[] }[] }> };
    };
    const { violations } = await axe.run();
    return violations.map(({ id, nodes }) => ({ id, nodes: nodes.map((node) => `${node.html} ${node.failureSummary}`) }));
  });
  expect(found, where).toEqual([]);
  const sideways = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  expect(sideways, `${where} scrolls sideways`).toBe(0);
}

for (const colorScheme of ["light", "dark"] as const) {
  for (const width of [1440, 390]) {
    test.describe(`${colorScheme} at ${width}`, () => {
      test.use({ colorScheme, viewport: { width, height: 900 } });

      test("for anybody", async ({ page, iglu }) => {
        for (const path of open) {
          await page.goto(iglu.url + path);
          await check(page, path);
        }
      });

      test("the documents", async ({ page, iglu }) => {
        for (const path of documents) {
          await page.goto(iglu.url + path);
          await checkShown(page, path);
        }
      });

      test("after logging in", async ({ page, iglu }) => {
        await logIn(page, iglu);
        for (const path of closed) {
          await page.goto(iglu.url + path);
          await check(page, path);
        }
      });

      test("the kit", async ({ page, iglu }) => {
        const answer = await page.goto(`${iglu.url}/_kit`);
        if (binary.includes("/release/")) {
          expect(answer?.status(), "builds for release have no page of the kit").toBe(404);
          return;
        }
        await expect(page.getByRole("heading", { name: "Pictures" })).toBeVisible();
        await checkShown(page, "the kit");
        await page.getByRole("button", { name: "Open a dialog" }).click();
        await checkShown(page, "the kit's dialog");
      });

      test("set-up, a refusal, a new token, a dialog, the menu", async ({ page, iglu, fresh }) => {
        await page.goto(fresh.setupLink);
        await check(page, "set-up");
        await logIn(page, iglu);
        await page.goto(`${iglu.url}/caches/new`);
        await alive(page);
        await page.getByLabel("Name").fill("main");
        await page.getByRole("button", { name: "Create cache" }).click();
        await expect(page.getByLabel("Name")).toHaveAttribute("aria-invalid", "true");
        await check(page, "a refusal");
        await page.goto(`${iglu.url}/tokens/new`);
        await alive(page);
        await page.getByLabel("Name").fill(`axe ${colorScheme} ${width}`);
        await page.getByRole("button", { name: "Create token" }).click();
        await expect(page.getByTestId("created-token")).toBeVisible();
        await check(page, "a new token");
        await page.getByRole("button", { name: /^Revoke token/ }).first().click();
        await expect(page.getByRole("dialog")).toBeVisible();
        await check(page, "a dialog");
        await page.keyboard.press("Escape");
        if (width < 1024) {
          await page.getByRole("button", { name: "Open the menu" }).click();
          await expect(page.getByRole("link", { name: "Tokens" })).toBeVisible();
          await check(page, "the menu");
        }
      });
    });
  }
}
