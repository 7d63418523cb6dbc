//! Our own API, as a script meets it: a token, JSON in and out, refusals that say what is wrong.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use http::Method;
use iglu_end2end::{
    cachix::PushOptions,
    http::Credentials,
    object::Object,
    server::{Scope, Server},
};
use serde_json::{Value, json};

/// A script with a token.
struct Script<'a> {
    server: &'a Server,
    token: Credentials,
}

impl Script<'_> {
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let url = format!("{}/api/v1/{path}", self.server.url());
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let headers = [("Content-Type", "application/json")];
        let reply = self.server.http().call(method, &url, &self.token, &headers, body).await.unwrap();
        assert_eq!(reply.media_type(), Some("application/json"), "{path}: {}", reply.text());
        (reply.status.as_u16(), serde_json::from_str(&reply.text()).unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.call(Method::GET, path, None).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Value {
        let (status, value) = self.call(method, path, Some(body)).await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    async fn refused(&self, method: Method, path: &str, body: Option<Value>, status: u16, field: &str) {
        let (found, problem) = self.call(method, path, body).await;
        assert_eq!((found, problem["status"].as_u64()), (status, Some(status.into())), "{path}: {problem}");
        assert_eq!(problem["field"], field, "{path}: {problem}");
        assert!(problem["message"].as_str().is_some_and(|message| message.len() > 5), "{path}: {problem}");
    }
}

fn script<'a>(server: &'a Server, cache: &str, scope: Scope) -> Script<'a> {
    Script { server, token: Credentials::Bearer(server.token(cache, scope).unwrap()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_do_what_pages_do() {
    let server = Server::start().await.unwrap();
    server.cache("main", true).unwrap();
    let everything: Value = serde_json::from_str(
        &server.admin(&["token", "create", "everything", "--all-caches", "--scope", "admin"], "").unwrap(),
    )
    .unwrap();
    let admin =
        Script { server: &server, token: Credentials::Bearer(everything["token"].as_str().unwrap().to_owned()) };
    let pusher = script(&server, "main", Scope::Push);
    let nobody = Script { server: &server, token: Credentials::None };

    // Caches.
    let create = json!({ "name": "team", "visibility": "private", "priority": 41, "compression": "zstd", "signing": "server",
        "client_filter_keys": [] });
    let made = admin.send(Method::POST, "caches", create.clone()).await;
    assert_eq!(made["summary"]["name"], "team");
    // A field that is spelt wrong is not left out in silence.
    let wrong = json!({"name": "typo", "cache": "main", "scope": "pull", "expires": "1d"});
    admin.refused(Method::POST, "tokens", Some(wrong), 400, "").await;
    admin.refused(Method::PATCH, "caches/main", Some(json!({"network": ["10.0.0.0/8"]})), 400, "").await;
    admin.refused(Method::POST, "caches", Some(create.clone()), 409, "name").await;
    pusher.refused(Method::POST, "caches", Some(create), 403, "").await;
    admin.refused(Method::POST, "caches", Some(json!({ "name": "A B" })), 400, "").await;
    assert_eq!(admin.get("caches").await.as_array().unwrap().len(), 2);
    assert_eq!(pusher.get("caches").await[0]["name"], "main");
    let changed = admin.send(Method::PATCH, "caches/team", json!({ "priority": 30 })).await;
    assert_eq!((&changed["summary"]["priority"], &changed["summary"]["visibility"]), (&30.into(), &"private".into()));
    nobody.refused(Method::GET, "caches/team", None, 401, "").await;
    admin.refused(Method::GET, "caches/absent", None, 404, "").await;

    // Paths.
    let lib = Object::synthetic("lib", 4000, 1);
    let app = Object::synthetic("app", 3000, 2).referring_to(&lib.path);
    let token = server.token("main", Scope::Push).unwrap();
    server.cachix(Some(&token)).push("main", &[lib.clone(), app.clone()], &PushOptions::default()).await.unwrap();
    let page = pusher.get("caches/main/paths?search=lib&sort=name").await;
    assert_eq!((&page["rows"][0]["name"], &page["path_count"]), (&"lib".into(), &2.into()));
    pusher.refused(Method::GET, "caches/main/paths?sort=odd", None, 400, "").await;
    pusher.refused(Method::GET, "caches/main/paths?pages=1", None, 400, "").await;
    let detail = pusher.get(&format!("caches/main/paths/{}", lib.hash())).await;
    assert_eq!(detail["referrers"][0]["name"], "app");
    let files = pusher.get(&format!("caches/main/paths/{}/files", lib.hash())).await;
    assert_eq!(files["count"], 1);
    pusher.refused(Method::GET, "caches/main/paths/nonsense", None, 404, "").await;
    let why = pusher.get(&format!("caches/main/why?path={}", lib.hash())).await;
    assert!(why["checks"].as_array().unwrap().iter().all(|check| check["verdict"] != "bad"), "{why}");
    pusher.refused(Method::GET, "caches/main/why?path=x", None, 400, "path").await;

    // Pins and keys.
    let pin = json!({ "name": "release/1", "store_path": app.path, "artifacts": [], "keep": { "tag": "Forever" } });
    pusher.send(Method::POST, "caches/main/pins", pin).await;
    assert_eq!(pusher.get("caches/main/pins").await[0]["name"], "release/1");
    let remove = format!("caches/main/paths/{}?with_referrers=true", lib.hash());
    admin.refused(Method::DELETE, &remove, None, 409, "paths").await;
    pusher.refused(Method::DELETE, "caches/main/pins/absent", None, 404, "").await;
    assert_eq!(pusher.call(Method::DELETE, "caches/main/pins/release%2F1", None).await.0, 200);
    let keys = admin.send(Method::POST, "caches/main/keys", json!({ "fresh": {} })).await;
    assert_eq!(keys.as_array().unwrap().len(), 2);
    admin.refused(Method::POST, "caches/main/keys", Some(json!({ "secret": "x" })), 400, "secret").await;
    pusher.refused(Method::POST, "caches/main/keys", Some(json!({ "fresh": {} })), 403, "").await;
    let second = keys[1]["name"].as_str().unwrap();
    admin.send(Method::DELETE, &format!("caches/main/keys/{second}"), Value::Null).await;
    assert!(admin.get("caches/main/keys").await[1]["state"]["retired"].is_object());

    // What stays and what goes.
    admin.send(Method::PUT, "caches/main/limits", json!({ "cache_bytes": 1_000_000 })).await;
    assert_eq!(admin.get("caches/main/limits").await["cache_bytes"], 1_000_000);
    admin.send(Method::PUT, "caches/main/retention", json!({ "pushed_days": 30 })).await;
    assert_eq!(admin.get("caches/main/retention").await["pushed_days"], 30);
    admin.refused(Method::PUT, "caches/main/retention", Some(json!({ "pushed_days": 0 })), 400, "pushed_days").await;
    admin.refused(Method::PUT, "caches/main/retention", Some(json!({ "days": 1 })), 400, "").await;
    // More than databases count.
    let huge = |field: &str| Some(json!({ field: 1_u64 << 63 }));
    admin.refused(Method::PUT, "caches/main/retention", huge("bytes"), 400, "bytes").await;
    admin.refused(Method::PUT, "caches/main/limits", huge("upload_bytes"), 400, "upload_bytes").await;
    let preview = admin.send(Method::POST, "caches/main/retention/preview", json!({ "bytes": 0 })).await;
    assert_eq!((&preview["all_paths"], &preview["paths"]), (&2.into(), &0.into()), "nothing is old enough");
    let run = admin.send(Method::POST, "caches/main/removals", Value::Null).await;
    assert_eq!(run["is_collection"], true);
    for _ in 0..100 {
        if admin.get("caches/main/removals").await[0]["state"] == "done" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let (status, removal) = admin.call(Method::DELETE, &remove, None).await;
    assert_eq!((status, &removal["paths"]), (200, &2.into()), "{removal}");
    let undo = format!("caches/main/removals/{}/undo", removal["id"]);
    pusher.refused(Method::POST, &undo, None, 403, "").await;
    assert_eq!(admin.send(Method::POST, &undo, Value::Null).await["state"], "undone");
    assert_eq!(pusher.get("caches/main/paths").await["path_count"], 2);

    // Numbers, and the server.
    assert_eq!(pusher.get("caches/main/statistics?span=day").await["total"]["pushed_paths"], 2);
    assert_eq!(admin.get("instance").await["database"], "SQLite");
    pusher.refused(Method::GET, "instance", None, 403, "").await;
    let audit = admin.get("audit?search=retention.set").await;
    assert_eq!(audit["rows"][0]["actor"], "token everything");
    nobody.refused(Method::GET, "audit", None, 401, "").await;
    let wrong = Script { server: &server, token: Credentials::Bearer("iglu_wrong".to_owned()) };
    wrong.refused(Method::GET, "caches", None, 401, "").await;
    admin.send(Method::DELETE, "caches/team", Value::Null).await;
    admin.refused(Method::GET, "caches/team", None, 404, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_describes_itself() {
    let server = Server::start().await.unwrap();
    let http = server.http();
    let reply = http.get(&format!("{}/api/v1/openapi.json", server.url())).await.unwrap();
    let described: Value = serde_json::from_str(&reply.text()).unwrap();
    assert!(described["paths"]["/api/v1/caches/{cache}"]["patch"].is_object());
    // Every type that is named is described.
    let text = reply.text();
    for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(described["components"]["schemas"][name].is_object(), "{name}");
    }
    let page = http.get(&format!("{}/docs/api", server.url())).await.unwrap();
    assert_eq!((page.status.as_u16(), page.media_type()), (200, Some("text/html")));
    let html = page.text();
    assert!(html.contains("PATCH /api/v1/caches/{cache}"), "{html}");
    let style = html.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(http.get(&format!("{}{style}", server.url())).await.unwrap().status, 200, "{style}");
}
