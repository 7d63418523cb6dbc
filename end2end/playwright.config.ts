// Browser tests against the real program: pages before hydration, pages alive, and accessibility of both.
import { defineConfig } from "@playwright/test";

export default defineConfig({
  testDir: "./browser",
  outputDir: "../target/browser-results",
  // Each worker starts a server of its own.
  workers: 2,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  forbidOnly: !!process.env.CI,
  // A shared machine may stop a browser for seconds; what passes only the second time is listed as flaky.
  retries: process.env.CI ? 1 : 0,
  reporter: [["list"]],
  use: {
    trace: "retain-on-failure",
    screenshot: "only-on-failure",
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      // Without the network flags Chromium asks the internet for things at every start.
      args: [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
      ],
    },
  },
  projects: [
    { name: "before hydration", testMatch: /(before-hydration|both)\/.*\.spec\.ts/, use: { javaScriptEnabled: false } },
    { name: "after hydration", testMatch: /(after-hydration|both)\/.*\.spec\.ts/ },
    { name: "accessibility", testMatch: /accessibility\/.*\.spec\.ts/ },
    // Pictures are made when they are asked for.
    ...(process.env.SCREENSHOTS ? [{ name: "screenshots", testMatch: /screenshots\/.*\.spec\.ts/ }] : []),
  ],
});
