// Everything without a mouse: each thing that can be used is reached by Tab, is seen to be reached, and does what a click does.
import type { Page } from "@playwright/test";
import { admin, alive, expect, logIn, setUp, test } from "../iglu";
import { closed } from "../pages";

// The browser notes each answer of status 404 or 400.
test.use({ allowed: /Failed to load resource.*40\d/ });

/** Numbers what a person can use on this page, in words. */
async function usable(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const all = document.querySelectorAll<HTMLElement>("a[href], button, input, select, textarea, summary, [tabindex='0']");
    const shown = [...all].filter((element) => {
      if (element.tabIndex < 0 || (element as HTMLInputElement).disabled) return false;
      // The arrows go through the choices of a group.
      if (element instanceof HTMLInputElement && element.type === "radio" && !element.checked) return false;
      return element.checkVisibility({ visibilityProperty: true });
    });
    shown.forEach((element, number) => element.setAttribute("data-number", `${number}`));
    return shown.map((element) => element.getAttribute("aria-label") ?? element.textContent ?? element.outerHTML);
  });
}

/** What has the keyboard: its number, and whether that can be seen. */
async function focused(page: Page): Promise<{ number: number; seen: boolean }> {
  return page.evaluate(() => {
    const element = document.activeElement;
    if (!element || element === document.body) return { number: -1, seen: true };
    // A choice shows it on the card around it.
    const seen = [element, element.parentElement, element.parentElement?.parentElement].some((around) => {
      const style = around && getComputedStyle(around);
      return style && style.outlineStyle !== "none" && style.outlineWidth !== "0px";
    });
    return { number: Number(element.getAttribute("data-number") ?? -2), seen };
  });
}

/** Goes on by Tab until what is named has the keyboard. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  for (let presses = 0; presses < 120; presses++) {
    await page.keyboard.press("Tab");
    const here = await page.evaluate(() => {
      const element = document.activeElement as HTMLInputElement | null;
      return element?.getAttribute("aria-label") ?? element?.labels?.[0]?.textContent ?? element?.textContent ?? "";
    });
    if (name.test(here.trim())) return;
  }
  throw new Error(`Tab does not reach ${name}`);
}

test("Tab reaches everything on every page, and shows where it is", async ({ page, iglu }) => {
  test.setTimeout(240_000);
  await logIn(page, iglu);
  for (const path of closed) {
    await page.goto(iglu.url + path);
    await alive(page);
    const names = await usable(page);
    expect(names.length, path).toBeGreaterThan(2);
    const reached = new Set<number>();
    for (let presses = 0; presses < names.length + 5; presses++) {
      await page.keyboard.press("Tab");
      const { number, seen } = await focused(page);
      if (number >= 0) expect(seen, `${path}: one cannot see that "${names[number]}" has the keyboard`).toBe(true);
      reached.add(number);
    }
    const missed = names.filter((_, number) => !reached.has(number));
    expect(missed, `${path}: not reached by Tab`).toEqual([]);
  }
});

test("a cache, a token and a pin by keys alone", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "pusher", "--cache", "main", "--scope", "push");
  await fresh.push("main", token, 3, 7);
  await page.goto(`${fresh.url}/caches`);
  await alive(page);
  await tabTo(page, /^New cache$/);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "New cache" })).toBeVisible();
  await tabTo(page, /^Name/);
  await page.keyboard.type("team");
  await tabTo(page, /^Public/);
  await page.keyboard.press("ArrowDown");
  await tabTo(page, /^Create cache$/);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/caches\/team/);
  await expect(page.getByText("private").first()).toBeVisible();

  await page.keyboard.press("Control+k");
  await page.keyboard.type("synthetic-1");
  await expect(page.getByRole("option", { name: /synthetic-1 in main/ })).toBeVisible();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "synthetic-1" })).toBeVisible();
  await tabTo(page, /^Pin$/);
  await page.keyboard.press("Enter");
  await expect(page.getByLabel("Store path", { exact: true })).toHaveValue(/synthetic-1$/);
  await tabTo(page, /^Name/);
  await page.keyboard.type("kept");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("table", { name: "Pins" })).toContainText("kept");

  // A dialog takes the keyboard and gives it back.
  await tabTo(page, /^Unpin kept$/);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog", { name: /kept/ })).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog", { name: /kept/ })).toBeHidden();
  await expect(page.getByRole("button", { name: "Unpin kept" })).toBeFocused();
  await page.keyboard.press("Enter");
  await tabTo(page, /^Unpin$/);
  await page.keyboard.press("Enter");
  await expect(page.getByText("Nothing is pinned.")).toBeVisible();
  expect(await page.content()).not.toContain(admin.password);
});
