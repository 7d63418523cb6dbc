// Addresses of a worker's server that tests of every page go through.

/** For anybody. */
export const open = ["/login", "/setup/no-such-link", "/invite/no-such-link", "/caches/main", "/caches/main/paths", "/caches/main/keys", "/no/such/page"];

/** Rendered by the server alone. */
export const documents = ["/docs", "/docs/operations/reverse-proxy", "/docs/reference/settings", "/docs/api", "/docs/nothing"];

/** For who is logged in. */
export const closed = [
  "/",
  "/caches",
  "/caches/new",
  "/caches/main",
  "/caches/main/paths",
  "/caches/main/keys",
  "/caches/main/pins",
  "/caches/main/statistics",
  "/caches/main/retention",
  "/caches/main/settings",
  "/caches/main/members",
  "/caches/main/activity",
  "/caches/main/paths?filter=never_pulled&by=nobody",
  "/caches/main/paths?q=nothing-like-it",
  "/caches/main/paths/00000000000000000000000000000000",
  "/caches/main/why?path=00000000000000000000000000000000",
  "/caches/main/why?path=nonsense",
  "/admin",
  "/admin/audit",
  "/admin/users",
  "/caches/main/first-push",
  "/caches/secret",
  "/caches/secret/first-push",
  "/caches/none",
  "/builders",
  "/builders/new",
  "/builders/nosuch",
  "/runs/99",
  "/queue",
  "/nodes",
  "/tokens",
  "/tokens/new",
  "/account",
];
