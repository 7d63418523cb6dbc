//! The documents of this version as pages of the server.

#![allow(clippy::unwrap_used)]

use iglu_end2end::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_pages() {
    let server = Server::start().await.unwrap();
    let get = async |path: &str| server.http().get(&format!("{}{path}", server.url())).await.unwrap();
    let index = get("/docs").await;
    assert_eq!((index.status.as_u16(), index.media_type()), (200, Some("text/html")));
    let html = index.text();
    for page in ["/docs/quick-start", "/docs/operations/storage", "/docs/reference/settings", "/docs/api"] {
        assert!(html.contains(&format!("href=\"{page}\"")), "{page}");
        assert_eq!(get(page).await.status, 200, "{page}");
    }
    let storage = get("/docs/operations/storage").await;
    let html = storage.text();
    assert!(html.contains("<title>Storage · Iglu</title>") && html.contains("<h2 id=\"moving\">Moving</h2>"), "{html}");
    assert!(html.contains("<a href=\"/docs/operations/storage\" aria-current=\"page\">"), "{html}");
    // Nothing of a document can act: the one script that there is puts the theme on the page, and is named by its hash.
    assert_eq!(html.matches("<script>").count(), 1);
    let policy = storage.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    // A link of the files themselves comes to the same page.
    assert_eq!(get("/docs/operations/storage.md").await.text(), html);
    let slash = get("/docs/").await;
    assert_eq!((slash.status.as_u16(), slash.header("location")), (308, Some("/docs")));
    for absent in ["/docs/absent", "/docs/../Cargo.toml", "/docs/%2e%2e/README", "/docs/openapi.json"] {
        let page = get(absent).await;
        assert_eq!(page.status, 404, "{absent}");
    }
    assert!(get("/docs/absent").await.text().contains("There is no such page here"));
}
