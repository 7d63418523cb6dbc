// People come in by links, get roles, and go; the palette and the live numbers.
import { alive, expect, logIn, setUp, test } from "../iglu";

// The browser notes each refused call, and the pages that are gone.
test.use({ allowed: /Failed to load resource.*40\d/ });

test("somebody is invited, joins, is given a role, and leaves", async ({ page, fresh, browser }) => {
  await setUp(page, fresh.setupLink);
  await page.goto(`${fresh.url}/caches/main/members`);
  await alive(page);
  await page.getByRole("button", { name: "Make a link" }).click();
  await expect(page.getByLabel("Whom it is for")).toBeFocused();
  await page.getByLabel("Whom it is for").fill("Grace");
  await page.getByRole("button", { name: "Make a link" }).click();
  const link = (await page.getByTestId("created-link").innerText()).trim();
  await expect(page.getByRole("table", { name: "Invitations" })).toContainText("pusher of main");

  const visitor = await browser.newContext();
  const grace = await visitor.newPage();
  await grace.goto(link.replace(/^http:\/\/[^/]+/, fresh.url));
  await alive(grace);
  await grace.getByLabel("Name").fill("ada");
  await grace.getByLabel("Password").fill("a password of Grace");
  await grace.getByRole("button", { name: "Create account" }).click();
  await expect(grace.getByLabel("Name")).toHaveAccessibleDescription(/already/);
  await expect(grace.getByLabel("Name"), "what was typed stays").toHaveValue("ada");
  await grace.getByLabel("Name").fill("grace");
  await grace.getByRole("button", { name: "Create account" }).click();
  await expect(grace.getByRole("heading", { name: "Overview" })).toBeVisible();
  await grace.goto(`${fresh.url}/caches/main`);
  await alive(grace);
  await expect(grace.getByRole("link", { name: "Settings" })).toHaveCount(0);

  await page.reload();
  await alive(page);
  await page.getByRole("button", { name: "Change the role of grace" }).click();
  await page.getByRole("dialog").getByLabel("Role").selectOption("maintainer");
  await page.getByRole("dialog").getByRole("button", { name: "Save role" }).click();
  await expect(page.getByRole("table", { name: "People" })).toContainText("maintainer");
  await grace.reload();
  await alive(grace);
  await expect(grace.getByRole("link", { name: "Settings", exact: true })).toBeVisible();

  await page.getByRole("button", { name: "Remove grace" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove person" }).click();
  await expect(page.getByText("Nobody is in this cache yet")).toBeVisible();
  await page.getByRole("link", { name: "Activity", exact: true }).click();
  await expect(page.getByRole("table", { name: "Changes" })).toContainText("grace is maintainer of main");

  await page.goto(`${fresh.url}/admin/users`);
  await alive(page);
  await page.getByRole("button", { name: "Disable: grace" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Disable" }).click();
  await expect(page.getByRole("table", { name: "Users" })).toContainText("disabled");
  await grace.reload();
  await expect(grace).toHaveURL(/\/(login|caches\/main)/);
  await visitor.close();
});

test("the palette finds pages, caches and store paths by keys alone", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "pusher", "--cache", "main", "--scope", "push");
  await fresh.push("main", token, 3, 7);
  await page.goto(fresh.url);
  await alive(page);
  await page.keyboard.press("Control+k");
  await expect(page.getByRole("combobox", { name: "Go to" })).toBeFocused();
  await page.keyboard.type("main ret");
  await expect(page.getByRole("option")).toHaveCount(1);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/caches\/main\/retention$/);
  await page.keyboard.press("Control+k");
  await page.keyboard.type("synthetic-2");
  await expect(page.getByRole("option", { name: /synthetic-2 in main/ })).toBeVisible();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "synthetic-2" })).toBeVisible();
  await page.keyboard.press("Control+k");
  await page.keyboard.press("Escape");
  await expect(page.getByRole("combobox", { name: "Go to" })).toBeHidden();
});

test("numbers of the overview change by themselves", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "pusher", "--cache", "main", "--scope", "push");
  await page.goto(fresh.url);
  await alive(page);
  await expect(page.getByText("Nothing has been pushed yet.")).toBeVisible();
  const streams: string[] = [];
  page.on("request", (request) => request.url().includes("/events") && streams.push(request.url()));
  await fresh.push("main", token, 3, 7);
  await expect(page.getByRole("table", { name: "Recent pushes" })).toContainText("synthetic-2");
  await expect(page.getByTitle("Store paths that can be pulled")).toContainText("3");
  expect(streams, "one stream, opened with the page").toEqual([]);
});

test("paths are filtered by who pushed them", async ({ page, iglu }) => {
  await logIn(page, iglu);
  await page.goto(`${iglu.url}/caches/main/paths`);
  await alive(page);
  await page.getByLabel("Which paths").selectOption("never_pulled");
  await expect(page).toHaveURL(/filter=never_pulled/);
  await page.getByRole("table", { name: "Store paths" }).getByRole("link", { name: /token / }).first().click();
  await expect(page).toHaveURL(/by=token/);
  await page.getByRole("link", { name: /Not only by/ }).click();
  await expect(page).not.toHaveURL(/by=token/);
});
