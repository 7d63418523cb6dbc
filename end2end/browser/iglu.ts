// A running Iglu for each worker: the real binary, a free port, a temporary folder.
import { type Page, test as base, expect } from "@playwright/test";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const root = path.resolve(__dirname, "../..");
export const binary = process.env.IGLU_BIN ?? path.join(root, "target/debug/iglu");
const emulator = process.env.CACHIX_EMULATOR ?? path.join(path.dirname(binary), "cachix-emulator");

export const admin = { name: "ada", password: "correct horse battery" };

export class Iglu {
  private constructor(
    readonly url: string,
    readonly data: string,
    /** Empty where it was set up before. */
    readonly setupLink: string,
    private readonly process: ChildProcess,
  ) {}

  /** Starts a server with a made-up year, and gives the password of its administrator. */
  static async demo(): Promise<{ iglu: Iglu; password: string }> {
    const data = await mkdtemp(path.join(tmpdir(), "iglu-browser-"));
    const { stdout } = await promisify(execFile)(binary, ["demo", "--data", data]);
    const password = stdout.match(/password (\S+)/)?.[1] ?? "";
    return { iglu: await Iglu.over(data, /Iglu is at/), password };
  }

  /** Starts a server that has never been set up. */
  static async start(flags = ["--embedded-node", "false"]): Promise<Iglu> {
    return Iglu.over(await mkdtemp(path.join(tmpdir(), "iglu-browser-")), /http:\S+\/setup\/\S+/, flags);
  }

  /** Starts a server on a folder, and waits for what it says. */
  private static async over(data: string, awaited: RegExp, flags = ["--embedded-node", "false"]): Promise<Iglu> {
    const [port, opsPort] = await freePorts(2);
    const url = `http://127.0.0.1:${port}`;
    const child = spawn(
      binary,
      ["serve", "--listen", `127.0.0.1:${port}`, "--ops-listen", `127.0.0.1:${opsPort}`, "--data", data, ...flags],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, IGLU_LOG: "warn" } },
    );
    let said = "";
    const link = new Promise<string>((resolve, reject) => {
      const listen = (chunk: Buffer) => {
        said += chunk.toString();
        const found = said.match(awaited);
        if (found) resolve(found[0]);
      };
      child.stdout.on("data", listen);
      child.stderr.on("data", listen);
      child.on("error", reject);
      child.on("exit", (code) => reject(new Error(`${binary} ended with ${code} before it was ready:\n${said}`)));
    });
    const setupLink = await link;
    for (let tries = 0; ; tries++) {
      try {
        await fetch(`${url}/login`);
        break;
      } catch (error) {
        if (tries === 100) throw error;
        await new Promise((wake) => setTimeout(wake, 50));
      }
    }
    return new Iglu(url, data, setupLink, child);
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
    await rm(this.data, { recursive: true, force: true });
  }

  /** Runs `iglu admin …` on this server's data and reads its JSON. */
  async admin(...args: string[]): Promise<Record<string, string>> {
    const { stdout } = await promisify(execFile)(binary, ["admin", ...args, "--json", "--data", this.data]);
    return JSON.parse(stdout);
  }

  /** Makes somebody with an account. */
  async user(name: string): Promise<void> {
    const made = promisify(execFile)(binary, ["admin", "user", "create", name, "--password-stdin", "--data", this.data]);
    made.child.stdin?.end(`${admin.password}\n`);
    await made;
  }

  /** Makes all paths as old as if they had been pushed days ago. */
  async age(days: number): Promise<void> {
    const sql = `update store_path set pushed_at = pushed_at - ${days * 86_400_000}`;
    const script = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1], timeout=10) as db: db.execute(sys.argv[2])";
    await promisify(execFile)("python3", ["-c", script, path.join(this.data, "iglu.db"), sql]);
  }

  /** Pushes made-up paths as the cachix client does. */
  async push(cache: string, token: string, count: number, seed: number): Promise<void> {
    const args = ["push", "--host", this.url, "--token", token, "--cache", cache];
    await promisify(execFile)(emulator, [...args, "--synthetic", `${count}`, "--seed", `${seed}`]);
  }

  /** Pushes a path of the machine's own store as the cachix client does. */
  async pushPath(cache: string, token: string, storePath: string): Promise<void> {
    await promisify(execFile)(emulator, ["push", "--host", this.url, "--token", token, "--cache", cache, storePath]);
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Waits until the page is alive, not only shown. */
export async function alive(page: Page): Promise<void> {
  await expect(page.locator("html[data-live]")).toBeAttached();
}

/** Waits for what fades in: it has less contrast than it will have. What follows a scroll bar never ends. */
export async function settled(page: Page): Promise<void> {
  await page.evaluate(() => {
    const ending = document.getAnimations().filter((animation) => animation.timeline === document.timeline);
    return Promise.allSettled(ending.map((animation) => animation.finished));
  });
}

/** Answers the set-up form. */
export async function setUp(page: Page, link: string, cache = "main"): Promise<void> {
  await page.goto(link);
  await page.getByLabel("Name").first().fill(admin.name);
  await page.getByLabel("Password").fill(admin.password);
  await page.getByLabel("Name").nth(1).fill(cache);
  await page.getByRole("button", { name: "Set up" }).click();
  await page.waitForURL(`**/caches/${cache}/first-push`);
}

/** Answers the login form, and waits for no more than the click. */
export async function tryLogIn(page: Page, iglu: Iglu, password: string): Promise<void> {
  await page.goto(`${iglu.url}/login`);
  await page.getByLabel("Name").fill(admin.name);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
}

/** Logs in, however many tests of this worker did so in the last moments: the server lets only so many try. */
export async function logIn(page: Page, iglu: Iglu, password = admin.password): Promise<void> {
  await expect(async () => {
    await tryLogIn(page, iglu, password);
    await expect(page.getByRole("heading", { name: "Overview" })).toBeVisible({ timeout: 3_000 });
  }).toPass({ timeout: 20_000 });
}

/**
 * `fresh` is a server of the test's own that has never been set up; `iglu` is one per worker with the administrator,
 * the public cache `main` holding 60 paths, and the private cache `secret`. A page that logs an error fails its test.
 */
export const test = base.extend<{ fresh: Iglu; quiet: void; allowed: RegExp }, { iglu: Iglu }>({
  fresh: async ({ page }, use) => {
    const iglu = await Iglu.start();
    await use(iglu);
    // A live page would miss its server and say so.
    await page.goto("about:blank");
    await iglu.stop();
  },
  iglu: [
    async ({ browser }, use) => {
      const iglu = await Iglu.start();
      const page = await browser.newPage({ javaScriptEnabled: false });
      await setUp(page, iglu.setupLink);
      await page.close();
      await iglu.admin("cache", "create", "secret", "--private");
      const { token } = await iglu.admin("token", "create", "seed", "--cache", "main", "--scope", "push");
      await iglu.push("main", token, 60, 7);
      await use(iglu);
      await iglu.stop();
    },
    { scope: "worker" },
  ],
  /** Console errors that a test expects. */
  allowed: [/(?!)/, { option: true }],
  quiet: [
    async ({ page, allowed, javaScriptEnabled }, use) => {
      const wrong: string[] = [];
      // Without JavaScript nothing uses the program, and a page that is open for long is told so.
      const unused = javaScriptEnabled ? /(?!)/ : /was preloaded using link preload but not used/;
      const note = (text: string) => {
        if (!allowed.test(text) && !unused.test(text)) wrong.push(text);
      };
      page.on("pageerror", (error) => note(String(error)));
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") note(message.text());
      });
      await use();
      expect(wrong, "the page logged errors").toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };
