// With JavaScript off: every page can be read, and every form works.
import { admin, expect, logIn, setUp, test, tryLogIn } from "../iglu";

test("a refused set-up says what is wrong beside the field", async ({ page, fresh }) => {
  await page.goto(fresh.setupLink);
  await page.getByLabel("Name").first().fill("Ada Lovelace");
  await page.getByLabel("Password").fill(admin.password);
  await page.getByRole("button", { name: "Set up" }).click();
  const name = page.getByLabel("Name").first();
  await expect(name).toHaveAttribute("aria-invalid", "true");
  await expect(name).toHaveAccessibleDescription(/a user name/i);
});

test("everything but public caches leads to the login, and back", async ({ page, iglu }) => {
  for (const path of ["/", "/caches", "/caches/new", "/tokens", "/tokens/new", "/account", "/caches/secret"]) {
    await page.goto(iglu.url + path);
    expect(new URL(page.url()).pathname, path).toBe("/login");
    expect(new URL(page.url()).searchParams.get("next"), path).toBe(path);
  }
  await page.goto(`${iglu.url}/caches/secret/paths`);
  await page.getByLabel("Name").fill(admin.name);
  await page.getByLabel("Password").fill(admin.password);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page).toHaveURL(`${iglu.url}/caches/secret/paths`);
  await expect(page.getByRole("heading", { name: "secret" })).toBeVisible();
});

test("a login link cannot lead to another site", async ({ page, iglu }) => {
  for (const next of ["//evil.example/", "https://evil.example/", "/%255Cevil.example", "/\\evil.example"]) {
    await page.context().clearCookies();
    await page.goto(`${iglu.url}/login?next=${encodeURIComponent(next)}`);
    await page.getByLabel("Name").fill(admin.name);
    await page.getByLabel("Password").fill(admin.password);
    await page.getByRole("button", { name: "Log in" }).click();
    await page.waitForLoadState();
    expect(new URL(page.url()).origin, next).toBe(iglu.url);
    expect(new URL(page.url()).pathname, next).not.toContain("evil");
  }
});

test("a wrong password is refused beside the field", async ({ page, iglu }) => {
  await tryLogIn(page, iglu, "not the password");
  expect(new URL(page.url()).pathname).toBe("/login");
  await expect(page.getByLabel("Password")).toHaveAccessibleDescription(/wrong/);
  expect((await page.context().cookies()).filter((cookie) => cookie.name === "iglu_session")).toEqual([]);
});

test("a public cache can be read by anybody", async ({ page, iglu }) => {
  expect((await page.goto(`${iglu.url}/caches/main`))?.status()).toBe(200);
  const { uri } = await iglu.admin("cache", "show", "main");
  const snippet = page.getByTestId("snippet-nix-conf");
  await page.getByText("nix.conf", { exact: true }).click();
  await expect(snippet).toBeVisible();
  expect(await snippet.innerText()).toContain(`substituters = https://cache.nixos.org ${uri}`);

  await page.getByRole("link", { name: "Paths" }).click();
  await expect(page.getByRole("row")).toHaveCount(51);
  await page.getByRole("link", { name: "Next page" }).click();
  await expect(page.getByRole("row")).toHaveCount(11);
  await expect(page.getByText("51–60 of 60 paths")).toBeVisible();
});

test("the search of paths is a form like any other", async ({ page, iglu }) => {
  await page.goto(`${iglu.url}/caches/main/paths`);
  await page.getByRole("searchbox").fill("synthetic-12");
  await page.getByRole("button", { name: "Search" }).click();
  expect(new URL(page.url()).searchParams.get("q")).toBe("synthetic-12");
  await expect(page.getByRole("row")).toHaveCount(2);
  await expect(page.getByRole("row").nth(1)).toContainText("synthetic-12");
  await page.goto(`${iglu.url}/caches/main/paths?q=nothing-like-it`);
  await expect(page.getByText("No path here.")).toBeVisible();
});

test("a cache is created, and its name is not taken twice", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  for (const name of ["team", "team"]) {
    await page.goto(`${fresh.url}/caches/new`);
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Private").check();
    await page.getByRole("button", { name: "Create cache" }).click();
  }
  await expect(page.getByLabel("Name")).toHaveAccessibleDescription(/team/);
  await page.goto(`${fresh.url}/caches`);
  await expect(page.getByRole("row", { name: /team/ })).toContainText("private");
});

test("a token is shown once, and can be revoked", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  await page.goto(`${fresh.url}/tokens/new`);
  await page.getByLabel("Name").fill("runner");
  await page.getByRole("button", { name: "Create token" }).click();
  await expect(page).toHaveURL(`${fresh.url}/tokens`);
  const token = (await page.getByTestId("created-token").innerText()).trim();
  expect(token.length).toBeGreaterThan(20);
  await page.reload();
  await expect(page.getByTestId("created-token")).toHaveCount(0);
  expect(await page.content()).not.toContain(token);

  await page.getByRole("button", { name: "Revoke token runner" }).click();
  const dialog = page.getByRole("dialog", { name: "Revoke runner?" });
  await expect(dialog).toBeVisible();
  await dialog.getByRole("button", { name: "Revoke token" }).click();
  await expect(page.getByRole("row", { name: /runner/ })).toContainText("revoked");
});

test("the password is changed, and the old one is refused", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  await page.goto(`${fresh.url}/account`);
  await page.getByLabel("Current password").fill("not the password");
  await page.getByLabel("New password").fill("another horse battery");
  await page.getByRole("button", { name: "Change password" }).click();
  await expect(page.getByLabel("Current password")).toHaveAccessibleDescription(/not the current password/i);
  await page.getByLabel("Current password").fill(admin.password);
  await page.getByLabel("New password").fill("another horse battery");
  await page.getByRole("button", { name: "Change password" }).click();
  await expect(page.getByText("The password is changed.")).toBeVisible();
  await page.getByRole("button", { name: "Log out", exact: true }).click();
  await expect(page).toHaveURL(/\/login/);
  await tryLogIn(page, fresh, admin.password);
  await expect(page).toHaveURL(/\/login/);
  await logIn(page, fresh, "another horse battery");
});

test("the menu of a narrow page opens without JavaScript", async ({ page, iglu }) => {
  await page.setViewportSize({ width: 390, height: 844 });
  await logIn(page, iglu);
  await expect(page.getByRole("link", { name: "Tokens" })).toBeHidden();
  await page.getByRole("button", { name: "Open the menu" }).click();
  await page.getByRole("link", { name: "Tokens" }).click();
  await expect(page.getByRole("heading", { name: "Tokens" })).toBeVisible();
});

test("what needs JavaScript is not offered", async ({ page, iglu }) => {
  await page.goto(`${iglu.url}/caches/main`);
  await expect(page.getByRole("button", { name: /copy/i })).toHaveCount(0);
  await expect(page.getByRole("button", { name: /light and dark/ })).toHaveCount(0);
});

test.describe("not there", () => {
  // The browser notes each answer of status 404.
  test.use({ allowed: /Failed to load resource.*404/ });

  test("set-up leads to the first push, and its link works once", async ({ page, fresh }) => {
    await setUp(page, fresh.setupLink);
    await expect(page.getByRole("heading", { name: "Push your first path" })).toBeVisible();
    const commands = await page.getByTestId("snippet-cachix-push").innerText();
    expect(commands).toContain(`cachix config set hostname ${fresh.url}\n`);
    expect(commands).toMatch(/cachix authtoken \S{20,}\n/);
    expect(commands).not.toContain("YOUR_TOKEN");

    const answer = await page.goto(fresh.setupLink);
    expect(answer?.status()).toBe(404);
    await expect(page.getByRole("heading", { name: "This set-up link does not work any more" })).toBeVisible();
    await expect(page.getByText("iglu admin setup-link")).toBeVisible();
  });

  test("unknown addresses are 404, with a way on", async ({ page, iglu }) => {
    await logIn(page, iglu);
    for (const path of ["/no/such/page", "/caches/nothing-here", "/caches/nothing-here/paths"]) {
      const answer = await page.goto(iglu.url + path);
      expect(answer?.status(), path).toBe(404);
      await expect(page.getByRole("link", { name: "To the overview" })).toBeVisible();
    }
  });
});
