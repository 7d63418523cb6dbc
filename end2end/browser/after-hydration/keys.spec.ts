// A key is rotated in the browser while clients go on pulling.
import { alive, expect, setUp, test } from "../iglu";

// The browser notes each refused call.
test.use({ allowed: /Failed to load resource.*400/ });

test("a key is added, signs what is there, and the old one retires", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  const { token } = await fresh.admin("token", "create", "pusher", "--cache", "main", "--scope", "push");
  await fresh.push("main", token, 3, 7);
  await page.goto(`${fresh.url}/caches/main`);
  await alive(page);
  await page.getByRole("link", { name: "Keys", exact: true }).click();
  const rows = page.getByRole("table", { name: "Keys" }).getByRole("row");
  await expect(rows).toHaveCount(2);

  await page.getByRole("button", { name: /Retire key main\./ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Retire key" }).click();
  await expect(page.getByRole("alert").filter({ hasText: "only key" })).toBeVisible();

  await page.getByRole("button", { name: "Add a key" }).click();
  await expect(rows).toHaveCount(3);
  await expect(rows.nth(2)).toContainText("-2:");
  await expect(async () => {
    await page.reload();
    await expect(rows.nth(2)).toContainText("signs", { timeout: 500 });
    await expect(rows.nth(2)).not.toContainText("signing", { timeout: 500 });
  }).toPass({ timeout: 40_000 });
  await alive(page);

  await page.getByRole("button", { name: /Retire key main\..*-1$/ }).click();
  await page.getByRole("dialog", { name: /-1\?$/ }).getByRole("button", { name: "Retire key" }).click();
  await expect(rows.nth(1)).toContainText("retired");
  // The Use panel hands out the new key alone.
  await page.getByRole("link", { name: "Use", exact: true }).click();
  await page.getByText("nix.conf", { exact: true }).click();
  await expect(page.getByTestId("snippet-nix-conf")).toContainText("-2:");
  await expect(page.getByTestId("snippet-nix-conf")).not.toContainText(/main\.\S+-1:/);
});

test("a wrong secret is refused beside its field, and an imported key is listed", async ({ page, fresh }) => {
  await setUp(page, fresh.setupLink);
  await page.goto(`${fresh.url}/caches/main/keys`);
  await alive(page);
  await page.getByLabel("Secret key").fill("no key at all");
  await page.getByRole("button", { name: "Import key" }).click();
  await expect(page.getByLabel("Secret key")).toHaveAccessibleDescription(/no secret key/);
  const secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8DoQe/884Qvh1w3RjnS8CZZ+TWMJulDV8d3IZkElUxuA==";
  await page.getByLabel("Secret key").fill(`moved.example.org-1:${secret}`);
  await page.getByRole("button", { name: "Import key" }).click();
  await expect(page.getByRole("table", { name: "Keys" })).toContainText("moved.example.org-1:A6EHv");
  expect(await page.content()).not.toContain(secret);
});
