// A forge for builders: git repositories over HTTP, as `git http-backend` serves them.
import { execFile, spawn } from "node:child_process";
import { chmod, cp, mkdtemp, rm } from "node:fs/promises";
import { type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);
const demo = path.resolve(__dirname, "../nix/demo");
const identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"];

export class Forge {
  private constructor(
    private readonly folder: string,
    private readonly server: Server,
  ) {}

  /** One with a repository `demo`: a flake without inputs. */
  static async start(): Promise<Forge> {
    const folder = await mkdtemp(path.join(tmpdir(), "iglu-browser-forge-"));
    const work = path.join(folder, "work");
    await cp(demo, work, { recursive: true });
    await chmod(path.join(work, "hello.sh"), 0o755);
    const git = (...args: string[]) => run("git", [...identity, ...args], { cwd: work });
    await git("init", "--quiet", "--initial-branch=main");
    await git("add", "--all");
    await git("commit", "--quiet", "-m", "Say hello");
    await run("git", ["clone", "--quiet", "--bare", work, path.join(folder, "demo.git")]);
    const server = createServer((request, response) => {
      const { pathname, search } = new URL(request.url ?? "/", "http://forge");
      const header = (name: string) => `${request.headers[name] ?? ""}`;
      const child = spawn("git", ["http-backend"], {
        env: {
          ...process.env,
          GIT_PROJECT_ROOT: folder,
          GIT_HTTP_EXPORT_ALL: "1",
          PATH_INFO: pathname,
          QUERY_STRING: search.slice(1),
          REQUEST_METHOD: request.method,
          CONTENT_TYPE: header("content-type"),
          ...(request.headers["content-length"] ? { CONTENT_LENGTH: header("content-length") } : {}),
          GIT_PROTOCOL: header("git-protocol"),
          HTTP_CONTENT_ENCODING: header("content-encoding"),
        },
        stdio: ["pipe", "pipe", "ignore"],
      });
      request.pipe(child.stdin);
      child.stdin.on("error", () => {});
      const parts: Buffer[] = [];
      child.stdout.on("data", (part: Buffer) => parts.push(part));
      child.on("close", () => {
        const all = Buffer.concat(parts);
        const end = all.indexOf("\r\n\r\n");
        for (const line of all.subarray(0, end).toString().split("\r\n")) {
          const [name, value] = line.split(": ");
          if (name === "Status") response.statusCode = Number.parseInt(value, 10);
          else response.setHeader(name, value);
        }
        response.end(all.subarray(end + 4));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Forge(folder, server);
  }

  get repository(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/demo.git`;
  }

  async stop(): Promise<void> {
    this.server.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Flags of a server that executes runs itself, in this folder. */
export async function ownNode(): Promise<{ flags: string[]; folder: string }> {
  const folder = await mkdtemp(path.join(tmpdir(), "iglu-browser-node-"));
  // Runs are another user, who passes through it.
  await chmod(folder, 0o755);
  const options = "sandbox-paths = /bin /usr /lib /lib64";
  return { folder, flags: ["--embedded-node", "true", "--node-state", folder, "--node-nix-options", options] };
}
